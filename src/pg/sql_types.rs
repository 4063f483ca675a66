//! `numeric` and `jsonb` as arguments and results of SQL functions.

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum as FcDatum, IntoDatum};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, Returns, ReturnsError, SqlMapping, SqlTranslatable,
};
use rust_decimal::Decimal;

use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::{Encoded, Number, decimal_datum};

/// A quantity that a function returns as `numeric`.
#[derive(Clone, Copy, Debug)]
pub struct Quantity(pub Decimal);

impl IntoDatum for Quantity {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        Some(decimal_datum(self.0))
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::NUMERICOID
    }
}

// SAFETY: returns the datum of the numeric that `return_sql` declares.
unsafe impl BoxRet for Quantity {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
        // SAFETY: the datum was allocated in the function's result context just now.
        unsafe { fcinfo.return_raw_datum(decimal_datum(self.0)) }
    }
}

/// An amount of money, or of another metric of a limit, that a function returns as `numeric`.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// Money, printed with at least two decimals.
    Money(Amount),
    /// A quantity, printed with as many decimals as it needs.
    Count(Amount),
}

impl IntoDatum for Measure {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        match self {
            Measure::Money(amount) => amount.into_datum(),
            Measure::Count(amount) => Some(Encoded::shortest(amount).into_datum()),
        }
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::NUMERICOID
    }
}

// SAFETY: returns the datum of the numeric that `return_sql` declares.
unsafe impl BoxRet for Measure {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
        match self.into_datum() {
            // SAFETY: the datum was allocated in the function's result context just now.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

// SAFETY: reads the argument's datum as the numeric that `argument_sql` declares.
unsafe impl<'fcx> ArgAbi<'fcx> for Number {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the SQL declaration makes the argument a numeric. All arguments are `Option`,
        // whose implementation checks for NULL first.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Number::NaN)
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

// SAFETY: reads the argument's datum as the jsonb that `argument_sql` declares.
unsafe impl<'fcx> ArgAbi<'fcx> for Jsonb {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the SQL declaration makes the argument a jsonb. All arguments are `Option`, whose
        // implementation checks for NULL first.
        unsafe { arg.unbox_arg_using_from_datum() }.unwrap_or(Jsonb(pg_sys::Datum::null()))
    }
}

// SAFETY: returns a jsonb datum.
unsafe impl BoxRet for Jsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
        // SAFETY: the datum is a jsonb of the function's result context.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

macro_rules! sql_type {
    ($sql:literal: $($type:ty),*) => {$(
        // SAFETY: the type is converted from and to this SQL type only.
        unsafe impl SqlTranslatable for $type {
            fn argument_sql() -> std::result::Result<SqlMapping, ArgumentError> {
                Ok(SqlMapping::literal($sql))
            }
            fn return_sql() -> std::result::Result<Returns, ReturnsError> {
                Ok(Returns::One(SqlMapping::literal($sql)))
            }
        }
    )*};
}
sql_type!("numeric": Number, Amount, Quantity, Measure);
sql_type!("jsonb": Jsonb);
