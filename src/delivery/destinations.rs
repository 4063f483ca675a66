//! Sets where the events of a wallet, or of all wallets, are delivered to.

use crate::access::rights::ALL_WALLETS;
use crate::delivery::target::Kind;
use crate::delivery::usage;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::storage::plan::{Run, Value, statement};

statement!(
    /// 244 random bits from the server's own generator, in the form of the Standard Webhooks
    /// specification.
    NEW_SECRET,
    [],
    "SELECT 'whsec_' || encode(decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'), 'base64')"
);

statement!(
    FIND,
    [TEXTOID, TEXTOID],
    "SELECT signing_secret IS NOT NULL FROM wallet.destinations WHERE wallet_id = $1 AND name = $2 FOR NO KEY UPDATE"
);

statement!(
    COUNT,
    [TEXTOID],
    "SELECT count(*) FROM wallet.destinations WHERE wallet_id = $1"
);

statement!(
    /// A webhook keeps its signing secret unless another one is given. A destination that already
    /// has the event `usage_charged` keeps its cursor. Another one begins after the charges that
    /// are committed.
    SET,
    [
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTARRAYOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID,
        BOOLOID
    ],
    "INSERT INTO wallet.destinations AS d
        (wallet_id, name, kind, address, target_secret, events, signing_secret, created_at, changed_at, actor, metadata, usage_cursor)
     SELECT $1, $2, $3, $4, $5, $6,
            CASE WHEN $3 = 'webhook' THEN coalesce($7, (
                SELECT o.signing_secret FROM wallet.destinations o WHERE o.wallet_id = $1 AND o.name = $2)) END,
            $8, $8, $9, $10,
            CASE WHEN $11 THEN jsonb_build_object('wallets', jsonb_build_object($1, (
                SELECT jsonb_build_array((lpad(to_hex(greatest(extract(epoch FROM $8) * 1000 - 600000, 0)::bigint), 12, '0') || repeat('0', 20))::uuid)
                       || coalesce(jsonb_agg(coalesce(a.seq, 0) ORDER BY g.lane), '[]')
                  FROM generate_series(-1, (
                       SELECT max(m.lane) FROM wallet.allowances m
                        WHERE m.wallet_id = $1 AND m.allowance_id = '00000000-0000-0000-0000-000000000000')) AS g(lane)
                  LEFT JOIN wallet.allowances a
                    ON a.wallet_id = $1 AND a.allowance_id = '00000000-0000-0000-0000-000000000000' AND a.lane = g.lane))) END
     ON CONFLICT (wallet_id, name) DO UPDATE
        SET kind = excluded.kind, address = excluded.address, target_secret = excluded.target_secret,
            events = excluded.events, changed_at = excluded.changed_at, actor = excluded.actor,
            metadata = excluded.metadata,
            signing_secret = excluded.signing_secret,
            previous_secret = CASE WHEN excluded.signing_secret = d.signing_secret THEN d.previous_secret END,
            previous_until = CASE WHEN excluded.signing_secret = d.signing_secret THEN d.previous_until END,
            usage_cursor = CASE WHEN $11 THEN coalesce(d.usage_cursor, excluded.usage_cursor) END"
);

statement!(
    ROTATE,
    [TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "UPDATE wallet.destinations
        SET previous_secret = signing_secret, previous_until = $4, signing_secret = $3, changed_at = $5
      WHERE wallet_id = $1 AND name = $2"
);

statement!(
    DROP,
    [TEXTOID, TEXTOID],
    "DELETE FROM wallet.destinations WHERE wallet_id = $1 AND name = $2"
);

statement!(
    GIVE_UP_ALL,
    [TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.deliveries SET dead_at = $3, last_error = 'the destination was dropped'
      WHERE set_for = $1 AND destination = $2 AND delivered_at IS NULL AND dead_at IS NULL"
);

/// The most destinations of a wallet. Each event is looked up in all of them.
const MAX_DESTINATIONS: i64 = 100;

/// A destination whose values have been checked.
pub struct Destination<'a> {
    /// The wallet, or `*`.
    pub wallet: &'a str,
    /// The name among the wallet's destinations.
    pub name: &'a str,
    /// The way of delivery.
    pub kind: Kind,
    /// The URL or e-mail address.
    pub target: &'a str,
    /// The part of the target that may be shown.
    pub address: String,
    /// The events to deliver; `None` for all.
    pub events: Option<Vec<String>>,
    /// The signing secret, if the caller gave one.
    pub secret: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// The result of a call: a new signing secret, if one was made, and whether an earlier call with
/// the same key did the work.
pub struct Signed {
    /// The secret. `None` if none was made.
    pub secret: Option<String>,
    /// True for a replay.
    pub replayed: bool,
}

fn new_secret() -> Result<String> {
    NEW_SECRET.run(&[])?.need(0, 0)
}

/// Runs `work` unless an earlier call with the key has succeeded. The image for the audit trail has
/// locked the wallet's row, so calls that change the same destinations queue before this.
fn once(call: IdempotentCall<'_>, work: impl FnOnce() -> Result<Option<String>>) -> Result<Signed> {
    if call.answered()?.is_some() {
        return Ok(Signed {
            secret: None,
            replayed: true,
        });
    }
    let secret = work()?;
    call.remember(None)?;
    Ok(Signed {
        secret,
        replayed: false,
    })
}

/// Adds a destination, or changes the one with that name. A webhook gets a signing secret if it has
/// none.
pub fn set(new: &Destination<'_>, call: IdempotentCall<'_>) -> Result<Signed> {
    let names = new.events.iter().flatten();
    let wants_usage = names.into_iter().any(|event| event == usage::EVENT);
    once(call, || {
        let rows = FIND.run(&[Value::Text(new.wallet), Value::Text(new.name)])?;
        if rows.is_empty() {
            require_few(new.wallet)?;
        }
        let is_signed = !rows.is_empty() && rows.need(0, 0)?;
        let made = match (new.kind, new.secret) {
            (Kind::Webhook, None) if !is_signed => Some(new_secret()?),
            _ => None,
        };
        SET.run(&[
            Value::Text(new.wallet),
            Value::Text(new.name),
            Value::Text(new.kind.as_str()),
            Value::Text(&new.address),
            Value::Text(new.target),
            Value::OptTexts(new.events.as_deref()),
            Value::OptText(new.secret.or(made.as_deref())),
            Value::Time(clock::now()),
            Value::OptText(new.actor),
            Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
            Value::Bool(wants_usage),
        ])?;
        Ok(made)
    })
}

/// Gives a webhook a new signing secret. For `overlap` microseconds, requests are signed with the
/// old one too.
pub fn rotate(name: &str, overlap: i64, call: IdempotentCall<'_>) -> Result<Signed> {
    let wallet = call.wallet;
    once(call, || {
        if !require(wallet, name)? {
            return Err(
                Error::argument(format!("destination {} is not signed", quoted(name)))
                    .detail("Only webhooks have a signing secret.")
                    .hint("To replace the URL of a chat service, call set_destination()."),
            );
        }
        let (secret, now) = (new_secret()?, clock::now());
        ROTATE.run(&[
            Value::Text(wallet),
            Value::Text(name),
            Value::Text(&secret),
            Value::Time(Timestamp(now.0.saturating_add(overlap))),
            Value::Time(now),
        ])?;
        Ok(Some(secret))
    })
}

/// Removes a destination. Its deliveries that still wait are given up.
pub fn drop_it(name: &str, call: IdempotentCall<'_>) -> Result<()> {
    let wallet = call.wallet;
    let work = || {
        require(wallet, name)?;
        let (wallet, name) = (Value::Text(wallet), Value::Text(name));
        GIVE_UP_ALL.run(&[wallet, name, Value::Time(clock::now())])?;
        DROP.run(&[wallet, name])?;
        Ok(None)
    };
    once(call, work).map(drop)
}

/// Whether a destination is signed. The error 42704 if there is none of that name.
fn require(wallet: &str, name: &str) -> Result<bool> {
    let rows = FIND.run(&[Value::Text(wallet), Value::Text(name)])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("destination {} does not exist", quoted(name)),
        )
        .detail(match wallet {
            ALL_WALLETS => "No destination of all wallets has that name.".to_owned(),
            wallet => format!("Wallet {} has no destination of that name.", quoted(wallet)),
        })
        .hint("See wallet.destination_list for the destinations."));
    }
    rows.need(0, 0)
}

/// 22023 if the wallet has too many destinations for another one.
fn require_few(wallet: &str) -> Result<()> {
    let count: i64 = COUNT.run(&[Value::Text(wallet)])?.need(0, 0)?;
    if count < MAX_DESTINATIONS {
        return Ok(());
    }
    Err(Error::argument("there are too many destinations")
        .detail(format!("A wallet has at most {MAX_DESTINATIONS}."))
        .hint("Drop one with drop_destination()."))
}
