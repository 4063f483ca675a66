//! The arguments `scope` and `subject` of a limit.

use crate::args;
use crate::error::{Error, Result, quoted};
use crate::limits::scope::{
    Dimension, EACH, MOST_DIMENSIONS, NotAScope, NotASubject, Scope, Subject,
};

/// Maximum size of the subject of several dimensions, in bytes: that of a single name.
const MAX_SUBJECT_BYTES: usize = args::MAX_NAME * 4;

/// The scope, and the place of each of its dimensions in the argument.
pub fn scope_of(scope: Option<&str>) -> Result<(Scope, Vec<usize>)> {
    let text = args::required("scope", scope)?;
    Scope::parse(text).map_err(|why| not_a_scope(text, why))
}

/// The error 22023 for a text that is no scope.
fn not_a_scope(text: &str, why: NotAScope) -> Error {
    let refused = |why: &str| Error::argument(format!("scope {} {why}", quoted(text)));
    match why {
        NotAScope::Unknown => args::unrecognized("scope", text, Scope::NAMES),
        NotAScope::UnknownPart(part) => {
            Error::argument(format!("unrecognized scope {}", quoted(text)))
                .detail(format!("Its part {} is no dimension.", quoted(part)))
                .hint(format!(
                    "Each part is one of: {}. A + in the name of a tag is written twice.",
                    Dimension::NAMES.join(", ")
                ))
        }
        NotAScope::Wallet => refused("combines the wallet")
            .detail("A limit of the whole wallet has no other dimension.")
            .hint("Leave wallet out of the combination."),
        NotAScope::TagFirst(ordered) => refused("has a tag before another dimension")
            .detail("Tags are the last dimensions of a scope.")
            .hint(format!(
                "Write {}. A + in the name of a tag is written twice.",
                quoted(ordered)
            )),
        NotAScope::Twice(dimension) => refused("has a dimension twice")
            .detail(format!("The dimension is {}.", quoted(dimension)))
            .hint("Name each dimension once."),
        NotAScope::TooMany(count) => refused("has too many dimensions")
            .detail(format!(
                "It has {count} dimensions; at most {MOST_DIMENSIONS} are allowed."
            ))
            .hint("Leave dimensions out, or set several limits."),
    }
}

/// The subject of a limit of that scope, whose dimensions the call names in that order.
pub fn subject_of(scope: &Scope, order: &[usize], subject: Option<&str>) -> Result<Subject> {
    let Scope::Several(dimensions) = scope else {
        let text = args::required("subject", subject)?;
        if *scope == Scope::Wallet && text != EACH {
            return Err(Error::argument("a limit of scope wallet has no subject")
                .detail(format!("The subject is {}.", quoted(text)))
                .hint("Leave subject out, or choose scope user."));
        }
        return Ok(Subject::one(text));
    };
    let Some(text) = subject else {
        return args::required("subject", None).map(Subject::one);
    };
    let wanted = dimensions.len();
    let subject = Subject::parse(scope, order, text).map_err(|why| {
        let detail = match why {
            NotASubject::NotAnArray => "It is no JSON array of strings.".to_owned(),
            NotASubject::Places(1) => format!("It has 1 place, the scope {wanted}."),
            NotASubject::Places(count) => format!("It has {count} places, the scope {wanted}."),
        };
        Error::argument(format!("subject {} does not fit the scope", quoted(text)))
            .detail(detail)
            .hint(format!(
                "Give a JSON array such as {}, in the order of the scope, or * for each combination.",
                example(wanted)
            ))
    })?;
    for place in subject.places() {
        args::required("subject", Some(place))?;
    }
    match subject.as_str().len() {
        0..=MAX_SUBJECT_BYTES => Ok(subject),
        bytes => Err(Error::argument("subject is too long")
            .detail(format!(
                "It has {bytes} bytes as a JSON array; at most {MAX_SUBJECT_BYTES} are allowed."
            ))
            .hint("Use shorter names, or a pattern such as \"gpt-4*\".")),
    }
}

/// A subject with that many places.
fn example(places: usize) -> String {
    let names: Vec<String> = (1..=places)
        .map(|place| format!("\"NAME{place}\""))
        .collect();
    format!("[{}]", names.join(", "))
}
