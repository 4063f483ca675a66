//! Events: a row in the outbox and a NOTIFY, both in the transaction that causes the event.
//!
//! A NOTIFY holds a cluster-wide lock until its transaction has committed. Only this module sends
//! one, so there is never a NOTIFY without a row in the outbox. With `wallet.notify = off`, only
//! the rows are written; with `id`, the NOTIFY has the event's id alone.

use std::cell::RefCell;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, PostgresGucEnum};
use uuid::{ContextV7, Timestamp as IdTime, Uuid};

use crate::error::Result;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::jsonb::{Builder, Jsonb};
use crate::storage::plan::{Run, Value, statement};

statement!(
    /// Writes the events, and a delivery for each destination that wants them.
    EMIT,
    [
        TEXTOID,
        UUIDARRAYOID,
        TEXTOID,
        NUMERICOID,
        TEXTARRAYOID,
        TIMESTAMPTZOID
    ],
    "WITH event AS (
         INSERT INTO wallet.outbox (wallet_id, event_id, event, threshold, payload, created_at, available_at)
         SELECT $1, e.id, $3, $4, e.payload::jsonb, $6, $6
           FROM unnest($2, $5) WITH ORDINALITY AS e(id, payload, n) ORDER BY e.n
         RETURNING event_id
     )
     INSERT INTO wallet.deliveries
         (wallet_id, delivery_id, event_id, set_for, destination, created_at, available_at)
     SELECT $1, gen_random_uuid(), e.event_id, d.wallet_id, d.name, $6, $6
       FROM wallet.destinations d CROSS JOIN event e
      WHERE d.wallet_id = ANY (ARRAY[$1, '*']) AND (d.events IS NULL OR $3 = ANY (d.events))"
);

// The payload of the NOTIFY names the event but never a balance, because every role that may LISTEN
// can read it.
statement!(
    NOTIFY,
    [TEXTOID, UUIDARRAYOID, TEXTOID, NUMERICOID],
    "SELECT count(pg_notify('wallet_events',
            format('{\"id\":%s,\"event\":%s,\"wallet\":%s,\"threshold\":%s}',
                   to_json(e.id), to_json($3), to_json($1),
                   coalesce(to_json(trim_scale($4)), 'null'))))
       FROM (SELECT e.id FROM unnest($2) WITH ORDINALITY AS e(id, n) ORDER BY e.n) e"
);

// A NOTIFY that does not say which wallet the event is about.
statement!(
    NOTIFY_ID,
    [UUIDARRAYOID],
    "SELECT count(pg_notify('wallet_events', format('{\"id\":%s}', to_json(e.id))))
       FROM (SELECT e.id FROM unnest($1) WITH ORDINALITY AS e(id, n) ORDER BY e.n) e"
);

/// The content of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PostgresGucEnum)]
enum Notify {
    /// Id, event, wallet and threshold.
    #[name = c"on"]
    On,
    /// Nothing.
    #[name = c"off"]
    Off,
    /// The id alone.
    #[name = c"id"]
    Id,
    /// As `on`: a word for a setting that is switched on.
    #[name = c"true"]
    #[hidden = true]
    True,
    /// As `off`.
    #[name = c"false"]
    #[hidden = true]
    False,
}

/// `wallet.notify`
static NOTIFIES: GucSetting<Notify> = GucSetting::<Notify>::new(Notify::On);

/// Defines the setting; called once, when the library is loaded.
pub fn register() {
    GucRegistry::define_enum_guc(
        c"wallet.notify",
        c"What listeners of wallet_events are told of an event.",
        c"on: id, event, wallet and threshold. id: the id alone. off: nothing; claim_events() finds the same events.",
        &NOTIFIES,
        GucContext::Userset,
        GucFlags::default(),
    );
}

macro_rules! names {
    ($($variant:ident $name:literal $meaning:literal;)*) => {
        /// The events of the public interface.
        #[allow(dead_code, reason = "each is emitted by the domain that it belongs to")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Name {
            $(#[doc = $meaning] $variant,)*
        }

        impl Name {
            /// All names.
            #[allow(dead_code)]
            pub const ALL: &'static [Name] = &[$(Name::$variant,)*];

            /// The name in the outbox and in notifications.
            pub const fn as_str(self) -> &'static str {
                match self { $(Name::$variant => $name,)* }
            }
        }
    };
}

names! {
    BalanceLow "wallet_balance_low" "Available fell below a threshold.";
    BalanceRecovered "wallet_balance_recovered" "Available is back at or above a threshold.";
    Depleted "wallet_depleted" "Nothing is left to spend.";
    LimitNear "limit_near" "A limit's window has reached a fraction of its maximum.";
    LimitReached "limit_reached" "A limit's window is full.";
    TopupRequested "topup_requested" "A top-up rule asks for money.";
    TopupSucceeded "topup_succeeded" "A top-up was paid and credited.";
    TopupFailed "topup_failed" "A top-up was declined, or could not be requested.";
    TopupRuleStopped "topup_rule_stopped" "A top-up rule was declined too often.";
    GrantExpiring "grant_expiring" "A grant expires soon.";
    GrantExpired "grant_expired" "A grant expired with something left.";
    HoldExpired "hold_expired" "A hold was neither settled nor voided in time.";
    ApprovalRequested "approval_requested" "A hold exceeds a limit and waits for approval.";
    HoldApproved "hold_approved" "A hold that waited was approved.";
    HoldDenied "hold_denied" "A hold that waited was denied.";
    WalletFrozen "wallet_frozen" "A wallet was frozen.";
    UsageUnread "usage_unread" "A usage object has a number that nothing reads, at a place that is new.";
    UsageCharged "usage_charged" "Charges of a wallet, for destinations that name this event.";
    RunOutNear "wallet_run_out_near" "At the recent spending rate, the balance lasts fewer days than the configured threshold.";
}

/// A value of an event's payload.
#[allow(dead_code, reason = "each domain needs others")]
#[derive(Clone, Debug)]
pub enum Field<'a> {
    /// A string.
    Text(&'a str),
    /// A string, or null.
    OptText(Option<&'a str>),
    /// An amount, as a JSON number.
    Amount(Amount),
    /// A whole number.
    Count(i64),
    /// A JSON number; a string if it is not a decimal.
    Number(&'a str),
    /// An id, as a string.
    Id([u8; 16]),
    /// A point in time, as PostgreSQL prints it in JSON, or null.
    Time(Option<clock::Timestamp>),
}

/// An event to write.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The kind of the event.
    pub name: Name,
    /// The threshold that was crossed, if any.
    pub threshold: Option<Amount>,
    /// The data that a worker needs to handle the event. It is stored in the outbox and not sent to
    /// listeners.
    pub payload: &'a [(&'a str, Field<'a>)],
}

thread_local! {
    /// Ids increase with time at sub-microsecond precision. So events that happened one after the
    /// other, in any backends, have ids in that order.
    static IDS: RefCell<ContextV7> = RefCell::new(ContextV7::new().with_additional_precision());
}

/// The id of a new event.
pub fn next_id() -> [u8; 16] {
    IDS.with_borrow(|context| Uuid::new_v7(IdTime::now(context)).into_bytes())
}

fn payload(fields: &[(&str, Field<'_>)]) -> Jsonb {
    let mut json = Builder::default();
    json.begin_object();
    for (key, value) in fields {
        match value {
            Field::Text(text) => json.text(key, Some(text)),
            Field::OptText(text) => json.text(key, *text),
            Field::Amount(amount) => json.amount(key, *amount),
            Field::Count(count) => json.decimal(key, (*count).into()),
            Field::Number(text) => match text.parse() {
                Ok(number) => json.decimal(key, number),
                Err(_) => json.text(key, Some(text)),
            },
            Field::Id(id) => json.text(key, Some(&crate::storage::rows::uuid_text(*id))),
            Field::Time(at) => json.text(key, at.map(clock::Timestamp::to_json).as_deref()),
        }
    }
    json.finish_object()
}

/// Writes an event of a wallet. Listeners are notified when the transaction commits.
pub fn emit_event(wallet: &str, event: &Event<'_>) -> Result<()> {
    emit_all(wallet, event.name, event.threshold, &[event.payload])
}

/// Writes several events of a wallet that differ only in their payloads, in the order of the
/// payloads.
pub fn emit_all<'a>(
    wallet: &str,
    name: Name,
    threshold: Option<Amount>,
    payloads: &[impl AsRef<[(&'a str, Field<'a>)]>],
) -> Result<()> {
    if payloads.is_empty() {
        return Ok(());
    }
    let ids: Vec<[u8; 16]> = payloads.iter().map(|_| next_id()).collect();
    let texts = payloads.iter().map(|one| payload(one.as_ref()).to_text());
    let texts: Vec<String> = texts.collect();
    let (wallet, ids) = (Value::Text(wallet), Value::Uuids(&ids));
    let (name, threshold) = (Value::Text(name.as_str()), Value::OptAmount(threshold));
    let payloads = Value::OptTexts(Some(&texts));
    let now = Value::Time(clock::now());
    EMIT.run(&[wallet, ids, name, threshold, payloads, now])?;
    match NOTIFIES.get() {
        Notify::On | Notify::True => NOTIFY.run(&[wallet, ids, name, threshold]).map(drop),
        Notify::Id => NOTIFY_ID.run(&[ids]).map(drop),
        Notify::Off | Notify::False => Ok(()),
    }
}

/// Writes an event that has neither threshold nor payload.
pub fn announce(wallet: &str, name: Name) -> Result<()> {
    let (threshold, payload) = (None, &[][..]);
    emit_event(
        wallet,
        &Event {
            name,
            threshold,
            payload,
        },
    )
}
