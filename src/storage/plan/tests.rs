//! Searches the sources to check that no SQL text is built at run time.

use std::fs;
use std::path::{Path, PathBuf};

/// Every source file, with its path relative to `src/`.
fn sources() -> Vec<(String, String)> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"));
    let mut files = Vec::new();
    walk(&root, &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a source file");
            let name = path.strip_prefix(&root).expect("below src");
            (name.to_string_lossy().into_owned(), text)
        })
        .collect()
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            walk(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// The arguments of each `statement!(` in a file: the name, the types, and the SQL with the text
/// after it.
fn statements(text: &str) -> Vec<(&str, usize, &str)> {
    let mut found = Vec::new();
    for part in text.split("statement!(").skip(1) {
        // The list of types is the first text in brackets. Attributes and comments contain none.
        let Some((head, rest)) = part.split_once('[') else {
            panic!("no types after statement!( in {part:.80}");
        };
        let (types, sql) = rest.split_once(']').expect("the types end");
        let count = types
            .split(',')
            .filter(|name| !name.trim().is_empty())
            .count();
        found.push((
            head.trim().trim_end_matches(','),
            count,
            sql[1..].trim_start(),
        ));
    }
    found
}

#[test]
fn sql_is_constant_text_with_parameters() {
    let (mut count, mut wrong) = (0, Vec::new());
    let sources = sources();
    let is_defined = |name: &str| {
        let definition = format!("macro_rules! {name}_query");
        sources.iter().any(|(_, text)| text.contains(&definition))
    };
    for (file, text) in &sources {
        // Tests may build SQL.
        if file.starts_with("tests/") || file.ends_with("tests.rs") {
            continue;
        }
        let code: String = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| format!("{line}\n"))
            .collect();
        if code.contains("Spi::") || code.contains("SPI_") && !file.starts_with("storage/") {
            wrong.push(format!("{file} goes around storage/plan.rs"));
        }
        if file == "storage/plan.rs" {
            continue;
        }
        if code.contains("Statement::new") {
            wrong.push(format!("{file} makes a statement without the macro"));
        }
        for (name, types, sql) in statements(&code) {
            count += 1;
            // A literal, or literals that a macro concatenates at compile time.
            let literal = sql.strip_prefix("r#").unwrap_or(sql).strip_prefix('"');
            let is_macro = sql.starts_with("concat!(")
                || sql.split_once("_query!(").is_some_and(|(name, _)| {
                    name.chars().all(|c| c.is_ascii_lowercase() || c == '_') && is_defined(name)
                });
            let Some(literal) = literal else {
                if !is_macro {
                    wrong.push(format!("{file}: {name} is no literal"));
                }
                continue;
            };
            let end = if sql.starts_with("r#") { "\"#" } else { "\"" };
            let sql = literal.split_once(end).map_or(literal, |(sql, _)| sql);
            if sql.contains(&format!("${}", types + 1)) {
                wrong.push(format!(
                    "{file}: {name} has {types} types and more parameters"
                ));
            }
        }
    }
    assert!(count > 150, "{count} statements were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
