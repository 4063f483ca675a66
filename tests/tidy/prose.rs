//! The prose of the documents, of SQL comments, of the comments and string literals in `src`, and of
//! the comments in the scripts and Makefile: forms to avoid, and lines that are too long.
//!
//! `prose.json` has the number of breaches per form and file. A file with more of them fails, and so
//! does one with fewer, until `RECORD=1` writes the new numbers. It refuses if the sum of a form
//! over all files has grown. So the sums only shrink, and a file that is moved or split keeps its
//! breaches.

mod forms;
mod literals;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use forms::Form;
use text::{Prose, WIDTH};

/// Counts by form, then by file.
type Counts = BTreeMap<String, BTreeMap<String, usize>>;

/// The files with prose, and the folders with the endings of such files.
const PLACES: &[(&str, &[&str])] = &[
    ("README.md", &[]),
    ("CONTRIBUTING.md", &[]),
    ("CHANGELOG.md", &[]),
    ("SECURITY.md", &[]),
    ("docs", &[".md", ".sql"]),
    ("examples", &[".sql", ".rs"]),
    ("sql", &[".sql"]),
    ("src", &[".rs"]),
    ("server", &[".md", ".rs", ".sql"]),
    ("Makefile", &[]),
    ("scripts", &[""]),
    (".ci/run", &[]),
];

fn files() -> Vec<(String, String)> {
    let mut files = Vec::new();
    for (place, endings) in PLACES {
        find(place, endings, &mut files);
    }
    files.sort();
    files
}

fn find(place: &str, endings: &[&str], files: &mut Vec<(String, String)>) {
    let path = root().join(place);
    if path.is_dir() {
        for entry in std::fs::read_dir(&path).expect("a folder") {
            let name = entry.expect("an entry").file_name();
            let name = format!("{place}/{}", name.to_str().expect("UTF-8"));
            let is_folder = root().join(&name).is_dir() && !name.ends_with("/node_modules");
            if is_folder || endings.iter().any(|ending| name.ends_with(ending)) {
                find(&name, endings, files);
            }
        }
    } else {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{place}: {e}"));
        files.push((place.to_owned(), text));
    }
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The present counts, and the matches behind each of them.
fn found(forms: &[Form]) -> (Counts, BTreeMap<(String, String), Vec<String>>) {
    let (mut counts, mut places) = (Counts::new(), BTreeMap::new());
    let mut note = |form: &str, file: &str, matches: Vec<String>| {
        if !matches.is_empty() {
            let by_file = counts.entry(form.to_owned()).or_default();
            by_file.insert(file.to_owned(), matches.len());
            places.insert((form.to_owned(), file.to_owned()), matches);
        }
    };
    for (file, text) in files() {
        let prose = Prose::of(&file, &text);
        for form in forms {
            let matches = prose.paragraphs.iter().flat_map(|text| form.matches(text));
            note(form.name, &file, matches.map(str::to_owned).collect());
        }
        let lines = prose.long_lines.iter().map(|line| format!("line {line}"));
        note(&long_lines(), &file, lines.collect());
    }
    (counts, places)
}

fn long_lines() -> String {
    format!("lines of more than {WIDTH} characters")
}

#[test]
fn the_prose_is_plain() {
    let forms = forms::forms();
    let (now, places) = found(&forms);
    let path = root().join("tests/tidy/prose.json");
    let listed = std::fs::read_to_string(&path).expect("tests/tidy/prose.json");
    let listed: Counts = serde_json::from_str(&listed).expect("counts by form and file");
    let sum = |counts: &Counts, form: &str| -> usize {
        counts.get(form).map_or(0, |files| files.values().sum())
    };
    let mut wrong = Vec::new();
    for (form, files) in &now {
        if std::env::var_os("RECORD").is_some() && sum(&now, form) <= sum(&listed, form) {
            continue;
        }
        let better = forms.iter().find(|one| one.name == form);
        let better = better.map_or("wrap them", |one| one.better);
        for (file, count) in files {
            let most = listed.get(form).and_then(|files| files.get(file));
            let most = most.copied().unwrap_or(0);
            if *count > most {
                let places = places[&(form.clone(), file.clone())].join(" | ");
                wrong.push(format!(
                    "{file}: “{form}” {count} times, {most} allowed; better: {better}\n    {places}"
                ));
            }
        }
    }
    if std::env::var_os("RECORD").is_some() {
        if wrong.is_empty() {
            let text = serde_json::to_string_pretty(&now).expect("counts");
            std::fs::write(&path, text + "\n").expect("tests/tidy/prose.json");
        }
    } else {
        for (form, files) in &listed {
            for (file, most) in files {
                let count = now.get(form).and_then(|files| files.get(file));
                let count = count.copied().unwrap_or(0);
                if count < *most {
                    wrong.push(format!(
                        "{file}: “{form}” {count} times, fewer than the {most} of \
                         tests/tidy/prose.json; RECORD=1 lowers it"
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rows of docs/glossary.md that define a word, as cells.
fn glossary() -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(root().join("docs/glossary.md")).expect("the glossary");
    let rows = text.lines().filter(|line| line.starts_with('|'));
    let rows = rows.map(|line| line.trim_matches('|').split('|'));
    let rows = rows.map(|cells| cells.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>());
    rows.filter(|cells| cells.len() == 4 && cells[0] != "word" && !cells[0].starts_with("---"))
        .collect()
}

fn code_of(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn the_glossary_names_tables_and_types_that_exist() {
    let rows = glossary();
    assert!(rows.len() > 50, "only {} words were found", rows.len());
    let files = files();
    let sql = files.iter().filter(|(file, _)| file.starts_with("sql/"));
    let sql: Vec<&str> = sql.map(|(_, text)| text.as_str()).collect();
    let has = |text: &str| sql.iter().any(|file| file.contains(text));
    let mut wrong = Vec::new();
    for cells in rows {
        for name in code_of(&cells[2]) {
            let (relation, column) = name.split_once('.').unwrap_or((name, ""));
            let is_relation = ["TABLE", "VIEW"].iter().any(|kind| {
                let create = format!("CREATE {kind} wallet.{relation} ");
                has(&create)
            });
            let is_column = !column.is_empty() && has(&format!("{column} "));
            // A name without a table may be a column that the cell mentions.
            let is_right = match column.is_empty() {
                true => is_relation || has(&format!("    {name} ")),
                false => is_relation && is_column,
            };
            if !is_right {
                wrong.push(format!("{}: there is no {name}", cells[0]));
            }
        }
        for name in code_of(&cells[3]) {
            let (module, of) = name.rsplit_once("::").unwrap_or(("", name));
            let module = module.replace("::", "/");
            let paths = [format!("src/{module}.rs"), format!("src/{module}/mod.rs")];
            let is_there = files.iter().any(|(file, text)| {
                let declares = |kind| {
                    let declaration = format!("pub {kind} {of}");
                    text.match_indices(&declaration).any(|(at, _)| {
                        !text[at + declaration.len()..].starts_with(|c: char| c.is_alphanumeric())
                    })
                };
                paths.contains(file) && (declares("struct") || declares("enum"))
            });
            if !is_there {
                wrong.push(format!(
                    "{}: there is no src/{module}.rs with {of}",
                    cells[0]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_documents_name_files_that_exist() {
    let mut wrong = Vec::new();
    for (file, text) in files() {
        if !file.ends_with(".md") {
            continue;
        }
        for name in text.lines().flat_map(code_of) {
            let is_path = ["src/", "sql/", "tests/", "scripts/", "docs/", "examples/"]
                .iter()
                .any(|folder| name.starts_with(folder))
                && !name.contains([' ', '*']);
            // Names with capital letters are patterns, such as wallet--OLD--NEW.sql.
            if is_path && !name.contains("OLD") && !root().join(name).exists() {
                wrong.push(format!("{file}: there is no {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
