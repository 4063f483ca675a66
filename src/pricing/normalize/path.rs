//! Paths into a JSON object, by which a mapping says where a number is. Pure.
//!
//! `a.b` is a key inside an object, `a[*]` every element of an array, `a[k=v]` and `a[k!=v]` the
//! elements whose `k` is, or is not, the string `v`. A path that ends in brackets counts: `a[*]`
//! and `a[k=v]` count elements, `a[distinct]` counts different values, and `a[any]` is 1 if there
//! is a value that is not empty. `$.a` begins in the whole object instead of the usage object.

use std::fmt;

use crate::pg::jsonb::Json;

/// The entries of an object.
pub type Object = [(String, Json)];

/// Longest path, in bytes.
const MAX_PATH: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(Box<str>),
    AnyKey,
    Each,
    Where {
        keys: Box<[Box<str>]>,
        value: Box<str>,
        is: bool,
    },
}

/// How a path counts the values that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tally {
    /// The number of values.
    Elements,
    /// The number of different values.
    Distinct,
    /// 1 if any value is not empty, otherwise 0.
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    text: Box<str>,
    steps: Vec<Step>,
    /// Whether it begins in the whole object instead of the usage object.
    pub is_outside: bool,
    /// How it counts. `None` if it leads to the number itself.
    pub tally: Option<Tally>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A condition on the elements of an array: `k=v` or `k!=v`.
fn filter(inside: &str) -> Option<Step> {
    let (key, value) = inside.split_once('=')?;
    let (key, is) = match key.strip_suffix('!') {
        Some(key) => (key, false),
        None => (key, true),
    };
    let keys: Box<[Box<str>]> = key.split('.').map(Box::from).collect();
    // Patterns are for conditions on strings alone.
    let is_plain = !value.contains('*') && keys.iter().all(|key| !key.is_empty());
    is_plain.then(|| Step::Where {
        keys,
        value: value.into(),
        is,
    })
}

impl Path {
    /// Parses a path. The error is the end of a message for people. A count such as `[distinct]`
    /// must be the end of the path, because a number has no members. The brackets of the last key
    /// decide how a path counts, so `tally` starts empty at each key.
    pub fn parse(text: &str) -> Result<Path, String> {
        if text.len() > MAX_PATH {
            return Err(format!("a path has more than {MAX_PATH} bytes"));
        }
        let wrong = |what: &str| format!("path \"{text}\" {what}");
        let (is_outside, mut rest) = match text.strip_prefix("$.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        if rest.is_empty() {
            return Err("a path is empty".to_owned());
        }
        let (mut steps, mut tally) = (Vec::new(), None);
        while !rest.is_empty() {
            let end = rest.find(['.', '[']).unwrap_or(rest.len());
            let (key, mut after) = rest.split_at(end);
            match key {
                "" => return Err(wrong("has an empty key")),
                "*" => steps.push(Step::AnyKey),
                key => steps.push(Step::Key(key.into())),
            }
            tally = None;
            while let Some(bracket) = after.strip_prefix('[') {
                let Some((inside, behind)) = bracket.split_once(']') else {
                    return Err(wrong("has a bracket that is not closed"));
                };
                if matches!(tally, Some(Tally::Distinct | Tally::Any)) {
                    return Err(wrong("goes on after it has counted"));
                }
                let (step, counts) = match inside {
                    "*" => (Some(Step::Each), Tally::Elements),
                    "distinct" => (None, Tally::Distinct),
                    "any" => (None, Tally::Any),
                    _ => match filter(inside) {
                        Some(step) => (Some(step), Tally::Elements),
                        None => {
                            return Err(wrong(
                                "has brackets with neither *, distinct, any nor key=value",
                            ));
                        }
                    },
                };
                steps.extend(step);
                tally = Some(counts);
                after = behind;
            }
            rest = match after.strip_prefix('.') {
                Some("") => return Err(wrong("ends with a dot")),
                Some(_) if matches!(tally, Some(Tally::Distinct | Tally::Any)) => {
                    return Err(wrong("goes on after it has counted"));
                }
                Some(next) => next,
                None if after.is_empty() => after,
                None => return Err(wrong("has no dot after a bracket")),
            };
        }
        Ok(Path {
            text: text.into(),
            steps,
            is_outside,
            tally,
        })
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
                    is_outside: self.is_outside,
                    tally: self.tally,
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

    /// Its text, without the leading `$.`.
    pub fn inside(&self) -> String {
        self.text.trim_start_matches("$.").to_owned()
    }

    /// Its keys, with `None` for a step to the elements of an array or to any key.
    pub fn keys(&self) -> impl Iterator<Item = Option<&str>> {
        self.steps.iter().map(|step| match step {
            Step::Key(key) => Some(&**key),
            Step::AnyKey | Step::Each | Step::Where { .. } => None,
        })
    }

    /// The place it leads to: keys, and `[*]` for elements, without the conditions that select
    /// them.
    pub fn place(&self) -> String {
        let mut place = String::with_capacity(self.text.len());
        for key in self.keys() {
            match key {
                Some(key) => {
                    if !place.is_empty() {
                        place.push('.');
                    }
                    place.push_str(key);
                }
                None => place.push_str("[*]"),
            }
        }
        place
    }

    /// The first value that the path leads to.
    pub fn first<'a>(&self, object: &'a Object) -> Option<&'a Json> {
        let mut found = None;
        self.each(object, |json| found = found.or(Some(json)));
        found
    }

    /// Every value that the path leads to, `null` left out.
    pub fn each<'a>(&self, object: &'a Object, mut visitor: impl FnMut(&'a Json)) {
        visit(&self.steps, object, &mut visitor);
    }

    /// The count of a path that counts.
    pub fn count(&self, object: &Object, tally: Tally) -> usize {
        let is_something = |json: &&Json| match json {
            Json::Null => false,
            Json::String(text) => !text.is_empty(),
            Json::Array(items) => !items.is_empty(),
            Json::Object(entries) => !entries.is_empty(),
            Json::Bool(_) | Json::Number(_) => true,
        };
        let mut all: Vec<&Json> = Vec::new();
        self.each(object, |json| match (tally, json) {
            (Tally::Elements, _) => all.push(json),
            // An array stands for its elements.
            (_, Json::Array(items)) => all.extend(items.iter().filter(is_something)),
            _ => all.extend(Some(json).filter(is_something)),
        });
        match tally {
            Tally::Elements => all.len(),
            Tally::Any => usize::from(!all.is_empty()),
            Tally::Distinct => {
                let mut seen = std::collections::HashSet::new();
                let mut text = String::new();
                for json in all {
                    text.clear();
                    json.write_canonical(&mut text);
                    if !seen.contains(&text) {
                        seen.insert(text.clone());
                    }
                }
                seen.len()
            }
        }
    }

    /// Whether the path leads to a value. For brackets at its end, the array is enough.
    pub fn is_present(&self, object: &Object) -> bool {
        let steps = match self.steps.split_last() {
            Some((Step::Each, array)) => array,
            _ => &self.steps,
        };
        let mut present = false;
        visit(steps, object, &mut |_| present = true);
        present
    }
}

/// The value of a key of an object.
pub fn member<'a>(object: &'a Object, key: &str) -> Option<&'a Json> {
    object
        .iter()
        .find(|(name, _)| name == key)
        .map(|(_, value)| value)
}

fn visit<'a>(steps: &[Step], object: &'a Object, visitor: &mut dyn FnMut(&'a Json)) {
    match steps.split_first() {
        Some((Step::Key(key), rest)) => {
            if let Some(json) = member(object, key) {
                descend(rest, json, visitor);
            }
        }
        Some((Step::AnyKey, rest)) => {
            for (_, json) in object {
                descend(rest, json, visitor);
            }
        }
        _ => {}
    }
}

fn descend<'a>(steps: &[Step], json: &'a Json, visitor: &mut dyn FnMut(&'a Json)) {
    match (steps.split_first(), json) {
        (None, Json::Null) => {}
        (None, json) => visitor(json),
        (Some((Step::Key(_) | Step::AnyKey, _)), Json::Object(object)) => {
            visit(steps, object, visitor);
        }
        (Some((Step::Each, rest)), Json::Array(items)) => {
            for item in items {
                descend(rest, item, visitor);
            }
        }
        (Some((Step::Where { .. }, _)), Json::Array(items)) => {
            for item in items {
                select(steps, item, visitor);
            }
        }
        _ => {}
    }
}

/// Continues with an element that meets all conditions in a row.
fn select<'a>(steps: &[Step], item: &'a Json, visitor: &mut dyn FnMut(&'a Json)) {
    match steps.split_first() {
        Some((Step::Where { keys, value, is }, rest)) => {
            let mut found = Some(item);
            for key in keys {
                found = match found {
                    Some(Json::Object(object)) => member(object, key),
                    _ => None,
                };
            }
            let same = matches!(found, Some(Json::String(text)) if **text == **value);
            if same == *is && matches!(item, Json::Object(_)) {
                select(rest, item, visitor);
            }
        }
        _ => descend(steps, item, visitor),
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

    fn count(path: &str, json: &str) -> usize {
        let path = Path::parse(path).unwrap();
        path.count(&object(json), path.tally.unwrap())
    }

    #[test]
    fn paths_lead_through_objects_and_arrays() {
        let json =
            r#"{"a": {"b": "x"}, "n": null, "l": [{"k": "A", "v": "1"}, 7, {"k": "B", "v": "2"}]}"#;
        assert_eq!(first("a.b", json).as_deref(), Some("1\"x"));
        assert_eq!(first("$.a.b", json).as_deref(), Some("1\"x"));
        assert_eq!(first("*.b", json).as_deref(), Some("1\"x"));
        assert_eq!(first("l[k=B].v", json).as_deref(), Some("1\"2"));
        assert_eq!(first("l[k!=A].v", json).as_deref(), Some("1\"2"));
        assert_eq!(first("l[*].v", json).as_deref(), Some("1\"1"));
        assert_eq!(first("l[v=2][k=B].k", json).as_deref(), Some("1\"B"));
        for nowhere in [
            "a.c",
            "n",
            "n.x",
            "a.b.c",
            "l.k",
            "l[k=C].v",
            "a[k=A].x",
            "l[k=A][v=2].k",
        ] {
            assert_eq!(first(nowhere, json), None, "{nowhere}");
        }
    }

    #[test]
    fn paths_count_elements_and_distinct_values() {
        let json = r#"{"l": [{"t": "s", "q": ["a", "b", "a", null], "c": {"id": "1"}}, 7, {"t": "s", "q": ["b"], "c": {"id": "1"}},
            {"t": "m", "q": [""]}, {"q": null}], "none": [], "empty": ""}"#;
        for (path, expected) in [
            ("l[*]", 5),
            ("l[t=s]", 2),
            ("l[t!=s]", 2),
            ("l[t=s][c.id=1]", 2),
            ("l[t=s][c.id=2]", 0),
            ("l[*].q[*]", 5),
            ("l[*].q[distinct]", 2),
            ("l[t=s].c.id[distinct]", 1),
            ("l[*].q[any]", 1),
            ("l[t=m].q[any]", 0),
            ("l[t=m][any]", 1),
            ("none[*]", 0),
            ("none[any]", 0),
            ("empty[any]", 0),
            ("nothing[distinct]", 0),
        ] {
            assert_eq!(count(path, json), expected, "{path}");
        }
        let object = object(json);
        let is_present = |path: &str| Path::parse(path).unwrap().is_present(&object);
        assert!(is_present("none[*]") && is_present("l[t=m]") && !is_present("l[t=x]"));
    }

    #[test]
    fn what_is_no_path_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("$.", "empty"),
            (".a", "empty key"),
            ("a..b", "empty key"),
            ("a.", "ends with a dot"),
            ("a[k=v", "not closed"),
            ("a[k]", "neither"),
            ("a[=v]", "neither"),
            ("a[k=v*]", "neither"),
            ("a[k.=v]", "neither"),
            ("a[distinct].b", "goes on"),
            ("a[any][*]", "goes on"),
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
