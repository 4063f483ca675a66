//! What the view `limits_status` computes.

use pgrx::prelude::*;

use crate::limits::period::{self, Period};
use crate::limits::slices::Slices;
use crate::money::Amount;
use crate::storage::clock::Timestamp;

/// The first moment after the window that a period has at a moment: when a limit of it resets. NULL
/// for one that never does, and for a rolling one.
#[pg_extern(schema = "wallet", immutable, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn period_end(
    period: Option<&str>,
    anchor: Option<i32>,
    time_zone: Option<&str>,
    at: Option<TimestampWithTimeZone>,
) -> Option<TimestampWithTimeZone> {
    let (period, _) = Period::parse(period?, anchor).ok()?;
    let zone = period::zone(time_zone?).ok()?;
    let (_, end) = period.window(&zone, Timestamp::from(at?).unix_micros())?;
    TimestampWithTimeZone::try_from(Timestamp::from_unix_micros(end?).0).ok()
}

/// What is used of a rolling window at a moment, from its slices.
#[pg_extern(schema = "wallet", immutable, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn rolling_used(slices: Option<&[u8]>, at: Option<TimestampWithTimeZone>) -> Option<Amount> {
    let mut slices = Slices::read(slices?)?;
    slices.age(Timestamp::from(at?).unix_micros());
    Amount::from_units(slices.total()).ok()
}

/// When the oldest use leaves a rolling window.
#[pg_extern(schema = "wallet", immutable, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn rolling_frees_at(
    slices: Option<&[u8]>,
    at: Option<TimestampWithTimeZone>,
) -> Option<TimestampWithTimeZone> {
    let mut slices = Slices::read(slices?)?;
    slices.age(Timestamp::from(at?).unix_micros());
    let frees = Timestamp::from_unix_micros(slices.next_free()?);
    TimestampWithTimeZone::try_from(frees.0).ok()
}
