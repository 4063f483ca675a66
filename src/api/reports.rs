//! SQL functions that reports call, and maintenance functions.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, Need, enter, enter_any, reach};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::fingerprint::canonical;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::reporting::cost_allocation::{Rule, check_shares};
use crate::reporting::{cost_allocation, upkeep};
use crate::storage::session::as_one_call;
use crate::storage::wallet_row::{lock_wallet, require_wallet};
use pgrx::datum::Date;
use pgrx::default;
use pgrx::prelude::*;

const NAME_WALLETS: &str = "Pass an array of wallets, or {*} for all that you may read.";

/// The name of a wallet that the caller may read. Raises an error otherwise. Reports call it first.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn readable_wallet(wallet: Option<&str>) -> String {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        enter(Level::Reader, wallet, |_| {
            require_wallet(wallet)?;
            Ok(wallet.to_owned())
        })
    };
    work().or_raise()
}

/// The wallets of a report: those that are named, or `*` for all that the caller may read. NULL
/// means that the caller may read every wallet, and that all are reported. Raises an error for a
/// named wallet that the caller may not read.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn reported_wallets(wallets: Option<Vec<Option<String>>>) -> Option<Vec<String>> {
    reported(wallets).or_raise()
}

/// The wallets of a report, as `reported_wallets` returns them.
pub fn reported(wallets: Option<Vec<Option<String>>>) -> Result<Option<Vec<String>>> {
    let wallets = wallets.ok_or_else(|| args::missing("wallets").hint(NAME_WALLETS))?;
    if wallets.is_empty() {
        return Err(Error::argument("wallets is empty")
            .detail("A report needs at least one wallet.")
            .hint(NAME_WALLETS)
            .about("wallets"));
    }
    let mut named = Vec::with_capacity(wallets.len());
    for wallet in &wallets {
        let wallet = args::required("wallet", wallet.as_deref())?;
        if wallet != ALL_WALLETS {
            enter(Level::Reader, wallet, |_| require_wallet(wallet))?;
            named.push(wallet.to_owned());
        }
    }
    match named.len() == wallets.len() {
        true => Ok(Some(named)),
        false => enter_any(|session| reach(session, Level::Reader)),
    }
}

/// Sets how unallocated usage is distributed across the teams of a wallet, or the values of a tag.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_chargeback_rule(
    wallet: Option<&str>,
    rule: Option<&str>,
    shares: default!(Option<Jsonb>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    dimension: default!(Option<&str>, "'team'"),
    effective_from: default!(Option<Date>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let dimension = cost_allocation::dimension(dimension)?;
        let rules = ["none", "even", "use", "fixed"];
        let rule = args::word("rule", rule, &rules, |word| word, &[])?;
        check_shares(shares, rule == "fixed")?;
        let effective_from = args::day("effective_from", effective_from)?;
        let call = Call::new("set_chargeback_rule", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("dimension", dimension)
            .with("rule", rule)
            .with("shares", shares.and_then(canonical))
            .with(
                "effective_from",
                effective_from.map(|day| day.to_unix_epoch_days()),
            );
        let rule = Rule {
            dimension,
            rule,
            shares,
            effective_from,
        };
        call.change(Level::Billing, Of::CostAllocation(dimension), |call| {
            lock_wallet(wallet)?;
            call.once(|| cost_allocation::set(wallet, &rule))
        })
    };
    work().or_raise();
}

/// Deletes the windows of limits that ended a month ago or earlier. Returns their number.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn prune_windows() -> i64 {
    let work = || enter(Need::Upkeep, ALL_WALLETS, |_| upkeep::prune_windows());
    as_one_call(work).or_raise()
}

/// Books what has expired in all wallets: at most `most` holds, and the ended grants of at most
/// `most` wallets. Returns the number of wallets. Calls do this themselves when they need the
/// money. This function is for events that should not wait for a call.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn sweep_expired(most: default!(Option<i64>, "NULL")) -> i64 {
    let work = || {
        let most = most.unwrap_or(upkeep::PORTION).max(1);
        enter(Need::Upkeep, ALL_WALLETS, |_| Ok(()))?;
        upkeep::sweep(most)
    };
    as_one_call(work).or_raise()
}
