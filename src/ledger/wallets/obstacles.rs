//! The obstacles to closing or pooling a wallet: money that it has, owes or waits for.

use crate::error::{Code, Error, Result};
use crate::ledger::wallets::config::Basis;
use crate::money::Amount;
use crate::storage::plan::{Run, Value, statement};

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

/// How obstacles are told.
pub struct Obstacles {
    /// The code of the error.
    pub code: Code,
    /// Its message.
    pub message: String,
}

/// An error while the wallet has money, owes some or waits for some. It names every obstacle. The
/// caller books expired holds and due grants first; otherwise they would be obstacles too.
pub fn require_done(wallet: &str, rules: &Basis, told: &Obstacles) -> Result<()> {
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
    Err(Error::new(told.code, told.message.clone())
        .detail(format!("It has {}.", found.join(", ")))
        .hint(hints.join(" ")))
}
