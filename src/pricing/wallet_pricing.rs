//! The settings by which a wallet's usage is priced.

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::pg::clock::Timestamp;
use crate::pricing::book::DEFAULT_LIST;
use crate::pricing::rate::{Priced, Terms};
use crate::pricing::reported::rate_reported;
use crate::pricing::unknown::{UnknownPrice, rate_or};
use crate::pricing::unread::require_read;
use crate::pricing::usage::Usage;
use crate::storage::plan::{Run, Value, statement};
use rust_decimal::Decimal;

statement!(
    WALLET_PRICING,
    [TEXTOID],
    "SELECT price_list, currency, unknown_price, unread_usage = 'reject' FROM wallet.wallets WHERE wallet_id = $1"
);

/// The settings by which a wallet's usage is priced.
pub struct WalletPricing {
    /// The wallet's price list.
    pub list: String,
    /// The wallet's currency.
    pub currency: Currency,
    /// The wallet's rule for usage without a price.
    pub unknown_price: UnknownPrice,
    /// True if the wallet refuses usage with numbers that nothing reads.
    pub rejects_unread: bool,
}

impl WalletPricing {
    /// The settings in the wallet's row. Returns WL003 if there is no such wallet.
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

/// A usage that is priced and not booked.
pub struct Quote<'a> {
    /// The usage to price, read from the usage object.
    pub usage: &'a Usage,
    /// The model whose prices apply.
    pub model: &'a str,
    /// The cost that the provider reports, if it is to be charged.
    pub reported: Option<Decimal>,
    /// The currency; `None` for the wallet's currency or that of the prices.
    pub currency: Option<Currency>,
    /// The time of use.
    pub at: Timestamp,
}

impl Quote<'_> {
    fn rated(&self, list: &str, own: Option<Currency>, rule: &UnknownPrice) -> Result<Priced> {
        let terms = Terms {
            list,
            currency: self.currency.or(own),
            at: self.at,
        };
        match self.reported {
            None => rate_or(self.usage, self.model, &terms, rule),
            Some(cost) => rate_reported(cost, self.usage, self.model, &terms),
        }
    }

    /// Prices the usage by the default list.
    pub fn by_default_list(&self) -> Result<Priced> {
        self.rated(DEFAULT_LIST, None, &UnknownPrice::Reject)
    }

    /// Prices the usage as a charge of the wallet would be priced.
    pub fn of_wallet(&self, wallet: &str) -> Result<Priced> {
        let of = WalletPricing::of(wallet)?;
        let priced = self.rated(&of.list, Some(of.currency), &of.unknown_price)?;
        if of.rejects_unread {
            require_read(self.usage, &priced, self.model)?;
        }
        Ok(priced)
    }
}
