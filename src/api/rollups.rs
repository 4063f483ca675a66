//! The SQL function that rolls up closed days.

use crate::access::rights::{ALL_WALLETS, Need, enter};
use crate::args;
use crate::pg::clock;
use crate::pg::raise::OrRaise;
use crate::reporting::rollups;
use pgrx::default;
use pgrx::prelude::*;

/// Rolls up the entries that were booked before a time, by default before today in each wallet's
/// time zone. It processes all wallets, or at most a given number. Returns the number of wallets.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn roll_up(
    before: default!(Option<TimestampWithTimeZone>, "NULL"),
    max_wallets: default!(Option<i32>, "NULL"),
) -> i64 {
    let work = || {
        let now = clock::now();
        // Entries up to a future time do not exist yet.
        let before = args::time("before", before)?.map(|before| before.min(now));
        let most = args::at_most("max_wallets", max_wallets)?;
        enter(Need::Upkeep, ALL_WALLETS, |_| {
            rollups::roll_due(now, before, most)
        })
    };
    work().or_raise()
}
