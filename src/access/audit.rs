//! The audit trail: who changed what, with the row before and after.
//!
//! A picture of the rows that a call may change is taken before and after it, under the wallet's
//! lock; what differs is written down. A call that changes nothing leaves no trace.

use crate::access::rights::{Level, enter_as};
use crate::error::Result;
use crate::ledger::lock::lock_wallet;
use crate::statement;
use crate::storage::clock;
use crate::storage::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value};
use crate::storage::rows::uuid_text;
use crate::storage::session::Session;

statement!(
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
        AND NOT ($1 = '*' AND EXISTS (
                SELECT FROM wallet.audit_log l
                 WHERE l.wallet_id = '*' AND l.subject = a.key AND l.action = $3 AND l.after = a.value))"
);

statement!(
    WALLET,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(wallet_id, to_jsonb(w) - '{attention,grants_due,guarded,scoped,archived,keeps,debt,known_limits}'::text[])
       FROM wallet.wallets w WHERE wallet_id = $1"
);
statement!(
    LIMITS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.limit_id, to_jsonb(t)) FROM wallet.limits t WHERE t.wallet_id = $1"
);
statement!(
    MEMBERS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.user_id, to_jsonb(t)) FROM wallet.members t WHERE t.wallet_id = $1"
);
statement!(
    KEYS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.key_id, to_jsonb(t) - '{secret_hash,previous_hash}'::text[]) FROM wallet.api_keys t WHERE t.wallet_id = $1"
);
statement!(
    ORIGINS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.wallet_id, to_jsonb(t)) FROM wallet.origin_rules t WHERE t.wallet_id = $1"
);
statement!(
    MODELS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.scope || ' ' || t.subject, to_jsonb(t)) FROM wallet.model_rules t WHERE t.wallet_id = $1"
);
statement!(
    ACCESS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.db_role || ' ' || t.level, to_jsonb(t)) FROM wallet.access_grants t WHERE t.wallet_id = $1"
);
statement!(
    TOPUPS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.wallet_id, to_jsonb(t)) FROM wallet.topup_rules t WHERE t.wallet_id = $1"
);
statement!(
    RECURRING,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.wallet_id, to_jsonb(t) - '{next_at,granted_until}'::text[]) FROM wallet.recurring_grants t WHERE t.wallet_id = $1"
);
statement!(
    CHARGEBACK,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.wallet_id, to_jsonb(t)) FROM wallet.chargeback_rules t WHERE t.wallet_id = $1"
);
statement!(
    RUN_OUT,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(t.wallet_id, to_jsonb(t) - 'near') FROM wallet.run_out_alerts t WHERE t.wallet_id = $1"
);
statement!(
    MAPPINGS,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_object_agg(md5(to_jsonb(t)::text), to_jsonb(t)) FROM wallet.usage_mappings t"
);
statement!(
    PRICE,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(price_id, to_jsonb(t)) FROM wallet.prices t WHERE t.price_id = $2::uuid"
);
statement!(
    MARKUP,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(markup_id, to_jsonb(t)) FROM wallet.markups t WHERE t.markup_id = $2::uuid"
);
statement!(
    RATE,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(rate_id, to_jsonb(t)) FROM wallet.fx_rates t WHERE t.rate_id = $2::uuid"
);
statement!(
    VOUCHER,
    [TEXTOID, TEXTOID],
    "SELECT jsonb_build_object(voucher_id, to_jsonb(t) - 'code_hash' - 'hash') FROM wallet.vouchers t WHERE t.voucher_id = $2::uuid"
);

statement!(
    NOTE,
    [
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        JSONBOID
    ],
    "INSERT INTO wallet.audit_log
        (wallet_id, audit_id, at, action, subject, actor, db_role, client_address, after, metadata)
     VALUES ($1, gen_random_uuid(), $2, $3, $4, $5, session_user, inet_client_addr(), $6, $7)"
);

/// What a call may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The wallet's row.
    Wallet,
    /// A wallet that is made.
    NewWallet,
    /// Its limits.
    Limits,
    /// Its members.
    Members,
    /// Its keys, without anything of their secrets.
    Keys,
    /// Its networks and devices.
    Origins,
    /// Its model rules.
    Models,
    /// Rights of database roles on it.
    Access,
    /// Its top-up rule.
    Topups,
    /// Its recurring grant.
    Recurring,
    /// Its chargeback rule.
    Chargeback,
    /// When it wants to know that its money runs out.
    RunOut,
    /// How usage objects are read.
    Mappings,
    /// A price.
    Price,
    /// A markup.
    Markup,
    /// An exchange rate.
    Rate,
    /// A voucher, without its code.
    Voucher,
}

/// Who does what.
pub struct Act<'a> {
    /// The wallet; `*` for what concerns all.
    pub wallet: &'a str,
    /// The function's name.
    pub action: &'static str,
    /// What it may change.
    pub of: Of,
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Jsonb>,
}

impl Act<'_> {
    fn picture(&self, id: &str) -> Result<Rows> {
        let values = [Value::Text(self.wallet), Value::Text(id)];
        match self.of {
            Of::Wallet | Of::NewWallet => WALLET.run(&values),
            Of::Limits => LIMITS.run(&values),
            Of::Members => MEMBERS.run(&values),
            Of::Keys => KEYS.run(&values),
            Of::Origins => ORIGINS.run(&values),
            Of::Models => MODELS.run(&values),
            Of::Access => ACCESS.run(&values),
            Of::Topups => TOPUPS.run(&values),
            Of::Recurring => RECURRING.run(&values),
            Of::Chargeback => CHARGEBACK.run(&values),
            Of::RunOut => RUN_OUT.run(&values),
            Of::Mappings => MAPPINGS.run(&values),
            Of::Price => PRICE.run(&values),
            Of::Markup => MARKUP.run(&values),
            Of::Rate => RATE.run(&values),
            Of::Voucher => VOUCHER.run(&values),
        }
    }

    /// Writes down what differs between two pictures.
    fn write(&self, before: Option<&Rows>, after: &Rows) -> Result<()> {
        let object = |rows: &Rows| {
            let row = (!rows.is_empty()).then(|| rows.datum(0, 0)).flatten();
            row.map(Jsonb)
        };
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
}

/// Runs `work` as the owner after checking level and role, and writes down what it changed.
pub fn enter_audited<T>(
    level: Level,
    act: &Act<'_>,
    work: impl FnOnce(&Session) -> Result<T>,
) -> Result<T> {
    enter_as(level, act.wallet, act.actor, |session| {
        // Nobody else changes the rows between the picture and the change.
        let is_there = act.wallet != crate::access::rights::ALL_WALLETS && act.of != Of::NewWallet;
        if is_there {
            lock_wallet(act.wallet)?;
        }
        let before = act.picture("")?;
        let done = work(session)?;
        act.write(Some(&before), &act.picture("")?)?;
        Ok(done)
    })
}

/// Writes one row for a call that changed too much to show each.
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

/// The same for a call that makes a row of its own and returns its id.
pub fn enter_making(
    level: Level,
    act: &Act<'_>,
    work: impl FnOnce(&Session) -> Result<[u8; 16]>,
) -> Result<[u8; 16]> {
    enter_as(level, act.wallet, act.actor, |session| {
        let id = work(session)?;
        act.write(None, &act.picture(&uuid_text(id))?)?;
        Ok(id)
    })
}
