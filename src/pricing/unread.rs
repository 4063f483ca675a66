//! Numbers of a usage object that nothing reads, and the wallet's rule for them.
//!
//! A number that no mapping and no price reads costs nothing, whatever it counts. It may be
//! something that a provider has just begun to bill. So it is either noted with the charge, or the
//! charge is refused.

use std::borrow::Cow;

use crate::error::{Error, Result, quoted};
use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::numbers::Walk;
use crate::pricing::rate::Priced;
use crate::pricing::usage::{Unread, Usage, invalid};

/// The number of paths that an error names.
const MAX_NAMED: usize = 8;

/// The number of characters of a path or a number in an error.
const MAX_SHOWN: usize = 80;

/// A wallet's rule for numbers that nothing reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnreadUsage {
    /// The usage is charged, and new paths are noted.
    Note,
    /// The usage is refused.
    Reject,
}

impl UnreadUsage {
    /// Both rules.
    pub const ALL: &'static [UnreadUsage] = &[UnreadUsage::Note, UnreadUsage::Reject];

    /// The name of the rule in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            UnreadUsage::Note => "note",
            UnreadUsage::Reject => "reject",
        }
    }
}

/// The numbers other than zero that neither a mapping nor a price has read.
pub fn unread<'a>(usage: &'a Usage, priced: &Priced) -> Cow<'a, [Unread]> {
    match usage.is_mapped || usage.is_plain {
        true => Cow::Borrowed(&usage.unread),
        false => Cow::Owned(flat(&usage.object, &priced.read)),
    }
}

/// Returns WL007 if there is such a number.
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
            Some(_) => "Say what they count with set_usage_mapping(); explain_usage shows what is read. Or set unread_usage to note with update_wallet(): such usage is then charged, and the paths are noted.",
            None => "Add their prices with set_price(), or leave them out; explain_usage shows what is read. Or set unread_usage to note with update_wallet(): such usage is then charged, and the paths are noted.",
        })
}

fn shown(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// The unread numbers of the flat form. `read` has the keys, in addition to known meters, that a
/// price or condition reads.
fn flat(object: &[(String, Json)], read: &[String]) -> Vec<Unread> {
    let is_read = |key: &String| {
        is_known_meter(key) || matches!(key.as_str(), "total_tokens" | "cost") || read.contains(key)
    };
    let covered = object.iter().filter(|(key, _)| is_read(key));
    let covered: Vec<&Json> = covered.map(|(_, value)| value).collect();
    Walk::new(object, None).unread(&[], &covered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::numeric::Number;

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
        assert_eq!(flat(&many, &[]).len(), 256);
        let error = refused(&flat(&many, &[]), None, "m");
        assert!(error.detail.unwrap().ends_with("k7 (1), 248 more."));
    }

    #[test]
    fn of_a_providers_object_the_mapping_says_it() {
        let usage = Usage {
            is_mapped: true,
            mapping: Some("mine".to_owned()),
            object: object(&[("flat", number(&[1], 0))]),
            unread: flat(&object(&[("new", number(&[2], 0))]), &[]),
            ..Usage::default()
        };
        let priced = Priced {
            cost: crate::money::Amount::ZERO,
            currency: crate::currency::Currency::USD,
            lines: Vec::new(),
            total_tokens: 0,
            provider: None,
            service: None,
            mark: crate::pricing::rate::PricedBy::Own,
            read: Vec::new(),
        };
        assert_eq!(paths(&unread(&usage, &priced)), [["new", "$.\"new\"", "2"]]);
        let error = require_read(&usage, &priced, "m").unwrap_err();
        let detail = "The mapping \"mine\" does not read: new (2).";
        assert_eq!(error.detail.as_deref(), Some(detail));
    }

    #[test]
    fn any_key_makes_a_path() {
        let found = flat(&object(&[("a\"b\\c\n.é", number(&[1], 0))]), &[]);
        assert_eq!(found[0].jsonpath, "$.\"a\\\"b\\\\c\\n.é\"");
    }
}
