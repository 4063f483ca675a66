//! Paths into a JSON object: how a mapping says where a number stands. Pure.
//!
//! `a.b` is a key inside an object, `a[k=v].b` looks into those elements of an array whose key `k`
//! is the string `v`, and `a[*]` counts the elements of an array.

use std::fmt;

use crate::storage::jsonb::Json;

/// The entries of an object.
pub type Object = [(String, Json)];

/// Longest path, in bytes.
const MAX_PATH: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Box<str>),
    Where(Box<str>, Box<str>),
    Count,
}

/// A path, and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: Box<str>,
    steps: Vec<Step>,
}

/// What a path leads to.
pub enum Value<'a> {
    /// A value that stands there; never `null`.
    Json(&'a Json),
    /// The number of elements of an array.
    Count(usize),
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Path {
    /// Reads a path, or says what is wrong with it.
    pub fn parse(text: &str) -> Result<Path, String> {
        if text.len() > MAX_PATH {
            return Err(format!("a path has more than {MAX_PATH} bytes"));
        }
        let wrong = |what: &str| format!("path \"{text}\" {what}");
        let mut steps = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, mut after) = rest.split_at(end);
            if key.is_empty() {
                return Err(wrong("has an empty key"));
            }
            steps.push(Step::Key(key.into()));
            while let Some(bracket) = after.strip_prefix('[') {
                let Some((inside, behind)) = bracket.split_once(']') else {
                    return Err(wrong("has a bracket that is not closed"));
                };
                steps.push(match inside.split_once('=') {
                    _ if inside == "*" => Step::Count,
                    Some((key, value)) if !key.is_empty() => Step::Where(key.into(), value.into()),
                    _ => return Err(wrong("has brackets with neither * nor key=value")),
                });
                after = behind;
            }
            rest = match after.strip_prefix('.') {
                Some("") => return Err(wrong("ends with a dot")),
                Some(next) => next,
                None if after.is_empty() => after,
                None => return Err(wrong("has no dot after a bracket")),
            };
        }
        match steps.iter().position(|step| *step == Step::Count) {
            Some(at) if at + 1 < steps.len() => Err(wrong("goes on after [*]")),
            _ if steps.is_empty() => Err("a path is empty".to_owned()),
            _ => Ok(Path {
                text: text.into(),
                steps,
            }),
        }
    }

    /// All ways to write a path of keys when any of its dots may be part of a key: attributes
    /// come as `{"a.b.c": 1}` and as `{"a": {"b": {"c": 1}}}`.
    pub fn dotted(self) -> Vec<Path> {
        let keys: Vec<&str> = self
            .steps
            .iter()
            .map_while(|step| match step {
                Step::Key(key) => Some(&**key),
                _ => None,
            })
            .collect();
        if keys.len() < self.steps.len() || keys.len() > 6 {
            return vec![self];
        }
        // Bit n says whether the dot after key n joins.
        (0..1_u32 << (keys.len() - 1))
            .rev()
            .map(|joins| {
                let mut steps = vec![keys[0].to_owned()];
                for (dot, key) in keys[1..].iter().enumerate() {
                    match steps.last_mut() {
                        Some(last) if joins & 1 << dot != 0 => {
                            last.push('.');
                            last.push_str(key);
                        }
                        _ => steps.push((*key).to_owned()),
                    }
                }
                Path {
                    text: self.text.clone(),
                    steps: steps.into_iter().map(|key| Step::Key(key.into())).collect(),
                }
            })
            .collect()
    }

    /// The key of the outermost object that the path begins with.
    pub fn first_key(&self) -> &str {
        match self.steps.first() {
            Some(Step::Key(key)) => key,
            _ => "",
        }
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, object: &'a Object) -> Option<&'a Json> {
        let mut found = None;
        visit(&self.steps, object, &mut |value| {
            if let (None, Value::Json(json)) = (found, value) {
                found = Some(json);
            }
        });
        found
    }

    /// Every value that the path leads to.
    pub fn each<'a>(&self, object: &'a Object, mut visitor: impl FnMut(Value<'a>)) {
        visit(&self.steps, object, &mut visitor);
    }

    /// True when the path leads anywhere.
    pub fn is_present(&self, object: &Object) -> bool {
        let mut present = false;
        self.each(object, |_| present = true);
        present
    }
}

/// The member of an object.
pub fn member<'a>(object: &'a Object, key: &str) -> Option<&'a Json> {
    object
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
}

fn visit<'a>(steps: &[Step], object: &'a Object, visitor: &mut dyn FnMut(Value<'a>)) {
    if let Some((Step::Key(key), rest)) = steps.split_first()
        && let Some(json) = member(object, key)
    {
        descend(rest, json, visitor);
    }
}

fn descend<'a>(steps: &[Step], json: &'a Json, visitor: &mut dyn FnMut(Value<'a>)) {
    match (steps.split_first(), json) {
        (None, Json::Null) => {}
        (None, json) => visitor(Value::Json(json)),
        (Some((Step::Key(_), _)), Json::Object(object)) => visit(steps, object, visitor),
        (Some((Step::Where(key, value), rest)), Json::Array(items)) => {
            for item in items {
                if let Json::Object(object) = item
                    && matches!(member(object, key), Some(Json::String(text)) if **text == **value)
                {
                    descend(rest, item, visitor);
                }
            }
        }
        (Some((Step::Count, _)), Json::Array(items)) => visitor(Value::Count(items.len())),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::object;
    use super::*;

    fn first(path: &str, json: &str) -> Option<String> {
        let mut out = String::new();
        Path::parse(path)
            .unwrap()
            .first(&object(json))?
            .write_canonical(&mut out);
        Some(out)
    }

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        let json =
            r#"{"a": {"b": "x"}, "n": null, "l": [{"k": "A", "v": "1"}, 7, {"k": "B", "v": "2"}]}"#;
        assert_eq!(first("a.b", json).as_deref(), Some("1\"x"));
        assert_eq!(first("l[k=B].v", json).as_deref(), Some("1\"2"));
        for nowhere in ["a.c", "n", "n.x", "a.b.c", "l.k", "l[k=C].v", "a[k=A]"] {
            assert_eq!(first(nowhere, json), None, "{nowhere}");
        }
        let mut count = 0;
        Path::parse("l[*]").unwrap().each(&object(json), |value| {
            if let Value::Count(elements) = value {
                count += elements;
            }
        });
        assert_eq!(count, 3);
    }

    #[test]
    fn what_is_no_path_says_why() {
        for (text, why) in [
            ("", "empty"),
            (".a", "empty key"),
            ("a..b", "empty key"),
            ("a.", "ends with a dot"),
            ("a[k=v", "not closed"),
            ("a[k]", "neither"),
            ("a[=v]", "neither"),
            ("a[*].b", "goes on"),
            ("a[*]b", "no dot"),
            ("[k=v]", "empty key"),
        ] {
            let said = Path::parse(text).unwrap_err();
            assert!(said.contains(why), "{text}: {said}");
        }
        assert!(Path::parse(&"a".repeat(256)).is_err());
    }

    #[test]
    fn dots_may_be_part_of_a_key() {
        let paths = Path::parse("a.b.c").unwrap().dotted();
        for json in [
            r#"{"a.b.c": "x"}"#,
            r#"{"a.b": {"c": "x"}}"#,
            r#"{"a": {"b.c": "x"}}"#,
            r#"{"a": {"b": {"c": "x"}}}"#,
        ] {
            let object = object(json);
            let found = paths.iter().filter(|path| path.is_present(&object));
            assert_eq!(found.count(), 1, "{json}");
        }
    }
}
