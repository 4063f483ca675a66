//! Documents without a person's identifier. Pure.
//!
//! The names of members are part of the form of a document: an answer whose `balance` has another
//! name cannot be replayed. So they are replaced only where the application chooses them, in
//! metadata, in tags and in the shares of a tag's values. An identifier such as `tokens` is also a
//! word that the extension uses. In other documents it is replaced only in the members that name
//! somebody or that have free text.

use serde_json::Value;

use crate::erasure::limits::renamed;
use crate::erasure::person::{Person, in_name, in_tag, in_text, is_replaced};
use crate::limits::scope::{Scope, Subject};

/// Members of the extension's documents with free text.
const FREE: [&str; 7] = [
    "description",
    "error",
    "last_error",
    "note",
    "reason",
    "refused",
    "status_reason",
];

/// The form of a value, which says where the identifier is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A name, or the subject of a limit.
    Name,
    /// A free text.
    Text,
    /// A document whose members the extension or a provider names.
    Document,
    /// The application's metadata.
    Metadata,
    /// Tags by name.
    Tags,
    /// The shares of a tag's values, below the name of the tag.
    Shares,
    /// The definition of a plan.
    Definition,
}

impl Form {
    const ALL: [(Form, &'static str); 7] = [
        (Form::Name, "name"),
        (Form::Text, "text"),
        (Form::Document, "document"),
        (Form::Metadata, "metadata"),
        (Form::Tags, "tags"),
        (Form::Shares, "shares"),
        (Form::Definition, "definition"),
    ];

    /// The form with that name.
    pub fn parse(name: &str) -> Option<Form> {
        let mut all = Form::ALL.into_iter();
        all.find(|(_, known)| *known == name).map(|(form, _)| form)
    }
}

/// Whether the extension's own documents may have this word.
fn is_word(person: &str) -> bool {
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    person.chars().all(is_part)
}

/// The value without the identifier. `None` if it is no document.
pub fn without(form: Form, value: &str, person: &Person<'_>) -> Option<String> {
    let (id, pseudonym) = (person.id, person.pseudonym.as_str());
    match form {
        Form::Name => return Some(in_name(value, id, pseudonym)),
        Form::Text => return Some(in_text(value, id, pseudonym)),
        _ => {}
    }
    let mut json: Value = serde_json::from_str(value).ok()?;
    match form {
        Form::Definition => define(&mut json, person),
        _ => replace(&mut json, "", form, person),
    }
    Some(json.to_string())
}

fn replace(json: &mut Value, member: &str, form: Form, person: &Person<'_>) {
    match json {
        Value::String(text) => *text = in_member(member, text, form, person),
        Value::Array(items) => {
            for item in items {
                replace(item, member, form, person);
            }
        }
        Value::Object(members) => {
            let old = std::mem::take(members);
            for (name, mut value) in old {
                let inside = match (form, name.as_str()) {
                    (Form::Document, "metadata") => Form::Metadata,
                    (Form::Document, "tags") => Form::Tags,
                    (Form::Document, "shares") => Form::Shares,
                    _ => form,
                };
                replace(&mut value, &name, inside, person);
                members.insert(renamed_member(member, &name, form, person), value);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The value of a member without the identifier.
fn in_member(member: &str, value: &str, form: Form, person: &Person<'_>) -> String {
    let (id, pseudonym) = (person.id, person.pseudonym.as_str());
    let is_fixed = form == Form::Document && is_word(id) && !FREE.contains(&member);
    match form {
        Form::Tags => in_tag(member, value, id, pseudonym),
        _ if is_fixed && !is_replaced_as_name(member) => value.to_owned(),
        _ if is_replaced(member, id) => in_text(value, id, pseudonym),
        _ => value.to_owned(),
    }
}

/// Whether a member names somebody, however short the identifier is.
fn is_replaced_as_name(member: &str) -> bool {
    is_replaced(member, "")
}

/// The name of a member without the identifier. `above` is the member with the object.
fn renamed_member(above: &str, name: &str, form: Form, person: &Person<'_>) -> String {
    let (id, pseudonym) = (person.id, person.pseudonym.as_str());
    match form {
        Form::Shares if !above.is_empty() => in_tag(above, name, id, pseudonym),
        // Limits and reports find a tag by its name.
        Form::Tags | Form::Metadata if is_word(id) => name.to_owned(),
        Form::Tags => in_tag("", name, id, pseudonym),
        Form::Metadata if is_replaced("", id) => in_text(name, id, pseudonym),
        _ => name.to_owned(),
    }
}

/// Renames the subjects in the definition of a plan as in the rules that wallets took over.
fn define(json: &mut Value, person: &Person<'_>) {
    for limit in items(json, "limits") {
        let scope = limit.get("scope").and_then(Value::as_str);
        let subject = limit.get("subject").and_then(Value::as_str);
        let Some((subject, Ok((scope, order)))) = subject.zip(scope.map(Scope::parse)) else {
            continue;
        };
        let Ok(subject) = Subject::parse(&scope, &order, subject) else {
            continue;
        };
        if let Some(new) = renamed(&scope, subject.as_str(), person) {
            limit["scope"] = scope.as_str().into();
            limit["subject"] = new.into();
        }
    }
    for rule in items(json, "model_rules") {
        let of = |key| rule.get(key).and_then(Value::as_str);
        if of("scope") == Some("user") && of("subject") == Some(person.id) {
            rule["subject"] = person.pseudonym.as_str().into();
        }
    }
}

fn items<'a>(json: &'a mut Value, key: &str) -> impl Iterator<Item = &'a mut Value> {
    let array = json.get_mut(key).and_then(Value::as_array_mut);
    array.into_iter().flatten().filter(|item| item.is_object())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(form: Form, text: &str, id: &str) -> Value {
        let person = Person::known(id, "erased-1".to_owned());
        serde_json::from_str(&without(form, text, &person).unwrap()).unwrap()
    }

    #[test]
    fn a_document_keeps_its_numbers_and_its_other_strings() {
        let before = r#"{"user":"7","n":7,"priority":"7","list":[{"user_id":"7"}],"1.50":1.50}"#;
        let after = read(Form::Metadata, before, "7");
        assert_eq!(after["user"], "erased-1");
        assert_eq!(after["priority"], "7");
        assert_eq!(after["list"][0]["user_id"], "erased-1");
        let text = after.to_string();
        assert!(
            text.contains("\"1.50\":1.50") && text.contains("\"n\":7"),
            "{text}"
        );
        let before = r#"{"alice7":1,"note":"by alice7\nalice7","x":"alice77"}"#;
        let after = read(Form::Metadata, before, "alice7");
        assert_eq!(after["erased-1"], 1);
        assert_eq!(after["note"], "by erased-1\nerased-1");
        assert_eq!(after["x"], "alice77");
    }

    #[test]
    fn members_keep_the_names_and_words_of_the_form() {
        let answer = r#"{"balance":"5","metric":"tokens","user":"tokens","reason":"for balance"}"#;
        let after = read(Form::Document, answer, "balance");
        assert_eq!(after["balance"], "5");
        assert_eq!(after["reason"], "for erased-1");
        let after = read(Form::Document, answer, "tokens");
        assert_eq!(after["metric"], "tokens");
        assert_eq!(after["user"], "erased-1");
        let after = read(
            Form::Document,
            r#"{"ann@x.org":1,"metadata":{"ann@x.org":2},"shares":{"ann@x.org":3}}"#,
            "ann@x.org",
        );
        assert_eq!(after["ann@x.org"], 1);
        assert_eq!(after["metadata"]["erased-1"], 2);
        assert_eq!(after["shares"]["erased-1"], 3);
    }

    #[test]
    fn a_tag_is_compared_as_a_whole() {
        let tags = r#"{"end_user":"mary.ann@x.org","client":"ann@x.org","by":"for ann@x.org"}"#;
        let after = read(Form::Tags, tags, "ann@x.org");
        assert_eq!(after["end_user"], "mary.ann@x.org");
        assert_eq!(after["client"], "erased-1");
        assert_eq!(after["by"], "for ann@x.org");
        let shares = read(
            Form::Shares,
            r#"{"user":{"7":0.5},"client":{"7":0.5}}"#,
            "7",
        );
        assert_eq!(shares["user"]["erased-1"], 0.5);
        assert_eq!(shares["client"]["7"], 0.5);
    }

    #[test]
    fn a_plan_names_the_pseudonym() {
        let plan = r#"{"limits":[{"max":5,"scope":"user","subject":"7"},{"max":7,"scope":"model+user","subject":"[\"m\",\"7\"]"},
                                 {"max":7,"scope":"team","subject":"7"},{"max":7}],
                       "model_rules":[{"scope":"user","subject":"7"},{"scope":"team","subject":"7"}]}"#;
        let after = read(Form::Definition, plan, "7");
        assert_eq!(after["limits"][0]["subject"], "erased-1");
        assert_eq!(after["limits"][1]["scope"], "user+model");
        assert_eq!(after["limits"][1]["subject"], r#"["erased-1","m"]"#);
        assert_eq!(after["limits"][2]["subject"], "7");
        assert_eq!(after["limits"][0]["max"], 5);
        assert_eq!(after["model_rules"][0]["subject"], "erased-1");
        assert_eq!(after["model_rules"][1]["subject"], "7");
    }
}
