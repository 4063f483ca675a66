//! Raises limits.

use crate::access::rights::ALL_WALLETS;
use crate::error::Result;
use crate::idempotency::call::{IdempotentCall, lost};
use crate::ledger::limits::change::{change_limits, lock, that_limit_query};
use crate::ledger::limits::recount::reallot;
use crate::ledger::limits::rows::find;
use crate::ledger::wallets::plan_marks::{self, RuleKind};
use crate::limits::stored::limit_of;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Json};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

statement!(
    RAISE_MAX,
    [
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        NUMERICARRAYOID,
        TIMESTAMPTZARRAYOID
    ],
    that_limit_query!(
        "UPDATE wallet.limits
        SET max = $3, raised_by = $4, raised_until = $5,
            revision = revision + (counts_since IS NOT NULL)::int"
    )
);

/// The arguments of `raise_limit`.
pub struct Raise<'a> {
    /// Id of the wallet that has the limit; `*` for a default limit.
    pub wallet: &'a str,
    /// Id that the call of `set_limit` returned.
    pub limit_id: [u8; 16],
    /// The amount that is added to the maximum.
    pub by: Amount,
    /// The end of the raise. `None` if it is permanent.
    pub until: Option<Timestamp>,
}

/// Raises a limit for a time or permanently. Returns the new maximum. The answer is stored, because
/// a replay cannot compute it: other raises may follow. Raises that have ended are dropped from the
/// row. `reallot` then makes the new maximum known to the windows.
pub fn raise(raise: &Raise<'_>, call: IdempotentCall<'_>) -> Result<Amount> {
    let wallet = raise.wallet;
    lock(wallet)?;
    if let Some(answer) = call.answered()? {
        let json = answer.result().ok_or_else(lost)?.reread("result")?;
        return match json.as_object() {
            Some([(_, Json::Number(max))]) => max.to_amount().map_err(|_| lost()),
            _ => Err(lost()),
        };
    }
    let max = change_limits(wallet, |now, has_plan| {
        let mut row = find(wallet, raise.limit_id)?;
        let overflow = crate::pg::numeric::overflow;
        let (raised_by, raised_until): (Vec<Amount>, Vec<Timestamp>) = row
            .raised_by
            .iter()
            .copied()
            .zip(row.raised_until.iter().copied())
            .filter(|(_, until)| *until > now)
            .chain(raise.until.map(|until| (raise.by, until)))
            .unzip();
        if raise.until.is_none() {
            if has_plan {
                // The maximum is no longer the plan's.
                plan_marks::unmark(wallet, RuleKind::Limit, &[uuid_text(row.id)])?;
            }
            row.max = row.max.plus(raise.by).map_err(overflow)?;
        }
        RAISE_MAX.run_in_order(&[
            Value::Text(wallet),
            Value::Uuid(row.id),
            Value::Amount(row.max),
            Value::Amounts(&raised_by),
            Value::Times(&raised_until),
        ])?;
        (row.raised_by, row.raised_until) = (raised_by, raised_until);
        if wallet == ALL_WALLETS {
            return row.max_at(now);
        }
        let limit = limit_of(row)?;
        reallot(wallet, &limit, now)?;
        limit.max_at(now)
    })?;
    let mut json = Builder::default();
    json.begin_object();
    json.amount("max", max);
    call.remember(Some(json.finish_object()))?;
    Ok(max)
}
