//! The part of docs/usage.md that is generated from the mappings. `WALLET_UPDATE_DOCS=1`
//! rewrites it.

use std::fmt::Write;

use serde_json::Value;

use super::builtin::FILES;

const HEADING: &str = "## Built-in mappings\n";

/// The strings of a value that is one string or a list of strings.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn code(texts: &[&str], between: &str) -> String {
    let quoted: Vec<String> = texts.iter().map(|text| format!("`{text}`")).collect();
    quoted.join(between)
}

/// Appends the table row of a meter, then the rows of its parts. A part refers to its whole by the
/// first path of the whole, which is why that row precedes.
fn node(out: &mut String, node: &Value, part_of: &str) {
    let paths = texts(&node["path"]);
    let mut notes = Vec::new();
    for (key, says) in [("less", "less"), ("when", "if"), ("unless", "unless")] {
        let given = texts(&node[key]);
        if !given.is_empty() {
            notes.push(format!("{says} {}", code(&given, " and ")));
        }
    }
    if let Some(times) = node["times"].as_str() {
        notes.push(format!("times {times}"));
    }
    for (key, says) in [
        ("text", "may be written as text"),
        ("implied", "the sum of its parts if it is missing"),
        (
            "overlaps",
            "counted up to the remainder after the other parts",
        ),
        ("outside_total", "not in the total"),
    ] {
        if node[key] == Value::Bool(true) {
            notes.push(says.to_owned());
        }
    }
    if let Some(why) = node["why"].as_str() {
        notes.push(why.to_owned());
    }
    let _ = writeln!(
        out,
        "| {} | `{}` | {} | {} |",
        code(&paths, ", "),
        node["meter"].as_str().unwrap_or_default(),
        part_of,
        notes.join("; ")
    );
    let own = format!("`{}`", paths.first().unwrap_or(&""));
    for part in node["parts"].as_array().into_iter().flatten() {
        self::node(out, part, &own);
    }
}

/// The mappings that name this one in `otherwise`.
fn alternative_of(name: &str) -> Vec<&'static str> {
    FILES
        .iter()
        .filter(|(_, text)| {
            let mapping: Value = serde_json::from_str(text).unwrap();
            texts(&mapping["otherwise"]).contains(&name)
        })
        .map(|(other, _)| *other)
        .collect()
}

/// Writes the section of a mapping. The source is its JSON and not the compiled form, because the
/// compiled form has no texts for people such as `about`.
fn section(name: &str, mapping: &Value) -> String {
    let mut out = format!("\n### `{name}`\n\n");
    if let Some(about) = mapping["about"].as_str() {
        let _ = writeln!(out, "{about}\n");
    }
    let shapes: Vec<String> = mapping["shapes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|shape| {
            let mut says = match shape["at"].as_str() {
                Some(at) => format!("`{at}`"),
                None => "the whole object".to_owned(),
            };
            let all = texts(&shape["all"]);
            if !all.is_empty() {
                let _ = write!(says, " with {}", code(&all, " and "));
            }
            let any = texts(&shape["any"]);
            if !any.is_empty() {
                let and = if all.is_empty() { " with" } else { " and" };
                let _ = write!(says, "{and} {}", code(&any, " or "));
            }
            let none = texts(&shape["none"]);
            if !none.is_empty() {
                let _ = write!(says, ", without {}", code(&none, ", "));
            }
            says
        })
        .collect();
    let _ = writeln!(out, "Usage object: {}.", shapes.join("; "));
    let mut conditions = Vec::new();
    let providers = texts(&mapping["providers"]);
    if !providers.is_empty() {
        conditions.push(format!("the provider is {}", code(&providers, " or ")));
    }
    let mut used = "Preferred";
    if mapping["by_name"] == Value::Bool(true) {
        used = "Used only";
        let others = alternative_of(name);
        if !others.is_empty() {
            conditions.push(format!("a number contradicts {}", code(&others, " or ")));
        }
    }
    if !conditions.is_empty() {
        let _ = writeln!(out, "{used} if {}.", conditions.join(", or if "));
    }
    let _ = writeln!(
        out,
        "\n| path | meter | part of | |\n| --- | --- | --- | --- |"
    );
    for one in mapping["meters"].as_array().into_iter().flatten() {
        node(&mut out, one, "");
    }
    let total = texts(&mapping["total"]["path"]);
    if !total.is_empty() {
        let rest = match mapping["total"]["rest"].as_str() {
            Some(rest) => format!("; the remainder after the other meters is `{rest}`"),
            None => String::new(),
        };
        let _ = writeln!(out, "\nTotal: {}{rest}.", code(&total, ", "));
    }
    let costs = match &mapping["cost"] {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    for cost in costs {
        let path = cost.as_str().or(cost["path"].as_str()).unwrap_or_default();
        let mut says = format!("Cost: `{path}`");
        if let Some(times) = cost["times"].as_str() {
            let _ = write!(says, " times {times}");
        }
        for part in cost["plus"].as_array().into_iter().flatten() {
            let _ = write!(
                says,
                " plus `{}`",
                part["path"].as_str().unwrap_or_default()
            );
            let when = texts(&part["when"]);
            if !when.is_empty() {
                let _ = write!(says, " if {}", code(&when, " and "));
            }
        }
        let _ = writeln!(out, "\n{says}.");
    }
    let not_billed = mapping["not_billed"].as_array();
    if let Some(all) = not_billed.filter(|all| !all.is_empty()) {
        let _ = writeln!(out, "\nNot billed:\n");
        for one in all {
            let why = one["why"].as_str().unwrap_or_default();
            let _ = writeln!(out, "- {}: {why}", code(&texts(&one["path"]), ", "));
        }
    }
    out
}

/// A row of the overview: where the usage object is, and the first sentence of `about`.
fn row(name: &str, mapping: &Value) -> String {
    let shapes = mapping["shapes"].as_array().into_iter().flatten();
    let mut places: Vec<String> = shapes
        .map(|shape| match shape["at"].as_str() {
            Some(at) => format!("`{at}`"),
            None => "the whole object".to_owned(),
        })
        .collect();
    places.sort();
    places.dedup();
    let about = mapping["about"].as_str().unwrap_or_default();
    let sentence = about
        .split_inclusive(". ")
        .next()
        .unwrap_or_default()
        .trim();
    let anchor = name.replace('.', "");
    let providers = code(&texts(&mapping["providers"]), ", ");
    format!(
        "| [`{name}`](#{anchor}) | {} | {providers} | {sentence} |\n",
        places.join(", ")
    )
}

fn generated() -> String {
    let mut out = format!(
        "{HEADING}\nThis part is generated from the files in `src/pricing/normalize/builtin`, in \
         the order in which they are tried. Paths begin in the usage object; paths with `$.` begin \
         in the whole object.\n"
    );
    out.push_str("\n| mapping | usage object | providers | for |\n| --- | --- | --- | --- |\n");
    for (name, text) in FILES {
        out.push_str(&row(name, &serde_json::from_str(text).unwrap()));
    }
    for (name, text) in FILES {
        out.push_str(&section(name, &serde_json::from_str(text).unwrap()));
    }
    out
}

#[test]
fn the_documentation_lists_every_mapping() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/usage.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (before, there) = text.split_at(text.find(HEADING).unwrap());
    let generated = generated();
    if std::env::var_os("WALLET_UPDATE_DOCS").is_some() {
        std::fs::write(path, format!("{before}{generated}")).unwrap();
    } else {
        assert!(
            there == generated,
            "docs/usage.md differs from the mappings: run the unit tests with WALLET_UPDATE_DOCS=1"
        );
    }
}
