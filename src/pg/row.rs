//! Rows that functions return as composite types.

use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::{Datum as FcDatum, IntoDatum};
use pgrx::pg_sys;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, Returns, ReturnsError, SqlMapping, SqlTranslatable,
};

use crate::pg::raw;

/// The columns of a row, in order.
pub type Columns = Vec<Option<pg_sys::Datum>>;

/// Declares a type for a row of the SQL composite type with that name.
macro_rules! composite {
    ($(#[$doc:meta])* $name:ident, $sql:literal) => {
        $(#[$doc])*
        pub struct $name(pub $crate::pg::row::Columns);

        // SAFETY: the row is formed with the result type of the called function.
        unsafe impl pgrx::callconv::BoxRet for $name {
            unsafe fn box_into<'fcx>(
                self,
                fcinfo: &mut pgrx::callconv::FcInfo<'fcx>,
            ) -> pgrx::datum::Datum<'fcx> {
                // SAFETY: passes the caller's guarantee on.
                unsafe { $crate::pg::row::into_datum(self.0, fcinfo) }
            }
        }

        // SAFETY: the SQL type is the composite type that the row is formed with.
        unsafe impl pgrx::pgrx_sql_entity_graph::metadata::SqlTranslatable for $name {
            fn argument_sql() -> std::result::Result<
                pgrx::pgrx_sql_entity_graph::metadata::SqlMapping,
                pgrx::pgrx_sql_entity_graph::metadata::ArgumentError,
            > {
                Ok(pgrx::pgrx_sql_entity_graph::metadata::SqlMapping::literal($sql))
            }
            fn return_sql() -> std::result::Result<
                pgrx::pgrx_sql_entity_graph::metadata::Returns,
                pgrx::pgrx_sql_entity_graph::metadata::ReturnsError,
            > {
                Ok(pgrx::pgrx_sql_entity_graph::metadata::Returns::One(
                    pgrx::pgrx_sql_entity_graph::metadata::SqlMapping::literal($sql),
                ))
            }
        }
    };
}
pub(crate) use composite;

/// Forms the row with the declared result type of the running function.
///
/// # Safety
/// The columns are datums of the result type's attribute types, in their order.
pub unsafe fn into_datum<'fcx>(columns: Columns, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
    // SAFETY: fcinfo belongs to a running call, so flinfo and its function exist. The type cache
    // keeps the descriptor until it is released below. heap_form_tuple copies the datums.
    unsafe {
        let function = (*(*fcinfo.as_mut_ptr()).flinfo).fn_oid;
        let descriptor =
            raw::guarded(|| raw::lookup_rowtype_tupdesc(raw::get_func_rettype(function), -1));
        let attributes = usize::try_from((*descriptor).natts).unwrap_or(0);
        let mut values: Vec<pg_sys::Datum> = Vec::with_capacity(attributes);
        let mut nulls: Vec<bool> = Vec::with_capacity(attributes);
        for index in 0..attributes {
            let value = columns.get(index).copied().flatten();
            nulls.push(value.is_none());
            values.push(value.unwrap_or(pg_sys::Datum::null()));
        }
        let datum = raw::guarded(|| {
            let tuple = raw::heap_form_tuple(descriptor, values.as_mut_ptr(), nulls.as_mut_ptr());
            let datum = raw::HeapTupleHeaderGetDatum((*tuple).t_data);
            if (*descriptor).tdrefcount >= 0 {
                raw::DecrTupleDescRefCount(descriptor);
            }
            datum
        });
        fcinfo.return_raw_datum(datum)
    }
}

/// A whole row of the view `balances`, as a query returned it.
pub struct BalanceRow(pub pg_sys::Datum);

// SAFETY: the datum is a row of the declared result type in the caller's memory.
unsafe impl BoxRet for BalanceRow {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> FcDatum<'fcx> {
        // SAFETY: see above.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

// SAFETY: the row's type is that of the view.
unsafe impl SqlTranslatable for BalanceRow {
    fn argument_sql() -> std::result::Result<SqlMapping, ArgumentError> {
        Ok(SqlMapping::literal("wallet.balances"))
    }
    fn return_sql() -> std::result::Result<Returns, ReturnsError> {
        Ok(Returns::One(SqlMapping::literal("wallet.balances")))
    }
}

/// The datum of a `text` column.
pub fn text(value: &str) -> Option<pg_sys::Datum> {
    value.into_datum()
}
