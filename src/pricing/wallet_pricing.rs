//! How a wallet's usage is priced.

use crate::currency::Currency;
use crate::error::{Error, Result};
use crate::pg::clock::Timestamp;
use crate::pricing::book::DEFAULT_LIST;
use crate::pricing::rate::{Priced, Terms};
use crate::pricing::reported::rate_beside;
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

/// A usage that is priced and not booked.
pub struct Quote<'a> {
    /// The usage.
    pub usage: &'a Usage,
    /// Its model.
    pub model: &'a str,
    /// The cost that the provider reports, if that is what counts.
    pub reported: Option<Decimal>,
    /// The currency; `None` for the wallet's, or the prices' own.
    pub currency: Option<Currency>,
    /// The time of the use.
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
            Some(cost) => rate_beside(cost, self.usage, self.model, &terms),
        }
    }

    /// Priced by the default list.
    pub fn by_default_list(&self) -> Result<Priced> {
        self.rated(DEFAULT_LIST, None, &UnknownPrice::Reject)
    }

    /// Priced as a charge of the wallet would be.
    pub fn of_wallet(&self, wallet: &str) -> Result<Priced> {
        let of = WalletPricing::of(wallet)?;
        let priced = self.rated(&of.list, Some(of.currency), &of.unknown_price)?;
        if of.rejects_unread {
            require_read(self.usage, &priced, self.model)?;
        }
        Ok(priced)
    }
}
