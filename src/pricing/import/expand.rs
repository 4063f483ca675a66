//! The prices of one model by meter, service tier and threshold, and the prices that follow from
//! them. Pure.
//!
//! A feed leaves out what its readers know. Above a context threshold, the threshold's price
//! applies to tiers that have none there. A batch bills all input alike. Reasoning costs what the
//! output of its tier costs. A price list needs a row for each of these prices.

use std::collections::{BTreeMap, BTreeSet};

use rust_decimal::Decimal;

/// Meter, service tier, threshold.
type Slot = (String, Option<String>, Option<i64>);

/// A price of one unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The price of one unit, before it is multiplied by `per`.
    pub price: Decimal,
    /// The number of units for which the row states its price.
    pub per: u32,
    /// The origin of the price.
    pub note: String,
}

/// The prices of one model.
#[derive(Clone, Debug, Default)]
pub struct Grid(pub BTreeMap<Slot, Cell>);

/// The tier whose prices apply to several meters alike.
const BATCH: &str = "batch";

/// Meters for which the threshold's price applies to a tier that has no price above the threshold.
const CORE: &[&str] = &[
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
];

/// Meters that a batch bills as input or as output if it has no prices for them.
const BATCH_INPUT: &[&str] = &[
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "cache_read_audio_tokens",
    "input_audio_tokens",
    "input_image_tokens",
    "input_video_tokens",
];
const BATCH_OUTPUT: &[&str] = &[
    "reasoning_tokens",
    "output_audio_tokens",
    "output_video_tokens",
];

impl Grid {
    /// The price in one slot.
    pub fn get(&self, meter: &str, tier: Option<&str>, above: Option<i64>) -> Option<&Cell> {
        self.0
            .get(&(meter.to_owned(), tier.map(str::to_owned), above))
    }

    /// True if the meter has a price for the tier, above any threshold.
    fn is_priced(&self, meter: &str, tier: Option<&str>) -> bool {
        self.0
            .keys()
            .any(|slot| slot.0 == meter && slot.1.as_deref() == tier)
    }

    fn set(&mut self, meter: &str, tier: Option<&str>, above: Option<i64>, like: Cell, why: &str) {
        let cell = Cell {
            note: format!("{}, {why}", like.note),
            ..like
        };
        self.0
            .entry((meter.to_owned(), tier.map(str::to_owned), above))
            .or_insert(cell);
    }

    /// The slots of a meter that pass the test, with their prices.
    fn slots(&self, meter: &str, of: impl Fn(&Slot) -> bool) -> Vec<(Slot, Cell)> {
        self.0
            .iter()
            .filter(|(slot, _)| slot.0 == meter && of(slot))
            .map(|(slot, cell)| (slot.clone(), cell.clone()))
            .collect()
    }

    fn tiers(&self) -> BTreeSet<String> {
        self.0.keys().filter_map(|slot| slot.1.clone()).collect()
    }

    /// Adds the prices that the feed leaves out.
    pub fn spread(&mut self) {
        self.thresholds_beat_tiers();
        self.batch_bills_alike();
        self.reasoning_follows_output();
    }

    /// Above a threshold for which a tier has no price, the threshold's own price applies to the
    /// tier too.
    fn thresholds_beat_tiers(&mut self) {
        for meter in CORE {
            for ((_, _, above), cell) in
                self.slots(meter, |slot| slot.1.is_none() && slot.2.is_some())
            {
                for tier in self.tiers() {
                    let lower = self.slots(meter, |slot| {
                        slot.1.as_deref() == Some(tier.as_str()) && slot.2 < above
                    });
                    if tier != BATCH && !lower.is_empty() {
                        let why = format!("which the feed has no {tier} price for");
                        self.set(meter, Some(&tier), above, cell.clone(), &why);
                    }
                }
            }
        }
    }

    /// If a batch has a price for cached input, it bills every kind of cached input by it.
    /// Otherwise a price for input applies to all input. A price for output applies to all output.
    fn batch_bills_alike(&mut self) {
        for (price, meters) in [
            ("cache_read_tokens", &["cache_read_audio_tokens"][..]),
            ("cache_write_tokens", &["cache_write_1h_tokens"]),
            ("input_tokens", BATCH_INPUT),
            ("output_tokens", BATCH_OUTPUT),
        ] {
            let own = self.slots(price, |slot| slot.1.as_deref() == Some(BATCH));
            for meter in meters {
                if self.is_priced(meter, None) && !self.is_priced(meter, Some(BATCH)) {
                    for ((_, _, above), cell) in &own {
                        self.set(
                            meter,
                            Some(BATCH),
                            *above,
                            cell.clone(),
                            "which a batch bills alike",
                        );
                    }
                }
            }
        }
    }

    /// If a tier has a price for output and none for reasoning, it bills reasoning as output.
    fn reasoning_follows_output(&mut self) {
        if !self.is_priced("reasoning_tokens", None) {
            return;
        }
        for tier in self.tiers() {
            let tier = tier.as_str();
            if self.get("output_tokens", Some(tier), None).is_some()
                && self.get("reasoning_tokens", Some(tier), None).is_none()
            {
                for ((_, _, above), cell) in
                    self.slots("output_tokens", |slot| slot.1.as_deref() == Some(tier))
                {
                    self.set(
                        "reasoning_tokens",
                        Some(tier),
                        above,
                        cell,
                        "which reasoning follows",
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(cells: &[(&str, Option<&str>, Option<i64>, i64)]) -> Grid {
        let mut grid = Grid::default();
        for (meter, tier, above, price) in cells {
            grid.0.insert(
                ((*meter).to_owned(), tier.map(str::to_owned), *above),
                Cell {
                    price: Decimal::from(*price),
                    per: 1,
                    note: String::new(),
                },
            );
        }
        grid.spread();
        grid
    }

    fn price(grid: &Grid, meter: &str, tier: Option<&str>, above: Option<i64>) -> Option<Decimal> {
        grid.get(meter, tier, above).map(|cell| cell.price)
    }

    #[test]
    fn a_threshold_beats_a_tier_that_knows_none() {
        let grid = grid(&[
            ("input_tokens", None, None, 1),
            ("input_tokens", None, Some(200), 2),
            ("input_tokens", None, Some(500), 4),
            ("input_tokens", Some("priority"), None, 10),
            ("input_tokens", Some("priority"), Some(200), 20),
            ("input_tokens", Some("batch"), None, 7),
        ]);
        let price = |tier, above| price(&grid, "input_tokens", tier, above);
        assert_eq!(price(Some("priority"), Some(200)), Some(Decimal::from(20)));
        assert_eq!(price(Some("priority"), Some(500)), Some(Decimal::from(4)));
        assert_eq!(price(Some("batch"), Some(200)), None, "a batch knows none");
    }

    #[test]
    fn a_batch_bills_all_input_alike() {
        let grid = grid(&[
            ("input_tokens", None, None, 10),
            ("cache_read_tokens", None, None, 1),
            ("cache_write_tokens", None, None, 12),
            ("input_tokens", Some("batch"), None, 5),
            ("cache_write_tokens", Some("batch"), None, 6),
        ]);
        let batch = |meter| price(&grid, meter, Some("batch"), None);
        assert_eq!(batch("cache_read_tokens"), Some(Decimal::from(5)));
        assert_eq!(batch("cache_write_tokens"), Some(Decimal::from(6)));
        assert_eq!(batch("input_image_tokens"), None, "has no price at all");
    }

    #[test]
    fn a_batch_bills_kinds_of_cached_input_alike() {
        let grid = grid(&[
            ("input_tokens", None, None, 10),
            ("cache_read_tokens", None, None, 1),
            ("cache_read_audio_tokens", None, None, 3),
            ("cache_write_tokens", None, Some(200), 12),
            ("cache_write_1h_tokens", None, None, 20),
            ("input_tokens", Some("batch"), None, 5),
            ("cache_read_tokens", Some("batch"), None, 2),
        ]);
        let batch = |meter| price(&grid, meter, Some("batch"), None);
        assert_eq!(batch("cache_read_audio_tokens"), Some(Decimal::from(2)));
        assert_eq!(batch("cache_write_1h_tokens"), Some(Decimal::from(5)));
        assert_eq!(
            batch("cache_write_tokens"),
            Some(Decimal::from(5)),
            "it has a price above a threshold only"
        );
    }

    #[test]
    fn reasoning_follows_the_output_of_its_tier() {
        let grid = grid(&[
            ("output_tokens", None, None, 10),
            ("reasoning_tokens", None, None, 8),
            ("output_tokens", Some("flex"), None, 5),
            ("output_tokens", Some("flex"), Some(200), 6),
        ]);
        let flex = |above| price(&grid, "reasoning_tokens", Some("flex"), above);
        assert_eq!(flex(None), Some(Decimal::from(5)));
        assert_eq!(flex(Some(200)), Some(Decimal::from(6)));
        assert_eq!(
            price(&grid, "reasoning_tokens", None, None),
            Some(Decimal::from(8))
        );
    }
}
