//! The SQL functions of retention.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, Need, enter};
use crate::args;
use crate::error::{Error, Result};
use crate::pg::clock::DAY;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::reporting::retention::{self, NAMES};
use pgrx::datum::Interval;
use pgrx::default;
use pgrx::prelude::*;

/// The time for which rows of a kind are kept, in microseconds. `None` permanently.
fn kept(what: &str, keep: Option<Interval>) -> Result<Option<i64>> {
    let Some(keep) = keep else {
        return Ok(None);
    };
    let keep = args::duration("keep", Some(keep))?;
    let least = retention::least(what);
    if keep < least {
        return Err(Error::argument("keep is too short")
            .detail(format!(
                "{what} are kept for at least {} days.",
                least / DAY
            ))
            .hint("Pass a longer time, or NULL to keep them permanently.")
            .about("keep"));
    }
    Ok(Some(keep))
}

/// Sets how long rows of a kind are kept.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_retention(
    what: Option<&str>,
    keep: Option<Interval>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let what = args::word("what", what, &NAMES, |word| word, &[])?;
        let keep = kept(what, keep)?;
        let call = Call::new("set_retention", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("what", what)
            .with("keep", keep);
        call.change(Level::Admin, Of::Retention(what), |call| {
            call.once(|| retention::set(what, keep))
        })
    };
    work().or_raise();
}

/// Drops rows that were kept long enough, at most a given number of each kind.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn drop_old(
    portion: default!(Option<i32>, "1000"),
) -> TableIterator<'static, (name!(what, String), name!(dropped, i64))> {
    let work = || {
        let most = args::at_most("portion", portion)?.unwrap_or(i64::MAX);
        enter(Need::Upkeep, ALL_WALLETS, |_| retention::drop_old(most))
    };
    let dropped = work().or_raise();
    TableIterator::new(
        dropped
            .into_iter()
            .map(|(what, rows)| (what.to_owned(), rows)),
    )
}
