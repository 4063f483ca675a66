//! Usage that has no price, and the wallet's rule for it.

use crate::error::{Code, Error, Result, quoted};
use crate::pricing::rate::{Priced, PricedBy, Terms, at_nothing, rate};
use crate::pricing::usage::Usage;

/// The beginning of the reason of a charge that was priced by the prices of another model.
pub const PRICED_AS: &str = "priced as ";

/// A wallet's rule for usage without a price. A price of zero is a price.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum UnknownPrice {
    /// The usage is refused.
    #[default]
    Reject,
    /// The usage is booked at zero, and listed until it has a price.
    Unpriced,
    /// The usage is priced as if that model had been used.
    PriceOf(String),
}

impl UnknownPrice {
    /// The forms of the rule, as a HINT lists them.
    pub const FORMS: &'static [&'static str] = &["reject", "unpriced", "price_of:MODEL"];

    /// Reads the rule in the form of an argument of `update_wallet`, which is also the stored form.
    pub fn parse(text: &str) -> Option<UnknownPrice> {
        match text {
            "reject" => Some(UnknownPrice::Reject),
            "unpriced" => Some(UnknownPrice::Unpriced),
            _ => text
                .strip_prefix("price_of:")
                .filter(|model| !model.is_empty())
                .map(|model| UnknownPrice::PriceOf(model.to_owned())),
        }
    }

    /// The rule in a wallet's row, which only `update_wallet` writes.
    pub fn of_row(text: &str) -> Result<UnknownPrice> {
        UnknownPrice::parse(text)
            .ok_or_else(|| Error::internal(format!("unknown rule unknown_price {text:?}")))
    }
}

/// Prices a request. The wallet's rule applies if the model has no price, or none for a meter.
pub fn rate_or(
    usage: &Usage,
    model: &str,
    terms: &Terms<'_>,
    rule: &UnknownPrice,
) -> Result<Priced> {
    let refused = match rate(usage, model, terms) {
        Err(error) if error.code == Code::PriceNotFound => error,
        other => return other,
    };
    match rule {
        UnknownPrice::Reject => Err(refused),
        UnknownPrice::Unpriced => at_nothing(usage, model, terms),
        UnknownPrice::PriceOf(other) => match rate(usage, other, terms) {
            Ok(priced) => Ok(Priced {
                provider: usage.provider.clone(),
                mark: PricedBy::PricedAs(format!("{PRICED_AS}{other}")),
                ..priced
            }),
            Err(error) if error.code == Code::PriceNotFound => Err(refused
                .detail(format!(
                    "By the wallet's rule it would be priced as {}, which has no price for it either.",
                    quoted(other)
                ))
                .hint("Add the price of either with set_price(), or change unknown_price with update_wallet().")),
            Err(error) => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_read_by_its_name() {
        let rule = UnknownPrice::parse;
        assert_eq!(rule("reject"), Some(UnknownPrice::Reject));
        assert_eq!(rule("unpriced"), Some(UnknownPrice::Unpriced));
        assert_eq!(
            rule("price_of:openai/gpt-4o:batch"),
            Some(UnknownPrice::PriceOf("openai/gpt-4o:batch".to_owned()))
        );
        for text in ["", "free", "price_of:", "price_of", "Reject", "unpriced "] {
            assert_eq!(rule(text), None, "{text}");
        }
    }
}
