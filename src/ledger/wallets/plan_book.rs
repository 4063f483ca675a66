//! The versions of plans and when each begins. Each backend caches them until one is added.
//!
//! A new version writes nothing that belongs to a wallet. A wallet's row has the version that the
//! wallet has taken over. If another one is in force, the wallet's next call takes that over.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::access::rights::{Level, reach};
use crate::error::{Code, Error, Result, quoted};
use crate::pg::clock::Timestamp;
use crate::pg::invalidation;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::PlanRow;
use crate::storage::session::Session;

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

    /// When the version after the one that a wallet has taken over begins. `Err` if the version is
    /// not known.
    ///
    /// A wallet never goes back: the calls that took a version over had a clock, too, and versions
    /// are only added.
    fn next(&self, taken: Option<i64>) -> std::result::Result<Option<Timestamp>, Unknown> {
        let after = match taken {
            None => 0,
            Some(taken) => {
                let mut all = self.0.iter();
                all.position(|one| one.number == taken).ok_or(Unknown)? + 1
            }
        };
        Ok(self.0.get(after).map(|version| version.from))
    }
}

/// The versions in the cache are older than the wallet's row.
#[derive(Debug, PartialEq, Eq)]
struct Unknown;

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
    read_again(generation)
}

/// Reads the versions that are committed by now, under each isolation level: the row of a wallet
/// may already have them.
fn read_again(generation: u64) -> Result<Rc<Book>> {
    let rows = VERSIONS.read_latest(&[])?;
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
    match known()?.contains_key(plan) {
        true => Ok(()),
        false => Err(no_plan(plan)),
    }
}

statement!(
    /// Whether one of the wallets has the plan, or is assigned it.
    OF_ONE,
    [TEXTARRAYOID, TEXTOID],
    "SELECT EXISTS (SELECT FROM unnest($1) u (id) JOIN wallet.wallets w ON w.wallet_id = u.id
                     WHERE w.plan = $2 OR w.next_plan = $2)"
);

/// The error 42704 unless there is a plan of that name and the caller may see it: all plans for a
/// role that may read all wallets, otherwise those of its wallets. The rules and the price list of
/// another plan may have been negotiated with another customer.
pub fn require_visible(session: &Session, plan: &str) -> Result<()> {
    require(plan)?;
    let Some(wallets) = reach(session, Level::Reader)? else {
        return Ok(());
    };
    let seen = OF_ONE.run(&[Value::OptTexts(Some(&wallets)), Value::Text(plan)])?;
    match seen.need(0, 0)? {
        true => Ok(()),
        false => Err(no_plan(plan)),
    }
}

fn no_plan(plan: &str) -> Error {
    Error::new(
        Code::ObjectNotFound,
        format!("there is no plan {}", quoted(plan)),
    )
    .detail("No call of set_plan() has set it, or no wallet that the caller may read has it.")
    .hint("Set the plan first; the view plans shows all plans.")
    .about("plan")
}

/// The version of a plan that is in force at a time, by what is committed now, whatever this
/// backend has cached. `None` before the first version.
pub fn in_force(plan: &str, at: Timestamp) -> Result<Option<i64>> {
    let book = read_again(invalidation::catch_up())?;
    Ok(book.get(plan).and_then(|versions| versions.in_force(at)))
}

/// When the rules of a wallet's plan begin to differ from those that the wallet has taken over, or
/// began to. `None` if nothing is known to come.
pub fn due(plan: &PlanRow) -> Result<Option<Timestamp>> {
    let Some(name) = &plan.name else {
        return Ok(plan.next_at);
    };
    let next = |book: &Book| match book.get(name) {
        Some(versions) => versions.next(plan.version),
        None => Err(Unknown),
    };
    // The row may have been written after this backend read the versions: while the call waited for
    // a lane, a version was set and taken over. The message about it can even arrive later.
    let next = match next(&*known()?) {
        Ok(next) => next,
        Err(Unknown) => next(&*read_again(invalidation::catch_up())?)
            .map_err(|Unknown| Error::internal(format!("plan {name:?} lacks a version")))?,
    };
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
    }

    #[test]
    fn a_wallet_waits_for_the_version_after_its_own() {
        let versions = versions(&[(1, 10), (3, 20), (4, 20), (2, 30)]);
        let next = |taken| versions.next(taken).map(|at| at.map(|at| at.0));
        assert_eq!(
            [None, Some(1), Some(3), Some(4), Some(2), Some(5)].map(next),
            [
                Ok(Some(10)),
                Ok(Some(20)),
                Ok(Some(20)),
                Ok(Some(30)),
                Ok(None),
                Err(Unknown)
            ]
        );
    }
}
