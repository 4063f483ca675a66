//! Freezing, unfreezing and closing a wallet.

use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::balance::locked::LockedBalance;
use crate::ledger::grants::due;
use crate::ledger::holds::expiry_charge::charge_expired;
use crate::ledger::wallets::config::{self, Basis, Status};
use crate::ledger::wallets::settings::{BalanceDatum, once, split_lanes};
use crate::money::Amount;
use crate::outbox;
use crate::storage::plan::{Run, Value, statement};

statement!(
    DROP_TOPUP_RULE,
    [TEXTOID],
    "WITH thresholds AS (DELETE FROM wallet.thresholds WHERE wallet_id = $1 AND kind IN ('topup', 'covered'))
     DELETE FROM wallet.topup_rules WHERE wallet_id = $1"
);

statement!(
    DROP_RECURRING,
    [TEXTOID],
    "DELETE FROM wallet.recurring_grants WHERE wallet_id = $1"
);

statement!(
    SET_STATUS,
    [TEXTOID, TEXTOID, TEXTOID],
    "UPDATE wallet.wallets SET status = $2, status_reason = $3 WHERE wallet_id = $1"
);

statement!(
    /// The obstacles to closing a wallet: kind, number, and total amount.
    IN_THE_WAY,
    [TEXTOID],
    "WITH lanes AS (
         SELECT coalesce(sum(a.allotted - a.spent) FILTER (WHERE a.lane >= 0), 0) - w.credit_limit AS general,
                coalesce(sum(a.allotted - a.spent) FILTER (WHERE a.lane < 0), 0) AS scoped, w.debt
           FROM wallet.wallets w
           JOIN wallet.allowances a ON a.wallet_id = w.wallet_id
            AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
          WHERE w.wallet_id = $1
          GROUP BY w.credit_limit, w.debt
     )
     SELECT f.what, f.count, f.amount
       FROM (SELECT 1 AS place, 'balance' AS what, 1::bigint AS count, general AS amount FROM lanes WHERE general <> 0
             UNION ALL SELECT 2, 'scoped', 1, scoped FROM lanes WHERE scoped <> 0
             UNION ALL SELECT 3, 'hold', count(*), sum(h.held) FROM wallet.reservations h
                        WHERE h.wallet_id = $1 AND h.status = 'open'
             UNION ALL SELECT 4, 'debt', 1, debt FROM lanes WHERE debt <> 0
             UNION ALL SELECT 5, 'funding', count(*), sum(r.amount) FROM wallet.funding_requests r
                        WHERE r.wallet_id = $1 AND r.status = 'pending'
             UNION ALL SELECT 6, 'topup', count(*), sum(t.amount) FROM wallet.topup_requests t
                        WHERE t.wallet_id = $1 AND t.status = 'requested'
             UNION ALL SELECT 7, 'unpriced', count(*), 0 FROM wallet.unpriced_charges u
                        WHERE u.wallet_id = $1 AND u.priced_id IS NULL) f
      WHERE f.count > 0
      ORDER BY f.place"
);

/// A change of status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusChange {
    /// Stops charges.
    Freeze,
    /// Allows charges again.
    Unfreeze,
    /// Stops charges and fundings permanently.
    Close,
}

/// Freezes, unfreezes or closes a wallet.
pub fn change_status(
    wallet: &str,
    change_status: StatusChange,
    reason: Option<&str>,
    call: IdempotentCall<'_>,
) -> Result<BalanceDatum> {
    once(call, || {
        let (rules, _) = config::lock_to_change(wallet)?;
        rules.require_open(wallet)?;
        if change_status == StatusChange::Close {
            // Expired grants and holds do not prevent closing.
            charge_expired(wallet, i64::MAX)?;
            due::sweep(wallet)?;
            let mut locked = LockedBalance::open(wallet)?;
            locked.sweep()?;
            locked.close()?;
            require_done(wallet, &rules)?;
            let of = [Value::Text(wallet)];
            [DROP_TOPUP_RULE.run(&of), DROP_RECURRING.run(&of)]
                .into_iter()
                .try_for_each(|dropped| dropped.map(drop))?;
        }
        let status = match change_status {
            StatusChange::Freeze => "frozen",
            StatusChange::Unfreeze => "active",
            StatusChange::Close => "closed",
        };
        SET_STATUS.run(&[
            Value::Text(wallet),
            Value::Text(status),
            Value::OptText(reason),
        ])?;
        split_lanes(wallet, rules.credit_limit)?;
        if change_status == StatusChange::Freeze && rules.status == Status::Active {
            outbox::announce(wallet, outbox::Name::WalletFrozen)?;
        }
        Ok(())
    })
}

/// WL004 while the wallet has money, owes some or waits for some. The error names every obstacle.
/// The caller books expired holds and due grants first; otherwise they would be obstacles too.
fn require_done(wallet: &str, rules: &Basis) -> Result<()> {
    let rows = IN_THE_WAY.run(&[Value::Text(wallet)])?;
    let mut found = Vec::new();
    let mut hints = Vec::new();
    for row in 0..rows.len() {
        let (count, amount): (i64, Amount) = (rows.need(row, 1)?, rows.amount(row, 2)?);
        let what: String = rows.need(row, 0)?;
        let some = |one: &str| match count {
            1 => format!("1 {one}"),
            _ => format!("{count} {one}s"),
        };
        let currency = &rules.currency;
        let (said, hint) = match what.as_str() {
            "balance" => (
                format!("a balance of {amount} {currency}"),
                "Take money out with adjust(), transfer() or void_grant(); fund() makes up for used credit.",
            ),
            "scoped" => (
                format!("{amount} {currency} for some models or services only"),
                "Take grants back with void_grant().",
            ),
            "hold" => (
                format!("{} of {amount} {currency}", some("open hold")),
                "Settle or void open holds.",
            ),
            "debt" => (
                format!("a debt of {amount} {currency}"),
                "Have the debt paid: fund() pays it first, with the method write_off where it is given up.",
            ),
            "funding" => (
                format!("{} of {amount} {currency}", some("pending funding")),
                "End pending fundings with settle_funding() or fail_funding().",
            ),
            "topup" => (
                format!("{} of {amount} {currency}", some("requested top-up")),
                "End requested top-ups with complete_topup() or fail_topup().",
            ),
            _ => (
                format!("{} without a price", some("charge")),
                "Set the missing prices, and book the charges with price_unpriced().",
            ),
        };
        found.push(said);
        hints.push(hint);
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Code::WalletNotActive,
        format!("wallet {} cannot be closed yet", quoted(wallet)),
    )
    .detail(format!("It has {}.", found.join(", ")))
    .hint(hints.join(" ")))
}
