//! Cycles of files that use each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;

/// The cycles, each sorted by name. A folder's own file, which lists the others, is not part of
/// any.
pub fn circles(sources: &[Source]) -> Vec<Vec<String>> {
    let names: BTreeSet<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    let uses: BTreeMap<&str, Vec<&str>> = sources
        .iter()
        .map(|source| {
            let used = source.uses.iter().map(String::as_str);
            let others = used.filter(|used| names.contains(used) && !contains(used, &source.name));
            (source.name.as_str(), others.collect())
        })
        .collect();
    let reached: BTreeMap<&str, BTreeSet<&str>> = names
        .iter()
        .map(|name| (*name, reach(name, &uses)))
        .collect();
    let mut circles = BTreeSet::new();
    for (name, others) in &reached {
        let circle: BTreeSet<&str> = others
            .iter()
            .filter(|other| reached[**other].contains(name))
            .copied()
            .collect();
        if circle.len() > 1 {
            circles.insert(
                circle
                    .iter()
                    .map(|name| (*name).to_owned())
                    .collect::<Vec<String>>(),
            );
        }
    }
    circles.into_iter().collect()
}

/// Whether the first module contains the second.
fn contains(outer: &str, inner: &str) -> bool {
    inner.starts_with(outer) && inner.as_bytes().get(outer.len()) == Some(&b'/')
}

fn reach<'a>(from: &'a str, uses: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeSet<&'a str> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(next) = open.pop() {
        for used in &uses[next] {
            if reached.insert(*used) {
                open.push(used);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, uses: &[&str]) -> Source {
        Source {
            name: name.to_owned(),
            uses: uses.iter().map(|used| (*used).to_owned()).collect(),
            functions: Vec::new(),
            lines: 1,
            has_sql_functions: false,
            has_statements: false,
            is_unsafe: false,
            says_what_it_is_for: true,
        }
    }

    #[test]
    fn a_cycle_is_found_and_a_chain_is_not_a_cycle() {
        let sources = [
            source("a", &["b"]),
            source("b", &["c/d"]),
            source("c/d", &["a"]),
            source("e", &["a", "b"]),
            source("c", &["c/d"]),
        ];
        assert_eq!(
            circles(&sources),
            [["a", "b", "c/d"].map(str::to_owned).to_vec()]
        );
    }
}
