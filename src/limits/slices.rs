//! The usage of a rolling window, by slices of time. Pure.
//!
//! A slice leaves the window one whole period after its last moment. Usage therefore counts for at
//! least the period, and for at most one slice longer.

use crate::limits::period::SLICES;
use crate::money::Amount;

/// The usage in each slice, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slices {
    length: i64,
    used: Vec<(i64, i128)>,
}

/// Bytes of a stored slice: its number and its units.
const STORED: usize = 8 + 16;

impl Slices {
    /// An empty window with slices of `length` microseconds.
    pub fn new(length: i64) -> Slices {
        Slices {
            length: length.max(1),
            used: Vec::new(),
        }
    }

    /// Reads the bytes that [`Slices::to_bytes`] wrote; `None` if they are not valid.
    pub fn read(bytes: &[u8]) -> Option<Slices> {
        let (length, rest) = bytes.split_first_chunk::<8>()?;
        let length = i64::from_be_bytes(*length);
        if length <= 0 || rest.len() % STORED != 0 {
            return None;
        }
        let used = rest.chunks_exact(STORED).map(|slice| {
            let (number, units) = slice.split_first_chunk::<8>()?;
            let units = units.try_into().ok().map(i128::from_be_bytes)?;
            Some((i64::from_be_bytes(*number), units))
        });
        Some(Slices {
            length,
            used: used.collect::<Option<_>>()?,
        })
    }

    /// The bytes that are stored in a row.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.used.len() * STORED);
        bytes.extend_from_slice(&self.length.to_be_bytes());
        for (number, units) in &self.used {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&units.to_be_bytes());
        }
        bytes
    }

    /// Drops the slices that have left the window.
    pub fn age(&mut self, now: i64) {
        self.used
            .retain(|(number, _)| self.length.saturating_mul(number + 1 + SLICES) > now);
    }

    /// The usage in the window, in units, as of the last [`Slices::age`].
    pub fn total(&self) -> i128 {
        self.used.iter().map(|(_, units)| units).sum()
    }

    /// Adds usage at a moment.
    pub fn add(&mut self, at: i64, amount: Amount) {
        let number = at.div_euclid(self.length);
        match self.used.binary_search_by_key(&number, |slice| slice.0) {
            Ok(found) => self.used[found].1 += amount.units(),
            Err(place) => self.used.insert(place, (number, amount.units())),
        }
    }

    /// Subtracts usage at a moment, as far as it still counts.
    pub fn take_back(&mut self, at: i64, amount: Amount) {
        let number = at.div_euclid(self.length);
        if let Ok(found) = self.used.binary_search_by_key(&number, |slice| slice.0) {
            let slice = &mut self.used[found].1;
            *slice = (*slice - amount.units()).max(0);
        }
    }

    /// When the usage in the window falls to `units`; `None` if it is that low already.
    pub fn frees_at(&self, units: i128) -> Option<i64> {
        let mut left = self.total();
        for (number, used) in &self.used {
            if left <= units {
                return None;
            }
            left -= used;
            if left <= units {
                return Some(self.length.saturating_mul(number + 1 + SLICES));
            }
        }
        None
    }

    /// When the oldest usage leaves the window; `None` if the window is empty.
    pub fn next_free(&self) -> Option<i64> {
        let (number, _) = self.used.iter().find(|(_, units)| *units > 0)?;
        Some(self.length.saturating_mul(number + 1 + SLICES))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn amount(units: i128) -> Amount {
        Amount::from_units(units).unwrap()
    }

    #[test]
    fn a_window_says_when_it_frees() {
        let mut slices = Slices::new(10);
        slices.add(5, amount(3));
        slices.add(25, amount(4));
        assert_eq!(slices.total(), 7);
        assert_eq!(slices.next_free(), Some(610));
        assert_eq!(slices.frees_at(7), None);
        assert_eq!(slices.frees_at(4), Some(610));
        assert_eq!(slices.frees_at(0), Some(630));
        slices.age(609);
        assert_eq!(slices.total(), 7);
        slices.age(610);
        assert_eq!(slices.total(), 4);
        slices.take_back(21, amount(1));
        assert_eq!(slices.total(), 3);
        slices.take_back(5, amount(1));
        assert_eq!(slices.total(), 3, "what has left is not given back twice");
    }

    #[test]
    fn bytes_of_another_form_are_no_slices() {
        assert_eq!(Slices::read(&[]), None);
        assert_eq!(Slices::read(&[0; 8]), None);
        assert_eq!(Slices::read(&[1; 9]), None);
    }

    proptest! {
        /// The window always counts all usage within the period, and never any usage older than a
        /// period and a slice.
        #[test]
        fn only_the_last_period_is_counted(
            length in 1_i64..50,
            uses in prop::collection::vec((0_i64..30, 0_i128..100), 0..60),
        ) {
            let mut slices = Slices::new(length);
            let mut made = Vec::new();
            let mut now = 1_000_000;
            for (step, units) in uses {
                now += step * length / 3;
                slices.age(now);
                slices.add(now, amount(units));
                made.push((now, units));
                let since = |span: i64| -> i128 {
                    made.iter().filter(|(at, _)| *at > now - span).map(|(_, units)| units).sum()
                };
                prop_assert!(slices.total() >= since(length * SLICES));
                prop_assert!(slices.total() <= since(length * (SLICES + 1)));
                prop_assert_eq!(Slices::read(&slices.to_bytes()), Some(slices.clone()));
            }
        }
    }
}
