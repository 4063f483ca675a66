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
    [TEXTARRAYOID, TIMESTAMPTZOID, BOOLOID],
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
                 ELSE wallet.booked_before(w.wallet_id, $2 + interval '1 microsecond') END
       FROM wallet.wallets w
      WHERE $1 IS NULL OR w.wallet_id = ANY ($1)
      ORDER BY w.wallet_id"
);

/// A wallet's balance in its own currency and in another.
pub struct Balance {
    /// Id of the wallet.
    pub wallet: String,
    /// The wallet's currency.
    pub own_currency: Currency,
    /// The balance in the wallet's own currency.
    pub own_balance: Amount,
    /// The balance in the other currency.
    pub balance: Amount,
    /// The exchange; `None` if the currencies are equal.
    pub exchange: Option<Exchange>,
}

/// The balances of wallets at a time, converted. `reach` lists the wallets; `None` means all.
pub fn balances(reach: Option<&[String]>, into: Currency, at: Timestamp) -> Result<Vec<Balance>> {
    // Entries of this transaction are later than its start, and `now()` is its start.
    let is_now = at >= clock::transaction_start();
    let rows = BALANCES.run(&[Value::OptTexts(reach), Value::Time(at), Value::Bool(is_now)])?;
    let conversion = Conversion::into(into, at);
    let balance = |row| {
        let own: String = rows.need(row, 1)?;
        let own_currency = Currency::of_row(&own)?;
        let own_balance = rows.amount(row, 2)?;
        let (balance, exchange) = conversion.amount(own_balance, own_currency)?;
        Ok(Balance {
            wallet: rows.need(row, 0)?,
            own_currency,
            own_balance,
            balance,
            exchange,
        })
    };
    (0..rows.len()).map(balance).collect()
}

/// The currency of a wallet. Returns WL003 if there is no wallet of that name.
pub fn currency_of(wallet: &str) -> Result<Currency> {
    let rows = CURRENCY.run(&[Value::Text(wallet)])?;
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    Currency::of_row(&rows.need::<String>(0, 0)?)
}
