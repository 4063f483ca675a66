//! The windows of default limits in one wallet, which are counted from the ledger when the wallet
//! changes so that its windows have not counted its usage.

use crate::error::Result;
use crate::ledger::limits::recount::count_running;
use crate::ledger::limits::rows::{Key, with_key};
use crate::ledger::wallets::default_limits;
use crate::limits::defaults::DefaultLimit;
use crate::limits::stored::limit_of;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::LimitRow;

statement!(
    CARRY_FROM_NOW,
    [TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.wallets SET defaults_from = $2 WHERE wallet_id = $1"
);

/// Counts the running windows of the limits again, with all lanes locked. The carries start again
/// of those that do not `stay`.
fn count(
    wallet: &str,
    limits: &[&DefaultLimit],
    now: Timestamp,
    stay: impl Fn(&DefaultLimit) -> bool,
) -> Result<()> {
    let begins = |one: &&DefaultLimit| one.row.rollover_max.is_some() && !stay(one);
    if limits.iter().any(begins) {
        // The windows before did not count what was used.
        CARRY_FROM_NOW.run(&[Value::Text(wallet), Value::Time(now)])?;
    }
    if limits.is_empty() {
        return Ok(());
    }
    let home = default_limits::home(wallet)?;
    limits
        .iter()
        .try_for_each(|one| count_running(wallet, &one.limit(&home)?, now, stay(one)))
}

/// The reason why a limit of a wallet no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It was dropped, so a default limit of the same names applies.
    Dropped,
    /// It was paused.
    Paused,
}

/// Counts the default limits again whose place a limit of the wallet had taken, or that it replaced
/// for its subject.
pub fn count_replaced(wallet: &str, row: &LimitRow, why: Gone, now: Timestamp) -> Result<()> {
    let defaults = default_limits::known()?;
    let gone = limit_of(row.clone())?;
    let returns = |one: &DefaultLimit| why == Gone::Dropped && one.gives_way_to(row);
    let mut counted = Vec::new();
    for one in defaults.iter().filter(|one| !one.row.paused) {
        let is_replaced = || -> Result<bool> {
            let mut replaced = one.row.clone();
            replaced.time_zone.clone_from(&row.time_zone);
            let replaces = gone.replaces(&limit_of(replaced)?);
            Ok(replaces && with_key(wallet, &Key::of(&one.row))?.is_empty())
        };
        if returns(one) || is_replaced()? {
            counted.push(one);
        }
    }
    count(wallet, &counted, now, |one| !returns(one))
}

/// Runs `work`, which locks all lanes and may change the wallet's time zone. The windows of default
/// limits that follow the zone are then counted again.
pub fn following_zone<T>(wallet: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = default_limits::home(wallet)?;
    let done = work()?;
    if default_limits::home(wallet)?.time_zone == before.time_zone {
        return Ok(done);
    }
    let defaults = default_limits::known()?;
    let follows = |one: &&DefaultLimit| !one.row.paused && one.row.time_zone.is_empty();
    let mut moved = Vec::new();
    for one in defaults.iter().filter(follows) {
        let is_moved = one.limit(&before)?.period.has_calendar();
        if is_moved && with_key(wallet, &Key::of(&one.row))?.is_empty() {
            moved.push(one);
        }
    }
    count(wallet, &moved, clock::now(), |_| false)?;
    Ok(done)
}
