//! `forecast`: how long the money of a wallet lasts.
//!
//! [`known`] reads the money and the past use, [`series`] predicts the spending, and [`projection`]
//! spends it as charges would, from the money and from future grants.

use crate::error::{Error, Result, quoted};
use crate::pg::clock::Timestamp;
use crate::reporting::forecast::calendar::Calendar;
use crate::reporting::forecast::funds::{Spending, Stream};
use crate::reporting::forecast::known::Known;
pub use crate::reporting::forecast::projection::MOST_DAYS;
use crate::reporting::forecast::projection::{Outcome, project};
use crate::reporting::forecast::series::{LEAST_DAYS, Outlook};
use rust_decimal::Decimal;

#[cfg(test)]
mod backtest;
mod calendar;
mod funds;
pub mod known;
mod projection;
mod series;

const DAY: i64 = 86_400_000_000;

/// Units of an amount.
const ONE: f64 = 1e12;

/// A missing amount counts if it is at least a millionth. A smaller one is caused by rounding.
const NOTHING: i128 = 1_000_000;

/// Units of a hundredth.
const CENT: i128 = 10_000_000_000;

/// The forecast of a wallet.
pub struct Forecast {
    /// The mean spending per day of the next seven days; `None` if too little is known.
    pub daily_burn: Option<Decimal>,
    /// The number of days that the money lasts.
    pub days_left: Option<Decimal>,
    /// When the money runs out.
    pub runs_out_at: Option<Timestamp>,
    /// The range that contains this time in four of five cases.
    pub range: (Option<Timestamp>, Option<Timestamp>),
    /// The top-up with which the money lasts for the requested number of days.
    pub topup: Option<Decimal>,
    /// The basis of the forecast, in words.
    pub basis: String,
}

/// The forecast of a wallet whose parent pays: the parent has one.
pub fn of_pooled(parent: &str) -> Forecast {
    Forecast {
        daily_burn: None,
        days_left: None,
        runs_out_at: None,
        range: (None, None),
        topup: None,
        basis: format!("its parent {} pays", quoted(parent)),
    }
}

/// The question to a forecast.
pub enum Ask {
    /// The whole forecast, including the top-up with which the money lasts that many days.
    All(i32),
    /// Whether the money lasts that many days.
    Lasts(i32),
}

/// The units of a predicted amount, rounded to twelve digits. So equal results on paper are equal
/// here.
fn units(amount: f64) -> i128 {
    let units = amount * ONE;
    if units < 1.0 {
        return 0;
    }
    // More than any amount, with room for the arithmetic.
    let units = units.min(1e29);
    let digits = units.log10().floor() as u32;
    match digits.checked_sub(12) {
        Some(excess) => {
            let coarse = 10_i128.pow(excess);
            (units / coarse as f64).round() as i128 * coarse
        }
        None => units.round() as i128,
    }
}

/// A number with some decimals; `None` if it is out of range.
fn rounded(value: f64, decimals: u32) -> Option<Decimal> {
    let scaled = (value * 10_f64.powi(decimals.cast_signed())).round();
    Decimal::try_from_i128_with_scale(scaled as i128, decimals).ok()
}

fn spending(known: &Known, outlook: &Outlook, today: usize) -> Spending {
    let weighted = |days: &[i128]| -> f64 {
        let days = days.iter().take(known.days).enumerate();
        days.map(|(before, units)| outlook.weight(before + 1) * (*units).max(0) as f64)
            .sum()
    };
    let uses = known.uses_by_fit();
    let mut streams: Vec<Stream> = uses
        .into_iter()
        .map(|(fits, days)| Stream {
            share: weighted(&days),
            fits,
        })
        .collect();
    let all: f64 = streams.iter().map(|stream| stream.share).sum();
    for stream in &mut streams {
        stream.share = if all > 0.0 { stream.share / all } else { 0.0 };
    }
    let days = (0..outlook.trend_days() + 7)
        .map(|ahead| {
            let day = outlook.expected(ahead, today + ahead);
            streams.iter().map(|one| units(day * one.share)).collect()
        })
        .collect();
    Spending { streams, days }
}

/// The forecast of a wallet. Fields stay `None` from the first question that has no answer: too
/// little history, or no end in sight. The range projects more and less spending, and is widened to
/// include the expected end.
pub fn forecast(known: &Known, now: Timestamp, ask: &Ask) -> Result<Forecast> {
    let mut forecast = Forecast {
        daily_burn: None,
        days_left: None,
        runs_out_at: None,
        range: (None, None),
        topup: None,
        basis: "not enough data".to_owned(),
    };
    let at = now.unix_micros();
    let calendar = Calendar::at(known.zone.clone(), at)
        .ok_or_else(|| Error::internal("the time is in no calendar"))?;
    let today = calendar.weekday();
    let history = known.history();
    let history: Vec<f64> = history
        .iter()
        .map(|units| (*units).max(0) as f64 / ONE)
        .collect();
    let Some(outlook) = Outlook::of(&history, today).filter(|_| known.days >= LEAST_DAYS) else {
        return Ok(forecast);
    };
    forecast.basis = outlook.basis();
    let daily = outlook.daily(today);
    forecast.daily_burn = rounded(daily, if daily > 0.0 && daily < 0.001 { 12 } else { 6 });
    let spending = spending(known, &outlook, today);
    let (until, missing_until) = match ask {
        Ask::All(days) => (at + MOST_DAYS as i64 * DAY, at + i64::from(*days) * DAY),
        Ask::Lasts(days) => (at + i64::from(*days) * DAY, at),
    };
    let outcome = |spending: &Spending, missing_until: i64, topped_up: bool| {
        project(
            &calendar,
            spending,
            known.funds.clone(),
            at,
            until,
            missing_until,
            topped_up,
        )
    };
    let expected = outcome(&spending, missing_until, false);
    if let Ask::All(_) = ask {
        let missing = || outcome(&spending, missing_until, true).missing;
        forecast.topup = topup(&expected, known.debt, missing);
    }
    let Some(out) = expected.runs_out_at.filter(|_| daily > 0.0) else {
        return Ok(forecast);
    };
    let timestamp = Timestamp::from_unix_micros;
    forecast.days_left = rounded((out - at) as f64 / DAY as f64, 1);
    forecast.runs_out_at = Some(timestamp(out));
    if let Ask::All(_) = ask {
        let sooner = outcome(&spending.times(1.0 + outlook.spread), at, false).runs_out_at;
        let later = match outlook.spread < 1.0 {
            true => outcome(&spending.times(1.0 - outlook.spread), at, false).runs_out_at,
            false => None,
        };
        forecast.range = (
            sooner.map(|sooner| timestamp(sooner.min(out))),
            later.map(|later| timestamp(later.max(out))),
        );
    }
    Ok(forecast)
}

/// The top-up with which the money lasts, in hundredths. It first repays what was spent on credit;
/// `missing` returns the amount that is missing then.
fn topup(expected: &Outcome, debt: i128, missing: impl FnOnce() -> i128) -> Option<Decimal> {
    let topup = if expected.missing < NOTHING {
        0
    } else if expected.owed > 0 {
        missing() + expected.owed + debt
    } else {
        expected.missing + debt
    };
    Decimal::try_from_i128_with_scale((topup + CENT - NOTHING) / CENT, 2).ok()
}

/// For each wallet, whether and when its money runs out within its number of days.
pub fn run_outs(wallets: &[(String, i32)], now: Timestamp) -> Result<Vec<Option<Forecast>>> {
    let names: Vec<String> = wallets.iter().map(|(wallet, _)| wallet.clone()).collect();
    let known = known::read(&names, now)?;
    wallets
        .iter()
        .map(|(wallet, days)| {
            let known = known.get(wallet);
            known
                .map(|known| forecast(known, now, &Ask::Lasts(*days)))
                .transpose()
        })
        .collect()
}
