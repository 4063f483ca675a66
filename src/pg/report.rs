//! Passes an error to PostgreSQL with all fields that its protocol has.

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::ptr;

use pgrx::pg_sys;

/// Copies a string into palloc'ed memory as a C string. It ends at the first NUL.
fn c_string(text: &str) -> *mut std::ffi::c_char {
    let bytes: Vec<u8> = text.bytes().take_while(|byte| *byte != 0).collect();
    match CString::new(bytes) {
        // SAFETY: pstrdup copies a NUL-terminated string, which `text` is.
        Ok(text) => unsafe { pg_sys::pstrdup(text.as_ptr()) },
        Err(_) => ptr::null_mut(),
    }
}

/// Raises an ERROR. Called only by [`crate::error::Error::raise`]. `secret` keeps the failed
/// statement and its context out of the server's log, because they repeat the arguments.
pub fn throw(
    sqlerrcode: i32,
    message: &str,
    detail: Option<&str>,
    hint: Option<&str>,
    table: Option<&str>,
    constraint: Option<&str>,
    secret: bool,
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
    if secret {
        throw_in_secret(data);
    }
    // SAFETY: `data` is fully initialised and its strings are palloc'ed. ThrowErrorData copies them
    // before it jumps. pgrx turns the jump into an unwind that runs destructors.
    unsafe { pg_sys::ThrowErrorData(&mut data) };
    unreachable!("ThrowErrorData does not return for elevel ERROR")
}

/// Raises an error without calling the context callbacks, and hides the statement from the log. The
/// callbacks would repeat the SQL of a surrounding function or the values of parameters.
fn throw_in_secret(mut data: pg_sys::ErrorData) -> ! {
    // SAFETY: a plain global.
    let least = unsafe { pg_sys::log_min_messages };
    data.output_to_server = least != pg_sys::LOG as i32 && data.elevel >= least;
    data.output_to_client = true;
    data.hide_stmt = true;
    data.hide_ctx = true;
    // SAFETY: `data` is fully initialised and its strings are palloc'ed. ReThrowError copies it and
    // jumps to the innermost handler, which every backend has.
    unsafe { pg_sys::ReThrowError(&mut data) };
    // Since PostgreSQL 18 it is no longer declared as a function that does not return.
    #[cfg(feature = "pg18")]
    unreachable!("ReThrowError does not return")
}

/// Runs `work`. If `secret` is true when an error is raised in it, the server's log shows neither
/// statement nor parameters nor context, whoever raises the error.
pub fn hiding<T>(secret: &Cell<bool>, work: impl FnOnce() -> T) -> T {
    // SAFETY: a plain global that is restored before this function ends in any way. `outer` is
    // dropped before `callback` and `secret`, to which the global points until then.
    unsafe {
        let outer = OuterCallbacks(pg_sys::error_context_stack);
        let mut callback = pg_sys::ErrorContextCallback {
            previous: outer.0,
            callback: Some(hide),
            arg: ptr::from_ref(secret).cast_mut().cast(),
        };
        pg_sys::error_context_stack = &raw mut callback;
        let result = work();
        drop(outer);
        result
    }
}

/// Removes the statement from pg_stat_activity. Another session's "deadlock detected" message takes
/// it from there.
pub fn hide_activity() {
    // SAFETY: the text is copied; the state is that of a running statement.
    unsafe {
        pg_sys::pgstat_report_activity(
            pg_sys::BackendState::STATE_RUNNING,
            c"<statement with a secret>".as_ptr(),
        );
    }
}

/// The callbacks before the call, which are restored at the end.
struct OuterCallbacks(*mut pg_sys::ErrorContextCallback);

impl Drop for OuterCallbacks {
    fn drop(&mut self) {
        // SAFETY: a plain global.
        unsafe { pg_sys::error_context_stack = self.0 };
    }
}

/// Hides the statement of the error that is being raised.
unsafe extern "C-unwind" fn hide(secret: *mut c_void) {
    // SAFETY: PostgreSQL calls it while it builds an error, with the `secret` of [`hiding`], which
    // is still alive.
    unsafe {
        if (*secret.cast::<Cell<bool>>()).get() {
            pg_sys::errhidestmt(true);
            pg_sys::errhidecontext(true);
        }
    }
}
