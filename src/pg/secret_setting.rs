//! The setting `wallet.key`, whose value is never shown.

use std::ffi::{CStr, CString, c_char};

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting, pg_guard};

/// `wallet.key`
static KEY: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// The text that SHOW and `current_setting()` return instead of a secret.
const HIDDEN: &CStr = c"********";

/// Defines the setting; called once, when the library is loaded.
pub fn register() {
    // SAFETY: the hook is guarded, and returns a pointer to a constant.
    unsafe {
        GucRegistry::define_string_guc_with_hooks(
            c"wallet.key",
            c"The secret of the key for which the transaction acts.",
            c"Set it with SET LOCAL or set_config(). Its value is never shown.",
            &KEY,
            GucContext::Userset,
            GucFlags::NO_SHOW_ALL | GucFlags::DISALLOW_IN_FILE,
            None,
            None,
            Some(show),
        );
    }
}

#[pg_guard]
unsafe extern "C-unwind" fn show() -> *const c_char {
    match key() {
        Some(_) => HIDDEN.as_ptr(),
        None => c"".as_ptr(),
    }
}

/// The secret; `None` if the setting is empty.
pub fn key() -> Option<CString> {
    KEY.get().filter(|key| !key.is_empty())
}
