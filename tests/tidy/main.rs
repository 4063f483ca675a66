//! The order of the source: which folder may use which, where `unsafe` and SQL functions are
//! allowed, how long a file and a function may be. Needs no server.
//!
//! `exceptions.json` lists today's violations. A new violation fails, and so does an exception that
//! is no longer needed: the list only shrinks. `RECORD=1` removes the exceptions that are no longer
//! needed, and never adds one.

mod graph;
mod prose;
mod source;

use std::collections::BTreeMap;
use std::path::Path;

use source::Source;

/// The folders and single files of `src`, from bottom to top. Each uses only those before it.
const ORDER: &[&str] = &[
    "error",
    "money",
    "pattern",
    "currency",
    "cards",
    "pg",
    "attribution",
    "storage",
    "args",
    "items",
    "idempotency",
    "outbox",
    "access",
    "limits",
    "pricing",
    "allowance",
    "ledger",
    "alerts",
    "delivery",
    "plans",
    "reporting",
    "erasure",
    "api",
    "lib",
];

/// What the rules must know of a crate.
struct Layout {
    /// The folder with its sources.
    folder: &'static str,
    /// Its folders and single files, from bottom to top. Each uses only those before it.
    order: &'static [&'static str],
    /// The folder in which SQL functions are declared.
    sql_functions: &'static str,
    /// The folders in which unsafe code is allowed.
    unsafe_code: &'static [&'static str],
    /// It has at least so many files, so that the rules look at something.
    files: usize,
}

const EXTENSION: Layout = Layout {
    folder: "src",
    order: ORDER,
    sql_functions: "api",
    unsafe_code: &["pg", "storage"],
    files: 100,
};

const SERVER: Layout = Layout {
    folder: "server/src",
    order: &[
        "config", "db", "ops", "worker", "payments", "api", "page", "cli", "main",
    ],
    sql_functions: "",
    unsafe_code: &[],
    files: 30,
};

const MAX_FILE: usize = 500;
const MAX_FUNCTION: usize = 70;
/// Functions that are declared in SQL have little but arguments.
const MAX_SQL_FUNCTION: usize = 60;

/// The violations of a rule, with a size if there is one, which may shrink but not grow.
type Breaches = BTreeMap<String, usize>;

fn rules(layout: &Layout, sources: &[Source]) -> BTreeMap<&'static str, Breaches> {
    let place = |folder: &str| {
        let known = layout.order.iter().position(|name| *name == folder);
        let base = layout.folder;
        known.unwrap_or_else(|| panic!("tests/tidy does not know the place of {base}/{folder}"))
    };
    let mut rules: BTreeMap<&'static str, Breaches> = BTreeMap::new();
    let mut breach = |rule: &'static str, what: String, size: usize| {
        rules.entry(rule).or_default().insert(what, size);
    };
    for source in sources {
        for used in &source.uses {
            if place(used.split('/').next().unwrap_or_default()) > place(source.folder()) {
                breach("imports upward", format!("{} uses {used}", source.name), 0);
            }
        }
        if source.has_sql_functions && source.folder() != layout.sql_functions {
            breach(
                "functions of SQL outside of src/api",
                source.name.clone(),
                0,
            );
        }
        if source.is_unsafe && !layout.unsafe_code.contains(&source.folder()) {
            breach(
                "unsafe code outside of src/pg and src/storage",
                source.name.clone(),
                0,
            );
        }
        if source.lines > MAX_FILE {
            breach(
                "files of more than 500 lines",
                source.name.clone(),
                source.lines,
            );
        }
        let (rule, max) = match source.folder() == layout.sql_functions {
            true => (
                "functions of src/api of more than 60 lines",
                MAX_SQL_FUNCTION,
            ),
            false => ("functions of more than 70 lines", MAX_FUNCTION),
        };
        for (function, lines) in &source.functions {
            if *lines > max {
                breach(rule, format!("{}: {function}", source.name), *lines);
            }
        }
        if source.has_statements && source.folder() == layout.sql_functions {
            breach("statements in src/api", source.name.clone(), 0);
        }
        if !source.says_what_it_is_for {
            breach(
                "files that do not begin with what they are for",
                source.name.clone(),
                0,
            );
        }
    }
    for circle in graph::circles(sources) {
        breach("circles", circle.join(", "), 0);
    }
    rules
}

#[test]
fn the_source_is_in_order() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut found = BTreeMap::new();
    for layout in [EXTENSION, SERVER] {
        let sources = source::read(&root.join(layout.folder));
        let number = sources.len();
        assert!(
            number > layout.files,
            "only {number} files were found in {}",
            layout.folder
        );
        for (rule, breaches) in rules(&layout, &sources) {
            // Both crates may have a file of one name.
            let named = breaches
                .into_iter()
                .map(|(what, size)| match layout.folder {
                    "src" => (what, size),
                    folder => (format!("{folder}: {what}"), size),
                });
            found
                .entry(rule)
                .or_insert_with(Breaches::new)
                .extend(named);
        }
    }
    let file = root.join("tests/tidy/exceptions.json");
    let text = std::fs::read_to_string(&file).expect("tests/tidy/exceptions.json");
    let listed: BTreeMap<String, Breaches> =
        serde_json::from_str(&text).expect("a list of exceptions");
    let (mut wrong, mut left): (Vec<String>, BTreeMap<&str, Breaches>) =
        (Vec::new(), BTreeMap::new());
    let none = Breaches::new();
    for (rule, breaches) in &found {
        let allowed = listed.get(*rule).unwrap_or(&none);
        for (what, size) in breaches {
            match allowed.get(what) {
                Some(most) if size <= most => {
                    left.entry(rule).or_default().insert(what.clone(), *size);
                }
                Some(most) => wrong.push(format!(
                    "{rule}: {what} has grown from {most} to {size} lines"
                )),
                None => wrong.push(format!("{rule}: {what}")),
            }
        }
    }
    let now = &found;
    let shrunk = listed.iter().flat_map(|(rule, breaches)| {
        breaches.iter().filter_map(move |(what, most)| {
            let size = now
                .get(rule.as_str())
                .and_then(|breaches| breaches.get(what));
            (size != Some(most)).then(|| format!("{rule}: {what}"))
        })
    });
    let shrunk: Vec<String> = shrunk
        .filter(|line| !wrong.iter().any(|wrong| wrong.starts_with(line)))
        .collect();
    if std::env::var_os("RECORD").is_some() {
        let text = serde_json::to_string_pretty(&left).expect("a list");
        std::fs::write(&file, text + "\n").expect("tests/tidy/exceptions.json");
    } else {
        let hint = "is better than tests/tidy/exceptions.json says; RECORD=1 shortens it";
        wrong.extend(shrunk.iter().map(|line| format!("{line} {hint}")));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
