//! The SQL function that moves old entries to the archive.

use crate::access::call::Call;
use crate::access::rights::Level;
use crate::args;
use crate::error::{Error, Result};
use crate::ledger::archive::{self, Archiving};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::row::composite;
use pgrx::datum::{IntoDatum, TimestampWithTimeZone};
use pgrx::default;
use pgrx::prelude::*;

composite!(
    /// The result of `archive`.
    ArchiveRow,
    "wallet.archive_result"
);

/// A required time that is not in the future.
fn past(value: Option<TimestampWithTimeZone>) -> Result<Timestamp> {
    const GIVE: &str = "Give the time before which entries were booked that are to be moved.";
    let before = value
        .map(Timestamp::from)
        .ok_or_else(|| args::missing("before").hint(GIVE))?;
    if !before.is_finite() {
        return Err(Error::argument("before is infinite")
            .detail("The argument before must be a point in time.")
            .hint(GIVE));
    }
    if before > clock::now() {
        return Err(Error::argument("before is in the future")
            .detail("Entries up to that time do not exist yet.")
            .hint("Give now() to move all entries."));
    }
    Ok(before)
}

fn max_entries(value: Option<i64>) -> Result<Option<i64>> {
    match value {
        Some(count) if count < 1 => Err(Error::argument("max_entries is out of range")
            .detail(format!("It is {count}; 1 or more are allowed."))
            .hint("Leave it out to move all.")),
        count => Ok(count),
    }
}

/// Moves the entries of a wallet that were booked before a time to the archive.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn archive(
    wallet: Option<&str>,
    before: Option<TimestampWithTimeZone>,
    max_entries: default!(Option<i64>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> ArchiveRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let before = past(before)?;
        let max_entries = self::max_entries(max_entries)?;
        let call = Call::new("archive", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("before", before.0)
            .with("max_entries", max_entries);
        let archiving = Archiving {
            before,
            max_entries,
            act: call.act(),
        };
        call.enter(Level::Admin, |call| archive::archive(&archiving, call))
    };
    let archived = work().or_raise();
    ArchiveRow(vec![
        archived.archived.into_datum(),
        archived.carried_forward.into_datum(),
        archived.complete.into_datum(),
        archived.replayed.into_datum(),
    ])
}
