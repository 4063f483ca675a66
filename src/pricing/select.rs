//! Selects the price that applies. Pure.
//!
//! The candidates are the rows of a model and meter whose conditions all hold at the time of use.
//! The row with most conditions applies. Ties are broken by these rules, in this order: a row with
//! a region; a row with a service tier; more keys in `conditions`, of which a time window is one;
//! the higher threshold; the later beginning; a row that names the provider.
//!
//! Rows with exactly the same conditions follow each other in time. Only the latest one that has
//! begun counts. If it ends the price, none of them applies.

use rust_decimal::Decimal;

use crate::currency::Currency;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Json;
use crate::pricing::conditions::Window;

/// A row of `wallet.prices`.
#[derive(Clone, Debug)]
pub struct Price {
    /// UUIDv7. Of two rows, the one with the greater id was recorded later.
    pub id: [u8; 16],
    /// The meter that is priced, such as `input_tokens`.
    pub meter: String,
    /// Price of `per` units; `None` if the row ends the price.
    pub unit_price: Option<Decimal>,
    /// The number of units that `unit_price` pays for.
    pub per: Decimal,
    /// The currency of `unit_price`.
    pub currency: Currency,
    /// The provider, if the row names one.
    pub provider: Option<String>,
    /// The service, if the row names one.
    pub service: Option<String>,
    /// Region condition; `None` for any region.
    pub region: Option<String>,
    /// Service tier condition; `None` for any tier.
    pub service_tier: Option<String>,
    /// The price applies above that many input tokens.
    pub above_input_tokens: Option<i64>,
    /// Keys that the usage must have.
    pub conditions: Vec<(String, Json)>,
    /// Times of the week at which the price applies.
    pub window: Option<Box<Window>>,
    /// The least quantity that is billed. It is not a condition.
    pub minimum: Option<Decimal>,
    /// When the price begins.
    pub effective_from: Timestamp,
    /// True if the price is not of the default list. Such a price is final: no markup is added.
    pub negotiated: bool,
}

/// The properties of a request with which conditions are compared.
pub struct Situation<'a> {
    /// Provider of the request; `None` if the usage names none.
    pub provider: Option<&'a str>,
    /// Region of the request; `None` if neither the usage nor the call names one.
    pub region: Option<&'a str>,
    /// Service tier of the request; `None` for the standard one.
    pub service_tier: Option<&'a str>,
    /// Input tokens of the whole request.
    pub input_tokens: Decimal,
    /// The usage object, whose keys conditions name.
    pub object: &'a [(String, Json)],
    /// Time of use.
    pub at: Timestamp,
}

impl Price {
    /// True if the conditions hold and the price has begun.
    pub fn holds(&self, situation: &Situation<'_>) -> bool {
        let equal = |condition: &Option<String>, value: Option<&str>| match condition {
            None => true,
            Some(condition) => value == Some(condition.as_str()),
        };
        // If a request names no provider, any provider may serve it.
        let provider = self.provider.as_deref();
        (provider.is_none() || situation.provider.is_none() || provider == situation.provider)
            && equal(&self.region, situation.region)
            && equal(&self.service_tier, situation.service_tier)
            && self
                .above_input_tokens
                .is_none_or(|t| situation.input_tokens > Decimal::from(t))
            && self
                .conditions
                .iter()
                .all(|condition| situation.object.contains(condition))
            && self.effective_from <= situation.at
            && self
                .window
                .as_ref()
                .is_none_or(|window| window.contains(situation.at))
    }

    /// True for prices of which the later one replaces the earlier one.
    pub fn same_conditions(&self, other: &Price) -> bool {
        self.provider == other.provider
            && self.region == other.region
            && self.service_tier == other.service_tier
            && self.above_input_tokens == other.above_input_tokens
            && self.conditions == other.conditions
            && self.window == other.window
    }

    #[cfg(test)]
    fn later_than(&self, other: &Price) -> bool {
        (self.effective_from, self.id) > (other.effective_from, other.id)
    }

    /// Compares how closely two prices fit. The greater one applies.
    pub fn rank(
        &self,
    ) -> (
        usize,
        bool,
        bool,
        usize,
        Option<i64>,
        Timestamp,
        bool,
        [u8; 16],
    ) {
        let region = self.region.is_some();
        let tier = self.service_tier.is_some();
        let threshold = self.above_input_tokens.is_some();
        let keys = self.conditions.len() + usize::from(self.window.is_some());
        (
            usize::from(region) + usize::from(tier) + usize::from(threshold) + keys,
            region,
            tier,
            keys,
            self.above_input_tokens,
            self.effective_from,
            self.provider.is_some(),
            self.id,
        )
    }
}

/// The price of a meter among the rows of one model, by definition: row by row. `chains` finds the
/// same price, and tests compare the two.
#[cfg(test)]
pub fn pick<'a>(rows: &'a [Price], meter: &str, situation: &Situation<'_>) -> Option<&'a Price> {
    let holding = |price: &&Price| price.meter == meter && price.holds(situation);
    let mut best: Option<&Price> = None;
    for price in rows.iter().filter(holding) {
        let superseded = rows
            .iter()
            .filter(holding)
            .any(|other| other.same_conditions(price) && other.later_than(price));
        if !superseded
            && price.unit_price.is_some()
            && best.is_none_or(|best| price.rank() > best.rank())
        {
            best = Some(price);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(id: u8, unit_price: Option<i64>) -> Price {
        Price {
            id: [id; 16],
            meter: "input_tokens".to_owned(),
            unit_price: unit_price.map(Decimal::from),
            per: Decimal::ONE,
            currency: Currency::USD,
            provider: None,
            service: None,
            region: None,
            service_tier: None,
            above_input_tokens: None,
            conditions: Vec::new(),
            window: None,
            minimum: None,
            effective_from: Timestamp(0),
            negotiated: false,
        }
    }

    fn situation() -> Situation<'static> {
        Situation {
            provider: None,
            region: Some("eu"),
            service_tier: Some("batch"),
            input_tokens: Decimal::from(300_000),
            object: &[],
            at: Timestamp(100),
        }
    }

    fn picked(rows: &[Price]) -> Option<u8> {
        pick(rows, "input_tokens", &situation()).map(|price| price.id[0])
    }

    #[test]
    fn most_conditions_win_and_then_region_before_tier_before_threshold() {
        let plain = price(1, Some(1));
        let region = Price {
            region: Some("eu".into()),
            ..price(2, Some(1))
        };
        let tier = Price {
            service_tier: Some("batch".into()),
            ..price(3, Some(1))
        };
        let above = Price {
            above_input_tokens: Some(200_000),
            ..price(4, Some(1))
        };
        let higher = Price {
            above_input_tokens: Some(272_000),
            ..price(5, Some(1))
        };
        let two = Price {
            service_tier: Some("batch".into()),
            ..above.clone()
        };
        let two = Price { id: [6; 16], ..two };
        let elsewhere = Price {
            region: Some("us".into()),
            ..price(7, Some(1))
        };
        let too_high = Price {
            above_input_tokens: Some(300_000),
            ..price(8, Some(1))
        };
        let mut rows = vec![elsewhere, too_high, plain];
        assert_eq!(picked(&rows), Some(1));
        for (row, expected) in [(above, 4), (higher, 5), (tier, 3), (region, 2), (two, 6)] {
            rows.push(row);
            assert_eq!(picked(&rows), Some(expected));
        }
    }

    #[test]
    fn the_latest_that_has_begun_holds() {
        let later = Price {
            effective_from: Timestamp(50),
            ..price(2, Some(2))
        };
        let future = Price {
            effective_from: Timestamp(101),
            ..price(3, Some(3))
        };
        assert_eq!(picked(&[price(1, Some(1)), later.clone(), future]), Some(2));
        let corrected = Price {
            id: [9; 16],
            ..later.clone()
        };
        assert_eq!(
            picked(&[corrected, later]),
            Some(9),
            "recorded last for the same time"
        );
    }

    #[test]
    fn an_ended_price_leaves_the_less_specific_one() {
        let region = Price {
            region: Some("eu".into()),
            ..price(2, Some(2))
        };
        let ended = Price {
            effective_from: Timestamp(60),
            unit_price: None,
            id: [3; 16],
            ..region.clone()
        };
        assert_eq!(
            picked(&[price(1, Some(1)), region.clone(), ended.clone()]),
            Some(1)
        );
        assert_eq!(picked(&[region, ended]), None);
    }

    #[test]
    fn conditions_must_equal_the_usage() {
        let object = vec![("size".to_owned(), Json::String("1024x1024".into()))];
        let hd = Price {
            conditions: object.clone(),
            ..price(1, Some(1))
        };
        let other = vec![("size".to_owned(), Json::String("512x512".into()))];
        let small = Price {
            conditions: other,
            ..price(2, Some(1))
        };
        let situation = Situation {
            object: &object,
            ..situation()
        };
        let rows = [hd, small];
        assert_eq!(
            pick(&rows, "input_tokens", &situation).map(|p| p.id[0]),
            Some(1)
        );
    }
}
