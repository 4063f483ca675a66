//! The versions of plans and when each begins. Each backend caches them until one is added.
//!
//! A new version writes nothing that belongs to a wallet. A wallet's row has the version that the
//! wallet has taken over. If another one is in force, the wallet's next call takes that over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::error::{Code, Error, Result, quoted};
use crate::pg::clock::Timestamp;
use crate::pg::invalidation;
use crate::storage::plan::{Run, statement};
use crate::storage::rows::PlanRow;

statement!(
    VERSIONS,
    [],
    "SELECT plan, version, effective_from FROM wallet.plan_versions
      ORDER BY plan, effective_from, version"
);

/// A version of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version {
    number: i64,
    from: Timestamp,
}

/// The versions of a plan, in the order in which they begin. Of those that begin at the same time,
/// the last one counts.
#[derive(Debug, Default)]
struct Versions(Vec<Version>);

impl Versions {
    /// The version that is in force at a time.
    fn in_force(&self, at: Timestamp) -> Option<i64> {
        let begun = self.0.iter().rev().find(|version| version.from <= at);
        begun.map(|version| version.number)
    }

    /// When the next version after a time begins.
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let later = self.0.iter().find(|version| version.from > after);
        later.map(|version| version.from)
    }
}

type Book = HashMap<String, Versions>;

thread_local! {
    /// The versions, and the generation in which they were read.
    static KNOWN: RefCell<Option<(u64, Rc<Book>)>> = const { RefCell::new(None) };
}

fn known() -> Result<Rc<Book>> {
    let generation = invalidation::generation();
    let known = KNOWN.with_borrow(|known| match known {
        Some((read, book)) if *read == generation => Some(book.clone()),
        _ => None,
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let rows = VERSIONS.run(&[])?;
    let mut book = Book::new();
    for row in 0..rows.len() {
        let versions = book.entry(rows.need(row, 0)?).or_default();
        versions.0.push(Version {
            number: rows.need(row, 1)?,
            from: rows.need(row, 2)?,
        });
    }
    let book = Rc::new(book);
    invalidation::note_caching();
    if invalidation::generation() == generation {
        KNOWN.set(Some((generation, book.clone())));
    }
    Ok(book)
}

/// The error 42704 unless there is a plan of that name.
pub fn require(plan: &str) -> Result<()> {
    if known()?.contains_key(plan) {
        return Ok(());
    }
    Err(Error::new(
        Code::ObjectNotFound,
        format!("there is no plan {}", quoted(plan)),
    )
    .detail("No call of set_plan() has set it.")
    .hint("Set the plan first; the view plans shows all plans.")
    .about("plan"))
}

/// The version of a plan that is in force at a time. `None` before its first one.
pub fn in_force(plan: &str, at: Timestamp) -> Result<Option<i64>> {
    Ok(known()?
        .get(plan)
        .and_then(|versions| versions.in_force(at)))
}

/// When the rules of a wallet's plan begin to differ from those that the wallet has taken over. The
/// beginning of time if they differ already; `None` if nothing is known to come.
pub fn due(plan: &PlanRow, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(name) = &plan.name else {
        return Ok(plan.next_at);
    };
    let book = known()?;
    let versions = book.get(name);
    let in_force = versions.and_then(|versions| versions.in_force(now));
    if in_force != plan.version {
        return Ok(Some(Timestamp(i64::MIN)));
    }
    let next = versions.and_then(|versions| versions.next(now));
    Ok([plan.next_at, next].into_iter().flatten().min())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions(begin: &[(i64, i64)]) -> Versions {
        let version = |(number, from): &(i64, i64)| Version {
            number: *number,
            from: Timestamp(*from),
        };
        Versions(begin.iter().map(version).collect())
    }

    #[test]
    fn the_last_version_that_has_begun_is_in_force() {
        let versions = versions(&[(1, 10), (3, 20), (4, 20), (2, 30)]);
        let at = |at| versions.in_force(Timestamp(at));
        assert_eq!(
            [at(9), at(10), at(19), at(20), at(30)],
            [None, Some(1), Some(1), Some(4), Some(2)]
        );
        let next = |after| versions.next(Timestamp(after)).map(|at| at.0);
        assert_eq!([next(9), next(10), next(30)], [Some(10), Some(20), None]);
    }
}
