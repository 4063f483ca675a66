//! The OpenAPI document.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{output, with};

fn document() -> Value {
    let output = output(&["openapi"], &[]);
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Each operation, as method and path.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().clone();
        let path = path.clone();
        methods
            .into_iter()
            .map(move |(method, operation)| (method, path.clone(), operation))
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn the_server_has_the_document_of_the_command() {
    with(|world| {
        let served = world.client("").get("/openapi.json").expect(200);
        assert_eq!(served.json, document());
        assert_eq!(served.header("content-type"), Some("application/json"));
        assert!(served.json["openapi"].as_str().unwrap().starts_with("3.1."));
    });
}

#[test]
fn every_operation_has_its_errors_and_every_reference_exists() {
    let document = document();
    let operations = operations(&document);
    assert_eq!(operations.len(), 12);
    for (method, path, operation) in &operations {
        let responses = operation["responses"].as_object().unwrap();
        let mut expected = vec!["200", "400", "401", "403", "422", "500", "503"];
        if method == "post" {
            expected.extend(["408", "413", "415"]);
        }
        if method == "post" && path != "/v1/estimate" {
            expected.extend(["201", "402", "409", "429"]);
        }
        if path == "/v1/holds" {
            expected.push("202");
        }
        if path == "/v1/top-up" {
            // Each answer is a page; nothing tells a new one from that of a retry.
            expected.retain(|status| *status != "200");
        }
        if path.contains("{id}") || path == "/v1/top-up" {
            expected.push("404");
        }
        expected.sort_unstable();
        let mut found: Vec<&str> = responses.keys().map(String::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, expected, "{method} {path}");
        assert!(operation["operationId"].is_string() && operation["summary"].is_string());
        for (status, response) in responses {
            let form = if status.starts_with('2') {
                "application/json"
            } else {
                "application/problem+json"
            };
            assert!(
                response["content"][form]["schema"].is_object(),
                "{method} {path} {status}"
            );
        }
    }
    let text = document.to_string();
    assert!(text.contains("$response.body#/hold_id") && !text.contains("operation_id"));
    let references: BTreeSet<&str> = text
        .split("\"$ref\":\"#")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert!(references.len() > 10);
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

/// The rows of a table of `docs/walletd.md` whose first cell is code.
fn rows_of_the_page(heading: &str) -> Vec<String> {
    let page = include_str!("../../docs/walletd.md");
    let section = page.split(heading).nth(1).expect(heading);
    let section = section.split("\n## ").next().unwrap();
    let cells = section.lines().filter(|line| line.starts_with("| `"));
    cells
        .map(|line| line.split('`').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn the_page_lists_the_endpoints_of_the_document() {
    let document = document();
    let ours: BTreeSet<String> = operations(&document)
        .iter()
        .map(|(method, path, _)| format!("{} {path}", method.to_uppercase()))
        .collect();
    let listed: BTreeSet<String> = rows_of_the_page("\n## Endpoints").into_iter().collect();
    assert_eq!(listed, ours);
}

#[test]
fn the_page_lists_the_settings() {
    let defaults = output(&["settings"], &[]);
    let defaults = String::from_utf8(defaults.stdout).unwrap();
    let mut ours = BTreeSet::new();
    let mut section = String::new();
    for line in defaults.lines() {
        if let Some(name) = line.strip_prefix('[') {
            name.trim_end_matches(']').clone_into(&mut section);
        } else if let Some((name, _)) = line.split_once(" = ") {
            ours.insert(format!("{section}.{name}"));
        }
    }
    assert!(ours.len() > 15, "{defaults}");
    let listed: BTreeSet<String> = rows_of_the_page("\n## Settings").into_iter().collect();
    assert_eq!(listed, ours);
}

#[test]
fn the_page_lists_every_problem_with_its_status() {
    let document = document();
    let mut ours = BTreeSet::new();
    for (_, _, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            if status.starts_with('2') {
                continue;
            }
            for name in response["description"].as_str().unwrap().split(", ") {
                let name = name.split(' ').next().unwrap();
                ours.insert(format!("{status} {name}"));
            }
        }
    }
    let page = include_str!("../../docs/walletd.md");
    let section = page
        .split("\n## Errors")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains('`'));
    let listed = rows.map(|line| {
        let name = line.split('`').nth(1).unwrap();
        format!("{} {name}", line.split_whitespace().nth(1).unwrap())
    });
    let mut listed: BTreeSet<String> = listed.collect();
    // No operation has this one: the path exists with another method.
    assert!(listed.remove("405 method_not_allowed"));
    assert_eq!(listed, ours);
}
