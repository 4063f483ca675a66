//! The recipes do what they say.

use std::io::Write;
use std::process::{Command, Stdio};

use wallet_tests::Database;

use crate::blocks;

const RECIPES: &str = include_str!("../../docs/recipes.md");

#[test]
fn the_recipes_do_what_they_say() {
    let (examples, expected) = (blocks(RECIPES, "sql"), blocks(RECIPES, "text"));
    assert_eq!(examples.len(), expected.len(), "each has its output");
    assert!(examples.len() > 5);
    let database = Database::empty();
    let mut psql = Command::new("psql")
        .args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-d", database.name()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql runs");
    let mut script = String::new();
    for example in &examples {
        script.push_str(example);
        script.push_str("\\echo ----\n");
    }
    let mut input = psql.stdin.take().expect("its input");
    input.write_all(script.as_bytes()).expect("psql reads");
    drop(input);
    let output = psql.wait_with_output().expect("psql ends");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{errors}");
    let said = said.split("----\n");
    for ((example, expected), said) in examples.iter().zip(&expected).zip(said) {
        assert_eq!(said.trim(), expected.trim(), "{example}");
    }
}
