//! The prices of one model name, found by meter and time. Pure.
//!
//! Rows with the same meter and exactly the same conditions form a chain. Each row holds until the
//! next one begins. A look-up finds the row of each chain by binary search and compares the
//! conditions of that row only. So a long history costs almost nothing.

use crate::pg::clock::Timestamp;
use crate::pricing::select::{Price, Situation};

/// Rows with the same conditions, the earliest first. If two begin at the same time, the one that
/// was recorded first comes first.
type Chain = Vec<Price>;

/// The prices of one model name in one list.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// The chains of each meter, in the order of the meters' names.
    meters: Vec<(String, Vec<Chain>)>,
    rows: usize,
    ask_for_keys: bool,
}

impl Prices {
    /// Arranges rows that come in any order.
    pub fn new(mut rows: Vec<Price>) -> Prices {
        rows.sort_by(|a, b| {
            (&a.meter, a.effective_from, a.id).cmp(&(&b.meter, b.effective_from, b.id))
        });
        let mut prices = Prices {
            meters: Vec::new(),
            rows: rows.len(),
            ask_for_keys: rows.iter().any(|price| !price.conditions.is_empty()),
        };
        for price in rows {
            if prices
                .meters
                .last()
                .is_none_or(|(meter, _)| *meter != price.meter)
            {
                prices.meters.push((price.meter.clone(), Vec::new()));
            }
            if let Some((_, chains)) = prices.meters.last_mut() {
                let chain = chains
                    .iter_mut()
                    .find(|chain: &&mut Chain| chain[0].same_conditions(&price));
                match chain {
                    Some(chain) => chain.push(price),
                    None => chains.push(vec![price]),
                }
            }
        }
        prices
    }

    /// True if a price has a condition on a key of the usage object.
    pub fn ask_for_keys(&self) -> bool {
        self.ask_for_keys
    }

    /// True if a price, of any time, has a condition on that key.
    pub fn ask_for(&self, key: &str) -> bool {
        self.ask_for_keys
            && self
                .meters
                .iter()
                .flat_map(|(_, chains)| chains.iter().filter_map(|chain| chain.first()))
                .any(|price| price.conditions.iter().any(|(asked, _)| asked == key))
    }

    /// The number of rows of all times.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// True if there is no price of any meter at any time.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// True if the list is not the default list.
    pub fn are_negotiated(&self) -> bool {
        self.meters
            .iter()
            .flat_map(|(_, chains)| chains.iter().flatten())
            .next()
            .is_some_and(|price| price.negotiated)
    }

    /// The price of a meter. Of the chains that have a price at that time and whose conditions
    /// hold, it is the one that fits most closely.
    pub fn pick(&self, meter: &str, situation: &Situation<'_>) -> Option<&Price> {
        let found = self
            .meters
            .binary_search_by(|(name, _)| name.as_str().cmp(meter));
        let (_, chains) = &self.meters[found.ok()?];
        let mut best: Option<&Price> = None;
        for chain in chains {
            let begun = chain.partition_point(|price| price.effective_from <= situation.at);
            let Some(price) = begun.checked_sub(1).and_then(|last| chain.get(last)) else {
                continue;
            };
            if price.unit_price.is_some()
                && price.holds(situation)
                && best.is_none_or(|best| price.rank() > best.rank())
            {
                best = Some(price);
            }
        }
        best
    }

    /// True if a price, of any time, requires that service tier.
    pub fn know_tier(&self, tier: &str) -> bool {
        // All rows of a chain have the same conditions.
        self.meters
            .iter()
            .flat_map(|(_, chains)| chains.iter().filter_map(|chain| chain.first()))
            .any(|price| price.service_tier.as_deref() == Some(tier))
    }

    /// Copies the prices, with the first price of each chain valid from the beginning of time.
    pub fn always_begun(&self) -> Prices {
        let mut prices = self.clone();
        for chain in prices.meters.iter_mut().flat_map(|(_, chains)| chains) {
            if let Some(first) = chain.first_mut() {
                first.effective_from = Timestamp(i64::MIN);
            }
        }
        prices
    }

    /// The times at which prices of any meter and conditions begin, in no particular order.
    pub fn beginnings(&self) -> impl Iterator<Item = Timestamp> {
        self.meters
            .iter()
            .flat_map(|(_, chains)| chains.iter().flatten())
            .map(|price| price.effective_from)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rust_decimal::Decimal;

    use super::*;
    use crate::currency::Currency;
    use crate::pg::jsonb::Json;
    use crate::pricing::select::pick;

    fn maybe(words: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
        prop::option::weighted(0.3, prop::sample::select(words).prop_map(str::to_owned))
    }

    prop_compose! {
        fn price()(
            meter in prop::sample::select(&["input_tokens", "output_tokens", "images"][..]),
            unit_price in prop::option::weighted(0.8, 1_i64..100),
            provider in maybe(&["openai", "azure"]),
            region in maybe(&["eu", "us"]),
            service_tier in maybe(&["batch", "flex"]),
            above_input_tokens in prop::option::weighted(0.3, prop::sample::select(&[0, 200, 272][..])),
            size in maybe(&["small", "large"]),
            effective_from in -3_i64..10,
            id in 0_u8..4,
        ) -> Price {
            Price {
                id: [id; 16],
                meter: meter.to_owned(),
                unit_price: unit_price.map(Decimal::from),
                per: Decimal::ONE,
                currency: Currency::USD,
                provider,
                service: None,
                region,
                service_tier,
                above_input_tokens,
                conditions: size
                    .map(|size| vec![("size".to_owned(), Json::String(size))])
                    .unwrap_or_default(),
                window: None,
                minimum: None,
                effective_from: Timestamp(effective_from),
                negotiated: false,
            }
        }
    }

    proptest! {
        /// Compares the index with its definition, which compares every row with every other.
        #[test]
        fn the_search_finds_what_the_definition_finds(
            mut rows in prop::collection::vec(price(), 0..40),
            at in -4_i64..11,
            provider in maybe(&["openai", "azure"]),
            region in maybe(&["eu", "us"]),
            service_tier in maybe(&["batch", "flex"]),
            input_tokens in prop::sample::select(&[0, 100, 250, 300][..]),
            size in maybe(&["small", "large"]),
        ) {
            // Some of the rows begin at the same time.
            for (number, row) in (0_u16..).zip(&mut rows) {
                row.id[1..3].copy_from_slice(&number.to_be_bytes());
            }
            let object: Vec<_> = size
                .map(|size| ("size".to_owned(), Json::String(size)))
                .into_iter()
                .collect();
            let situation = Situation {
                provider: provider.as_deref(),
                region: region.as_deref(),
                service_tier: service_tier.as_deref(),
                input_tokens: Decimal::from(input_tokens),
                object: &object,
                at: Timestamp(at),
            };
            let index = Prices::new(rows.clone());
            prop_assert_eq!(index.len(), rows.len());
            for meter in ["input_tokens", "output_tokens", "images", "pages"] {
                let expected = pick(&rows, meter, &situation).map(|price| price.id);
                prop_assert_eq!(index.pick(meter, &situation).map(|price| price.id), expected);
            }
            // With prices from the beginning of time, the first price of each chain also holds
            // earlier.
            let early = Situation { at: Timestamp(-1000), ..situation };
            let always = index.always_begun();
            for meter in ["input_tokens", "output_tokens", "images"] {
                prop_assert!(index.pick(meter, &early).is_none());
                let first: Vec<Price> = rows
                    .iter()
                    .filter(|row| !rows.iter().any(|other| {
                        other.meter == row.meter && other.same_conditions(row)
                            && (other.effective_from, other.id) < (row.effective_from, row.id)
                    }))
                    .map(|row| Price { effective_from: Timestamp(i64::MIN), ..row.clone() })
                    .collect();
                let expected = pick(&first, meter, &early).map(|price| price.id);
                prop_assert_eq!(always.pick(meter, &early).map(|price| price.id), expected);
            }
        }
    }
}
