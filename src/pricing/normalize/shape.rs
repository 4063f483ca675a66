//! The shapes of objects that a mapping reads. Pure.

use std::cell::OnceCell;

use rust_decimal::Decimal;

use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::path::{Object, Path};
use crate::pricing::normalize::raw;

/// Most elements that a list of a mapping may have.
pub const MAX_ITEMS: usize = 256;

/// Parses the paths of a list, in all ways to write each if its dots may be part of a key.
pub fn paths(texts: &[String], dotted: bool) -> Result<Vec<Path>, String> {
    if texts.len() > MAX_ITEMS {
        return Err(format!("a list of paths has more than {MAX_ITEMS}"));
    }
    let mut paths = Vec::with_capacity(texts.len());
    for text in texts {
        let path = Path::parse(text)?;
        if dotted {
            paths.extend(path.dotted());
        } else {
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The value that a condition requires.
enum Is {
    /// Any value.
    Present,
    /// This string, truth value or number.
    Text(Box<str>),
    /// A string with these parts, between any text (`*`).
    Like(Box<[Box<str>]>),
}

impl Is {
    fn holds(&self, json: &Json) -> bool {
        match (self, json) {
            (Is::Present, _) => true,
            (Is::Text(is), Json::String(text)) => **is == **text,
            (Is::Text(is), Json::Bool(value)) => **is == *if *value { "true" } else { "false" },
            (Is::Text(is), Json::Number(number)) => number
                .to_decimal()
                .is_some_and(|number| Decimal::from_str_exact(is) == Ok(number)),
            (Is::Like(parts), Json::String(text)) => is_like(parts, text),
            _ => false,
        }
    }
}

/// Whether a text begins with the first part, ends with the last, and has the others in between.
fn is_like(parts: &[Box<str>], text: &str) -> bool {
    let [first, between @ .., last] = parts else {
        return false;
    };
    let Some(mut rest) = text.strip_prefix(&**first) else {
        return false;
    };
    for part in between {
        match rest.find(&**part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(&**last)
}

/// A condition: a path that leads to a value, or to a certain value.
pub struct Condition {
    path: Vec<Path>,
    is: Is,
    text: Box<str>,
}

impl Condition {
    /// Reads a condition, or says what is wrong with it.
    pub fn parse(text: &str, dotted: bool) -> Result<Condition, String> {
        // An equals sign after the last bracket; one inside brackets selects elements.
        let tail = text.rfind(']').map_or(0, |at| at + 1);
        let (path, is) = match text[tail..].find('=') {
            Some(at) => (&text[..tail + at], Some(&text[tail + at + 1..])),
            None => (text, None),
        };
        Ok(Condition {
            path: paths(&[path.to_owned()], dotted)?,
            is: match is {
                None => Is::Present,
                Some(is) if is.contains('*') => Is::Like(is.split('*').map(Box::from).collect()),
                Some(is) => Is::Text(is.into()),
            },
            text: text.into(),
        })
    }

    /// Parses a list of conditions.
    pub fn parse_all(texts: &[String], dotted: bool) -> Result<Vec<Condition>, String> {
        texts
            .iter()
            .map(|text| Condition::parse(text, dotted))
            .collect()
    }

    /// Whether it holds for a usage object within a whole object.
    pub fn holds(&self, usage: &Object, root: &Object) -> bool {
        self.path.iter().any(|path| {
            let object = if path.is_outside { root } else { usage };
            match &self.is {
                Is::Present => path.is_present(object),
                is => {
                    let mut holds = false;
                    path.each(object, |json| holds |= is.holds(json));
                    holds
                }
            }
        })
    }
}

/// The keys that the path of a condition may begin with, and whether it begins in the whole object.
/// Needed for every condition of every mapping before any is parsed.
pub fn first_keys(condition: &str, dotted: bool) -> (bool, Vec<&str>) {
    let (is_outside, path) = match condition.strip_prefix("$.") {
        Some(path) => (true, path),
        None => (false, condition),
    };
    let end = path.find(['[', '=']).unwrap_or(path.len());
    let path = &path[..end];
    let dots = path.match_indices('.').map(|(at, _)| &path[..at]);
    if dotted {
        return (is_outside, dots.chain(std::iter::once(path)).collect());
    }
    (is_outside, vec![path.split('.').next().unwrap_or(path)])
}

/// Conditions that must all hold, of which one must, and of which none may.
struct Conditions {
    all: Vec<Condition>,
    any: Vec<Condition>,
    none: Vec<Condition>,
}

/// The path of the usage object, and conditions by which it is recognized.
pub struct Shape {
    /// The path of the usage object. `None` if it is the whole object.
    pub at: Option<Path>,
    /// Whether dots in paths may be part of a key.
    pub dotted: bool,
    /// The conditions as JSON.
    pub raw: raw::Shape,
    /// Parsed when an object may first have the shape.
    conditions: OnceCell<Result<Conditions, String>>,
}

impl Shape {
    /// Parses a shape without its conditions, or says what is wrong with it.
    pub fn parse(raw: raw::Shape, dotted: bool) -> Result<Shape, String> {
        let at = match raw.at.as_str() {
            "" => None,
            at => Some(Path::parse(at)?),
        };
        let shape = Shape {
            at,
            dotted,
            raw,
            conditions: OnceCell::new(),
        };
        if shape.raw.all.is_empty() && shape.raw.any.is_empty() {
            return Err("a shape has neither all nor any".to_owned());
        }
        if shape.at.is_none() && shape.telltales().is_empty() {
            return Err(
                "a shape of the whole object asks for nothing but meters: that is the flat form"
                    .to_owned(),
            );
        }
        Ok(shape)
    }

    /// Parses its conditions, or says what is wrong with them.
    pub fn check(&self) -> Result<(), String> {
        self.conditions().map(drop)
    }

    fn conditions(&self) -> Result<&Conditions, String> {
        self.conditions
            .get_or_init(|| {
                Ok(Conditions {
                    all: Condition::parse_all(&self.raw.all, self.dotted)?,
                    any: Condition::parse_all(&self.raw.any, self.dotted)?,
                    none: Condition::parse_all(&self.raw.none, self.dotted)?,
                })
            })
            .as_ref()
            .map_err(String::clone)
    }

    /// The object at a path. `None` if there is none, or if the path leads to several that differ.
    pub fn place<'a>(at: Option<&Path>, root: &'a Object) -> Option<&'a Object> {
        let Some(at) = at else {
            return Some(root);
        };
        let (mut found, mut is_one) = (None, true);
        at.each(root, |json| match (found, json.as_object()) {
            (None, object) => found = object,
            (Some(first), Some(object)) => is_one &= first == object,
            (Some(_), None) => {}
        });
        found.filter(|_| is_one)
    }

    /// Whether the whole object has this shape, with this usage object.
    pub fn fits(&self, usage: &Object, root: &Object) -> Result<bool, String> {
        let Conditions { all, any, none } = self.conditions()?;
        let holds = |condition: &Condition| condition.holds(usage, root);
        Ok(all.iter().all(holds)
            && (any.is_empty() || any.iter().any(holds))
            && !none.iter().any(holds))
    }

    /// For an object that has the shape in part: the number of conditions that fail, and the reason
    /// for people.
    pub fn near_miss(&self, usage: &Object, root: &Object) -> Option<(usize, String)> {
        let Conditions { all, any, none } = self.conditions().ok()?;
        let holds = |condition: &&Condition| condition.holds(usage, root);
        let has_some = all.iter().any(|one| holds(&one)) || any.iter().any(|one| holds(&one));
        if !has_some {
            return None;
        }
        let names = |conditions: &mut dyn Iterator<Item = &Condition>, between: &str| {
            let names: Vec<String> = conditions
                .map(|condition| crate::error::quoted(&condition.text))
                .collect();
            names.join(between)
        };
        let missing = names(&mut all.iter().filter(|one| !holds(one)), " and ");
        if !missing.is_empty() {
            let count = all.iter().filter(|one| !holds(one)).count();
            return Some((count, format!("lacks {missing}")));
        }
        if !any.is_empty() && !any.iter().any(|one| holds(&one)) {
            let any = names(&mut any.iter(), " or ");
            return Some((1, format!("lacks {any}")));
        }
        let odd = names(&mut none.iter().filter(|one| holds(one)), " and ");
        (!odd.is_empty()).then(|| (1, format!("should not have {odd}")))
    }

    /// Keys of the whole object without which it cannot have this shape. A meter is none: the
    /// flat form has it too.
    pub fn telltales(&self) -> Vec<&str> {
        if let Some(at) = &self.at {
            return vec![at.first_key()];
        }
        let conditions = self.raw.all.iter().chain(&self.raw.any);
        let keys = conditions.flat_map(|condition| first_keys(condition, self.dotted).1);
        keys.filter(|key| !is_known_meter(key)).collect()
    }
}
