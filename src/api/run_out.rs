//! SQL functions on run-out alerts.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, Need, enter};
use crate::args;
use crate::error::Error;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::reporting::run_out::{self, MAX_DAYS};
use crate::storage::wallet_row::lock_wallet;
use pgrx::default;
use pgrx::prelude::*;

/// Sets an alert for when the money of a wallet lasts fewer days than a number. NULL removes the
/// alert.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_run_out_alert(
    wallet: Option<&str>,
    days: Option<i32>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        if let Some(days) = days
            && !(1..=MAX_DAYS).contains(&days)
        {
            return Err(Error::argument("days is out of range")
                .detail(format!("It is {days}; 1 to {MAX_DAYS} are allowed."))
                .hint("Give so many days as it takes to get money in, or NULL for no alert."));
        }
        let call = Call::new("set_run_out_alert", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("days", days);
        call.change(Level::Billing, Of::RunOut, |call| {
            lock_wallet(wallet)?;
            call.once(|| run_out::ask(wallet, days))
        })
    };
    work().or_raise();
}

/// Emits `wallet_run_out_near` for each wallet whose money lasts fewer days than its alert says,
/// once until the money lasts longer again. Checks all wallets with an alert, or at most
/// `max_wallets` of those after the name `after_wallet`. Returns the number of wallets with a new
/// event.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn announce_run_outs(
    after_wallet: default!(Option<&str>, "NULL"),
    max_wallets: default!(Option<i32>, "NULL"),
) -> i64 {
    let work = || {
        let behind = after_wallet.unwrap_or_default();
        let most = args::at_most("max_wallets", max_wallets)?.unwrap_or(i64::MAX);
        enter(Need::Upkeep, ALL_WALLETS, |_| {
            run_out::announce_all(behind, most)
        })
    };
    work().or_raise()
}
