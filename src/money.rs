//! Exact amounts of money: pure arithmetic that does not depend on PostgreSQL.
//!
//! An [`Amount`] counts units of 10⁻¹² of the currency in an `i128`. Its range is that of a
//! `numeric(28,12)` column. So sums and comparisons are integer operations, and nothing is ever
//! rounded implicitly. Prices and quantities are [`Decimal`]s. Their product is exact because their
//! digits are bounded ([`PRICE_DIGITS`], [`QUANTITY_DIGITS`]). [`line_amount`] rounds it once, half
//! to even.

use std::fmt;

use ethnum::U256;
use rust_decimal::Decimal;

/// The number of decimals of an amount.
pub const AMOUNT_SCALE: u32 = 12;
/// The maximum number of significant digits of a unit price.
pub const PRICE_DIGITS: u32 = 15;
/// The maximum number of significant digits of a quantity.
pub const QUANTITY_DIGITS: u32 = 12;

const UNITS_PER_ONE: i128 = 1_000_000_000_000;
/// The smallest number of units that does not fit in `numeric(28,12)`.
const LIMIT: i128 = 10_i128.pow(28);

/// An exact amount in the wallet's currency, in units of 10⁻¹².
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(i128);

/// Why a number is not an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAnAmount {
    /// It does not fit in 28 digits with 12 decimals.
    OutOfRange,
    /// It has a digit other than zero after the twelfth decimal.
    TooPrecise,
    /// It is NaN or infinite.
    NotFinite,
}

impl Amount {
    /// The amount zero.
    pub const ZERO: Amount = Amount(0);
    /// The amount one.
    pub const ONE: Amount = Amount(UNITS_PER_ONE);

    /// The amount of that many units of 10⁻¹². The error `OutOfRange` if it does not fit in
    /// `numeric(28,12)`.
    pub fn from_units(units: i128) -> Result<Amount, NotAnAmount> {
        if units.unsigned_abs() < LIMIT.unsigned_abs() {
            Ok(Amount(units))
        } else {
            Err(NotAnAmount::OutOfRange)
        }
    }

    /// The number of units of 10⁻¹².
    pub fn units(self) -> i128 {
        self.0
    }

    /// Converts a decimal. An error if that would lose a digit.
    pub fn from_decimal(value: Decimal) -> Result<Amount, NotAnAmount> {
        let value = value.normalize();
        if value.scale() > AMOUNT_SCALE {
            return Err(NotAnAmount::TooPrecise);
        }
        value
            .mantissa()
            .checked_mul(10_i128.pow(AMOUNT_SCALE - value.scale()))
            .ok_or(NotAnAmount::OutOfRange)
            .and_then(Amount::from_units)
    }

    /// Converts to a decimal.
    pub fn to_decimal(self) -> Decimal {
        // Less than 10^28, so it fits.
        Decimal::from_i128_with_scale(self.0, AMOUNT_SCALE).normalize()
    }

    /// The sum; an error if it exceeds the range of an amount.
    pub fn plus(self, other: Amount) -> Result<Amount, NotAnAmount> {
        // Both operands are less than 10^28, so the i128 itself cannot overflow.
        Amount::from_units(self.0 + other.0)
    }

    /// The difference; an error if it exceeds the range of an amount.
    pub fn minus(self, other: Amount) -> Result<Amount, NotAnAmount> {
        Amount::from_units(self.0 - other.0)
    }

    /// The amount with the opposite sign.
    pub fn negated(self) -> Amount {
        Amount(-self.0)
    }

    /// True for amounts below zero.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Divides a non-negative amount into `n` shares with that sum. They differ by at most one
    /// unit; the larger shares come first.
    pub fn shares(self, n: usize) -> Vec<Amount> {
        let parts = n as i128;
        let (share, rest) = (self.0.div_euclid(parts), self.0.rem_euclid(parts));
        (0..parts)
            .map(|i| Amount(share + i128::from(i < rest)))
            .collect()
    }

    /// The number of decimals that the amount needs, but at least two.
    pub fn decimals(self) -> u32 {
        let mut decimals = AMOUNT_SCALE;
        // The last twelve digits decide, and they fit in 64 bits.
        let mut units = (self.0.unsigned_abs() % UNITS_PER_ONE.unsigned_abs()) as u64;
        while decimals > 2 && units.is_multiple_of(10) {
            units /= 10;
            decimals -= 1;
        }
        decimals
    }

    /// The amount with all twelve decimals: the form that the hash chain covers.
    pub fn to_fixed(self) -> String {
        let mut out = Vec::with_capacity(30);
        self.push_fixed(&mut out);
        out.into_iter().map(char::from).collect()
    }

    /// Appends the text of [`Amount::to_fixed`] to the bytes.
    pub fn push_fixed(self, out: &mut Vec<u8>) {
        if self.0 < 0 {
            out.push(b'-');
        }
        let units = self.0.unsigned_abs();
        let one = UNITS_PER_ONE.unsigned_abs();
        // Both parts have at most sixteen digits.
        push_digits(out, (units / one) as u64, 1);
        out.push(b'.');
        push_digits(out, (units % one) as u64, AMOUNT_SCALE as usize);
    }
}

/// At least two decimals, and as many as needed: `5.00`, `0.0125`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fixed = self.to_fixed();
        let trimmed = fixed.trim_end_matches('0');
        let decimals = trimmed.len() - trimmed.find('.').map_or(trimmed.len(), |dot| dot + 1);
        f.write_str(&fixed[..trimmed.len() + 2_usize.saturating_sub(decimals)])
    }
}

/// Appends a number in decimal digits, with leading zeros up to a width.
pub fn push_digits(out: &mut Vec<u8>, mut value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut first = digits.len();
    while value > 0 {
        first -= 1;
        digits[first] = b'0' + (value % 10) as u8;
        value /= 10;
    }
    let first = first.min(digits.len() - width);
    out.extend_from_slice(&digits[first..]);
}

/// The number of significant digits, without leading and trailing zeros.
pub fn significant_digits(value: Decimal) -> u32 {
    let mut mantissa = value.normalize().mantissa().unsigned_abs();
    if mantissa == 0 {
        return 0;
    }
    while mantissa.is_multiple_of(10) {
        mantissa /= 10;
    }
    mantissa.ilog10() + 1
}

/// The value of one unit of a currency in another currency, as it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The recorded rate, above zero.
    pub value: Decimal,
    /// Whether the rate was recorded for the opposite pair. If so, amounts are divided by it.
    pub is_inverse: bool,
}

/// The price of `quantity` at `unit_price` per `per` units. If the price is in another currency, it
/// is converted at `rate`. The result is rounded once, half to even, at the twelfth decimal. `per`
/// is above zero and no operand is negative; callers check that when they read them.
pub fn line_amount(
    quantity: Decimal,
    unit_price: Decimal,
    per: Decimal,
    rate: Option<Rate>,
) -> Result<Amount, NotAnAmount> {
    let (quantity, unit_price, per) = (
        quantity.normalize(),
        unit_price.normalize(),
        per.normalize(),
    );
    let scale = |decimal: Decimal| i64::from(decimal.scale());
    // units = numerator × 10^exponent / denominator
    let mut exponent = i64::from(AMOUNT_SCALE) + scale(per) - scale(quantity) - scale(unit_price);
    let mut numerator = quantity.mantissa().checked_mul(unit_price.mantissa());
    let mut denominator = Some(per.mantissa());
    let (mut factor, mut divisor) = (Decimal::ONE, Decimal::ONE);
    if let Some(rate) = rate {
        let value = rate.value.normalize();
        if rate.is_inverse {
            divisor = value;
            exponent += scale(value);
            denominator = per.mantissa().checked_mul(value.mantissa());
        } else {
            factor = value;
            exponent -= scale(value);
            numerator = numerator.and_then(|product| product.checked_mul(value.mantissa()));
        }
    }
    if let (Some(numerator), Some(denominator)) = (numerator, denominator)
        && let Some(units) = quotient(numerator, denominator, exponent)
    {
        return Amount::from_units(units);
    }
    wide_quotient(&[quantity, unit_price, factor], &[per, divisor], exponent)
}

/// Numerator × 10^exponent / denominator, rounded half to even. `None` if that takes more than 128
/// bits.
fn quotient(numerator: i128, denominator: i128, exponent: i64) -> Option<i128> {
    let power = u32::try_from(exponent.unsigned_abs())
        .ok()
        .and_then(|exponent| 10_i128.checked_pow(exponent))?;
    let (numerator, denominator) = match exponent >= 0 {
        true => (numerator.checked_mul(power)?, denominator),
        false => (numerator, denominator.checked_mul(power)?),
    };
    Some(divide_half_even(numerator, denominator))
}

/// Like `quotient`, in 256 bits. A result that does not fit in these is out of an amount's range,
/// or far below its last decimal.
fn wide_quotient(
    over: &[Decimal],
    under: &[Decimal],
    exponent: i64,
) -> Result<Amount, NotAnAmount> {
    let product = |factors: &[Decimal]| {
        factors.iter().try_fold(U256::ONE, |product, factor| {
            product.checked_mul(U256::from(factor.mantissa().unsigned_abs()))
        })
    };
    let numerator = product(over).ok_or(NotAnAmount::OutOfRange)?;
    let denominator = product(under).ok_or(NotAnAmount::OutOfRange)?;
    if numerator == U256::ZERO {
        return Ok(Amount::ZERO);
    }
    let power = u32::try_from(exponent.unsigned_abs())
        .ok()
        .and_then(|exponent| U256::new(10).checked_pow(exponent));
    let (numerator, denominator) = if exponent >= 0 {
        // The divisor has at most 27 digits, so a numerator above 10^77 gives a quotient above
        // 10^50.
        let numerator = power.and_then(|power| numerator.checked_mul(power));
        (numerator.ok_or(NotAnAmount::OutOfRange)?, denominator)
    } else {
        match power.and_then(|power| denominator.checked_mul(power)) {
            Some(denominator) => (numerator, denominator),
            // The divisor is above 10^77, and the product of 28, 15 and 15 digits is less than half
            // of that.
            None => return Ok(Amount::ZERO),
        }
    };
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    let up = match rest.cmp(&(denominator - rest)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 == U256::ONE,
        std::cmp::Ordering::Less => false,
    };
    // Less than 2^255, so the quotient can be incremented.
    i128::try_from(quotient + U256::from(u8::from(up)))
        .map_err(|_| NotAnAmount::OutOfRange)
        .and_then(Amount::from_units)
}

/// Converts a positive amount at a positive rate. The result is rounded once, half to even, at the
/// twelfth decimal. The second value is what the rounding added. A rate has at most
/// [`PRICE_DIGITS`] digits and 16 decimals, so the product has at most sixteen digits after the
/// twelfth decimal.
pub fn convert(amount: Amount, rate: Decimal) -> Result<(Amount, Decimal), NotAnAmount> {
    let rate = rate.normalize();
    let amount = amount.to_decimal().normalize();
    let product = amount
        .mantissa()
        .checked_mul(rate.mantissa())
        .ok_or(NotAnAmount::OutOfRange)?;
    let scale = amount.scale() + rate.scale();
    let Some(excess) = scale.checked_sub(AMOUNT_SCALE) else {
        let units = product
            .checked_mul(10_i128.pow(AMOUNT_SCALE - scale))
            .ok_or(NotAnAmount::OutOfRange)?;
        return Ok((Amount::from_units(units)?, Decimal::ZERO));
    };
    let unit = 10_i128.pow(excess);
    let units = divide_half_even(product, unit);
    let rounding = Decimal::try_from_i128_with_scale(units * unit - product, scale)
        .map_err(|_| NotAnAmount::OutOfRange)?;
    Ok((Amount::from_units(units)?, rounding.normalize()))
}

/// The quotient of two non-negative integers, rounded half to even.
fn divide_half_even(numerator: i128, denominator: i128) -> i128 {
    let (quotient, rest) = (numerator / denominator, numerator % denominator);
    // Compares the remainder with the distance to the next integer. Doubling the remainder could
    // overflow.
    let up = match rest.cmp(&(denominator - rest)) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 == 1,
        std::cmp::Ordering::Less => false,
    };
    quotient + i128::from(up)
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use num_bigint::BigInt;
    use proptest::prelude::*;

    use super::*;

    fn amount(text: &str) -> Amount {
        Amount::from_decimal(Decimal::from_str(text).unwrap()).unwrap()
    }

    fn decimal(text: &str) -> Decimal {
        Decimal::from_str(text).unwrap()
    }

    #[test]
    fn an_amount_shows_at_least_two_decimals() {
        for (given, shown) in [
            ("5", "5.00"),
            ("0", "0.00"),
            ("0.0125", "0.0125"),
            ("-12.5", "-12.50"),
            ("0.000000000001", "0.000000000001"),
        ] {
            assert_eq!(amount(given).to_string(), shown);
        }
    }

    #[test]
    fn amounts_that_a_numeric_28_12_cannot_hold_are_refused() {
        let max = decimal("9999999999999999.999999999999");
        assert!(Amount::from_decimal(max).is_ok());
        let over = Amount::from_decimal(decimal("10000000000000000"));
        assert_eq!(over, Err(NotAnAmount::OutOfRange));
        let precise = Amount::from_decimal(decimal("0.0000000000001"));
        assert_eq!(precise, Err(NotAnAmount::TooPrecise));
        assert!(Amount::from_decimal(decimal("1.0000000000000000")).is_ok());
        let max = Amount::from_decimal(max).unwrap();
        assert_eq!(
            max.plus(amount("0.000000000001")),
            Err(NotAnAmount::OutOfRange)
        );
    }

    #[test]
    fn a_line_is_rounded_once_and_half_to_even() {
        let per = Decimal::ONE;
        for (price, expected) in [
            ("0.0000000000005", "0"),
            ("0.0000000000015", "0.000000000002"),
            ("0.0000000000025", "0.000000000002"),
            ("0.00000000000250001", "0.000000000003"),
        ] {
            assert_eq!(
                line_amount(Decimal::ONE, decimal(price), per, None),
                Ok(amount(expected))
            );
        }
    }

    #[test]
    fn prices_are_by_the_million_and_by_the_hour() {
        assert_eq!(
            line_amount(decimal("1450"), decimal("2.50"), decimal("1000000"), None),
            Ok(amount("0.003625"))
        );
        assert_eq!(
            line_amount(decimal("5400"), decimal("25"), decimal("3600"), None),
            Ok(amount("37.5"))
        );
    }

    /// The reference implementation: long division of numerator and denominator in decimal digits.
    fn long_division(quantity: Decimal, price: Decimal, per: Decimal) -> i128 {
        let text = (quantity.mantissa() * price.mantissa()).to_string();
        let scale = quantity.scale() + price.scale();
        let shift = AMOUNT_SCALE as i64 + per.scale() as i64 - scale as i64;
        let mut digits = text;
        let mut divisor = per.mantissa();
        if shift >= 0 {
            digits.push_str(&"0".repeat(shift as usize));
        } else {
            divisor *= 10_i128.pow(shift.unsigned_abs() as u32);
        }
        let (mut quotient, mut rest) = (0_i128, 0_i128);
        for digit in digits.bytes() {
            rest = rest * 10 + i128::from(digit - b'0');
            quotient = quotient * 10 + rest / divisor;
            rest %= divisor;
        }
        let twice = rest * 2;
        quotient + i128::from(twice > divisor || (twice == divisor && quotient % 2 == 1))
    }

    proptest! {
        #[test]
        fn a_line_equals_long_division(
            quantity in 0_i64..1_000_000_000_000, quantity_scale in 0_u32..4,
            price in 0_i64..1_000_000_000_000_000, price_scale in 6_u32..16,
            per in prop::sample::select(vec![1_i64, 1000, 1_000_000, 60, 3600, 7]),
        ) {
            let quantity = Decimal::new(quantity, quantity_scale).normalize();
            let price = Decimal::new(price, price_scale).normalize();
            let per = Decimal::from(per).normalize();
            let got = line_amount(quantity, price, per, None);
            match got {
                Ok(got) => prop_assert_eq!(got.units(), long_division(quantity, price, per)),
                Err(e) => prop_assert_eq!(e, NotAnAmount::OutOfRange),
            }
        }

        /// Quantities, prices and rates with the maximum number of digits, compared with arithmetic
        /// on unbounded integers.
        #[test]
        fn a_converted_line_equals_big_integers(
            quantity in 0_i64..1_000_000_000_000, quantity_scale in 0_u32..12,
            price in 0_i64..1_000_000_000_000_000, price_scale in 0_u32..=28,
            per in 1_i64..1_000_000_000_000, per_scale in 0_u32..12,
            rate in 1_i64..1_000_000_000_000_000, rate_scale in 0_u32..=16,
            is_inverse in any::<bool>(),
        ) {
            let (quantity, price) = (Decimal::new(quantity, quantity_scale), Decimal::new(price, price_scale));
            let (per, rate) = (Decimal::new(per, per_scale), Decimal::new(rate, rate_scale));
            let got = line_amount(quantity, price, per, Some(Rate { value: rate, is_inverse }));
            // All operands in units of 10^-28, and the amount in units of 10^-12.
            let fine = |value: Decimal| BigInt::from(value.mantissa()) * BigInt::from(10).pow(28 - value.scale());
            let one = BigInt::from(10).pow(28);
            let (over, under) = match is_inverse {
                true => (fine(quantity) * fine(price) * &one, fine(per) * fine(rate) * &one),
                false => (fine(quantity) * fine(price) * fine(rate), fine(per) * &one * &one),
            };
            let over = over * BigInt::from(10).pow(AMOUNT_SCALE);
            let (mut units, rest) = (&over / &under, &over % &under);
            let twice = rest * 2;
            if twice > under || (twice == under && &units % 2 == BigInt::from(1)) {
                units += 1;
            }
            match got {
                Ok(got) => prop_assert_eq!(BigInt::from(got.units()), units),
                Err(_) => prop_assert!(units >= BigInt::from(LIMIT)),
            }
        }

        #[test]
        fn a_conversion_is_exact_with_its_rounding(
            units in 1_i128..10_i128.pow(20), mantissa in 1_i64..1_000_000_000_000_000, scale in 0_u32..=16,
        ) {
            let (amount, rate) = (Amount(units), Decimal::new(mantissa, scale));
            if let Ok((converted, rounding)) = convert(amount, rate) {
                // In units of 10^-28, where all three are integers.
                let fine = |value: Decimal| value.mantissa() * 10_i128.pow(28 - value.scale());
                let exact = units.checked_mul(rate.mantissa()).and_then(|p| p.checked_mul(10_i128.pow(16 - rate.scale())));
                if let (Some(exact), Some(coarse)) = (exact, converted.0.checked_mul(10_i128.pow(16))) {
                    prop_assert_eq!(exact + fine(rounding), coarse);
                }
                prop_assert!(fine(rounding).abs() * 2 <= 10_i128.pow(16));
            }
        }

        #[test]
        fn more_never_costs_less(
            a in 0_i64..1_000_000_000, b in 0_i64..1_000_000_000,
            price in 0_i64..1_000_000_000, scale in 0_u32..12,
        ) {
            let (less, more) = (a.min(b), a.max(b));
            let price = Decimal::new(price, scale);
            // A cost that is out of range is greater than any cost in range.
            let cost = |q: i64| line_amount(Decimal::from(q), price, Decimal::ONE, None)
                .map_or(i128::MAX, Amount::units);
            prop_assert!(cost(less) <= cost(more));
        }

        #[test]
        fn shares_add_up_and_differ_by_one_unit(units in 0_i128..LIMIT, n in 1_usize..200) {
            let shares = Amount(units).shares(n);
            prop_assert_eq!(shares.len(), n);
            prop_assert_eq!(shares.iter().map(|s| s.0).sum::<i128>(), units);
            prop_assert!(shares[0].0 - shares[n - 1].0 <= 1);
            prop_assert!(shares.iter().all(|s| s.0 >= 0));
        }

        #[test]
        fn display_and_fixed_read_back(units in -LIMIT + 1..LIMIT) {
            let amount = Amount(units);
            for text in [amount.to_string(), amount.to_fixed()] {
                let read = Decimal::from_str_exact(&text).unwrap();
                prop_assert_eq!(Amount::from_decimal(read), Ok(amount));
            }
        }

        #[test]
        fn sums_are_exact(a in -LIMIT + 1..LIMIT, b in -LIMIT + 1..LIMIT) {
            match Amount(a).plus(Amount(b)) {
                Ok(sum) => prop_assert_eq!(sum.minus(Amount(b)), Ok(Amount(a))),
                Err(_) => prop_assert!((a + b).abs() >= LIMIT),
            }
        }
    }
}
