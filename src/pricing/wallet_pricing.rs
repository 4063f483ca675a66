//! How a wallet's usage is priced.

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::pricing::unknown::UnknownPrice;
use crate::storage::plan::{Run, Value, statement};

statement!(
    WALLET_PRICING,
    [TEXTOID],
    "SELECT price_list, currency, unknown_price, unread_usage = 'reject' FROM wallet.wallets WHERE wallet_id = $1"
);

/// How a wallet's usage is priced.
pub struct WalletPricing {
    /// Its price list.
    pub list: String,
    /// Its currency.
    pub currency: Currency,
    /// Its rule for usage without a price.
    pub unknown_price: UnknownPrice,
    /// Whether it refuses usage with numbers that nothing reads.
    pub rejects_unread: bool,
}

impl WalletPricing {
    /// As the wallet's row has it; WL003 where there is none.
    pub fn of(wallet: &str) -> Result<WalletPricing> {
        let rows = WALLET_PRICING.run(&[Value::Text(wallet)])?;
        if rows.is_empty() {
            return Err(Error::wallet_not_found(wallet));
        }
        Ok(WalletPricing {
            list: rows.need(0, 0)?,
            currency: Currency::of_row(&rows.need::<String>(0, 1)?)?,
            unknown_price: UnknownPrice::of_row(&rows.need::<String>(0, 2)?)?,
            rejects_unread: rows.need(0, 3)?,
        })
    }
}
