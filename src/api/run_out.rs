//! Alerts before the money runs out.

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{ALL_WALLETS, Level, enter};
use crate::args;
use crate::error::Error;
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::fingerprint;
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::reporting::run_out::{ASK, ASK_NO_MORE, MAX_DAYS, PORTION, announce};
use crate::storage::plan::{Run, Value};
use crate::storage::wallet_row::lock_wallet;
use pgrx::default;
use pgrx::prelude::*;

/// Asks to be told when the money of a wallet lasts fewer days than that; NULL asks no more.
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
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "set_run_out_alert",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[("days", days.map(|days| days.to_string()))]),
        };
        enter_audited(
            Level::Billing,
            &Act {
                wallet,
                action: "set_run_out_alert",
                actor,
                metadata,
            },
            Of::RunOut,
            |_| {
                lock_wallet(wallet)?;
                if call.answered()?.is_some() {
                    return Ok(());
                }
                match days {
                    Some(days) => ASK.run(&[
                        Value::Text(wallet),
                        Value::Int4(days),
                        Value::Time(clock::now()),
                    ])?,
                    None => ASK_NO_MORE.run(&[Value::Text(wallet)])?,
                };
                call.remember(None)
            },
        )
    };
    work().or_raise();
}

/// Emits `wallet_run_out_near` where the money lasts fewer days than was asked for, once until it lasts
/// longer again; says for how many wallets. All that ask for it are looked at, or so many behind a name.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn announce_run_outs(
    after_wallet: default!(Option<&str>, "NULL"),
    max_wallets: default!(Option<i32>, "NULL"),
) -> i64 {
    let work = || {
        let mut behind = after_wallet.unwrap_or_default().to_owned();
        let mut left = args::at_most("max_wallets", max_wallets)?.unwrap_or(i64::MAX);
        enter(Level::Admin, ALL_WALLETS, |_| {
            let (now, mut told) = (clock::now(), 0);
            while left > 0
                && let Some((some, looked_at, last)) = announce(&behind, left.min(PORTION), now)?
            {
                told += some;
                left -= looked_at;
                behind = last;
            }
            Ok(told)
        })
    };
    work().or_raise()
}
