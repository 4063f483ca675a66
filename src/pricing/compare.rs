//! `compare_models`: what the same usage would cost with other models.

use std::collections::HashSet;

use pgrx::prelude::*;
use pgrx::{AnyNumeric, default};
use rust_decimal::Decimal;

use crate::access::rights::{Level, enter, enter_any};
use crate::args;
use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::{clock, invalidation};
use crate::pricing::api::WalletPricing;
use crate::pricing::book::DEFAULT_LIST;
use crate::pricing::rate::{Terms, rate, several_currencies};
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};

/// Models that one call compares.
const MAX_MODELS: usize = 1000;
/// Decimals of a ratio.
const RATIO_SCALE: u32 = 6;

/// A model and what the usage costs with it, if it has a price for all of it.
struct Compared {
    model: String,
    cost: Option<Amount>,
    currency: Option<Currency>,
}

/// The models by cost, those without a price last; models of equal cost by name.
fn compare(usage: &Usage, models: &[String], terms: &Terms<'_>) -> Result<Vec<Compared>> {
    let mut rows = models
        .iter()
        .map(|model| {
            // Who served the request does not say who would serve another model.
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

/// How many times the least cost it is, to six decimals; nothing when that is zero and this is
/// not.
fn ratio(cost: Amount, least: Amount) -> Option<Decimal> {
    if cost == least {
        return Some(Decimal::ONE);
    }
    // Both are below 10^28 units; the whole part is taken first so that nothing overflows.
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

/// Every model once, in the order given.
pub fn distinct(models: Option<Vec<Option<String>>>) -> Result<Vec<String>> {
    let missing = |message: &str| {
        Error::argument(message.to_owned())
            .detail("Every element is the name of a model.")
            .hint("Pass an array such as '{gpt-4o,claude-sonnet-4}'.")
    };
    let models = models.ok_or_else(|| missing("models is missing"))?;
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

/// What the same usage would cost with each of several models, the cheapest first; books nothing.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn compare_models(
    usage: Option<Jsonb>,
    models: Option<Vec<Option<String>>>,
    wallet: default!(Option<&str>, "NULL"),
    at: default!(Option<TimestampWithTimeZone>, "now()"),
    currency: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(model, String),
        name!(cost, Option<Amount>),
        name!(ratio, Option<AnyNumeric>),
        name!(currency, Option<String>),
    ),
> {
    let work = || {
        let object = usage.ok_or_else(|| {
            Error::argument("usage is missing")
                .detail("The argument usage is NULL or was not given.")
                .hint("Pass an object such as {\"input_tokens\": 1000, \"output_tokens\": 450}.")
        })?;
        let models = distinct(models)?;
        let wallet = args::name("wallet", wallet)?;
        let currency = args::optional_currency("currency", currency)?;
        let usage = Usage::read(object.read("usage", MAX_USAGE_BYTES)?)?;
        let at = args::time("at", at)?.unwrap_or_else(clock::now);
        match wallet {
            None => enter_any(|_| {
                invalidation::catch_up();
                let list = DEFAULT_LIST;
                compare(&usage, &models, &Terms { list, currency, at })
            }),
            Some(wallet) => enter(Level::Reader, wallet, |_| {
                let of = WalletPricing::of(wallet)?;
                let currency = Some(currency.unwrap_or(of.currency));
                let list = &of.list;
                compare(&usage, &models, &Terms { list, currency, at })
            }),
        }
    };
    let rows = work().or_raise();
    let least = rows.first().and_then(|row| row.cost);
    TableIterator::new(rows.into_iter().map(move |row| {
        let ratio = row
            .cost
            .zip(least)
            .and_then(|(cost, least)| ratio(cost, least));
        let ratio = ratio.and_then(|ratio| AnyNumeric::try_from(ratio.to_string().as_str()).ok());
        let currency = row.currency.map(|currency| currency.to_string());
        (row.model, row.cost, ratio, currency)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios() {
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
