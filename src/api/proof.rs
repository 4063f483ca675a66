//! The SQL function behind `verify`.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::Result;
use crate::ledger::proof;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::default;
use pgrx::prelude::*;

/// Reads all entries of a wallet once, for `verify`.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn recount(
    wallet: Option<&str>,
    digest: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(entries, i64),
        name!(lanes, i64),
        name!(booked, String),
        name!(chain, Option<String>),
        name!(limits, Option<String>),
        name!(windows, i64),
        name!(refunds, Option<String>),
        name!(archived, i64),
        name!(archive, Option<String>),
        name!(digest_kept, i64),
        name!(digest_problem, Option<String>),
        name!(lines, Option<String>),
        name!(lines_count, i64),
        name!(pooled, i64),
        name!(tree, Option<String>),
    ),
> {
    let work = || -> Result<proof::Proof> {
        let wallet = args::required("wallet", wallet)?;
        enter(Level::Reader, wallet, |_| proof::prove(wallet, digest))
    };
    let found = work().or_raise();
    TableIterator::once((
        found.entries,
        found.lanes,
        found.booked,
        found.chain,
        found.limits,
        found.windows,
        found.refunds,
        found.archived,
        found.archive,
        found.kept,
        found.digest,
        found.lines,
        found.lines_count,
        found.pooled,
        found.tree,
    ))
}
