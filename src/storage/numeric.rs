//! PostgreSQL's `numeric`, read and written in its binary form.
//!
//! Going through text costs more than the arithmetic of a charge. The on-disk format (short and
//! long header, base 10000 digits) has been stable since PostgreSQL 9.1; a `#[pg_test]` compares
//! both directions with `numeric_in` and `numeric_out`.

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum as FcDatum, FromDatum, IntoDatum};
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, Returns, ReturnsError, SqlMapping, SqlTranslatable,
};
use pgrx::{pg_sys, varlena};
use rust_decimal::Decimal;

use crate::error::{Code, Error, Result};
use crate::money::{AMOUNT_SCALE, Amount, NotAnAmount};

const SIGN_MASK: u16 = 0xC000;
const NEGATIVE: u16 = 0x4000;
const SHORT: u16 = 0x8000;
const SPECIAL: u16 = 0xC000;
const NAN: u16 = 0xC000;
const SHORT_NEGATIVE: u16 = 0x2000;
const SHORT_WEIGHT_SIGN: u16 = 0x0040;
const SHORT_WEIGHT_MASK: u16 = 0x003F;

/// Any `numeric` as it stands in the database, before it is taken for an amount, a price or a
/// quantity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Number {
    /// A finite number.
    Finite {
        /// Below zero.
        negative: bool,
        /// The first digit counts 10000^weight.
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
    /// Reads the bytes of a `numeric` after its length word.
    fn from_bytes(bytes: &[u8]) -> Number {
        let word = |index: usize| {
            bytes
                .get(index * 2..index * 2 + 2)
                .map_or(0, |b| u16::from_ne_bytes([b[0], b[1]]))
        };
        let header = word(0);
        let (negative, weight, first) = match header & SIGN_MASK {
            SPECIAL if header == NAN => return Number::NaN,
            SPECIAL => return Number::Infinite,
            SHORT => {
                let low = i32::from(header & SHORT_WEIGHT_MASK);
                // The weight is a seven bit number in two's complement.
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
                // 9999 × 10^exponent must stay inside the i128.
                Ok(exponent) if exponent <= 32 => 10_i128.pow(exponent),
                Ok(_) => return Err(NotAnAmount::OutOfRange),
                Err(_) => return Err(NotAnAmount::TooPrecise),
            };
            units += i128::from(*digit) * power;
        }
        Amount::from_units(if *negative { -units } else { units })
    }

    /// The number as a decimal of at most 28 digits, or nothing when it has more.
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

    /// The number as an amount that an argument gives, or WL012 that names the argument.
    pub fn amount(&self, argument: &str) -> Result<Amount> {
        self.to_amount()
            .map_err(|reason| not_an_amount(argument, reason))
    }
}

/// WL012 for an argument that is no amount.
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

/// The base 10000 digits of a non-negative integer, most significant first.
fn base_10000(mut value: u128) -> Vec<u16> {
    let mut digits = Vec::with_capacity(10);
    while value > 0 {
        digits.push((value % 10_000) as u16);
        value /= 10_000;
    }
    digits.reverse();
    digits
}

/// Writes mantissa × 10^-scale as a `numeric` that shows `display_scale` decimals.
fn to_datum(mantissa: i128, scale: u32, display_scale: u32) -> pg_sys::Datum {
    // Align the decimal point to a base 10000 digit.
    let padding = (4 - scale % 4) % 4;
    let aligned = mantissa.unsigned_abs() * 10_u128.pow(padding);
    let mut digits = base_10000(aligned);
    let fraction_digits = ((scale + padding) / 4) as i32;
    let weight = digits.len() as i32 - 1 - fraction_digits;
    while digits.last() == Some(&0) {
        digits.pop();
    }
    let weight = if digits.is_empty() { 0 } else { weight };
    let sign = if mantissa < 0 && !digits.is_empty() {
        SHORT_NEGATIVE
    } else {
        0
    };
    let weight_bits =
        (weight as u16 & SHORT_WEIGHT_MASK) | if weight < 0 { SHORT_WEIGHT_SIGN } else { 0 };
    let header = SHORT | sign | ((display_scale as u16) << 7) | weight_bits;

    let size = 4 + 2 + 2 * digits.len();
    // SAFETY: palloc returns `size` writable bytes, all of which are written: four of length
    // word by SET_VARSIZE, two of header, two for each digit. Weights of amounts and decimals lie
    // in -7..=7 and scales below 64, so the short header form holds them.
    unsafe {
        let varlena = pg_sys::palloc(size).cast::<u8>();
        varlena::set_varsize_4b(varlena.cast(), size as i32);
        let mut words = varlena.add(4).cast::<u16>();
        words.write_unaligned(header);
        for digit in digits {
            words = words.add(1);
            words.write_unaligned(digit);
        }
        pg_sys::Datum::from(varlena)
    }
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
        // SAFETY: a non-null numeric datum points to a varlena; detoasting returns it or a copy
        // whose bytes live as long as the current memory context, and they are copied at once.
        unsafe {
            let detoasted = pg_sys::pg_detoast_datum_packed(datum.cast_mut_ptr());
            Some(Number::from_bytes(varlena::varlena_to_byte_slice(
                detoasted,
            )))
        }
    }
}

// SAFETY: reads the argument's datum as the numeric that `argument_sql` declares.
unsafe impl<'fcx> ArgAbi<'fcx> for Number {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the SQL declaration makes the argument a numeric. All arguments are `Option`,
        // whose implementation looks at NULL first.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Number::NaN)
    }
}

/// A `numeric` on its way to PostgreSQL: an amount shown with the decimals it needs, two at
/// least.
impl IntoDatum for Amount {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        let mut decimals = AMOUNT_SCALE;
        let mut units = self.units();
        while decimals > 2 && units % 10 == 0 {
            units /= 10;
            decimals -= 1;
        }
        Some(to_datum(self.units(), AMOUNT_SCALE, decimals))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::NUMERICOID
    }
}

// SAFETY: returns the datum of the numeric that `return_sql` declares.
unsafe impl BoxRet for Amount {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum was allocated in the function's result context just now.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

/// An amount as a `numeric(28,12)` column keeps it.
pub fn fixed_datum(amount: Amount) -> pg_sys::Datum {
    to_datum(amount.units(), AMOUNT_SCALE, AMOUNT_SCALE)
}

/// A total of the database itself left the range of an amount.
pub fn overflow(_: NotAnAmount) -> Error {
    Error::new(Code::InvalidAmount, "total is out of range")
        .detail("It would not fit 16 digits before the decimal point.")
        .hint("Keep larger sums in more than one wallet.")
}

/// A decimal as a `numeric` datum with the decimals it has.
pub fn decimal_datum(value: Decimal) -> pg_sys::Datum {
    to_datum(value.mantissa(), value.scale(), value.scale())
}

macro_rules! is_sql_numeric {
    ($($type:ty),*) => {$(
        // SAFETY: the type is read from and written as `numeric` only.
        unsafe impl SqlTranslatable for $type {
            fn argument_sql() -> std::result::Result<SqlMapping, ArgumentError> {
                Ok(SqlMapping::literal("numeric"))
            }
            fn return_sql() -> std::result::Result<Returns, ReturnsError> {
                Ok(Returns::One(SqlMapping::literal("numeric")))
            }
        }
    )*};
}
is_sql_numeric!(Number, Amount);
