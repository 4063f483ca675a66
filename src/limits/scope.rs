//! Scopes and subjects of limits: which spending a limit applies to, whose window counts it, and
//! which subject overrides which. Pure.

use std::borrow::Cow;
use std::fmt::{Display, Formatter};

use crate::error::quoted;
use crate::pattern::matches;

/// A property of a request that limits tell apart. The order is that of their names in a scope.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dimension {
    /// The user to whom the spending is attributed.
    User,
    /// The team to which the spending is attributed.
    Team,
    /// The API key.
    Key,
    /// The model.
    Model,
    /// The service.
    Service,
    /// A tag, with the tag's name.
    Tag(String),
}

impl Dimension {
    /// Names of the dimensions in SQL. The name of a tag follows `tag:`.
    pub const NAMES: &'static [&'static str] =
        &["user", "team", "key", "model", "service", "tag:NAME"];

    /// The kind of dimension, and the name of the tag; empty if it is no tag.
    pub fn parts(&self) -> (&'static str, &str) {
        match self {
            Dimension::User => ("user", ""),
            Dimension::Team => ("team", ""),
            Dimension::Key => ("key", ""),
            Dimension::Model => ("model", ""),
            Dimension::Service => ("service", ""),
            Dimension::Tag(name) => ("tag", name),
        }
    }

    /// The dimension's name in a scope, in which `+` divides.
    fn as_str(&self) -> Cow<'static, str> {
        match self.parts() {
            (kind, "") => Cow::Borrowed(kind),
            (kind, name) => Cow::Owned(format!("{kind}:{}", name.replace('+', "++"))),
        }
    }

    /// The dimension with that name; `None` if the name is unknown.
    fn parse(text: &str) -> Option<Dimension> {
        Some(match text {
            "user" => Dimension::User,
            "team" => Dimension::Team,
            "key" => Dimension::Key,
            "model" => Dimension::Model,
            "service" => Dimension::Service,
            _ => match text.strip_prefix("tag:") {
                Some(name) if !name.is_empty() => Dimension::Tag(name.to_owned()),
                _ => return None,
            },
        })
    }

    /// True if a name or a pattern covers a value.
    fn covers(&self, named: &str, value: &str) -> bool {
        named == value || *self != Dimension::Key && matches(named, value)
    }

    /// The value for messages, such as `user "alice"`.
    fn describe(&self, value: &str) -> String {
        match self.parts() {
            (kind, "") => format!("{kind} {}", quoted(value)),
            (kind, name) => format!("{kind} {} {}", quoted(name), quoted(value)),
        }
    }
}

/// The kind of subject to which a limit applies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All spending of the wallet.
    Wallet,
    /// Spending by one dimension.
    One(Dimension),
    /// Spending by two or three dimensions, in ascending order.
    Several(Vec<Dimension>),
}

/// Why a text is no scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotAScope {
    /// It is no name of a scope.
    Unknown,
    /// A part of it is no name of a dimension.
    UnknownPart(String),
    /// The whole wallet is combined with a dimension.
    Wallet,
    /// A tag comes before another dimension. Contains the scope with the tags at its end.
    TagFirst(String),
    /// It has a dimension twice.
    Twice(String),
    /// It has that many dimensions.
    TooMany(usize),
}

/// The largest number of dimensions of a limit.
pub const MOST_DIMENSIONS: usize = 3;

impl Scope {
    /// Names of the scopes in SQL. The name of a tag follows `tag:`.
    pub const NAMES: &'static [&'static str] = &[
        "wallet", "user", "team", "model", "service", "key", "tag:NAME",
    ];

    /// The dimensions, ascending. Those of the whole wallet are none.
    pub fn dimensions(&self) -> &[Dimension] {
        match self {
            Scope::Wallet => &[],
            Scope::One(dimension) => std::slice::from_ref(dimension),
            Scope::Several(dimensions) => dimensions,
        }
    }

    /// The scope's name in SQL.
    pub fn as_str(&self) -> Cow<'static, str> {
        match self {
            Scope::Wallet => Cow::Borrowed("wallet"),
            Scope::One(dimension) => dimension.as_str(),
            Scope::Several(dimensions) => Cow::Owned(joined(dimensions)),
        }
    }

    /// The scope with that name in SQL. The dimensions may be in any order, with tags at the end.
    /// The second result says where each dimension of the scope is in the text, if it has several.
    pub fn parse(text: &str) -> Result<(Scope, Vec<usize>), NotAScope> {
        if !text.contains('+') {
            let scope = match text {
                "wallet" => Scope::Wallet,
                _ => Scope::One(Dimension::parse(text).ok_or(NotAScope::Unknown)?),
            };
            return Ok((scope, Vec::new()));
        }
        let parts = divide(text);
        if parts.iter().any(|part| part == "wallet") {
            return Err(NotAScope::Wallet);
        }
        let of_part = |(place, part): (usize, &String)| match Dimension::parse(part) {
            Some(dimension) => Ok((dimension, place)),
            None => Err(NotAScope::UnknownPart(part.clone())),
        };
        let placed: Result<Vec<_>, _> = parts.iter().enumerate().map(of_part).collect();
        let mut placed = placed?;
        let is_tag = |(dimension, _): &(Dimension, usize)| matches!(dimension, Dimension::Tag(_));
        let has_tag_first = !placed.is_sorted_by_key(is_tag);
        placed.sort();
        let (dimensions, order): (Vec<Dimension>, Vec<usize>) = placed.into_iter().unzip();
        if has_tag_first {
            return Err(NotAScope::TagFirst(joined(&dimensions)));
        }
        if let Some(pair) = dimensions.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(NotAScope::Twice(pair[0].as_str().into_owned()));
        }
        match dimensions.as_slice() {
            [one] => Ok((Scope::One(one.clone()), order)),
            all if all.len() > MOST_DIMENSIONS => Err(NotAScope::TooMany(all.len())),
            _ => Ok((Scope::Several(dimensions), order)),
        }
    }

    /// The owner of a window for messages, such as `user "alice" and model "gpt-4o"`. Empty for the
    /// whole wallet.
    pub fn describe(&self, subject: &str) -> String {
        let places = match self {
            Scope::Several(_) => read_array(subject).unwrap_or_default(),
            _ => vec![subject.to_owned()],
        };
        let pairs = self.dimensions().iter().zip(&places);
        let all: Vec<String> = pairs.map(|(of, value)| of.describe(value)).collect();
        match all.split_last() {
            None => String::new(),
            Some((last, [])) => last.clone(),
            Some((last, others)) => format!("{} and {last}", others.join(", ")),
        }
    }
}

fn joined(dimensions: &[Dimension]) -> String {
    let names: Vec<Cow<'static, str>> = dimensions.iter().map(Dimension::as_str).collect();
    names.join("+")
}

/// The parts between single `+`. Two of them are one `+` in a part.
fn divide(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        let divides = character == '+' && characters.next_if_eq(&'+').is_none();
        match parts.last_mut() {
            Some(part) if !divides => part.push(character),
            _ => parts.push(String::new()),
        }
    }
    parts
}

/// The subject that means each one separately, and the subject of the whole wallet.
pub const EACH: &str = "*";

/// The subject of a limit: a name, a pattern or `*` for each dimension of the limit's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    text: String,
    /// The places of a scope of several dimensions. Empty for other scopes: the text is the place.
    places: Vec<String>,
    /// The places that are `*`, one bit for each.
    each: u8,
}

/// Why a text is no subject of several dimensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotASubject {
    /// It is neither `*` nor a JSON array of strings.
    NotAnArray,
    /// The array has that many places.
    Places(usize),
}

impl Subject {
    /// The subject of a limit of one dimension, or of the whole wallet.
    pub fn one(text: impl Into<String>) -> Subject {
        Subject::of(text.into(), Vec::new())
    }

    /// The subject of a scope that [`Scope::parse`] returned with `order`.
    pub fn parse(scope: &Scope, order: &[usize], text: &str) -> Result<Subject, NotASubject> {
        let Scope::Several(dimensions) = scope else {
            return Ok(Subject::one(text));
        };
        let given = match text {
            EACH => vec![EACH.to_owned(); dimensions.len()],
            _ => read_array(text).ok_or(NotASubject::NotAnArray)?,
        };
        if given.len() != dimensions.len() {
            return Err(NotASubject::Places(given.len()));
        }
        let places: Vec<String> = order
            .iter()
            .filter_map(|place| given.get(*place).cloned())
            .collect();
        Ok(Subject::of(array(&places), places))
    }

    /// The subject as it is stored with its scope; `None` if it does not fit the scope.
    pub fn stored(scope: &Scope, text: String) -> Option<Subject> {
        let places = match scope {
            Scope::Several(dimensions) => {
                read_array(&text).filter(|places| places.len() == dimensions.len())?
            }
            _ => Vec::new(),
        };
        Some(Subject::of(text, places))
    }

    /// The subject with these places, in the order of the scope's dimensions.
    pub fn joined(scope: &Scope, places: Vec<String>) -> Subject {
        match scope {
            Scope::Several(_) => Subject::of(array(&places), places),
            _ => Subject::one(places.into_iter().next().unwrap_or_default()),
        }
    }

    fn of(text: String, places: Vec<String>) -> Subject {
        let mut subject = Subject {
            text,
            places,
            each: 0,
        };
        let bits = subject.places().iter().enumerate();
        subject.each = bits.fold(0, |each, (place, named)| {
            each | u8::from(named == EACH) << place
        });
        subject
    }

    /// The subject in SQL: the text itself, or a JSON array with a string for each dimension.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name, the pattern or `*` for each dimension.
    pub fn places(&self) -> &[String] {
        match self.places.as_slice() {
            [] => std::slice::from_ref(&self.text),
            places => places,
        }
    }

    /// True if a place is `*`.
    pub fn has_each(&self) -> bool {
        self.each != 0
    }

    /// True if a place is named here, and `*` in the other subject.
    pub fn names_more(&self, other: &Subject) -> bool {
        other.each & !self.each != 0
    }

    /// The subject whose window counts a request; `None` if the limit does not apply to it. `value`
    /// is the request's value of a dimension. All values that match a pattern share one window.
    /// With `*`, each value has its own window.
    pub fn counted_for<'v>(
        &self,
        scope: &Scope,
        value: impl Fn(usize, &Dimension) -> Option<Cow<'v, str>>,
    ) -> Option<String> {
        let counted = |place: usize, of: &Dimension, named: &str| {
            let value = value(place, of)?;
            match self.each >> place & 1 == 1 {
                true => Some(value.into_owned()),
                false => of.covers(named, &value).then(|| named.to_owned()),
            }
        };
        match scope {
            Scope::Wallet => Some(self.text.clone()),
            Scope::One(dimension) => counted(0, dimension, &self.text),
            Scope::Several(dimensions) => {
                let pairs = dimensions.iter().zip(&self.places).enumerate();
                let places: Option<Vec<String>> = pairs
                    .map(|(place, (of, named))| counted(place, of, named))
                    .collect();
                Some(array(&places?))
            }
        }
    }

    /// True if the limit applies to a request.
    pub fn applies_to<'v>(
        &self,
        scope: &Scope,
        value: impl Fn(&Dimension) -> Option<Cow<'v, str>>,
    ) -> bool {
        let mut pairs = scope.dimensions().iter().zip(self.places());
        pairs.all(|(of, named)| {
            value(of).is_some_and(|value| named == EACH || of.covers(named, &value))
        })
    }

    /// True if a limit on this subject replaces one on `other`, for requests to which this subject
    /// applies. This subject names a place that is `*` in the other one, and every place that the
    /// other one names, with the same text or with one that the other's pattern covers.
    pub fn overrides(&self, scope: &Scope, other: &Subject) -> bool {
        let places = self.places().iter().zip(other.places());
        let mut pairs = scope.dimensions().iter().zip(places);
        self.names_more(other)
            && pairs.all(|(of, (mine, theirs))| {
                theirs == EACH || mine != EACH && of.covers(theirs, mine)
            })
    }
}

impl Display for Subject {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// A JSON array of strings, without blanks.
fn array(places: &[String]) -> String {
    let mut text = String::from("[");
    for place in places {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(place.as_str()).to_string());
    }
    text.push(']');
    text
}

/// The strings of a JSON array; `None` if the text is no array of strings that SQL can store.
fn read_array(text: &str) -> Option<Vec<String>> {
    let places: Vec<String> = serde_json::from_str(text).ok()?;
    (!places.iter().any(|place| place.contains('\0'))).then_some(places)
}

#[cfg(test)]
mod tests;
