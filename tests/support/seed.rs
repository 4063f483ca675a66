//! Random choices that can be repeated.

use rust_decimal::Decimal;

/// A length multiplied by `WALLET_TEST_SCALE`, which is 1 by default.
pub fn scale(length: usize) -> usize {
    let factor = std::env::var("WALLET_TEST_SCALE")
        .map_or(1.0, |text| text.parse().expect("WALLET_TEST_SCALE"));
    ((length as f64 * factor) as usize).max(1)
}

/// A source of random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The seed from `WALLET_SEED`, or a different one every time. It is printed, so that a run can
    /// be repeated as far as the order of threads allows.
    pub fn of(test: &str) -> Seed {
        let seed = match std::env::var("WALLET_SEED") {
            Ok(text) => text.parse().expect("WALLET_SEED is a whole number"),
            Err(_) => clock(),
        };
        println!("{test}: WALLET_SEED={seed}");
        Seed(seed)
    }

    /// A source that always returns the same numbers.
    pub fn of_value(seed: u64) -> Seed {
        Seed(seed)
    }

    /// The seed itself.
    pub fn value(&self) -> u64 {
        self.0
    }

    /// A separate source for a thread.
    pub fn thread(&self, number: usize) -> Seed {
        let mut seed = Seed(self.0 ^ (number as u64).wrapping_mul(0xA076_1D64_78BD_642F));
        seed.number();
        seed
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// An amount of `from` to `to` cents.
    pub fn cents(&mut self, from: i64, to: i64) -> Decimal {
        let span = (to - from + 1).unsigned_abs();
        Decimal::new(from + self.below(span).cast_signed(), 2)
    }
}

/// Nanoseconds: a different number every time.
fn clock() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |time| time.as_nanos() as u64)
}
