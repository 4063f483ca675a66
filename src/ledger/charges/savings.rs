//! `savings`: the savings from cached input, and the possible ones from other tiers and models.

use crate::error::Result;
use crate::ledger::charges::past_usage;
use crate::ledger::charges::past_usage::{Charged, How, Span};
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::money::Amount;
use crate::pg::numeric::overflow;
use crate::pricing::book::MatchedPrices;
use crate::pricing::rate::{cost_as, has_price_of_tier};
use crate::pricing::stored;

/// Service tiers that cost less and answer later.
const TIERS: [&str; 2] = ["batch", "flex"];

/// The names of the standard tier. A charge without a tier has the standard tier too.
const STANDARD: [&str; 2] = ["default", "standard"];

/// What a group of charges is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Cached input, compared with plain input.
    Cache,
    /// The standard tier, compared with another.
    Tier,
    /// The model that was used, compared with another.
    Model,
}

impl Kind {
    /// The name of the kind in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Cache => "cache",
            Kind::Tier => "tier",
            Kind::Model => "model",
        }
    }
}

/// A comparison of charges with their cost otherwise. It covers the charges that have a price for
/// it.
pub struct Compared {
    /// Which alternative the charges are compared with.
    pub kind: Kind,
    /// The other tier or model. Empty for cached input.
    pub name: String,
    /// The number of charges that are compared.
    pub charges: i64,
    /// The number of charges, for models; 0 for cached input and tiers.
    pub of: i64,
    /// The cost that was paid.
    pub actual: Amount,
    /// The cost that the same usage has with the alternative.
    pub alternative: Amount,
}

impl Compared {
    fn new(kind: Kind, name: &str) -> Compared {
        Compared {
            kind,
            name: name.to_owned(),
            charges: 0,
            of: 0,
            actual: Amount::ZERO,
            alternative: Amount::ZERO,
        }
    }

    fn add(&mut self, actual: Amount, alternative: Amount) -> Result<()> {
        self.charges += 1;
        self.actual = self.actual.plus(actual).map_err(overflow)?;
        self.alternative = self.alternative.plus(alternative).map_err(overflow)?;
        Ok(())
    }
}

/// Compares the charges by usage of a span, each as of the time it was priced. A comparison without
/// any priced charge is left out.
pub fn savings(wallet: &str, span: Span, models: &[String]) -> Result<Vec<Compared>> {
    let rules = config::read(wallet)?;
    let mut cache = Compared::new(Kind::Cache, "");
    let mut tiers = TIERS.map(|tier| Compared::new(Kind::Tier, tier));
    let mut others: Vec<Compared> = models
        .iter()
        .map(|model| Compared::new(Kind::Model, model))
        .collect();
    past_usage::charges(wallet, span, |mut charge| {
        if matches!(charge.how, How::Priced | How::As(_) | How::Late) {
            compare_cache(&mut cache, &charge, &rules)?;
        }
        // An unpriced charge has no cost yet. A late price is compared together with its charge.
        if matches!(charge.how, How::Late | How::Unpriced) {
            return Ok(());
        }
        compare_models(&mut others, &charge, &rules)?;
        let tier = charge.usage.service_tier.as_deref();
        if tier.is_none_or(|tier| STANDARD.contains(&tier)) {
            compare_tiers(&mut tiers, &mut charge, &rules)?;
        }
        Ok(())
    })?;
    let mut compared = vec![cache];
    compared.extend(tiers);
    compared.extend(others);
    compared.retain(|compared| compared.charges > 0);
    Ok(compared)
}

/// Compares cached input with the price of plain input in the same request. Capped charges and
/// reported costs are left out by the caller, because their lines are not what was paid.
fn compare_cache(cache: &mut Compared, charge: &Charged, rules: &WalletConfig) -> Result<()> {
    for line in charge
        .lines
        .iter()
        .filter(|line| line.meter == "cache_read_tokens")
    {
        let plain = charge
            .lines
            .iter()
            .position(|line| line.meter == "input_tokens");
        let alternative = match plain {
            Some(plain) => {
                let plain = &charge.lines[plain];
                let (unit_price, per) = stored::price_of(plain)?;
                let rate = stored::exchange_of(plain)?.map(|exchange| exchange.rate);
                crate::money::line_amount(line.quantity, unit_price, per, rate)
                    .map(Some)
                    .map_err(overflow)?
            }
            // All input was cached.
            None => {
                let matched = MatchedPrices::of(
                    &rules.price_list,
                    &charge.model,
                    charge.usage.provider.as_deref(),
                )?;
                cost_as(
                    "input_tokens",
                    line.quantity,
                    &charge.usage,
                    &matched,
                    rules.terms(charge.at).conversion(),
                )?
            }
        };
        if let Some(alternative) = alternative {
            cache.add(line.amount, alternative)?;
        }
    }
    Ok(())
}

fn compare_tiers(tiers: &mut [Compared], charge: &mut Charged, rules: &WalletConfig) -> Result<()> {
    // The provider determines the cost that it reports.
    if charge.how == How::Reported {
        return Ok(());
    }
    let model = match &charge.how {
        How::As(other) => other,
        _ => &charge.model,
    };
    let matched = MatchedPrices::of(&rules.price_list, model, charge.usage.provider.as_deref())?;
    let conversion = rules.terms(charge.at).conversion();
    for compared in tiers {
        if !matched.knows_tier(&compared.name) {
            continue;
        }
        charge.usage.service_tier = Some(compared.name.clone());
        if has_price_of_tier(&charge.usage, &matched, charge.at)
            && let Some(cost) = past_usage::cost(&charge.usage, model, &matched, conversion)?
        {
            compared.add(charge.cost, charge.booked(cost)?)?;
        }
    }
    Ok(())
}

fn compare_models(others: &mut [Compared], charge: &Charged, rules: &WalletConfig) -> Result<()> {
    let conversion = rules.terms(charge.at).conversion();
    for compared in others {
        compared.of += 1;
        // The provider of this request may not serve another model.
        let same = charge.model == compared.name;
        let mut usage = charge.usage.clone();
        usage.model = Some(compared.name.clone());
        usage.provider = usage.provider.filter(|_| same);
        let matched =
            MatchedPrices::of(&rules.price_list, &compared.name, usage.provider.as_deref())?;
        if let Some(cost) = past_usage::cost(&usage, &compared.name, &matched, conversion)? {
            compared.add(charge.cost, charge.booked(cost)?)?;
        }
    }
    Ok(())
}
