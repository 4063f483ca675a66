//! Walks over the numbers of a usage object, with the path of each. Pure.

use std::collections::HashSet;

use crate::pg::jsonb::Json;
use crate::pg::numeric::Number;
use crate::pricing::normalize::path::{Object, Path};
use crate::pricing::usage::Unread;

/// Most unread numbers that are listed per usage object.
const MAX_UNREAD: usize = 256;

/// Whether a number is zero, with any number of digits.
pub fn is_zero(number: &Number) -> bool {
    matches!(number, Number::Finite { digits, .. } if digits.iter().all(|digit| *digit == 0))
}

/// A step of the path to a number.
#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Element,
}

/// A number that the walk visits.
pub struct Leaf<'a, 'w> {
    /// The number as JSON, whose address identifies it.
    pub json: &'a Json,
    /// The number itself.
    pub number: &'a Number,
    /// The objects and arrays that contain it, the outermost first.
    pub within: &'w [&'a Json],
    steps: &'w [Step<'a>],
    at: Option<&'w Path>,
}

impl Leaf<'_, '_> {
    /// Its path in the whole object, for people.
    pub fn path(&self) -> String {
        let mut out = self.at.map_or(String::new(), Path::inside);
        for step in self.steps {
            match step {
                Step::Key(key) => {
                    if !out.is_empty() {
                        out.push('.');
                    }
                    out.push_str(key);
                }
                Step::Element => out.push_str("[*]"),
            }
        }
        out
    }

    /// Its path as an SQL/JSON path.
    fn jsonpath(&self) -> String {
        let mut out = String::from("$");
        let key = |key: &str, out: &mut String| {
            out.push('.');
            out.push_str(&serde_json::Value::from(key).to_string());
        };
        for name in self.at.into_iter().flat_map(Path::keys) {
            match name {
                Some(name) => key(name, &mut out),
                None => out.push_str("[*]"),
            }
        }
        for step in self.steps {
            match step {
                Step::Key(name) => key(name, &mut out),
                Step::Element => out.push_str("[*]"),
            }
        }
        out
    }
}

pub struct Walk<'a, 'p> {
    usage: &'a Object,
    at: Option<&'p Path>,
}

impl<'a, 'p> Walk<'a, 'p> {
    /// Walks over an object, whose path in the whole object is `at`.
    pub fn new(usage: &'a Object, at: Option<&'p Path>) -> Walk<'a, 'p> {
        Walk { usage, at }
    }

    /// Visits every number, until the visitor returns false.
    pub fn each(&self, visitor: &mut dyn FnMut(&Leaf<'a, '_>) -> bool) {
        let (mut steps, mut within) = (Vec::new(), Vec::new());
        self.object(self.usage, &mut steps, &mut within, visitor);
    }

    fn object(
        &self,
        object: &'a Object,
        steps: &mut Vec<Step<'a>>,
        within: &mut Vec<&'a Json>,
        visitor: &mut dyn FnMut(&Leaf<'a, '_>) -> bool,
    ) -> bool {
        for (key, json) in object {
            steps.push(Step::Key(key));
            let goes_on = self.value(json, steps, within, visitor);
            steps.pop();
            if !goes_on {
                return false;
            }
        }
        true
    }

    fn value(
        &self,
        json: &'a Json,
        steps: &mut Vec<Step<'a>>,
        within: &mut Vec<&'a Json>,
        visitor: &mut dyn FnMut(&Leaf<'a, '_>) -> bool,
    ) -> bool {
        match json {
            Json::Number(number) => visitor(&Leaf {
                json,
                number,
                within,
                steps,
                at: self.at,
            }),
            Json::Object(object) => {
                within.push(json);
                let goes_on = self.object(object, steps, within, visitor);
                within.pop();
                goes_on
            }
            Json::Array(items) => {
                within.push(json);
                steps.push(Step::Element);
                let goes_on = items
                    .iter()
                    .all(|item| self.value(item, steps, within, visitor));
                steps.pop();
                within.pop();
                goes_on
            }
            _ => true,
        }
    }

    /// Whether `seen` has every number other than zero.
    pub fn all_in(&self, seen: &[&Json]) -> bool {
        all_in(self.usage, seen)
    }

    /// Numbers other than zero that are neither in `seen` nor in or inside of `covered`. Each path
    /// is listed once.
    pub fn unread(&self, seen: &[&Json], covered: &[&Json]) -> Vec<Unread> {
        let (mut unread, mut known) = (Vec::new(), HashSet::new());
        self.each(&mut |leaf| {
            let is_one_of =
                |all: &[&Json], json: &Json| all.iter().any(|one| std::ptr::eq(*one, json));
            if is_zero(leaf.number)
                || is_one_of(seen, leaf.json)
                || is_one_of(covered, leaf.json)
                || leaf.within.iter().any(|json| is_one_of(covered, json))
            {
                return true;
            }
            let path = leaf.path();
            if known.insert(path.clone()) {
                unread.push(Unread {
                    path,
                    jsonpath: leaf.jsonpath(),
                    value: text_of(leaf.number),
                });
            }
            unread.len() < MAX_UNREAD
        });
        unread
    }
}

/// The number as text. A number with more digits than a quantity may have is cut.
pub fn text_of(number: &Number) -> String {
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
    // The power of ten of the first significant digit.
    let exponent = 4 * (i64::from(*weight) + 1) - 1 - leading as i64;
    let (first, rest) = significant.split_at(significant.len().min(1));
    let rest = rest[..rest.len().min(SHOWN - 1)].trim_end_matches('0');
    let sign = if *negative { "-" } else { "" };
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{first}{point}{rest}e{exponent}")
}

fn all_in(object: &Object, seen: &[&Json]) -> bool {
    object.iter().all(|(_, json)| value_in(json, seen))
}

fn value_in(json: &Json, seen: &[&Json]) -> bool {
    match json {
        Json::Number(number) => seen.iter().any(|one| std::ptr::eq(*one, json)) || is_zero(number),
        Json::Object(object) => all_in(object, seen),
        Json::Array(items) => items.iter().all(|item| value_in(item, seen)),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_numbers_are_cut() {
        let text = |digits: &[u16], weight| {
            text_of(&Number::Finite {
                negative: false,
                weight,
                digits: digits.to_vec(),
            })
        };
        assert_eq!(text(&[1], 100), "1e400");
        assert_eq!(text(&[12, 3400], 25), "1.234e101");
        assert_eq!(text(&[1], -100), "1e-400");
        assert_eq!(text(&[1234; 20], 19), "1.2341234123412341e79");
        assert_eq!(text(&[1, 0], 1), "10000");
    }
}
