//! Limits on a person, and the windows that count what the person used.
//!
//! The id of a window is a digest of its limit, its subject and its beginning, so a renamed window
//! gets another id. Holds name the windows in which they reserve something by these ids.

use std::collections::BTreeMap;

use crate::erasure::person::{Person, in_tag};
use crate::error::Result;
use crate::ledger::limits::recount::count_running;
use crate::ledger::wallets::default_limits;
use crate::limits::limit::Limit;
use crate::limits::scope::{Dimension, EACH, Scope, Subject};
use crate::limits::stored::{limit_of, limit_query, row_of};
use crate::limits::window_id;
use crate::pattern::matches;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};

statement!(
    NAMING,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    "SELECT l.wallet_id, l.limit_id, l.scope, l.subject
       FROM wallet.limits l
      WHERE ($3::text[] IS NULL OR l.wallet_id = ANY ($3)) AND num_nonnulls($2, $5) = 2
        AND (strpos(l.subject, $1) > 0 OR strpos(l.subject, $4) > 0)"
);

statement!(
    RENAME,
    [TEXTOID, UUIDOID, TEXTOID],
    "UPDATE wallet.limits SET subject = $3 WHERE wallet_id = $1 AND limit_id = $2"
);

statement!(
    /// The limits with their new subjects.
    OWN,
    [TEXTOID],
    limit_query!(" ORDER BY limit_id")
);

// A limit of its own or a default one; dropped default limits have windows too.
statement!(
    WINDOWS,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    "SELECT DISTINCT a.wallet_id, a.allowance_id, a.limit_id, a.window_start, a.subject, l.scope
       FROM wallet.allowances a
       JOIN wallet.limits l ON l.wallet_id IN (a.wallet_id, '*') AND l.limit_id = a.limit_id
      WHERE ($3::text[] IS NULL OR a.wallet_id = ANY ($3)) AND num_nonnulls($2, $5) = 2
        AND (strpos(a.subject, $1) > 0 OR strpos(a.subject, $4) > 0)"
);

statement!(
    MOVE_WINDOWS,
    [TEXTOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID],
    "UPDATE wallet.allowances a SET allowance_id = m.new, subject = m.subject
       FROM unnest($2, $3, $4) AS m(old, new, subject)
      WHERE a.wallet_id = $1 AND a.allowance_id = m.old"
);

statement!(
    MOVE_HOLDS,
    [TEXTOID, UUIDARRAYOID, UUIDARRAYOID],
    "UPDATE wallet.reservations r
        SET window_ids = ARRAY(SELECT coalesce(m.new, w.id)
                                 FROM unnest(r.window_ids) WITH ORDINALITY AS w(id, place)
                                 LEFT JOIN unnest($2, $3) AS m(old, new) ON m.old = w.id
                                ORDER BY w.place)
      WHERE r.wallet_id = $1 AND r.window_ids && $2"
);

/// The subject without the identifier. `None` if it does not name the person.
pub fn renamed(scope: &Scope, subject: &str, person: &Person<'_>) -> Option<String> {
    let stored = Subject::stored(scope, subject.to_owned())?;
    let places: Vec<String> = scope
        .dimensions()
        .iter()
        .zip(stored.places())
        .map(|(of, value)| of_place(of, value, person))
        .collect();
    if places == stored.places() {
        return None;
    }
    Some(Subject::joined(scope, places).as_str().to_owned())
}

/// The value of a dimension without the identifier, as in the entries.
fn of_place(of: &Dimension, value: &str, person: &Person<'_>) -> String {
    match of {
        Dimension::User if value == person.id => person.pseudonym.clone(),
        Dimension::Tag(name) => in_tag(name, value, person.id, &person.pseudonym),
        _ => value.to_owned(),
    }
}

/// Renames the limits that name the person. Returns their number.
pub fn erase_limits(person: &Person<'_>) -> Result<i64> {
    let found = NAMING.run(&person.values())?;
    let mut count = 0;
    for row in 0..found.len() {
        let Ok((scope, _)) = Scope::parse(&found.need::<String>(row, 2)?) else {
            continue;
        };
        let Some(subject) = renamed(&scope, &found.need::<String>(row, 3)?, person) else {
            continue;
        };
        let wallet: String = found.need(row, 0)?;
        let id = Value::Uuid(found.need(row, 1)?);
        RENAME.run(&[Value::Text(&wallet), id, Value::Text(&subject)])?;
        count += 1;
    }
    Ok(count)
}

#[derive(Default)]
struct Moves {
    old: Vec<[u8; 16]>,
    new: Vec<[u8; 16]>,
    subjects: Vec<String>,
}

/// Renames the windows of the person. Returns their number.
pub fn erase_windows(person: &Person<'_>) -> Result<i64> {
    let found = WINDOWS.run(&person.values())?;
    let mut moves: BTreeMap<String, Moves> = BTreeMap::new();
    for row in 0..found.len() {
        let Ok((scope, _)) = Scope::parse(&found.need::<String>(row, 5)?) else {
            continue;
        };
        let Some(subject) = renamed(&scope, &found.need::<String>(row, 4)?, person) else {
            continue;
        };
        let start: Option<Timestamp> = found.get(row, 3);
        let start = start.map(Timestamp::unix_micros);
        let of_wallet = moves.entry(found.need(row, 0)?).or_default();
        of_wallet.old.push(found.need(row, 1)?);
        let limit: [u8; 16] = found.need(row, 2)?;
        of_wallet.new.push(window_id::of(&limit, start, &subject));
        of_wallet.subjects.push(subject);
    }
    let mut count = 0;
    for (wallet, moves) in moves {
        let wallet = Value::Text(&wallet);
        let ids = [Value::Uuids(&moves.old), Value::Uuids(&moves.new)];
        MOVE_WINDOWS.run(&[
            wallet,
            ids[0],
            ids[1],
            Value::OptTexts(Some(&moves.subjects)),
        ])?;
        MOVE_HOLDS.run(&[wallet, ids[0], ids[1]])?;
        count += moves.old.len() as i64;
    }
    Ok(count)
}

/// Whether a limit counts the person's use in a window that others share, or that is not the
/// pseudonym's.
fn counts_otherwise(limit: &Limit, person: &Person<'_>) -> bool {
    let mut places = limit.scope.dimensions().iter().zip(limit.subject.places());
    places.any(|(of, named)| match of {
        _ if named == EACH => false,
        Dimension::User => {
            (named == person.id || matches(named, person.id)) && !matches(named, &person.pseudonym)
        }
        // The values of a tag are not known here.
        Dimension::Tag(_) => named.contains('*') || of_place(of, named, person) != *named,
        _ => false,
    })
}

/// Counts the running windows again whose limit no longer applies to the erased entries: of a
/// pattern that covers the identifier but not the pseudonym, and of a default limit that names the
/// person for other wallets too.
pub fn recount(wallet: &str, person: &Person<'_>) -> Result<()> {
    let mut limits = Vec::new();
    let own = OWN.run(&[Value::Text(wallet)])?;
    for row in 0..own.len() {
        let row = row_of(&own, row)?;
        if !row.paused {
            limits.push(limit_of(row)?);
        }
    }
    let defaults = default_limits::known()?;
    if !defaults.is_empty() {
        let home = default_limits::home(wallet)?;
        for default in defaults.iter().filter(|default| !default.row.paused) {
            limits.push(default.limit(&home)?);
        }
    }
    for limit in limits
        .iter()
        .filter(|limit| counts_otherwise(limit, person))
    {
        count_running(wallet, limit, clock::now(), true)?;
    }
    Ok(())
}
