//! Prices usage: turns quantities into lines.

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::error::{Code, Error, Result, quoted};
use crate::money::{Amount, line_amount};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Json;
use crate::pg::numeric::not_an_amount;
use crate::pricing::book::MatchedPrices;
use crate::pricing::exchange::{Conversion, Exchanges};
use crate::pricing::lines::{Line, is_known_meter, total_tokens};
use crate::pricing::markup::Markup;
use crate::pricing::normalize::refusals;
use crate::pricing::select::{Price, Situation};
use crate::pricing::usage::{Usage, invalid};

/// A priced request.
#[derive(Clone, Debug)]
pub struct Priced {
    /// The sum of the lines.
    pub cost: Amount,
    /// Currency of the cost and of the amount of each line.
    pub currency: Currency,
    /// One line per meter.
    pub lines: Vec<Line>,
    /// The sum of all kinds of tokens.
    pub total_tokens: i64,
    /// The provider of the usage, or otherwise the one that a price names.
    pub provider: Option<String>,
    /// The service that a price names.
    pub service: Option<String>,
    /// The prices that were used.
    pub mark: PricedBy,
    /// In the flat form: the keys, in addition to known meters, that a price or condition reads.
    pub read: Vec<String>,
}

/// The prices by which a request was priced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PricedBy {
    /// The prices of its model.
    #[default]
    Own,
    /// The prices of another model. Contains the text of the ledger's `reason`.
    PricedAs(String),
    /// None yet: the model has no price.
    Unpriced,
    /// The cost that the provider reported. Contains the text of the ledger's `reason`.
    Reported(String),
}

impl PricedBy {
    /// The text of the ledger's `reason`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            PricedBy::Own => None,
            PricedBy::PricedAs(reason) | PricedBy::Reported(reason) => Some(reason),
            PricedBy::Unpriced => Some("unpriced"),
        }
    }
}

/// The meter of a fee per request.
const REQUESTS: &str = "requests";

/// The meters whose prices replace a missing price of a meter, the first choice first. A kind of
/// cached input costs what cached input costs, or otherwise what input costs.
fn stand_ins(meter: &str) -> &'static [&'static str] {
    let Some(kind) = meter.strip_suffix("_tokens") else {
        return &[];
    };
    match kind {
        "input" | "output" => &[],
        "reasoning" => &["output_tokens"],
        _ if kind.starts_with("cache_read_") => &["cache_read_tokens", "input_tokens"],
        _ if kind.starts_with("cache_write_") => &["cache_write_tokens", "input_tokens"],
        _ if kind.starts_with("cache_") || kind.starts_with("input_") => &["input_tokens"],
        _ if kind.starts_with("output_") => &["output_tokens"],
        _ => &[],
    }
}

/// The price list, currency and time for pricing a request.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Name of the price list. Its own prices precede those of the default list.
    pub list: &'a str,
    /// Currency of the cost; `None` for the currency of the prices.
    pub currency: Option<Currency>,
    /// Time of use.
    pub at: Timestamp,
}

impl Terms<'_> {
    /// The conversion of prices into the cost.
    pub fn conversion(&self) -> Conversion {
        Conversion {
            into: self.currency,
            at: self.at,
        }
    }
}

/// Prices a request by one state of the price book.
pub fn rate(usage: &Usage, model: &str, terms: &Terms<'_>) -> Result<Priced> {
    let matched = MatchedPrices::of(terms.list, model, usage.provider.as_deref())?;
    rate_from(usage, model, &matched, terms.at, terms.conversion())
}

fn situation(usage: &Usage, at: Timestamp) -> Situation<'_> {
    Situation {
        // If the usage names no provider, any provider may have served it.
        provider: usage.provider.as_deref(),
        region: usage.region.as_deref(),
        service_tier: usage.service_tier.as_deref(),
        input_tokens: usage.input_tokens(),
        object: &usage.object,
        at,
    }
}

/// The price of a meter, or of one that replaces it.
fn price_of<'a>(
    meter: &str,
    matched: &'a MatchedPrices,
    situation: &Situation<'_>,
) -> Option<&'a Price> {
    matched.price(meter, situation).or_else(|| {
        stand_ins(meter)
            .iter()
            .find_map(|meter| matched.price(meter, situation))
    })
}

/// True if a quantity of the usage has a price for its service tier, and not only one for all
/// tiers.
pub fn has_price_of_tier(usage: &Usage, matched: &MatchedPrices, at: Timestamp) -> bool {
    let situation = situation(usage, at);
    let is_used = |quantity: &Result<Decimal>| quantity.as_ref().is_ok_and(|used| !used.is_zero());
    usage
        .numbers
        .iter()
        .filter(|(_, quantity)| is_used(quantity))
        .filter_map(|(meter, _)| price_of(meter, matched, &situation))
        .any(|price| price.service_tier.is_some())
}

/// The cost of a quantity of a meter, at the meter's price for a usage; `None` if it has no price.
pub fn cost_as(
    meter: &str,
    quantity: Decimal,
    usage: &Usage,
    matched: &MatchedPrices,
    conversion: Conversion,
) -> Result<Option<Amount>> {
    price_of(meter, matched, &situation(usage, conversion.at))
        .map(|price| {
            let exchanges = &mut Exchanges::of(conversion);
            line(meter, quantity, price, exchanges).map(|line| line.amount)
        })
        .transpose()
}

/// Prices a request by the prices of its model at a time.
///
/// All prices are found before one of them is converted. So a meter without a price is reported as
/// such, whatever exchange rates there are.
pub fn rate_from(
    usage: &Usage,
    model: &str,
    matched: &MatchedPrices,
    at: Timestamp,
    conversion: Conversion,
) -> Result<Priced> {
    let situation = situation(usage, at);
    let metered = Metered::of(usage, model, matched, &situation)?;
    let markup = matched.markup(at).filter(|_| !metered.used.is_empty());
    let (lines, cost) = metered.lines(markup, conversion)?;
    let currency = match conversion.into {
        Some(currency) => currency,
        None => metered.currency(markup)?,
    };
    let total_tokens = total_tokens(
        lines
            .iter()
            .map(|line| (line.meter.as_str(), line.quantity)),
    );
    let provider = usage.provider.clone().or(metered.provider);
    Ok(Priced {
        cost,
        currency,
        lines,
        total_tokens,
        provider,
        service: metered.service,
        mark: PricedBy::Own,
        read: read_keys(usage, matched, &situation),
    })
}

/// The quantities of a usage with their prices, before any is converted.
struct Metered<'a> {
    /// Meter, quantity and price of each line.
    used: Vec<(&'a str, Decimal, &'a Price)>,
    /// The first provider that a price names.
    provider: Option<String>,
    /// The first service that a price names.
    service: Option<String>,
    /// The currency of the first price, even if its quantity is zero.
    quoted_in: Option<Currency>,
}

impl<'a> Metered<'a> {
    /// Finds the prices of all quantities. Returns WL005 if a meter has none, and WL007 if nothing
    /// can be priced or a priced key is not part of the provider's usage object.
    fn of(
        usage: &'a Usage,
        model: &str,
        matched: &'a MatchedPrices,
        situation: &Situation<'_>,
    ) -> Result<Metered<'a>> {
        let mut used = Vec::with_capacity(usage.numbers.len() + 1);
        let mut has_meter = false;
        let (mut provider, mut service, mut quoted_in) = (None, None, None);
        for (meter, quantity) in &usage.numbers {
            let price = price_of(meter, matched, situation);
            let known = usage.is_meter(meter);
            has_meter |= known || price.is_some();
            let quantity = match quantity {
                Ok(quantity) => *quantity,
                Err(error) if price.is_some() => return Err(error.clone()),
                Err(_) => continue,
            };
            match price {
                Some(price) => {
                    provider = provider.or_else(|| price.provider.clone());
                    service = service.or_else(|| price.service.clone());
                    quoted_in = quoted_in.or(Some(price.currency));
                    if !quantity.is_zero() {
                        used.push((meter.as_str(), quantity, price));
                    }
                }
                None if known && !quantity.is_zero() => {
                    return Err(not_found(model, meter, matched));
                }
                _ => {}
            }
        }
        if let Some(key) = priced_outside(usage, matched, situation) {
            return Err(refusals::outside_object(
                key,
                usage.mapping.as_deref().unwrap_or_default(),
            ));
        }
        if !has_meter {
            return Err(no_meter(model, matched));
        }
        // A fee per request is due once, whether or not the usage counts its requests.
        if !usage.numbers.iter().any(|(meter, _)| meter == REQUESTS)
            && let Some(price) = matched.price(REQUESTS, situation)
        {
            used.push((REQUESTS, Decimal::ONE, price));
        }
        Ok(Metered {
            used,
            provider,
            service,
            quoted_in,
        })
    }

    /// The lines, including those of the markup, and their sum. Negotiated prices are final: a
    /// markup is added to the others only.
    fn lines(
        &self,
        markup: Option<&Markup>,
        conversion: Conversion,
    ) -> Result<(Vec<Line>, Amount)> {
        let mut lines = Vec::with_capacity(self.used.len() + 2);
        let (mut negotiated, mut listed) = (Amount::ZERO, Amount::ZERO);
        let mut exchanges = Exchanges::of(conversion);
        for (meter, quantity, price) in &self.used {
            let line = line(meter, *quantity, price, &mut exchanges)?;
            let sum = if price.negotiated {
                &mut negotiated
            } else {
                &mut listed
            };
            *sum = plus(*sum, line.amount)?;
            lines.push(line);
        }
        let mut cost = plus(negotiated, listed)?;
        if let Some(markup) = markup {
            let fee = markup.fee_currency();
            let exchange = fee.map_or(Ok(None), |fee| exchanges.from(fee))?;
            markup.add_to(&mut lines, listed, exchange)?;
            for line in &lines[self.used.len()..] {
                cost = plus(cost, line.amount)?;
            }
        }
        Ok((lines, cost))
    }

    /// The currency of the prices, for a cost that is not converted.
    fn currency(&self, markup: Option<&Markup>) -> Result<Currency> {
        let is_free = |price: &Price| price.unit_price.unwrap_or_default().is_zero();
        let prices = self.used.iter().filter(|(_, _, price)| !is_free(price));
        let prices = prices.map(|(_, _, price)| price.currency);
        Ok(
            one_currency(prices.chain(markup.and_then(Markup::fee_currency)))?
                .or(self.quoted_in)
                .unwrap_or(Currency::USD),
        )
    }
}

/// The error for a usage in which nothing can be priced.
fn no_meter(model: &str, matched: &MatchedPrices) -> Error {
    if matched.is_empty() {
        return not_found(model, "", matched);
    }
    invalid("usage contains no meter")
        .detail(format!(
            "None of its keys with a number has a price for model {}.",
            quoted(model)
        ))
        .hint("Name meters such as input_tokens, output_tokens, images, audio_seconds or gpu_seconds.")
}

/// The currency of all prices of a request. Returns 22023 if there are several.
fn one_currency(mut prices: impl Iterator<Item = Currency>) -> Result<Option<Currency>> {
    let Some(first) = prices.next() else {
        return Ok(None);
    };
    match prices.find(|other| *other != first) {
        None => Ok(Some(first)),
        Some(other) => Err(several_currencies(first, other)),
    }
}

/// The error 22023 for figures in two currencies, which can be neither added nor compared.
pub fn several_currencies(one: Currency, other: Currency) -> Error {
    Error::argument("the prices are in several currencies")
        .detail(format!("One is in {one}, another in {other}."))
        .hint("Say in which currency the cost is wanted: pass currency, or a wallet.")
}

/// A key next to a provider's usage object that has a number and a price of its own, but is not one
/// of the meters that were read.
fn priced_outside<'a>(
    usage: &'a Usage,
    matched: &MatchedPrices,
    situation: &Situation<'_>,
) -> Option<&'a str> {
    let object = usage.object.iter().filter(|_| usage.is_mapped);
    let mut numbers = object.filter(|(_, json)| matches!(json, Json::Number(_)));
    numbers
        .find(|(key, _)| {
            usage.numbers.iter().all(|(meter, _)| meter != key)
                && matched.price(key, situation).is_some()
        })
        .map(|(key, _)| key.as_str())
}

/// In the flat form: the keys, in addition to known meters, that have a price or that a condition
/// of the model's prices reads.
fn read_keys(usage: &Usage, matched: &MatchedPrices, situation: &Situation<'_>) -> Vec<String> {
    if usage.is_mapped || usage.is_plain {
        return Vec::new();
    }
    let is_read =
        |key: &&String| !is_known_meter(key) && price_of(key, matched, situation).is_some();
    let keys = usage.numbers.iter().map(|(key, _)| key);
    let mut read: Vec<String> = keys.filter(is_read).cloned().collect();
    if matched.asks_for_keys() {
        let keys = usage.object.iter().map(|(key, _)| key);
        read.extend(keys.filter(|key| matched.asks_for(key)).cloned());
    }
    read
}

/// A request that costs nothing and has no lines.
pub fn at_nothing(usage: &Usage, model: &str, terms: &Terms<'_>) -> Result<Priced> {
    let matched = MatchedPrices::of(terms.list, model, usage.provider.as_deref())?;
    Ok(Priced {
        cost: Amount::ZERO,
        currency: terms.currency.unwrap_or(Currency::USD),
        lines: Vec::new(),
        total_tokens: tokens(usage),
        provider: usage.provider.clone(),
        service: None,
        mark: PricedBy::Unpriced,
        read: read_keys(usage, &matched, &situation(usage, terms.at)),
    })
}

/// The sum of all kinds of tokens in a usage.
pub fn tokens(usage: &Usage) -> i64 {
    let known = usage
        .numbers
        .iter()
        .filter(|(meter, _)| usage.is_meter(meter))
        .filter_map(|(meter, quantity)| Some((meter.as_str(), *quantity.as_ref().ok()?)));
    total_tokens(known)
}

fn plus(sum: Amount, amount: Amount) -> Result<Amount> {
    sum.plus(amount).map_err(|e| not_an_amount("cost", e))
}

/// The line of a meter. At least the minimum of the price is billed, and the line states the billed
/// quantity. A free price needs no exchange rate.
fn line(meter: &str, quantity: Decimal, price: &Price, exchanges: &mut Exchanges) -> Result<Line> {
    let quantity = price
        .minimum
        .map_or(quantity, |minimum| minimum.max(quantity));
    let unit_price = price.unit_price.unwrap_or_default();
    let exchange = match unit_price.is_zero() {
        true => None,
        false => exchanges.from(price.currency)?,
    };
    let rate = exchange.map(|exchange| exchange.rate);
    let amount =
        line_amount(quantity, unit_price, price.per, rate).map_err(|e| not_an_amount("cost", e))?;
    Ok(Line {
        meter: meter.to_owned(),
        quantity,
        unit_price,
        per: price.per,
        amount,
        price_id: price.id,
        exchange,
    })
}

/// The error WL005. A missing price does not mean that the usage is free.
fn not_found(model: &str, meter: &str, matched: &MatchedPrices) -> Error {
    if matched.is_empty() {
        return Error::new(
            Code::PriceNotFound,
            format!("no price for model {}", quoted(model)),
        )
        .detail("No price list of the wallet has this model or a pattern for it.")
        .hint("Add its prices with set_price(), or check the model's name.");
    }
    Error::new(
        Code::PriceNotFound,
        format!(
            "no price for meter {} of model {}",
            quoted(meter),
            quoted(model)
        ),
    )
    .detail("The model has prices, but none for this meter in this situation at the time of use.")
    .hint("Add the price with set_price(); a unit_price of 0 makes the meter free.")
}
