//! A person's identifier and the pseudonym that takes its place. Pure, apart from the parameters
//! of statements.
//!
//! Users, actors, tags and the subjects of limits are compared as a whole: `mary.ann@example.org`
//! is not `ann@example.org`. In free texts and in documents, the identifier is found where it is
//! not a part of a longer one. A short identifier, such as `7`, is also a number or an everyday
//! word. It is replaced only where it is the whole text, or the whole value of a member of a
//! document whose name says that it names somebody.

use crate::storage::canonical::escaped;
use crate::storage::plan::Value;

/// Identifiers with at least this many characters are replaced inside of texts.
const DISTINCT: usize = 6;

/// The characters that identifiers have between letters and digits.
const JOINTS: &str = "._%+-@";

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

    /// A person whose pseudonym is known.
    pub fn known(id: &'a str, pseudonym: String) -> Person<'a> {
        Person {
            pseudonym,
            ..Person::new(id, None)
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

/// Whether an identifier is too long to be found in other words and numbers.
fn is_distinct(person: &str) -> bool {
    person.chars().count() >= DISTINCT
}

/// Whether the value of that member is replaced: an identifier that is distinct, or a member that
/// names somebody.
pub fn is_replaced(member: &str, person: &str) -> bool {
    is_distinct(person) || NAMING.contains(&member)
}

/// The value of a tag without the identifier.
pub fn in_tag(tag: &str, value: &str, person: &str, pseudonym: &str) -> String {
    match is_replaced(tag, person) {
        true => in_name(value, person, pseudonym),
        false => value.to_owned(),
    }
}

/// A name, or an array of names, without the identifier. Each is compared as a whole.
pub fn in_name(name: &str, person: &str, pseudonym: &str) -> String {
    match name == person {
        true => pseudonym.to_owned(),
        false => in_array(name, person, pseudonym).unwrap_or_else(|| name.to_owned()),
    }
}

/// A free text without the identifier, which is not replaced where it is a part of a longer one.
/// The full stop of a sentence may follow it.
pub fn in_text(text: &str, person: &str, pseudonym: &str) -> String {
    let whole = in_name(text, person, pseudonym);
    if whole != text || !is_distinct(person) {
        return whole;
    }
    let is_part = |character: char| character.is_alphanumeric() || JOINTS.contains(character);
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(person) {
        let (before, found) = rest.split_at(at);
        let after = &found[person.len()..];
        out.push_str(before);
        let next = after.strip_prefix('.').unwrap_or(after);
        let is_whole = !out.ends_with(is_part) && !next.starts_with(is_part);
        out.push_str(if is_whole { pseudonym } else { person });
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PSEUDONYM: &str = "erased-1";

    fn text(text: &str, person: &str) -> String {
        in_text(text, person, PSEUDONYM)
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
    fn a_part_of_a_longer_identifier_is_not_replaced() {
        for longer in [
            "mary.ann@x.org",
            "ann@x.org.uk",
            "ann@x.org-2",
            "a_ann@x.org",
            "ann@x.org_",
        ] {
            let inside = format!("by {longer}, twice");
            assert_eq!(text(longer, "ann@x.org"), longer);
            assert_eq!(text(&inside, "ann@x.org"), inside);
        }
        for (before, after) in [
            ("ann@x.org.", "erased-1."),
            ("ann@x.org. Or not", "erased-1. Or not"),
            ("ann@x.org's", "erased-1's"),
            ("mailto:ann@x.org", "mailto:erased-1"),
        ] {
            assert_eq!(text(before, "ann@x.org"), after);
        }
        let name = |name| in_name(name, "ann@x.org", PSEUDONYM);
        assert_eq!(name("ann@x.org"), PSEUDONYM);
        assert_eq!(name("for ann@x.org"), "for ann@x.org");
        assert_eq!(name(r#"["ann@x.org","*"]"#), r#"["erased-1","*"]"#);
    }

    proptest! {
        #[test]
        fn no_word_is_left(words in prop::collection::vec("[a-z]{1,3}|person1", 0..8), between in "[ ,;/:(]") {
            let before = words.join(&between);
            let after = text(&before, "person1");
            prop_assert!(!after.contains("person1"));
            prop_assert_eq!(after.matches(PSEUDONYM).count(), words.iter().filter(|word| *word == "person1").count());
        }
    }
}
