//! The SQL function that forecasts how long the money lasts.

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::{Error, Result};
use crate::ledger::wallets::config;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::numeric::decimal_datum;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use crate::reporting::forecast::{self, Ask, MOST_DAYS, known};
use pgrx::prelude::*;
use pgrx::{default, pg_sys};

composite!(
    /// The result of `forecast`.
    ForecastRow,
    "wallet.forecast_result"
);

fn checked(days: Option<i32>) -> Result<i32> {
    let most = i32::try_from(MOST_DAYS).unwrap_or(i32::MAX);
    match days {
        Some(days) if (1..=most).contains(&days) => Ok(days),
        days => Err(Error::argument("days is out of range")
            .detail(format!(
                "It is {}; 1 to {most} are allowed.",
                days.map_or("NULL".to_owned(), |days| days.to_string())
            ))
            .hint("Give so many days as a top-up is to last, or leave it out for 30.")),
    }
}

/// Forecasts how long the money of a wallet lasts, and what would make it last for `days` days.
#[pg_extern(schema = "wallet", stable, parallel_restricted, requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
pub fn forecast(wallet: Option<&str>, days: default!(Option<i32>, "30")) -> ForecastRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let days = checked(days)?;
        enter(Level::Reader, wallet, |_| {
            if let Some(parent) = &config::read(wallet)?.pool {
                return Ok(forecast::of_pooled(parent));
            }
            let now = clock::statement_start();
            let known = known::read(&[wallet.to_owned()], now)?;
            let known = known
                .get(wallet)
                .ok_or_else(|| Error::wallet_not_found(wallet))?;
            forecast::forecast(known, now, &Ask::All(days))
        })
    };
    let forecast = work().or_raise();
    let time = |time: Option<Timestamp>| time.map(|time| pg_sys::Datum::from(time.0));
    ForecastRow(vec![
        forecast.daily_burn.map(decimal_datum),
        forecast.days_left.map(decimal_datum),
        time(forecast.runs_out_at),
        time(forecast.range.0),
        time(forecast.range.1),
        forecast.topup.map(decimal_datum),
        text(&forecast.basis),
    ])
}
