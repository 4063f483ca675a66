//! The SQL function that exports the ledger for plain-text accounting.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::pg::raise::OrRaise;
use crate::reporting::journal::{self, Format};
use crate::storage::plan::Value;
use pgrx::datum::Date;
use pgrx::default;
use pgrx::prelude::*;

/// The ledger of a wallet as double entries for hledger or beancount, with an assertion of the
/// balance at the end.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn journal(
    wallet: Option<&str>,
    from: default!(Option<TimestampWithTimeZone>, "NULL"),
    to: default!(Option<TimestampWithTimeZone>, "NULL"),
    format: default!(Option<&str>, "'hledger'"),
    from_day: default!(Option<Date>, "NULL"),
    to_day: default!(Option<Date>, "NULL"),
    as_of: default!(Option<TimestampWithTimeZone>, "NULL"),
) -> String {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let format = args::word("format", format, Format::ALL, Format::as_str, &[])?;
        let (from, to) = (args::time("from", from)?, args::time("to", to)?);
        let as_of = args::time("as_of", as_of)?;
        enter(Level::Reader, wallet, |_| {
            let span = [from, to].map(Value::OptTime);
            let days = [from_day, to_day].map(Value::OptDate);
            journal::of(wallet, span, days, as_of, format)
        })
    };
    work().or_raise()
}
