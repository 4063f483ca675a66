//! Sets a wallet's top-up rules.

use crate::allowance::all_lanes::{read_thresholds, write_thresholds};
use crate::allowance::thresholds::{Kind, State, Threshold};
use crate::error::{Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::wallets::plan_marks::{self, RuleKind};
use crate::ledger::wallets::settings::split_lanes;
use crate::ledger::wallets::{config, following};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::wallet_row::lock_wallet;

statement!(
    SET,
    [
        TEXTOID,
        TEXTOID,
        JSONBOID,
        NUMERICOID,
        NUMERICOID,
        NUMERICOID,
        TEXTOID,
        INT8OID,
        INT8OID,
        INT8OID,
        NUMERICOID,
        TEXTOID,
        INT8OID,
        TEXTOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.topup_rules AS r
        (wallet_id, name, rule, threshold, amount, target_balance, method, cooldown, back_off,
         max_count, max_amount, period, max_declines, step, created_at, next_at)
     SELECT $1, $2, $3, $4, $5, $6, $7, $8 * interval '1 microsecond', $9 * interval '1 microsecond',
            $10, $11, $12, $13, $14::interval, $15,
            timezone(w.time_zone, timezone(w.time_zone, $15) + $14::interval)
       FROM wallet.wallets w
      WHERE w.wallet_id = $1
     ON CONFLICT (wallet_id, name) DO UPDATE
        SET rule = excluded.rule, threshold = excluded.threshold, amount = excluded.amount,
            target_balance = excluded.target_balance, method = excluded.method,
            cooldown = excluded.cooldown, back_off = excluded.back_off,
            max_count = excluded.max_count, max_amount = excluded.max_amount,
            period = excluded.period, max_declines = excluded.max_declines, step = excluded.step,
            created_at = excluded.created_at, next_at = excluded.next_at,
            refused = NULL, evaluate_at = NULL"
);

statement!(
    DROP,
    [TEXTOID, TEXTOID],
    "DELETE FROM wallet.topup_rules WHERE wallet_id = $1 AND name = $2"
);

statement!(
    NAMES,
    [TEXTOID],
    "SELECT name FROM wallet.topup_rules WHERE wallet_id = $1"
);

statement!(
    OTHERS,
    [TEXTOID, TEXTOID],
    "SELECT count(*) FROM wallet.topup_rules WHERE wallet_id = $1 AND name <> $2"
);

statement!(
    /// Thresholds that no rule has any longer.
    DROP_THRESHOLDS,
    [TEXTOID],
    "DELETE FROM wallet.thresholds t
      WHERE t.wallet_id = $1 AND t.kind = 'topup'
        AND NOT EXISTS (
            SELECT FROM wallet.topup_rules r WHERE r.wallet_id = $1 AND r.threshold = t.threshold)"
);

const OVERRIDE: &str = "Override it with a top-up rule of the wallet's own, of the same name.";

/// The most rules of a wallet. All of them are evaluated together.
const MAX_RULES: i64 = 100;

/// A rule whose values have been checked.
pub struct Rule<'a> {
    /// The JSON as the caller passed it.
    pub given: Jsonb,
    /// The available amount below which the rule requests money; `None` for a rule by time.
    pub threshold: Option<Amount>,
    /// The amount to request. The rule requests a multiple of it if one is not enough.
    pub amount: Option<Amount>,
    /// The amount to fill up to, as an alternative to `amount`.
    pub target: Option<Amount>,
    /// The payment method, as the application names it; `card` if the rule names none.
    pub method: &'a str,
    /// Pause after a successful top-up, in microseconds.
    pub cooldown: i64,
    /// Pause after the first decline, in microseconds.
    pub back_off: i64,
    /// The most top-ups in a period; `None` for no limit.
    pub max_count: Option<i64>,
    /// The most money in a period; `None` for no limit.
    pub max_amount: Option<Amount>,
    /// The period of `max_count` and `max_amount`.
    pub period: &'a str,
    /// The number of consecutive declines that stops the rule.
    pub max_declines: i64,
    /// The interval of a rule by time; `None` for other rules.
    pub step: Option<&'a str>,
}

/// 22023 if the wallet has too many rules for another one of that name.
fn require_few(wallet: &str, name: &str) -> Result<()> {
    let others: i64 = OTHERS
        .run(&[Value::Text(wallet), Value::Text(name)])?
        .need(0, 0)?;
    // A plan has few, whose number was checked when the plan was set.
    if others < MAX_RULES || following::is_applying() {
        return Ok(());
    }
    Err(Error::argument(format!(
        "wallet {} has too many top-up rules",
        quoted(wallet)
    ))
    .detail(format!("A wallet has at most {MAX_RULES}."))
    .hint("Drop one of them by setting it to NULL."))
}

/// The names of the top-up rules of a wallet.
pub fn names(wallet: &str) -> Result<Vec<String>> {
    let rows = NAMES.run(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| rows.need(row, 0)).collect()
}

/// Sets or drops the wallet's rule of that name. If the wallet is low, the rule requests a top-up
/// at once.
pub fn set(
    wallet: &str,
    name: &str,
    rule: Option<&Rule<'_>>,
    call: IdempotentCall<'_>,
) -> Result<()> {
    lock_wallet(wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    following::follow(wallet)?;
    let (rules, _) = config::lock_to_change(wallet)?;
    rules.require_open(wallet)?;
    if rule.is_some() {
        rules.require_own_money(wallet)?;
    }
    let has_plan = rules.has_plan && !following::is_applying();
    if has_plan && rule.is_none() {
        plan_marks::require_own(wallet, RuleKind::TopupRule, name, OVERRIDE)?;
    } else if has_plan {
        plan_marks::unmark(wallet, RuleKind::TopupRule, &[name.to_owned()])?;
    }
    let threshold = rule.and_then(|rule| rule.threshold);
    match rule {
        None => drop(DROP.run(&[Value::Text(wallet), Value::Text(name)])?),
        Some(rule) => {
            require_few(wallet, name)?;
            SET.run(&[
                Value::Text(wallet),
                Value::Text(name),
                Value::Jsonb(rule.given),
                Value::OptAmount(rule.threshold),
                Value::OptAmount(rule.amount),
                Value::OptAmount(rule.target),
                Value::Text(rule.method),
                Value::Int8(rule.cooldown),
                Value::Int8(rule.back_off),
                Value::OptInt8(rule.max_count),
                Value::OptAmount(rule.max_amount),
                Value::Text(rule.period),
                Value::Int8(rule.max_declines),
                Value::OptText(rule.step),
                Value::Time(clock::now()),
            ])?;
        }
    }
    DROP_THRESHOLDS.run(&[Value::Text(wallet)])?;
    if let Some(at) = threshold {
        let stored = read_thresholds(wallet, rules.credit_limit)?;
        if stored
            .iter()
            .all(|old| (old.kind, old.at) != (Kind::Topup, at))
        {
            // The threshold begins as fired, as if the balance had just fallen below it. A wallet
            // below it must request a top-up; for a wallet above it, the evaluation below arms the
            // threshold.
            let (kind, state) = (Kind::Topup, State::Fired);
            write_thresholds(wallet, &stored, &[Threshold { kind, at, state }])?;
        }
    }
    // Expired credit no longer counts, and the amounts of expired holds are available again.
    due::sweep(wallet)?;
    let mut locked = LockedBalance::open(wallet)?;
    locked.sweep()?;
    locked.close()?;
    split_lanes(wallet, rules.credit_limit)?;
    following::restore(wallet, has_plan && rule.is_none())?;
    call.remember(None)
}
