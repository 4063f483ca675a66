//! The audit trail: who changed a row, with the row before and after.
//!
//! An image of the row that a call may change is taken before and after the change, under the
//! wallet's lock. The columns that differ are recorded. A call that changes nothing leaves no
//! record. The row is found by its own key, so the cost of a change does not depend on the number
//! of the wallet's other rows.

use std::collections::HashMap;

use crate::access::audit_making::Making;
use crate::access::rights::{ALL_WALLETS, Level, enter_as};
use crate::error::Result;
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::session::Session;
use crate::storage::wallet_row::lock_wallet;

statement!(
    /// The rows that concern all wallets are looked up per row, by their subject. PostgreSQL would
    /// evaluate an EXISTS by reading all of them once, because it assumes that an object has a
    /// hundred rows.
    WRITE,
    [TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID, JSONBOID],
    "INSERT INTO wallet.audit_log
        (wallet_id, audit_id, at, action, subject, actor, db_role, client_address, before, after,
         metadata)
     SELECT $1, gen_random_uuid(), $2, $3, coalesce(b.key, a.key), $4, session_user,
            inet_client_addr(), b.value, a.value, $7
       FROM jsonb_each(coalesce($5, '{}')) b
       FULL JOIN jsonb_each(coalesce($6, '{}')) a ON a.key = b.key
      WHERE a.value IS DISTINCT FROM b.value
        AND ($1 <> '*' OR (
                SELECT true FROM wallet.audit_log l
                 WHERE l.wallet_id = '*' AND l.subject = a.key AND l.action = $3 AND l.after = a.value
                 LIMIT 1) IS NULL)"
);

statement!(
    WALLET,
    [TEXTOID],
    "SELECT jsonb_build_object(wallet_id, to_jsonb(w) - '{recheck_requested,grants_due,guarded,scoped,archived,keeps,debt,known_limits,defaults_from,plan_version}'::text[])
       FROM wallet.wallets w WHERE wallet_id = $1"
);
statement!(
    /// Sorted in the order of the index `limit_subject`, so that no other index is used.
    LIMIT_ON,
    [TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.limit_id, to_jsonb(t)) FROM wallet.limits t
      WHERE t.wallet_id = $1 AND t.scope = $2 AND t.subject = $3 AND t.period = $4
        AND t.metric >= $5 AND t.metric <= $5
      ORDER BY t.metric"
);
statement!(
    /// Sorted in the order of the primary key.
    LIMIT,
    [TEXTOID, UUIDOID],
    "SELECT jsonb_build_object(t.limit_id, to_jsonb(t)) FROM wallet.limits t
      WHERE t.wallet_id = $1 AND t.limit_id >= $2 AND t.limit_id <= $2
      ORDER BY t.limit_id"
);
statement!(
    MEMBER,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.user_id, to_jsonb(t)) FROM wallet.members t
      WHERE t.wallet_id = $1 AND t.user_id = $2"
);
statement!(
    /// Each member is looked up by the primary key, whatever the statistics say.
    MEMBERS,
    [TEXTOID, TEXTARRAYOID],
    "SELECT jsonb_object_agg(t.user_id, to_jsonb(t))
       FROM unnest($2) u(user_id)
      CROSS JOIN LATERAL (
            SELECT m.* FROM wallet.members m
             WHERE m.wallet_id = $1 AND m.user_id >= u.user_id AND m.user_id <= u.user_id
             ORDER BY m.user_id LIMIT 1) t"
);
statement!(
    /// Each limit is looked up in the order of the index `limit_subject`.
    LIMITS_ON,
    [TEXTOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID],
    "SELECT jsonb_object_agg(t.limit_id, to_jsonb(t))
       FROM unnest($2, $3, $4, $5) u(scope, subject, period, metric)
      CROSS JOIN LATERAL (
            SELECT l.* FROM wallet.limits l
             WHERE l.wallet_id = $1 AND l.scope = u.scope AND l.subject = u.subject AND l.period = u.period
               AND l.metric >= u.metric AND l.metric <= u.metric
             ORDER BY l.metric LIMIT 1) t"
);
statement!(
    /// Each key is looked up by the primary key, whatever the statistics say.
    KEYS,
    [TEXTOID, UUIDARRAYOID],
    "SELECT jsonb_object_agg(t.key_id, to_jsonb(t) - '{secret_hash,previous_hash}'::text[])
       FROM unnest($2) u(key_id)
      CROSS JOIN LATERAL (
            SELECT k.* FROM wallet.api_keys k
             WHERE k.wallet_id = $1 AND k.key_id >= u.key_id AND k.key_id <= u.key_id
             ORDER BY k.key_id LIMIT 1) t"
);
statement!(
    /// How the rows of two images differ, by the subjects in the later one.
    COMPARE,
    [JSONBOID, JSONBOID],
    "SELECT a.key, b.key IS NULL, a.value IS DISTINCT FROM b.value
       FROM jsonb_each($2) a LEFT JOIN jsonb_each(coalesce($1, '{}')) b ON b.key = a.key"
);
statement!(
    KEY,
    [TEXTOID, UUIDOID],
    "SELECT jsonb_build_object(t.key_id, to_jsonb(t) - '{secret_hash,previous_hash}'::text[]) FROM wallet.api_keys t
      WHERE t.wallet_id = $1 AND t.key_id = $2"
);
statement!(
    /// The columns that matter to an approval.
    HOLD,
    [TEXTOID, UUIDOID],
    "SELECT jsonb_build_object(t.hold_id, jsonb_build_object('status', t.status, 'approval', t.approval,
            'amount', t.amount, 'user_id', t.user_id, 'team', t.team, 'model', t.model, 'reason', t.reason))
       FROM wallet.reservations t WHERE t.wallet_id = $1 AND t.hold_id = $2"
);
statement!(
    ORIGINS,
    [TEXTOID],
    "SELECT jsonb_build_object(t.wallet_id, to_jsonb(t)) FROM wallet.origin_rules t WHERE t.wallet_id = $1"
);
statement!(
    MODEL_RULE,
    [TEXTOID, TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.scope || ' ' || t.subject, to_jsonb(t)) FROM wallet.model_rules t
      WHERE t.wallet_id = $1 AND t.scope = $2 AND t.subject = $3"
);
statement!(
    /// The columns of the view access_grants, with the role looked up by its name. The view would
    /// go through the grants of all roles on the wallet.
    ACCESS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.db_role || ' ' || t.level, to_jsonb(t))
       FROM (SELECT g.wallet_id, r.rolname::text AS db_role, g.level, g.created_at,
                    g.proof = 'claim' AS claimed, g.proof = 'key' AS keyed
               FROM pg_roles r JOIN wallet.role_grants g ON g.role = r.oid
              WHERE r.rolname = $2 AND g.wallet_id = $1) t"
);
statement!(
    TOPUPS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.name, to_jsonb(t)) FROM wallet.topup_rules t
      WHERE t.wallet_id = $1 AND t.name = $2"
);
statement!(
    /// The bonus rule of a wallet, which has at most one, or of all wallets in a currency.
    BONUS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(CASE t.wallet_id WHEN '*' THEN t.currency ELSE t.wallet_id END, to_jsonb(t))
       FROM wallet.bonus_rules t WHERE t.wallet_id = $1 AND ($1 <> '*' OR t.currency = $2)"
);
statement!(
    RECURRING,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.name, to_jsonb(t) - '{next_at,turn}'::text[]) FROM wallet.recurring_grants t
      WHERE t.wallet_id = $1 AND t.name = $2"
);
statement!(
    CHARGEBACK,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.dimension || coalesce(to_char(nullif(t.effective_from, '-infinity'), ' from YYYY-MM-DD'), ''), to_jsonb(t))
       FROM wallet.chargeback_rules t WHERE t.wallet_id = $1 AND t.dimension = $2"
);
statement!(
    RUN_OUT,
    [TEXTOID],
    "SELECT jsonb_build_object(t.wallet_id, to_jsonb(t) - 'near') FROM wallet.run_out_alerts t WHERE t.wallet_id = $1"
);
statement!(
    /// Without the secrets and without the progress of deliveries. A new URL on the same server,
    /// and a new signing secret, show in changed_at.
    DESTINATION,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(t.name, to_jsonb(t) - '{target_secret,signing_secret,previous_secret,usage_cursor,usage_event_id}'::text[])
       FROM wallet.destinations t WHERE t.wallet_id = $1 AND t.name = $2"
);
statement!(
    MAPPING,
    [TEXTOID],
    "SELECT jsonb_build_object(md5(to_jsonb(t)::text), to_jsonb(t)) FROM wallet.usage_mappings t WHERE t.name = $1"
);
statement!(
    METRIC,
    [TEXTOID],
    "SELECT jsonb_build_object(t.name, to_jsonb(t)) FROM wallet.metric_weights t WHERE t.name = $1"
);
statement!(
    PERIOD,
    [TEXTOID],
    "SELECT jsonb_build_object(t.wallet_id, to_jsonb(t)) FROM wallet.closed_periods t WHERE t.wallet_id = $1"
);
statement!(
    RETENTION,
    [TEXTOID],
    "SELECT jsonb_build_object(t.what, to_jsonb(t)) FROM wallet.retention_rules t WHERE t.what = $1"
);
statement!(
    /// A record without the row before.
    NOTE,
    [TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, JSONBOID],
    "INSERT INTO wallet.audit_log
        (wallet_id, audit_id, at, action, subject, actor, db_role, client_address, after, metadata)
     VALUES ($1, gen_random_uuid(), $2, $3, $4, $5, session_user, inet_client_addr(), $6, $7)"
);

/// The row that a call may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of<'a> {
    /// The wallet's row.
    Wallet,
    /// The row of a new wallet.
    NewWallet,
    /// The limit with that scope, subject, period and metric.
    LimitOn([&'a str; 4]),
    /// The limit with that id.
    Limit([u8; 16]),
    /// The limits with these scopes, subjects, periods and metrics.
    LimitsOn([&'a [String]; 4]),
    /// The member with that user id.
    Member(&'a str),
    /// The members with these user ids.
    Members(&'a [String]),
    /// The hold with that id.
    Hold([u8; 16]),
    /// The API key with that id, without its secrets and their hashes.
    Key([u8; 16]),
    /// The API keys with these ids, without their secrets and hashes.
    Keys(&'a [[u8; 16]]),
    /// The wallet's rules on networks and devices.
    Origins,
    /// The model rule with that scope and subject.
    ModelRule([&'a str; 2]),
    /// The access grants of a database role on the wallet.
    Access(&'a str),
    /// The wallet's top-up rule of that name.
    Topups(&'a str),
    /// The wallet's recurring grant of that name.
    Recurring(&'a str),
    /// The bonus rule of the wallet, or of all wallets in that currency.
    Bonus(Option<&'a str>),
    /// The rule by which the wallet's cost is allocated to teams, or to the values of a tag.
    CostAllocation(&'a str),
    /// The wallet's run-out alert.
    RunOut,
    /// The wallet's destination of that name, without its secrets.
    Destination(&'a str),
    /// The usage mapping with that name.
    Mapping(&'a str),
    /// The weights of the metric with that name.
    Metric(&'a str),
    /// The retention rule of that kind of rows.
    Retention(&'a str),
    /// The closing of the wallet, or of all wallets.
    Period,
}

impl Of<'_> {
    /// The current row.
    fn picture(self, wallet: &str) -> Result<Rows> {
        let wallet = Value::Text(wallet);
        match self {
            Of::Wallet | Of::NewWallet => WALLET.run(&[wallet]),
            Of::LimitOn([scope, subject, period, metric]) => {
                let [scope, subject, period, metric] =
                    [scope, subject, period, metric].map(Value::Text);
                LIMIT_ON.run_in_order(&[wallet, scope, subject, period, metric])
            }
            Of::Limit(id) => LIMIT.run_in_order(&[wallet, Value::Uuid(id)]),
            Of::LimitsOn(parts) => {
                let [scopes, subjects, periods, metrics] =
                    parts.map(|part| Value::OptTexts(Some(part)));
                LIMITS_ON.run_in_order(&[wallet, scopes, subjects, periods, metrics])
            }
            Of::Member(user) => MEMBER.run(&[wallet, Value::Text(user)]),
            Of::Members(users) => MEMBERS.run_in_order(&[wallet, Value::OptTexts(Some(users))]),
            Of::Hold(id) => HOLD.run(&[wallet, Value::Uuid(id)]),
            Of::Key(id) => KEY.run(&[wallet, Value::Uuid(id)]),
            Of::Keys(ids) => KEYS.run_in_order(&[wallet, Value::Uuids(ids)]),
            Of::Origins => ORIGINS.run(&[wallet]),
            Of::ModelRule([scope, subject]) => {
                MODEL_RULE.run(&[wallet, Value::Text(scope), Value::Text(subject)])
            }
            Of::Access(role) => ACCESS.run(&[wallet, Value::Text(role)]),
            Of::Topups(name) => TOPUPS.run(&[wallet, Value::Text(name)]),
            Of::Recurring(name) => RECURRING.run(&[wallet, Value::Text(name)]),
            Of::Bonus(currency) => BONUS.run(&[wallet, Value::OptText(currency)]),
            Of::CostAllocation(dimension) => CHARGEBACK.run(&[wallet, Value::Text(dimension)]),
            Of::RunOut => RUN_OUT.run(&[wallet]),
            Of::Destination(name) => DESTINATION.run(&[wallet, Value::Text(name)]),
            Of::Mapping(name) => MAPPING.run(&[Value::Text(name)]),
            Of::Metric(name) => METRIC.run(&[Value::Text(name)]),
            Of::Retention(what) => RETENTION.run(&[Value::Text(what)]),
            Of::Period => PERIOD.run(&[wallet]),
        }
    }
}

/// The call that the audit trail records.
pub struct Act<'a> {
    /// The wallet's id; `*` if the call concerns all wallets.
    pub wallet: &'a str,
    /// The function's name.
    pub action: &'static str,
    /// The actor: the person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's metadata.
    pub metadata: Option<Jsonb>,
}

/// The effect of a call on one of many rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The row is new.
    Created,
    /// The row has other values.
    Changed,
    /// The row had these values before.
    Unchanged,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Outcome; 3] = [Outcome::Created, Outcome::Changed, Outcome::Unchanged];

    /// The name of the outcome in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Created => "created",
            Outcome::Changed => "changed",
            Outcome::Unchanged => "unchanged",
        }
    }
}

/// The effect of a call on each of many rows, by the subjects that the audit trail names.
pub type Outcomes = HashMap<String, Outcome>;

/// The rows of an image, by subject.
fn object(rows: &Rows) -> Option<Jsonb> {
    let row = (!rows.is_empty()).then(|| rows.datum(0, 0)).flatten();
    row.map(Jsonb)
}

fn outcomes(before: &Rows, after: &Rows) -> Result<Outcomes> {
    let Some(after) = object(after) else {
        return Ok(Outcomes::new());
    };
    let rows = COMPARE.run(&[Value::OptJsonb(object(before)), Value::Jsonb(after)])?;
    let outcome = |row| {
        let outcome = match (rows.need(row, 1)?, rows.need(row, 2)?) {
            (true, _) => Outcome::Created,
            (false, true) => Outcome::Changed,
            (false, false) => Outcome::Unchanged,
        };
        Ok((rows.need(row, 0)?, outcome))
    };
    (0..rows.len()).map(outcome).collect()
}

impl Act<'_> {
    /// Records the difference of two images.
    fn write(&self, before: Option<&Rows>, after: &Rows) -> Result<()> {
        WRITE
            .run(&[
                Value::Text(self.wallet),
                Value::Time(clock::now()),
                Value::Text(self.action),
                Value::OptText(self.actor),
                Value::OptJsonb(before.and_then(object)),
                Value::OptJsonb(object(after)),
                Value::OptJsonb(self.metadata),
            ])
            .map(drop)
    }

    /// Records a new row.
    pub fn record_new(&self, of: Of<'_>) -> Result<()> {
        self.write(None, &of.picture(self.wallet)?)
    }
}

/// Runs `work` as the owner after checking level and member role, and records how it changed a row.
pub fn enter_audited<T>(
    level: Level,
    act: &Act<'_>,
    of: Of<'_>,
    work: impl FnOnce(&Session) -> Result<T>,
) -> Result<T> {
    between_images(level, act, of, work, |done, _, _| Ok(done))
}

/// Like `enter_audited`, for a call that changes many rows. `end` gets what happened to each of
/// them.
pub fn enter_audited_for_many<T, R>(
    level: Level,
    act: &Act<'_>,
    of: Of<'_>,
    work: impl FnOnce(&Session) -> Result<T>,
    end: impl FnOnce(T, &Outcomes) -> Result<R>,
) -> Result<R> {
    between_images(level, act, of, work, |done, before, after| {
        end(done, &outcomes(before, after)?)
    })
}

fn between_images<T, R>(
    level: Level,
    act: &Act<'_>,
    of: Of<'_>,
    work: impl FnOnce(&Session) -> Result<T>,
    end: impl FnOnce(T, &Rows, &Rows) -> Result<R>,
) -> Result<R> {
    enter_as(level, act.wallet, act.actor, |session| {
        // The lock keeps others from changing the rows between the image and the change.
        let is_there = act.wallet != ALL_WALLETS && of != Of::NewWallet;
        if is_there {
            lock_wallet(act.wallet)?;
        }
        let before = of.picture(act.wallet)?;
        let done = work(session)?;
        let after = of.picture(act.wallet)?;
        act.write(Some(&before), &after)?;
        end(done, &before, &after)
    })
}

/// Records a call that changed too many rows to show each, in one row.
pub fn note_down(act: &Act<'_>, subject: &str, after: Jsonb) -> Result<()> {
    NOTE.run(&[
        Value::Text(act.wallet),
        Value::Time(clock::now()),
        Value::Text(act.action),
        Value::Text(subject),
        Value::OptText(act.actor),
        Value::Jsonb(after),
        Value::OptJsonb(act.metadata),
    ])
    .map(drop)
}

/// Like `enter_audited`, for a call that adds a row with an id of its own and returns the id.
pub fn enter_making(
    level: Level,
    act: &Act<'_>,
    making: Making,
    work: impl FnOnce(&Session) -> Result<[u8; 16]>,
) -> Result<[u8; 16]> {
    enter_as(level, act.wallet, act.actor, |session| {
        let id = work(session)?;
        act.write(None, &making.picture(id)?)?;
        Ok(id)
    })
}
