//! The ledger for plain-text accounting.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::Error;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::raise::OrRaise;
use crate::reporting::journal::{ENTRIES, Format, PRICES, SPAN, write};
use crate::storage::plan::{Run, Value};
use pgrx::datum::Date;
use pgrx::default;
use pgrx::prelude::*;

/// The ledger of a wallet as double entries for hledger or beancount, with the balance asserted at
/// the end.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn journal(
    wallet: Option<&str>,
    from: default!(Option<TimestampWithTimeZone>, "NULL"),
    to: default!(Option<TimestampWithTimeZone>, "NULL"),
    format: default!(Option<&str>, "'hledger'"),
    from_day: default!(Option<Date>, "NULL"),
    to_day: default!(Option<Date>, "NULL"),
) -> String {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let format = args::word("format", format, Format::ALL, Format::as_str, &[])?;
        let (from, to) = (args::time("from", from)?, args::time("to", to)?);
        enter(Level::Reader, wallet, |_| {
            let span = SPAN.run(&[
                Value::Text(wallet),
                Value::OptTime(from),
                Value::OptTime(to),
                Value::OptDate(from_day),
                Value::OptDate(to_day),
            ])?;
            let (from, to): (Option<Timestamp>, Option<Timestamp>) =
                (span.get(0, 0), span.get(0, 1));
            // Of the future nothing is known.
            let to = to.filter(|to| *to <= clock::now());
            let values = [
                Value::Text(wallet),
                Value::OptTime(from),
                Value::OptTime(to),
            ];
            let rows = ENTRIES.run(&values)?;
            if rows.is_empty() {
                return Err(Error::wallet_not_found(wallet));
            }
            write(wallet, &rows, &PRICES.run(&values)?, format)
        })
    };
    work().or_raise()
}
