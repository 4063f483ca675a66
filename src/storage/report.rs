//! Hands an error to PostgreSQL with everything its protocol can carry.

use std::ffi::CString;
use std::ptr;

use pgrx::pg_sys;

/// Copies a string into palloc'ed memory as C expects it; a NUL inside ends it.
fn c_string(text: &str) -> *mut std::ffi::c_char {
    let bytes: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).collect();
    match CString::new(bytes) {
        // SAFETY: pstrdup copies a NUL-terminated string, which `text` is.
        Ok(text) => unsafe { pg_sys::pstrdup(text.as_ptr()) },
        Err(_) => ptr::null_mut(),
    }
}

/// Raises an ERROR. Used by [`crate::error::Error::raise`] alone.
pub fn throw(
    sqlerrcode: i32,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
    table: Option<&str>,
    constraint: Option<&str>,
) -> ! {
    let mut data = pg_sys::ErrorData {
        elevel: pgrx::PgLogLevel::ERROR as i32,
        sqlerrcode,
        message: c_string(message),
        detail: detail.map_or(ptr::null_mut(), c_string),
        hint: hint.map_or(ptr::null_mut(), c_string),
        ..Default::default()
    };
    if table.is_some() || constraint.is_some() {
        data.schema_name = c_string("wallet");
        data.table_name = table.map_or(ptr::null_mut(), c_string);
        data.constraint_name = constraint.map_or(ptr::null_mut(), c_string);
    }
    // SAFETY: `data` is fully initialised, its strings are palloc'ed, and ThrowErrorData copies
    // them before it jumps. pgrx turns the jump into an unwinding that runs destructors.
    unsafe { pg_sys::ThrowErrorData(&mut data) };
    unreachable!("ThrowErrorData does not return for elevel ERROR")
}
