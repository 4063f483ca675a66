//! `compare_models`: the cost of the same usage with other models.

use crate::args;
use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pricing::rate::{Terms, rate, several_currencies};
use crate::pricing::usage::Usage;
use rust_decimal::Decimal;
use std::collections::HashSet;

/// The maximum number of models that one call compares.
const MAX_MODELS: usize = 1000;

/// The number of decimals of a ratio.
const RATIO_SCALE: u32 = 6;

/// A model and the cost of the usage, if the model has prices for all of it.
pub struct Compared {
    /// The model's name, as the caller gave it.
    pub model: String,
    /// The cost; `None` without a price.
    pub cost: Option<Amount>,
    /// Currency of the cost; `None` without a price.
    pub currency: Option<Currency>,
}

/// The models in the order of cost, those without a price last. Models of equal cost are in the
/// order of their names.
pub fn compare(usage: &Usage, models: &[String], terms: &Terms<'_>) -> Result<Vec<Compared>> {
    let mut rows = models
        .iter()
        .map(|model| {
            // The provider that served the request need not be the one that serves another model.
            let same = usage.model.as_deref() == Some(model);
            let provider = usage.provider.clone().filter(|_| same);
            let usage = Usage {
                model: Some(model.clone()),
                provider,
                ..usage.clone()
            };
            let priced = match rate(&usage, model, terms) {
                Ok(priced) => Some(priced),
                Err(error) if matches!(error.code, Code::PriceNotFound | Code::InvalidUsage) => {
                    None
                }
                Err(error) => return Err(error),
            };
            Ok(Compared {
                model: model.clone(),
                cost: priced.as_ref().map(|priced| priced.cost),
                currency: priced.map(|priced| priced.currency),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let mut currencies = rows.iter().filter_map(|row| row.currency);
    if let Some(first) = currencies.next()
        && let Some(other) = currencies.find(|other| *other != first)
    {
        return Err(several_currencies(first, other));
    }
    rows.sort_by(|a, b| {
        (a.cost.is_none(), a.cost, &a.model).cmp(&(b.cost.is_none(), b.cost, &b.model))
    });
    Ok(rows)
}

/// The cost as a multiple of the least cost, to six decimals. `None` if only the least cost is
/// zero.
pub fn ratio(cost: Amount, least: Amount) -> Option<Decimal> {
    if cost == least {
        return Some(Decimal::ONE);
    }
    // Both are below 10^28 units. The whole part is computed first, so that nothing overflows.
    let (cost, least) = (cost.units(), least.units());
    let (mut quotient, mut rest) = (cost.checked_div(least)?, cost % least);
    for _ in 0..RATIO_SCALE {
        rest *= 10;
        quotient = quotient.checked_mul(10)? + rest / least;
        rest %= least;
    }
    quotient += i128::from(rest * 2 >= least);
    Decimal::try_from_i128_with_scale(quotient, RATIO_SCALE)
        .ok()
        .map(|ratio| ratio.normalize())
}

/// Every model once, in the given order.
pub fn distinct(models: Option<Vec<Option<String>>>) -> Result<Vec<String>> {
    let missing = |message: &str| {
        Error::argument(message.to_owned())
            .detail("Every element is the name of a model.")
            .hint("Pass an array such as '{gpt-4o,claude-sonnet-4}'.")
    };
    let models = models.ok_or_else(|| missing("models must not be null"))?;
    if models.len() > MAX_MODELS {
        return Err(Error::argument("models has too many elements")
            .detail(format!(
                "It has {}; at most {MAX_MODELS} are allowed.",
                models.len()
            ))
            .hint("Compare fewer models."));
    }
    let mut seen = HashSet::new();
    let mut distinct = Vec::with_capacity(models.len());
    for model in models {
        let model = model.ok_or_else(|| missing("models has a NULL element"))?;
        args::required("models", Some(&model))?;
        if seen.insert(model.clone()) {
            distinct.push(model);
        }
    }
    Ok(distinct)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_rounded_and_absent_if_it_cannot_be_shown() {
        let amount = |units: i128| Amount::from_units(units).unwrap();
        let ratio = |cost: i128, least: i128| {
            super::ratio(amount(cost), amount(least)).map(|ratio| ratio.to_string())
        };
        assert_eq!(ratio(25, 10).as_deref(), Some("2.5"));
        assert_eq!(ratio(7, 7).as_deref(), Some("1"));
        assert_eq!(ratio(0, 0).as_deref(), Some("1"));
        assert_eq!(ratio(5, 0), None);
        assert_eq!(ratio(2, 3).as_deref(), Some("0.666667"));
        let most = 10_i128.pow(28) - 1;
        assert_eq!(ratio(most, most - 1).as_deref(), Some("1"));
        assert_eq!(ratio(most, 1), None, "more digits than a ratio can show");
    }
}
