//! Reads and writes PostgreSQL's `numeric` in its binary form.
//!
//! A conversion through text costs more than the arithmetic of a charge. The on-disk format (short
//! and long header, base 10000 digits) has been stable since PostgreSQL 9.1. A `#[pg_test]`
//! compares both directions with `numeric_in` and `numeric_out`.

use pgrx::AnyNumeric;
use pgrx::datum::{FromDatum, IntoDatum};
use pgrx::{pg_sys, varlena};
use rust_decimal::Decimal;

use crate::error::{Code, Error, Result};
use crate::money::{AMOUNT_SCALE, Amount, NotAnAmount};
use crate::pg::varlena::{length_word, plain};

const SIGN_MASK: u16 = 0xC000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xC000;
const NAN: u16 = 0xC000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_WEIGHT_SIGN: u16 = 0x0040;
const SHORT_WEIGHT_MASK: u16 = 0x003F;

/// Any `numeric` of the database, before it is checked to be an amount, a price or a quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// A finite number.
    Finite {
        /// Whether the number is below zero.
        negative: bool,
        /// The first digit counts multiples of 10000^weight.
        weight: i32,
        /// Digits in base 10000.
        digits: Vec<u16>,
    },
    /// Not a number.
    NaN,
    /// Plus or minus infinity.
    Infinite,
}

impl Number {
    /// Zero.
    pub const ZERO: Number = Number::Finite {
        negative: false,
        weight: 0,
        digits: Vec::new(),
    };
}

/// The word at an index of a `numeric`, counted after its length word.
fn word(bytes: &[u8], index: usize) -> u16 {
    bytes
        .get(index * 2..index * 2 + 2)
        .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
}

/// Reads a `numeric` column as an amount, in place. The columns of the hot tables are all in the
/// short form and stored inline.
///
/// # Safety
/// The datum is a `numeric`.
pub unsafe fn amount_at(datum: pg_sys::Datum) -> std::result::Result<Amount, NotAnAmount> {
    // SAFETY: the caller's guarantee. A compressed or toasted value is read through `Number`.
    let short = unsafe { plain(datum) }.and_then(short_amount);
    match short {
        Some(units) => Amount::from_units(units),
        // SAFETY: the caller's guarantee.
        None => unsafe { Number::from_datum(datum, false) }
            .map_or(Err(NotAnAmount::NotFinite), |number| number.to_amount()),
    }
}

/// The powers of ten that fit in 64 bits.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut power = 1;
    while power < powers.len() {
        powers[power] = powers[power - 1] * 10;
        power += 1;
    }
    powers
};

/// The units of a `numeric` in the short form, from its bytes after the length word. `None` for
/// another form and for digits beyond the twelfth decimal.
fn short_amount(bytes: &[u8]) -> Option<i128> {
    let header = word(bytes, 0);
    if header & SIGN_MASK != SHORT {
        return None;
    }
    let low = i32::from(header & SHORT_WEIGHT_MASK);
    let weight = if header & SHORT_WEIGHT_SIGN != 0 {
        low - 64
    } else {
        low
    };
    let digits = bytes.get(2..)?;
    let count = digits.len() / 2;
    // The last digit counts 10^exponent units. The integer part has at most 10^16 units.
    let exponent = 4 * (weight + 1 - count as i32) + AMOUNT_SCALE as i32;
    if weight > 3 || exponent < 0 {
        return None;
    }
    // So there are at most seven digits. Four digits fit in 64 bits, and a product of two 64-bit
    // numbers takes one instruction.
    let part = |digits: &[u8], exponent: i32| {
        let number = digits.chunks_exact(2).fold(0, |number: u64, digit| {
            number * 10_000 + u64::from(u16::from_ne_bytes([digit[0], digit[1]]))
        });
        let power = POWERS.get(usize::try_from(exponent).ok()?)?;
        Some(u128::from(number) * u128::from(*power))
    };
    let (first, rest) = digits.split_at(digits.len().min(8));
    let mut units = part(first, exponent + 2 * rest.len() as i32)?;
    if !rest.is_empty() {
        units += part(rest, exponent)?;
    }
    let units = units.cast_signed();
    Some(if header & SHORT_NEGATIVE != 0 {
        -units
    } else {
        units
    })
}

impl Number {
    /// Reads the bytes of a `numeric` after its length word.
    fn from_bytes(bytes: &[u8]) -> Number {
        let word = |index: usize| word(bytes, index);
        let header = word(0);
        let (negative, weight, first) = match header & SIGN_MASK {
            SPECIAL if header == NAN => return Number::NaN,
            SPECIAL => return Number::Infinite,
            SHORT => {
                let low = i32::from(header & SHORT_WEIGHT_MASK);
                // The weight is a 7-bit number in two's complement.
                let weight = if header & SHORT_WEIGHT_SIGN != 0 {
                    low - 64
                } else {
                    low
                };
                (header & SHORT_NEGATIVE != 0, weight, 1)
            }
            sign => (sign == NEGATIVE, i32::from(word(1).cast_signed()), 2),
        };
        let digits = (first..bytes.len() / 2).map(word).collect();
        Number::Finite {
            negative,
            weight,
            digits,
        }
    }

    /// Converts pgrx's number. `None` if it cannot be read.
    pub fn of_any(value: AnyNumeric) -> Option<Number> {
        let datum = value.into_datum()?;
        // SAFETY: the datum is the numeric that pgrx has just made.
        unsafe { Number::from_datum(datum, false) }
    }

    /// Converts a decimal.
    pub fn of(value: Decimal) -> Number {
        Number::from_bytes(&Encoded::decimal(value).bytes()[4..])
    }

    /// An integer above 10^12 that is not larger than a card number can be; `None` otherwise.
    pub fn whole(&self) -> Option<u128> {
        let Number::Finite {
            negative: false,
            weight: weight @ 3..=4,
            digits,
        } = self
        else {
            return None;
        };
        let places = usize::try_from(*weight).ok()? + 1;
        if digits.iter().skip(places).any(|digit| *digit != 0) {
            return None;
        }
        let digit = |place| u128::from(digits.get(place).copied().unwrap_or(0));
        Some((0..places).fold(0, |sum, place| sum * 10_000 + digit(place)))
    }

    /// The number as an exact amount.
    pub fn to_amount(&self) -> std::result::Result<Amount, NotAnAmount> {
        let Number::Finite {
            negative,
            weight,
            digits,
        } = self
        else {
            return Err(NotAnAmount::NotFinite);
        };
        let mut units: i128 = 0;
        for (index, digit) in digits.iter().enumerate() {
            let exponent = 4 * (i64::from(*weight) - index as i64) + i64::from(AMOUNT_SCALE);
            if *digit == 0 {
                continue;
            }
            let power = match u32::try_from(exponent) {
                // 9999 × 10^exponent must fit in the i128.
                Ok(exponent) if exponent <= 32 => 10_i128.pow(exponent),
                Ok(_) => return Err(NotAnAmount::OutOfRange),
                Err(_) => return Err(NotAnAmount::TooPrecise),
            };
            units += i128::from(*digit) * power;
        }
        Amount::from_units(if *negative { -units } else { units })
    }

    /// The number as a decimal of at most 28 digits; `None` if it has more.
    pub fn to_decimal(&self) -> Option<Decimal> {
        let Number::Finite {
            negative,
            weight,
            digits,
        } = self
        else {
            return None;
        };
        let mut mantissa: i128 = 0;
        for digit in digits {
            mantissa = mantissa
                .checked_mul(10_000)?
                .checked_add(i128::from(*digit))?;
        }
        let mut scale = 4 * (digits.len() as i64 - 1 - i64::from(*weight));
        if mantissa == 0 {
            return Some(Decimal::ZERO);
        }
        while scale > 0 && mantissa % 10 == 0 {
            mantissa /= 10;
            scale -= 1;
        }
        while scale < 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        let mantissa = if *negative { -mantissa } else { mantissa };
        Decimal::try_from_i128_with_scale(mantissa, u32::try_from(scale).ok()?).ok()
    }

    /// The number of an argument as an amount, or the error WL012 with the argument's name.
    pub fn amount(&self, argument: &str) -> Result<Amount> {
        self.to_amount()
            .map_err(|reason| not_an_amount(argument, reason))
    }
}

/// The error WL012 for an argument that is not an amount.
pub fn not_an_amount(argument: &str, reason: NotAnAmount) -> Error {
    let error = Error::new(
        Code::InvalidAmount,
        format!("{argument} is not a valid amount"),
    );
    match reason {
        NotAnAmount::NotFinite => error
            .detail(format!("The {argument} is NaN or infinite."))
            .hint("Give a finite number."),
        NotAnAmount::OutOfRange => error
            .detail(format!(
                "The {argument} does not fit 16 digits before the decimal point."
            ))
            .hint("Amounts are kept as numeric(28,12)."),
        NotAnAmount::TooPrecise => error
            .detail(format!("The {argument} has more than 12 decimals."))
            .hint("Round it to 12 decimals yourself, so that no digit is lost silently."),
    }
}

/// A `numeric` in its stored form, including its length word. It has room for all digits of an
/// `i128`.
#[derive(Clone, Copy)]
pub struct Encoded {
    bytes: [u8; MAX_ENCODED],
    len: usize,
}

/// Length word, header, and eleven digits in base 10000.
const MAX_ENCODED: usize = 4 + 2 + 2 * 11;

impl Encoded {
    /// Encodes mantissa × 10^-scale as a `numeric` that is printed with `display_scale` decimals.
    fn new(mantissa: i128, scale: u32, display_scale: u32) -> Encoded {
        // Aligns the decimal point to a base 10000 digit.
        let padding = (4 - scale % 4) % 4;
        let aligned = mantissa.unsigned_abs() * 10_u128.pow(padding);
        let mut digits = [0_u16; 11];
        let first = base_10000(aligned, &mut digits);
        let mut digits = &digits[first..];
        let fraction_digits = ((scale + padding) / 4) as i32;
        let weight = digits.len() as i32 - 1 - fraction_digits;
        while let Some((0, rest)) = digits.split_last() {
            digits = rest;
        }
        let weight = if digits.is_empty() { 0 } else { weight };
        let sign = if mantissa < 0 && !digits.is_empty() {
            SHORT_NEGATIVE
        } else {
            0
        };
        let weight_bits =
            (weight as u16 & SHORT_WEIGHT_MASK) | if weight < 0 { SHORT_WEIGHT_SIGN } else { 0 };
        // Weights of amounts and decimals are in -7..=7 and scales are below 64, so they fit in the
        // short header.
        let header = SHORT | sign | ((display_scale as u16) << 7) | weight_bits;
        let mut bytes = [0; MAX_ENCODED];
        let len = 4 + 2 + 2 * digits.len();
        bytes[..4].copy_from_slice(&length_word(len));
        bytes[4..6].copy_from_slice(&header.to_ne_bytes());
        for (slot, digit) in bytes[6..].chunks_exact_mut(2).zip(digits) {
            slot.copy_from_slice(&digit.to_ne_bytes());
        }
        Encoded { bytes, len }
    }

    /// A decimal with its own number of decimals.
    pub fn decimal(value: Decimal) -> Encoded {
        Encoded::new(value.mantissa(), value.scale(), value.scale())
    }

    /// An amount, printed with as many decimals as it needs, but at least two.
    pub fn amount(value: Amount) -> Encoded {
        Encoded::new(value.units(), AMOUNT_SCALE, value.decimals())
    }

    /// An amount in the format of a `numeric(28,12)` column.
    pub fn fixed(value: Amount) -> Encoded {
        Encoded::new(value.units(), AMOUNT_SCALE, AMOUNT_SCALE)
    }

    /// An amount, printed with as many decimals as it needs.
    pub fn shortest(value: Amount) -> Encoded {
        let (mut units, mut scale) = (value.units(), AMOUNT_SCALE);
        while scale > 0 && units % 10 == 0 {
            units /= 10;
            scale -= 1;
        }
        Encoded::new(units, scale, scale)
    }

    /// The stored form.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// The stored form, in memory allocated by PostgreSQL.
    pub fn into_datum(self) -> pg_sys::Datum {
        // SAFETY: palloc returns at least `len` writable bytes, all of which are written.
        unsafe {
            let varlena = pg_sys::palloc(self.len).cast::<u8>();
            std::ptr::copy_nonoverlapping(self.bytes.as_ptr(), varlena, self.len);
            pg_sys::Datum::from(varlena)
        }
    }
}

/// Writes the base 10000 digits of an integer to the end of the array, and returns the index of the
/// first digit.
fn base_10000(mut value: u128, digits: &mut [u16; 11]) -> usize {
    let mut first = digits.len();
    // A 128-bit division is several times slower than a 64-bit division.
    while value > u128::from(u64::MAX) {
        first -= 1;
        digits[first] = (value % 10_000) as u16;
        value /= 10_000;
    }
    let mut value = value as u64;
    while value > 0 {
        first -= 1;
        digits[first] = (value % 10_000) as u16;
        value /= 10_000;
    }
    first
}

impl FromDatum for Number {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _typoid: pg_sys::Oid,
    ) -> Option<Number> {
        if is_null {
            return None;
        }
        // SAFETY: a numeric datum that is not NULL points to a varlena. Detoasting returns it or a
        // copy. The bytes live as long as the current memory context, and they are copied at once.
        unsafe {
            if let Some(bytes) = plain(datum) {
                return Some(Number::from_bytes(bytes));
            }
            let detoasted = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            Some(Number::from_bytes(varlena::varlena_to_byte_slice(
                detoasted,
            )))
        }
    }
}

/// Converts to a `numeric` that is printed with as many decimals as the amount needs, but at least
/// two.
impl IntoDatum for Amount {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(Encoded::amount(self).into_datum())
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::NUMERICOID
    }
}

/// The error for a total of the database that exceeds the range of an amount.
pub fn overflow(_: NotAnAmount) -> Error {
    Error::new(Code::InvalidAmount, "total is out of range")
        .detail("It would not fit 16 digits before the decimal point.")
        .hint("Keep larger sums in more than one wallet.")
}

/// A decimal as a `numeric` datum, with its own number of decimals.
pub fn decimal_datum(value: Decimal) -> pg_sys::Datum {
    Encoded::decimal(value).into_datum()
}
