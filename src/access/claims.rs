//! The setting `wallet.claim`: the wallets that the application claims for its transaction.
//!
//! The text is parsed only when it has changed. It is compared at each call, because a savepoint, a
//! function with a SET clause and the end of a transaction restore earlier values.

use std::cell::RefCell;
use std::ffi::CString;
use std::rc::Rc;

use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};

use crate::error::{Error, Result, literal};

/// `wallet.claim`
static CLAIM: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

thread_local! {
    /// The text that was parsed last, and the names in it.
    static PARSED: RefCell<(CString, Claims)> = RefCell::default();
}

/// The names of the claimed wallets, sorted.
pub type Claims = Rc<[String]>;

/// Defines the setting; called once, when the library is loaded.
pub fn register() {
    GucRegistry::define_string_guc(
        c"wallet.claim",
        c"The wallets that the transaction claims.",
        c"A name, or an array literal of names. A role with a claimed access grant reaches only these wallets.",
        &CLAIM,
        GucContext::Userset,
        GucFlags::default(),
    );
}

/// The claimed wallets. The error 22023 if the setting cannot be read.
pub fn current() -> Result<Claims> {
    let Some(text) = CLAIM.get() else {
        return Ok(Rc::default());
    };
    PARSED.with_borrow_mut(|(parsed, claims)| {
        if *parsed != text {
            *claims = text.to_str().ok().and_then(parse).ok_or_else(malformed)?;
            *parsed = text;
        }
        Ok(claims.clone())
    })
}

/// Whether the wallet is claimed.
pub fn name(wallet: &str) -> Result<bool> {
    let claims = current()?;
    Ok(claims
        .binary_search_by(|one| one.as_str().cmp(wallet))
        .is_ok())
}

fn malformed() -> Error {
    Error::argument("wallet.claim cannot be read")
        .detail("It is neither the name of a wallet nor an array literal of names.")
        .hint("Set it to a name such as acme, or to a list such as {acme,globex}. Quote names with other characters: {\"a, b\"}.")
}

/// A literal of the setting that claims one wallet.
pub fn literal_of(wallet: &str) -> String {
    if !wallet.starts_with('{') {
        return literal(wallet);
    }
    let quoted = wallet.replace('\\', "\\\\").replace('"', "\\\"");
    literal(&format!("{{\"{quoted}\"}}"))
}

/// The names in a value of the setting.
fn parse(text: &str) -> Option<Claims> {
    let mut names = match text.trim_start_matches(is_space).strip_prefix('{') {
        _ if text.is_empty() => Vec::new(),
        None => vec![text.to_owned()],
        Some(elements) => parse_array(elements)?,
    };
    names.sort_unstable();
    names.dedup();
    Some(names.into())
}

/// Spaces as PostgreSQL skips them in an array literal.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The elements of an array literal after its first brace. `None` for a nested array, a NULL, or a
/// syntax error.
fn parse_array(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_start_matches(is_space);
    if let Some(end) = rest.strip_prefix('}') {
        return end.trim_matches(is_space).is_empty().then_some(names);
    }
    loop {
        let (name, after) = parse_element(rest)?;
        names.push(name);
        let after = after.trim_start_matches(is_space);
        if let Some(end) = after.strip_prefix('}') {
            return end.trim_matches(is_space).is_empty().then_some(names);
        }
        rest = after.strip_prefix(',')?.trim_start_matches(is_space);
    }
}

/// The first element, and the text after it.
fn parse_element(text: &str) -> Option<(String, &str)> {
    let is_quoted = text.starts_with('"');
    let mut name = String::new();
    let mut kept = 0;
    let mut characters = text.char_indices().skip(usize::from(is_quoted));
    while let Some((at, character)) = characters.next() {
        match character {
            '"' if is_quoted => return Some((name, &text[at + 1..])),
            ',' | '}' if !is_quoted => {
                name.truncate(kept);
                let is_name = !name.is_empty() && !name.eq_ignore_ascii_case("null");
                return is_name.then_some((name, &text[at..]));
            }
            '"' | '{' if !is_quoted => return None,
            '\\' => {
                name.push(characters.next()?.1);
                kept = name.len();
            }
            character => {
                name.push(character);
                if !is_space(character) {
                    kept = name.len();
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Option<Vec<String>> {
        parse(text).map(|claims| claims.to_vec())
    }

    #[test]
    fn a_claim_is_a_name_or_a_list() {
        let some = |list: &[&str]| Some(list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>());
        assert_eq!(names(""), some(&[]));
        assert_eq!(names("acme"), some(&["acme"]));
        assert_eq!(names("a, b"), some(&["a, b"]));
        assert_eq!(names("{}"), some(&[]));
        assert_eq!(names(" { } "), some(&[]));
        assert_eq!(names("{b,a,b}"), some(&["a", "b"]));
        assert_eq!(names("{ a b , \"c, d\" }"), some(&["a b", "c, d"]));
        assert_eq!(
            names(r#"{"say \"x\\y\"",o'neil}"#),
            some(&["o'neil", r#"say "x\y""#])
        );
        assert_eq!(names(r"{a\,b,c\ }"), some(&["a,b", "c "]));
        assert_eq!(names("{\"NULL\"}"), some(&["NULL"]));
        for wrong in [
            "{", "{a", "{a,", "{a,}", "{,a}", "{a}b", "{null}", "{{a}}", "{\"a\"b}", "{a\"b\"}",
            "{a\\", "{\"a", "{a} {b}",
        ] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_hint_shows_claims_the_wallet() {
        for wallet in ["acme", "o'neil", "{x", r#"{"a\"#, "a\\b", "{"] {
            let shown = literal_of(wallet);
            let (shown, is_escaped) = match shown.strip_prefix('E') {
                Some(rest) => (rest, true),
                None => (&*shown, false),
            };
            let mut text = shown[1..shown.len() - 1].replace("''", "'");
            if is_escaped {
                text = text.replace("\\\\", "\\");
            }
            assert_eq!(names(&text), Some(vec![wallet.to_owned()]), "{wallet}");
        }
    }
}
