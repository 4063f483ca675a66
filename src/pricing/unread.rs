//! Numbers of a usage object that nothing reads, and what becomes of them: the wallet's rule.
//!
//! What no mapping and no price looks at costs nothing, whatever it counts. It may be what a provider began to bill
//! yesterday, so it is told: noted with the charge, or refused.

use std::borrow::Cow;

use crate::error::{Error, Result, quoted};
use crate::pricing::lines::is_known_meter;
use crate::pricing::rate::Priced;
use crate::pricing::usage::{Unread, Usage, invalid};
use crate::storage::jsonb::Json;
use crate::storage::numeric::Number;

/// Paths of one object that are looked at; an object with more has told enough.
const MAX_PATHS: usize = 256;

/// Paths that an error names.
const MAX_NAMED: usize = 8;

/// Characters of a path or a number in an error.
const MAX_SHOWN: usize = 80;

/// A wallet's rule for numbers that nothing reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadUsage {
    /// The usage is charged, and new paths are noted.
    Note,
    /// It is refused.
    Reject,
}

impl UnreadUsage {
    /// Both of them.
    pub const ALL: &'static [UnreadUsage] = &[UnreadUsage::Note, UnreadUsage::Reject];

    /// Its name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            UnreadUsage::Note => "note",
            UnreadUsage::Reject => "reject",
        }
    }
}

/// The numbers other than zero that neither a mapping nor a price has read.
pub fn unread<'a>(usage: &'a Usage, priced: &Priced) -> Cow<'a, [Unread]> {
    match usage.is_mapped {
        true => Cow::Borrowed(&usage.unread),
        false => Cow::Owned(flat(&usage.object, &priced.read)),
    }
}

/// WL007 where there is such a number.
pub fn require_read(usage: &Usage, priced: &Priced, model: &str) -> Result<()> {
    match unread(usage, priced).as_ref() {
        [] => Ok(()),
        unread => Err(refused(unread, usage.mapping.as_deref(), model)),
    }
}

fn refused(unread: &[Unread], mapping: Option<&str>, model: &str) -> Error {
    let mut named: Vec<String> = unread
        .iter()
        .take(MAX_NAMED)
        .map(|one| format!("{} ({})", shown(&one.path), shown(&one.value)))
        .collect();
    if unread.len() > named.len() {
        named.push(format!("{} more", unread.len() - named.len()));
    }
    let named = named.join(", ");
    invalid("usage has numbers that nothing reads")
        .detail(match mapping {
            Some(mapping) => format!("The mapping {} does not read: {named}.", quoted(mapping)),
            None => format!(
                "They are no known meters, and no price of model {} is for them or looks at them: {named}.",
                quoted(model)
            ),
        })
        .hint(match mapping {
            Some(_) => "Say what they count with set_usage_mapping(); explain_usage shows what is read. update_wallet(unread_usage => 'note') charges such usage and notes the paths.",
            None => "Add their prices with set_price(), or leave them out; explain_usage shows what is read. update_wallet(unread_usage => 'note') charges such usage and notes the paths.",
        })
}

fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Those of the flat form: `read` are the keys beside the known meters that something looks at.
fn flat(object: &[(String, Json)], read: &[String]) -> Vec<Unread> {
    let mut found = Found::default();
    for (key, value) in object {
        let is_read = || {
            is_known_meter(key)
                || matches!(key.as_str(), "total_tokens" | "cost")
                || read.contains(key)
        };
        if may_count(value) && !is_read() {
            found.begin(key);
            found.walk(value);
        }
    }
    found.unread
}

/// Whether something in it may be a number other than zero.
fn may_count(value: &Json) -> bool {
    match value {
        Json::Number(number) => !is_zero(number),
        Json::Array(_) | Json::Object(_) => true,
        Json::Null | Json::Bool(_) | Json::String(_) => false,
    }
}

/// Numbers that were found, each path once, and where the search is.
#[derive(Default)]
struct Found {
    unread: Vec<Unread>,
    path: String,
    jsonpath: String,
}

impl Found {
    /// Begins anew at a key of the object.
    fn begin(&mut self, key: &str) {
        self.path.clear();
        self.path.push_str(key);
        self.jsonpath.clear();
        self.jsonpath.push('$');
        push_key(&mut self.jsonpath, key);
    }

    fn walk(&mut self, value: &Json) {
        match value {
            Json::Number(number) if !is_zero(number) => self.add(number),
            Json::Array(items) => {
                let back = self.go("[*]", |jsonpath| jsonpath.push_str("[*]"));
                items.iter().for_each(|item| self.walk(item));
                self.go_back(back);
            }
            Json::Object(entries) => {
                for (key, value) in entries.iter().filter(|(_, value)| may_count(value)) {
                    let back = self.go(".", |jsonpath| push_key(jsonpath, key));
                    self.path.push_str(key);
                    self.walk(value);
                    self.go_back(back);
                }
            }
            _ => {}
        }
    }

    fn go(&mut self, step: &str, push: impl FnOnce(&mut String)) -> (usize, usize) {
        let back = (self.path.len(), self.jsonpath.len());
        self.path.push_str(step);
        push(&mut self.jsonpath);
        back
    }

    fn go_back(&mut self, (path, jsonpath): (usize, usize)) {
        self.path.truncate(path);
        self.jsonpath.truncate(jsonpath);
    }

    fn add(&mut self, number: &Number) {
        let is_new = || self.unread.iter().all(|one| one.jsonpath != self.jsonpath);
        if self.unread.len() < MAX_PATHS && is_new() {
            self.unread.push(Unread {
                path: self.path.clone(),
                jsonpath: self.jsonpath.clone(),
                value: text_of(number),
            });
        }
    }
}

fn is_zero(number: &Number) -> bool {
    match number {
        Number::Finite { digits, .. } => digits.iter().all(|digit| *digit == 0),
        // JSON has none.
        Number::NaN | Number::Infinite => true,
    }
}

/// Adds a key to an SQL/JSON path.
fn push_key(jsonpath: &mut String, key: &str) {
    jsonpath.push_str(".\"");
    for character in key.chars() {
        match character {
            '"' | '\\' => jsonpath.extend(['\\', character]),
            character if character.is_control() => {
                jsonpath.push_str(&format!("\\u{:04x}", u32::from(character)));
            }
            character => jsonpath.push(character),
        }
    }
    jsonpath.push('"');
}

/// The number as JSON has it; of one that is longer than any quantity its first digits.
fn text_of(number: &Number) -> String {
    const SHOWN: usize = 17;
    if let Some(decimal) = number.to_decimal() {
        return decimal.normalize().to_string();
    }
    let Number::Finite {
        negative,
        weight,
        digits,
    } = number
    else {
        return "0".to_owned();
    };
    let all: String = digits.iter().map(|digit| format!("{digit:04}")).collect();
    let significant = all.trim_start_matches('0');
    let leading = all.len() - significant.len();
    // How often the first of them counts ten.
    let exponent = 4 * (i64::from(*weight) + 1) - 1 - leading as i64;
    let (first, rest) = significant.split_at(significant.len().min(1));
    let rest = rest[..rest.len().min(SHOWN - 1)].trim_end_matches('0');
    let sign = if *negative { "-" } else { "" };
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}e{exponent}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(digits: &[u16], weight: i32) -> Json {
        Json::Number(Number::Finite {
            negative: false,
            weight,
            digits: digits.to_vec(),
        })
    }

    fn object(entries: &[(&str, Json)]) -> Vec<(String, Json)> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect()
    }

    fn paths(unread: &[Unread]) -> Vec<[&str; 3]> {
        unread
            .iter()
            .map(|one| [&*one.path, &*one.jsonpath, &*one.value])
            .collect()
    }

    #[test]
    fn what_has_a_price_or_a_meaning_is_read() {
        let read = ["mine".to_owned()];
        let found = flat(
            &object(&[
                ("model", Json::String("m".to_owned())),
                ("input_tokens", number(&[5], 0)),
                ("total_tokens", number(&[5], 0)),
                ("cost", number(&[5], -1)),
                ("mine", number(&[7], 0)),
                ("none", number(&[], 0)),
                ("other", number(&[1, 5000], 0)),
            ]),
            &read,
        );
        assert_eq!(paths(&found), [["other", "$.\"other\"", "1.5"]]);
    }

    #[test]
    fn containers_are_looked_into_and_a_path_counts_once() {
        let part = |n: u16| Json::Object(object(&[("n", number(&[n], 0))]));
        let found = flat(
            &object(&[
                ("parts", Json::Array(vec![part(0), part(3), part(4)])),
                (
                    "a",
                    Json::Object(object(&[("b", Json::Array(vec![number(&[1], 0)]))])),
                ),
                ("words", Json::Array(vec![Json::String("1".to_owned())])),
            ]),
            &[],
        );
        assert_eq!(
            paths(&found),
            [
                ["parts[*].n", "$.\"parts\"[*].\"n\"", "3"],
                ["a.b[*]", "$.\"a\".\"b\"[*]", "1"],
            ]
        );
    }

    #[test]
    fn an_object_of_many_keys_tells_some() {
        let many: Vec<(String, Json)> = (0..1000)
            .map(|n| (format!("k{n}"), number(&[1], 0)))
            .collect();
        assert_eq!(flat(&many, &[]).len(), MAX_PATHS);
        let error = refused(&flat(&many, &[]), None, "m");
        assert!(error.detail.unwrap().ends_with("k7 (1), 248 more."));
    }

    #[test]
    fn any_key_makes_a_path() {
        let mut path = "$".to_owned();
        push_key(&mut path, "a\"b\\c\n.é");
        assert_eq!(path, "$.\"a\\\"b\\\\c\\u000a.é\"");
    }

    #[test]
    fn long_numbers_are_cut() {
        let text = |digits: &[u16], weight| match number(digits, weight) {
            Json::Number(number) => text_of(&number),
            _ => unreachable!(),
        };
        assert_eq!(text(&[1], 100), "1e400");
        assert_eq!(text(&[12, 3400], 25), "1.234e101");
        assert_eq!(text(&[1], -100), "1e-400");
        assert_eq!(text(&[1234; 20], 19), "1.2341234123412341e79");
        assert_eq!(text(&[1, 0], 1), "10000");
    }
}
