//! Refuses card data. A setting allows false positives.

use std::ffi::CString;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::cards::{has_card_number, is_card_key, is_card_number};
use crate::error::{Code, Error, Result};
use crate::pg::numeric::Number;

/// `wallet.allow_card_like`
static ALLOWED: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// Defines the setting; called once, when the library is loaded.
pub fn register() {
    GucRegistry::define_string_guc(
        c"wallet.allow_card_like",
        c"Names of arguments and JSON keys that may hold what looks like card data.",
        c"Comma-separated, such as order_number,pin. For false positives: card data itself must never be stored.",
        &ALLOWED,
        GucContext::Suset,
        GucFlags::default(),
    );
}

/// True if the administrator allows false positives under this name.
fn is_allowed(name: &str) -> bool {
    ALLOWED.get().is_some_and(|names| {
        names
            .to_string_lossy()
            .split(',')
            .any(|allowed| allowed.trim().eq_ignore_ascii_case(name))
    })
}

/// The error WL011 if a text looks like card data. `name` is the argument or the text's JSON key.
pub fn refuse_in_text(argument: &str, name: &str, text: &str) -> Result<()> {
    if has_card_number(text) && !is_allowed(name) {
        return Err(refused(argument, name));
    }
    Ok(())
}

/// Like [`refuse_in_text`], for a number in JSON.
pub fn refuse_number(argument: &str, name: &str, number: &Number) -> Result<()> {
    match number.whole() {
        Some(whole) if is_card_number(whole) && !is_allowed(name) => Err(refused(argument, name)),
        _ => Ok(()),
    }
}

/// The error WL011 if a JSON key is one under which card data is stored.
pub fn refuse_key(argument: &str, key: &str) -> Result<()> {
    if is_card_key(key) && !is_allowed(key) {
        return Err(Error::new(
            Code::CardDataRefused,
            format!("{argument} has a key of card data"),
        )
        .detail("Keys such as cvv, cvc, pan, pin and track are refused, whatever their value.")
        .hint(HINT));
    }
    if has_card_number(key) {
        return Err(Error::new(
            Code::CardDataRefused,
            format!("{argument} looks like card data"),
        )
        .detail("A key looks like a card number. It is not repeated here.")
        .hint(HINT));
    }
    Ok(())
}

const HINT: &str = "Keep card data at the payment provider and pass its token. An identifier that is digits alone passes with a dot among them, or as a UUID. An administrator can let a false positive pass by its name with the setting wallet.allow_card_like.";

fn refused(argument: &str, name: &str) -> Error {
    let place = if argument == name {
        format!("The value of {argument} looks like a card number.")
    } else {
        format!(
            "The value of the key {} looks like a card number.",
            crate::error::quoted(name)
        )
    };
    Error::new(
        Code::CardDataRefused,
        format!("{argument} looks like card data"),
    )
    .detail(format!("{place} It is not repeated here."))
    .hint(HINT)
}
