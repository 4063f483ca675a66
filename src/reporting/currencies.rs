//! Figures of a wallet in another currency: balances, and values for the other reports.
//!
//! `pricing::exchange` finds the rate and converts and rounds the amount, as for a charge.

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pricing::exchange::Conversion;
use crate::pricing::lines::Exchange;
use crate::storage::plan::{Run, Value, statement};

statement!(
    CURRENCY,
    [TEXTOID],
    "SELECT currency FROM wallet.wallets WHERE wallet_id = $1"
);

// For the present, the balance is read from the lanes, which have the sum of a wallet's entries.
// For the past, the entries of small wallets are added up here by one plan for all of them. A large
// wallet has a plan of its own, which uses roll-ups. The due entries are read only of the few
// wallets that have some.
statement!(
    BALANCES,
    [TEXTARRAYOID, TIMESTAMPTZOID, BOOLOID, BOOLOID],
    "SELECT w.wallet_id, w.currency,
            CASE WHEN $3
                 THEN (SELECT coalesce(sum(a.booked), 0) FROM wallet.allowances a
                        WHERE a.wallet_id = w.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000')
                      + CASE WHEN w.grants_due <= statement_timestamp()
                             THEN (SELECT coalesce(sum(d.amount), 0) FROM wallet.due_entries(w.wallet_id, statement_timestamp()) d)
                             ELSE 0 END
                 WHEN w.created_at > $2 THEN 0
                 WHEN (SELECT coalesce(sum(a.seq), 0) FROM wallet.allowances a
                        WHERE a.wallet_id = w.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000') <= 500
                 THEN (SELECT coalesce(sum(l.amount), 0) FROM wallet.ledger_all l
                        WHERE l.wallet_id = w.wallet_id AND l.entry_id >= '00000000-0000-0000-0000-000000000000' AND l.effective_at <= $2)
                      + CASE WHEN w.grants_due <= statement_timestamp()
                             THEN (SELECT coalesce(sum(d.amount), 0) FROM wallet.due_entries(w.wallet_id, statement_timestamp()) d
                                    WHERE d.at <= $2)
                             ELSE 0 END
                 ELSE wallet.booked_before(w.wallet_id, $2 + interval '1 microsecond') END,
            CASE WHEN $4 AND (EXISTS (SELECT FROM wallet.grant_lots g WHERE g.wallet_id = w.wallet_id AND g.promotional)
                              OR w.grants_due <= statement_timestamp())
                 THEN wallet.promotional_at(w.wallet_id, CASE WHEN $3 THEN 'infinity' ELSE $2 END)
                 ELSE 0 END
       FROM wallet.wallets w
      WHERE $1 IS NULL OR w.wallet_id = ANY ($1)
      ORDER BY w.wallet_id"
);

/// A wallet's balance at a time.
pub struct Balance {
    /// Id of the wallet.
    pub wallet: String,
    /// The wallet's currency.
    pub currency: Currency,
    /// The balance.
    pub amount: Amount,
    /// The part of the balance that is promotional credit; zero if it was not asked for.
    pub promotional: Amount,
}

/// A wallet's balance in its own currency and in another.
pub struct Converted {
    /// The balance in the wallet's own currency.
    pub own: Balance,
    /// The balance in the other currency.
    pub balance: Amount,
    /// The exchange; `None` if the currencies are equal.
    pub exchange: Option<Exchange>,
}

/// The balances of wallets at a time. `reach` lists the wallets; `None` means all.
pub fn balances(
    reach: Option<&[String]>,
    at: Timestamp,
    with_promotional: bool,
) -> Result<Vec<Balance>> {
    // Entries of this transaction are later than its start, and `now()` is its start.
    let is_now = at >= clock::transaction_start();
    let rows = BALANCES.run(&[
        Value::OptTexts(reach),
        Value::Time(at),
        Value::Bool(is_now),
        Value::Bool(with_promotional),
    ])?;
    let balance = |row| {
        Ok(Balance {
            wallet: rows.need(row, 0)?,
            currency: Currency::of_row(&rows.need::<String>(row, 1)?)?,
            amount: rows.amount(row, 2)?,
            promotional: rows.amount(row, 3)?,
        })
    };
    (0..rows.len()).map(balance).collect()
}

/// The balances of wallets at a time, converted to one currency.
pub fn balances_in(
    reach: Option<&[String]>,
    into: Currency,
    at: Timestamp,
) -> Result<Vec<Converted>> {
    let own = balances(reach, at, false)?;
    let conversion = Conversion::into(into, at);
    let convert = |own: Balance| {
        let (balance, exchange) = conversion.amount(own.amount, own.currency)?;
        Ok(Converted {
            own,
            balance,
            exchange,
        })
    };
    own.into_iter().map(convert).collect()
}

/// The currency of a wallet. Returns WL003 if there is no wallet of that name.
pub fn currency_of(wallet: &str) -> Result<Currency> {
    let rows = CURRENCY.run(&[Value::Text(wallet)])?;
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    Currency::of_row(&rows.need::<String>(0, 0)?)
}
