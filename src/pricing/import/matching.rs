//! The `match` rules of genai-prices: the names of a model. Pure.
//!
//! A rule is an object with one key: `equals`, `starts_with`, `ends_with`, `contains`, `regex`, or
//! `or` and `and` of rules. In a price row, a model is a name that may contain `*`.

use crate::pg::jsonb::Json;

/// A rule as names and patterns.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Names, and patterns with `*`.
    pub names: Vec<String>,
    /// Rules that no pattern can express, each with the reason.
    pub left: Vec<String>,
}

/// The names and patterns of a rule.
pub fn names(rule: &Json) -> Names {
    let mut names = Names::default();
    read(rule, &mut names);
    names
}

fn read(rule: &Json, names: &mut Names) {
    let pattern = match parts(rule) {
        Some(("or", Json::Array(rules))) => {
            for rule in rules {
                read(rule, names);
            }
            return;
        }
        Some((key, Json::String(text))) if !text.contains('*') && !text.is_empty() => match key {
            "equals" => Some(text.clone()),
            "starts_with" => Some(format!("{text}*")),
            "ends_with" => Some(format!("*{text}")),
            "contains" => Some(format!("*{text}*")),
            "regex" => {
                let why = format!("no name with * says the regular expression {text}");
                names.left.push(why);
                return;
            }
            _ => None,
        },
        Some(("and", _)) => {
            let why = "no name with * says that two rules hold at once";
            names.left.push(why.to_owned());
            return;
        }
        _ => None,
    };
    match pattern {
        Some(pattern) if !names.names.contains(&pattern) => names.names.push(pattern),
        Some(_) => {}
        None => names
            .left
            .push("this version does not know the rule".to_owned()),
    }
}

/// True if a rule matches a name. A regular expression matches none. Whether a model is its
/// provider's own is then unknown, and the model counts as one that several providers may serve.
pub fn holds(rule: &Json, name: &str) -> bool {
    match parts(rule) {
        Some(("or", Json::Array(rules))) => rules.iter().any(|rule| holds(rule, name)),
        Some(("and", Json::Array(rules))) => rules.iter().all(|rule| holds(rule, name)),
        Some((key, Json::String(text))) => match key {
            "equals" => name == text,
            "starts_with" => name.starts_with(text.as_str()),
            "ends_with" => name.ends_with(text.as_str()),
            "contains" => name.contains(text.as_str()),
            _ => false,
        },
        _ => false,
    }
}

/// The one key of a rule, with its value.
fn parts(rule: &Json) -> Option<(&str, &Json)> {
    match rule.as_object()? {
        [(key, value)] => Some((key, value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::pricing::normalize::samples;

    #[test]
    fn rules_that_a_pattern_can_express_become_patterns() {
        let rule = json!({"or": [
            {"equals": "a"}, {"starts_with": "b-"}, {"or": [{"ends_with": "-c"}, {"contains": "d"}]},
            {"equals": "a"}, {"regex": "^e\\d$"}, {"and": [{"equals": "f"}]}, {"looks_like": "g"},
            {"equals": "h*"}]});
        let found = names(&samples::json(&rule));
        assert_eq!(found.names, ["a", "b-*", "*-c", "*d*"]);
        assert_eq!(
            found.left,
            [
                "no name with * says the regular expression ^e\\d$",
                "no name with * says that two rules hold at once",
                "this version does not know the rule",
                "this version does not know the rule",
            ]
        );
    }

    #[test]
    fn a_rule_holds_for_a_name() {
        let rule = json!({"or": [
            {"and": [{"starts_with": "a"}, {"ends_with": "z"}]}, {"contains": "mid"}, {"regex": "."}]});
        let rule = samples::json(&rule);
        for (name, expected) in [("abz", true), ("ab", false), ("amidb", true), ("", false)] {
            assert_eq!(holds(&rule, name), expected, "{name}");
        }
    }
}
