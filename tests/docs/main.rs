//! The statements, examples and links of the documents are true.

mod calls;
mod chain;
mod clients;
mod configuration;
mod digests;
mod loader;
mod page;
mod reference;

use wallet_tests::Database;

const README: &str = include_str!("../../README.md");

/// The fenced blocks in a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}");
    text.split(&fence)
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block.to_owned())
        .collect()
}

/// The example of the README prints what the README says.
#[test]
fn the_readmes_example_runs() {
    page::check("README.md", Database::empty());
}

/// The README stays short enough to be read from top to bottom.
#[test]
fn the_readme_is_short() {
    assert!(README.lines().count() <= 200);
}

/// The examples of docs/usage.md run, and return the results next to them.
#[test]
fn the_usage_examples_run() {
    const USAGE: &str = include_str!("../../docs/usage.md");
    let database = Database::new();
    let mut client = database.connect();
    let examples = blocks(USAGE, "sql");
    assert_eq!(examples.len(), 8);
    for example in examples {
        let said: Vec<String> = client
            .simple_query(&example)
            .unwrap_or_else(|error| panic!("{example}\n{error:?}"))
            .iter()
            .filter_map(|message| match message {
                postgres::SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .filter_map(|column| row.get(column))
                        .collect::<Vec<_>>()
                        .join(" "),
                ),
                _ => None,
            })
            .collect();
        let expected = example
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("-- "));
        assert!(
            said.join(", ").ends_with(expected.unwrap()),
            "{example}\nsaid {said:?}"
        );
    }
}

/// Every page of the documents, relative to the root of the repository.
fn documents() -> Vec<String> {
    let mut documents: Vec<String> = [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    ]
    .map(str::to_owned)
    .into();
    for folder in ["docs", "docs/reference"] {
        let pages = std::fs::read_dir(page::path_of(folder)).expect("a folder");
        let names = pages.map(|page| {
            page.expect("a page")
                .file_name()
                .into_string()
                .expect("UTF-8")
        });
        documents.extend(
            names
                .filter(|name| name.ends_with(".md"))
                .map(|name| format!("{folder}/{name}")),
        );
    }
    documents
}

/// The anchor of a heading in a link, as GitHub makes it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The targets of all links in the documents exist.
#[test]
fn every_link_leads_to_a_file_or_heading() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for document in documents() {
        let path = root.join(&document);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
        let targets = text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split_once(')'));
        for (target, _) in targets.filter(|(target, _)| !target.contains("://")) {
            let (file, heading) = target.split_once('#').unwrap_or((target, ""));
            let file = match file {
                "" => path.clone(),
                file => path.parent().expect("a directory").join(file),
            };
            assert!(file.exists(), "{document} links to {target}");
            if !heading.is_empty() {
                let there = std::fs::read_to_string(&file).expect("a page");
                let found = there
                    .lines()
                    .any(|line| line.starts_with('#') && anchor(line) == heading);
                assert!(found, "{document} links to {target}");
            }
        }
    }
}

#[test]
fn the_error_table_agrees_with_the_extension() {
    let database = Database::new();
    let rows = database
        .connect()
        .query(
            "SELECT sqlstate, name, meaning FROM wallet.error_codes()",
            &[],
        )
        .unwrap();
    for row in rows {
        let (state, name, meaning): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let line = format!("| `{state}` | {name} | {meaning} |");
        assert!(README.contains(&line), "README.md lacks {line}");
    }
}

/// The recipes do what they say.
#[test]
fn the_recipes_run() {
    page::check("docs/recipes.md", Database::empty());
}

/// A reader who follows the guide sees what it shows.
#[test]
fn the_guide_runs() {
    page::check("docs/guide.md", Database::empty());
}

/// The examples of the operations guide do what the page says.
#[test]
fn the_operations_guide_runs() {
    page::check("docs/operations.md", Database::empty());
}

/// The example of the form that hashes cover has the hash that the page states.
#[test]
fn the_example_of_the_ledgers_form_runs() {
    page::check("docs/ledger.md", Database::empty());
}
