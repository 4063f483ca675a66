//! A HINT that shows a call shows one that exists.

use std::fs;
use std::path::{Path, PathBuf};

use postgres::Client;
use wallet_tests::{Database, create, dec, expect};

/// All files of the extension's source.
fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The string literals of a file, and whether each belongs to a HINT: it is an argument of `hint`,
/// or begins like only a HINT does.
fn hints(source: &str) -> Vec<String> {
    let mut texts = Vec::new();
    let mut rest = source;
    while let Some((_, after)) = rest.split_once(".hint(") {
        rest = after;
        let (mut depth, mut in_text, mut escaped) = (1, false, false);
        let mut text = String::new();
        for character in after.chars() {
            match (in_text, character) {
                (true, _) if escaped => {
                    escaped = false;
                    text.push(character);
                }
                (true, '\\') => escaped = true,
                (true, '"') => {
                    in_text = false;
                    texts.push(std::mem::take(&mut text));
                }
                (true, _) => text.push(character),
                (false, '"') => in_text = true,
                (false, '(') => depth += 1,
                (false, ')') => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    // Texts in constants.
    for line in source.lines().map(str::trim) {
        let is_named = line.starts_with("const ") && line.contains(": &str = \"");
        if let Some((_, text)) = line.split_once('"').filter(|_| is_named) {
            texts.push(text.to_owned());
        }
    }
    texts
}

/// The names in a text that are followed by a parenthesis, and the beginning of what is inside.
fn calls(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('(') {
        let name: String = text[..at]
            .chars()
            .rev()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        if !name.is_empty() {
            let name = name.chars().rev().collect();
            found.push((name, text[at + 1..].chars().take(1).collect()));
        }
    }
    found
}

fn is_function(client: &mut Client, name: &str) -> bool {
    client
        .query_one(
            "SELECT EXISTS (SELECT FROM pg_proc WHERE proname = $1
                               AND pronamespace IN ('wallet'::regnamespace, 'pg_catalog'::regnamespace))",
            &[&name],
        )
        .expect("pg_proc")
        .get(0)
}

/// The statement that a HINT recommends, from its keyword to the semicolon.
fn statement(text: &str) -> Option<&str> {
    let at = text.find("SELECT ")?;
    let end = text[at..]
        .find(';')
        .expect("a statement ends with a semicolon");
    Some(&text[at..at + end])
}

#[test]
fn every_call_in_a_hint_exists() {
    let database = Database::new();
    let mut client = database.connect();
    let mut files = Vec::new();
    sources(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../src")),
        &mut files,
    );
    let (mut names, mut statements) = (0, 0);
    for file in files {
        let source = fs::read_to_string(&file).expect("a source");
        for hint in hints(&source) {
            for (name, inside) in calls(&hint) {
                // numeric(28,12) is a type.
                if name == "numeric" {
                    continue;
                }
                assert!(
                    is_function(&mut client, &name),
                    "{name} in {file:?}: {hint}"
                );
                // Anything longer than a name must be a statement.
                assert!(
                    inside == ")" || statement(&hint).is_some(),
                    "{name} in {file:?}: {hint}"
                );
                names += 1;
            }
            if let Some(statement) = statement(&hint) {
                let sql = statement.replace("'{}'", "{}").replace("{}", "'now'");
                client
                    .prepare(&sql)
                    .unwrap_or_else(|error| panic!("{hint} in {file:?}: {error}"));
                statements += 1;
            }
        }
    }
    assert!(names > 50 && statements > 0, "{names} {statements}");
}

/// The statement of a HINT is run unchanged, and then the refused call is allowed.
#[test]
fn the_statement_in_a_refusals_hint_lets_the_role_in() {
    let database = Database::new();
    let mut client = database.connect();
    let role = format!("{}_o'neil \"Odd\"", database.name());
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    create(&mut client, "acme", 1, &[], dec("100"));
    create(&mut client, r"it's \ odd", 1, &[], dec("100"));
    client
        .batch_execute(&format!(
            "CREATE ROLE {quoted}; SELECT wallet.create_wallet('own')"
        ))
        .unwrap();
    client
        .execute("SELECT wallet.grant_access($1, 'charger', 'own')", &[&role])
        .unwrap();
    for wallet in ["acme", r"it's \ odd"] {
        client.batch_execute(&format!("SET ROLE {quoted}")).unwrap();
        let sql = "SELECT balance FROM wallet.charge($1, amount => 1)";
        let error = expect(client.query(sql, &[&wallet]), "42501");
        let hint = error
            .as_db_error()
            .and_then(|error| error.hint())
            .expect("a HINT");
        client.batch_execute("RESET ROLE").unwrap();
        client
            .batch_execute(statement(hint).expect(hint))
            .expect(hint);
        client.batch_execute(&format!("SET ROLE {quoted}")).unwrap();
        client.query(sql, &[&wallet]).unwrap();
        client.batch_execute("RESET ROLE").unwrap();
    }
    client
        .batch_execute(&format!("DROP OWNED BY {quoted}; DROP ROLE {quoted}"))
        .unwrap();
}
