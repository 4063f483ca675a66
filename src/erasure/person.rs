//! A person's identifier and the pseudonym that takes its place. Pure, apart from the parameters
//! of statements.
//!
//! A column that names a user is compared as a whole. In texts and documents, the identifier is
//! found as a word: not next to another letter or digit. A short identifier, such as `7`, is also
//! a number or an everyday word. It is replaced only where it is the whole text, or the whole value
//! of a member of a document whose name says that it names somebody.

use crate::storage::canonical::escaped;
use crate::storage::plan::Value;

/// Identifiers with at least this many characters are replaced inside of texts.
const DISTINCT: usize = 6;

/// The members of a document whose value names somebody.
const NAMING: [&str; 9] = [
    "actor", "customer", "end_user", "member", "name", "subject", "user", "user_id", "username",
];

/// The beginning of every pseudonym.
const PREFIX: &str = "erased-";

/// An identifier to erase.
pub struct Person<'a> {
    /// The identifier.
    pub id: &'a str,
    /// The pseudonym. It is random, so that nobody can derive one from the other.
    pub pseudonym: String,
    /// The identifier as it is printed inside of a document.
    printed: String,
    /// The identifier as it is printed in a document inside of a document, such as the subject of
    /// a limit in an event.
    printed_twice: String,
    /// The wallets in which it is erased. `None` means everywhere.
    wallets: Option<Vec<String>>,
}

impl<'a> Person<'a> {
    /// A person with a new pseudonym, in one wallet or everywhere.
    pub fn new(id: &'a str, wallet: Option<&str>) -> Person<'a> {
        Person {
            id,
            pseudonym: format!("{PREFIX}{}", uuid::Uuid::new_v4().hyphenated()),
            printed: escaped(id),
            printed_twice: escaped(&escaped(id)),
            wallets: wallet.map(|wallet| vec![wallet.to_owned()]),
        }
    }

    /// The parameters of the statements: the identifier, the pseudonym, the wallets, and the
    /// identifier as it is printed in documents, and in documents inside of documents.
    pub fn values(&self) -> [Value<'_>; 5] {
        [
            Value::Text(self.id),
            Value::Text(&self.pseudonym),
            Value::OptTexts(self.wallets.as_deref()),
            Value::Text(&self.printed),
            Value::Text(&self.printed_twice),
        ]
    }
}

impl Person<'_> {
    /// The text without the identifier.
    pub fn without(&self, text: &str) -> String {
        in_text(text, self.id, &self.pseudonym)
    }
}

fn is_distinct(person: &str) -> bool {
    person.chars().count() >= DISTINCT
}

/// The value of a member of a document, without the identifier.
pub fn in_member(member: &str, value: &str, person: &str, pseudonym: &str) -> String {
    match is_distinct(person) || NAMING.contains(&member) {
        true => in_text(value, person, pseudonym),
        false => value.to_owned(),
    }
}

/// The text without the identifier. The subject of a limit with several dimensions is an array.
pub fn in_text(text: &str, person: &str, pseudonym: &str) -> String {
    if text == person {
        return pseudonym.to_owned();
    }
    if let Some(array) = in_array(text, person, pseudonym) {
        return array;
    }
    if !is_distinct(person) {
        return text.to_owned();
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(person) {
        let (before, found) = rest.split_at(at);
        let after = &found[person.len()..];
        out.push_str(before);
        let is_word =
            !out.ends_with(char::is_alphanumeric) && !after.starts_with(char::is_alphanumeric);
        out.push_str(if is_word { pseudonym } else { person });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// An array of strings with the identifier, without it. `None` if the text is no such array.
fn in_array(text: &str, person: &str, pseudonym: &str) -> Option<String> {
    let mut items: Vec<String> = text
        .starts_with('[')
        .then(|| serde_json::from_str(text).ok())
        .flatten()?;
    let mut own = items.iter_mut().filter(|item| *item == person).peekable();
    own.peek()?;
    own.for_each(|item| pseudonym.clone_into(item));
    serde_json::to_string(&items).ok()
}

/// The document without the identifier. `None` if the text is no document.
pub fn in_document(document: &str, person: &str, pseudonym: &str) -> Option<String> {
    let mut json: serde_json::Value = serde_json::from_str(document).ok()?;
    replace(&mut json, None, person, pseudonym);
    Some(json.to_string())
}

fn replace(json: &mut serde_json::Value, member: Option<&str>, person: &str, pseudonym: &str) {
    use serde_json::Value;
    match json {
        Value::String(text) => {
            *text = in_member(member.unwrap_or_default(), text, person, pseudonym);
        }
        Value::Array(items) => {
            for item in items {
                replace(item, member, person, pseudonym);
            }
        }
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (name, mut value) in old {
                replace(&mut value, Some(&name), person, pseudonym);
                let name = in_member("", &name, person, pseudonym);
                members.insert(name, value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PSEUDONYM: &str = "erased-1";

    fn text(text: &str, person: &str) -> String {
        in_text(text, person, PSEUDONYM)
    }

    fn document(text: &str, person: &str) -> String {
        in_document(text, person, PSEUDONYM).unwrap()
    }

    #[test]
    fn a_word_is_replaced_and_a_part_of_a_word_is_not() {
        assert_eq!(text("alice7", "alice7"), "erased-1");
        assert_eq!(
            text("for alice7, (alice7)", "alice7"),
            "for erased-1, (erased-1)"
        );
        assert_eq!(
            text("alice77 malice7 äalice7", "alice7"),
            "alice77 malice7 äalice7"
        );
        assert_eq!(text("alice7alice7", "alice7"), "alice7alice7");
        assert_eq!(
            text("a@b.example a@b.example2", "a@b.example"),
            "erased-1 a@b.example2"
        );
        // A short one is also a number.
        assert_eq!(text("7", "7"), "erased-1");
        assert_eq!(text("7 days", "7"), "7 days");
        assert_eq!(text(r#"["7","gpt-4o"]"#, "7"), r#"["erased-1","gpt-4o"]"#);
        assert_eq!(text("[7, 7]", "7"), "[7, 7]");
    }

    #[test]
    fn a_document_keeps_its_numbers_and_its_other_strings() {
        let before = r#"{"user":"7","n":7,"priority":"7","list":[{"user_id":"7"}],"1.50":1.50}"#;
        let after = document(before, "7");
        let read: serde_json::Value = serde_json::from_str(&after).unwrap();
        assert_eq!(read["user"], "erased-1");
        assert_eq!(read["priority"], "7");
        assert_eq!(read["list"][0]["user_id"], "erased-1");
        assert!(
            after.contains("1.50") && after.contains("\"n\":7"),
            "{after}"
        );
        let after = document(
            r#"{"alice7":1,"note":"by alice7\nalice7","x":"alice77"}"#,
            "alice7",
        );
        let read: serde_json::Value = serde_json::from_str(&after).unwrap();
        assert_eq!(read["erased-1"], 1);
        assert_eq!(read["note"], "by erased-1\nerased-1");
        assert_eq!(read["x"], "alice77");
    }

    proptest! {
        #[test]
        fn no_word_is_left(words in prop::collection::vec("[a-z]{1,3}|person1", 0..8), between in "[ ,.;/@-]") {
            let before = words.join(&between);
            let after = text(&before, "person1");
            prop_assert!(!after.contains("person1"));
            prop_assert_eq!(after.matches(PSEUDONYM).count(), words.iter().filter(|word| *word == "person1").count());
        }
    }
}
