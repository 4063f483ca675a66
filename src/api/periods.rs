//! The SQL functions that close periods and open them again.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::Level;
use crate::args;
use crate::error::{Error, Result};
use crate::ledger::wallets::periods::Change;
use crate::pg::clock::{self, Timestamp};
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::default;
use pgrx::prelude::*;

const HINT: &str =
    "Pass the first moment of the open period. A period can be closed when it has ended.";

/// A time at which a closed period may end.
fn ended(until: Option<TimestampWithTimeZone>) -> Result<Option<Timestamp>> {
    let until = args::kept_time("until", until)?;
    match until {
        Some(at) if at > clock::now() => Err(Error::argument("until is in the future")
            .detail(format!("It is {}.", at.to_json()))
            .hint(HINT)
            .about("until")),
        until => Ok(until),
    }
}

/// Closes the periods of a wallet, or of all wallets, that end before a time.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn close_period(
    wallet: Option<&str>,
    until: Option<TimestampWithTimeZone>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let until = ended(until)?.ok_or_else(|| args::missing("until").hint(HINT))?;
        let call = Call::new("close_period", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("until", until.0);
        let change = Change {
            wallet,
            until: Some(until),
            actor,
            metadata,
        };
        call.change(Level::Admin, Of::Period, |call| change.close(call))
    };
    work().or_raise();
}

/// Opens closed periods again.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn reopen_period(
    wallet: Option<&str>,
    until: default!(Option<TimestampWithTimeZone>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let until = ended(until)?;
        let call = Call::new("reopen_period", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("until", until.map(|until| until.0));
        let change = Change {
            wallet,
            until,
            actor,
            metadata,
        };
        call.change(Level::Admin, Of::Period, |call| change.reopen(call))
    };
    work().or_raise();
}
