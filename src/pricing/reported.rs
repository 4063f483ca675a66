//! The cost that a provider reports, beside our own figure.

use crate::args;
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pricing::rate::{Mark, Priced, at_nothing, rate};
use crate::pricing::usage::Usage;
use crate::storage::clock::Timestamp;

/// Where the cost of a usage comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostFrom {
    /// Our prices.
    Prices,
    /// What the provider reports.
    Provider,
}

impl CostFrom {
    /// The value of the argument `cost_from`.
    pub fn of(argument: Option<&str>) -> Result<CostFrom> {
        let name = |one| match one {
            CostFrom::Prices => "prices",
            CostFrom::Provider => "provider",
        };
        match argument {
            Some("prices") => Ok(CostFrom::Prices),
            argument => args::word(
                "cost_from",
                argument,
                &[CostFrom::Prices, CostFrom::Provider],
                name,
                &[],
            ),
        }
    }
}

/// Currency in which providers report a cost.
const REPORTED_CURRENCY: &str = "USD";

/// A request at the cost that the provider reports. Its lines are ours; there is none where the
/// model or one of its meters has no price.
pub fn rate_beside(
    cost: Amount,
    currency: &str,
    usage: &Usage,
    model: &str,
    list: &str,
    at: Timestamp,
) -> Result<Priced> {
    if currency != REPORTED_CURRENCY {
        return Err(Error::argument("cost_from \"provider\" needs a wallet in USD")
            .detail(format!(
                "Providers report costs in {REPORTED_CURRENCY}; the wallet's currency is {currency}."
            ))
            .hint("Leave cost_from out and price the usage, or charge the converted amount."));
    }
    let ours = match rate(usage, model, list, at) {
        Err(error) if error.code == Code::PriceNotFound => at_nothing(usage, model, list, at)?,
        other => other?,
    };
    Ok(Priced {
        cost,
        mark: Mark::Reported,
        ..ours
    })
}
