//! Puts money into the lanes without ever waiting for a charge.
//!
//! Credits of one wallet queue on the wallet's row. A credit then takes any free lane. If no active
//! lane is free, it puts the money into a spare lane and requests a recheck, so that the next
//! charge fetches the money.
//!
//! If every lane is free, the thresholds that the money may arm are decided at once. If some lanes
//! are busy, the locked lanes raise their watermarks by the amount that they can guarantee,
//! whatever the busy ones still spend. The rest is left to the next charge, which locks all lanes.

use crate::allowance::all_lanes::{
    AllLanes, Free, lock_free, read_thresholds, watermark_for, write_thresholds,
};
use crate::allowance::crossings;
use crate::allowance::lane_split::active;
use crate::allowance::lanes::{changed_underneath, range};
use crate::allowance::thresholds::{Crossing, Kind, State, Threshold, all_armed, cross};
use crate::error::Result;
use crate::ledger::balance::chain;
use crate::ledger::wallets::config::WalletConfig;
use crate::money::Amount;
use crate::pg::invalidation;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::{Entry, Lane};
use crate::storage::{lock, store};

statement!(
    ATTENTION,
    [TEXTOID],
    "UPDATE wallet.wallets SET recheck_requested = recheck_requested + 1 WHERE wallet_id = $1"
);

/// Money that is added to a wallet.
pub struct Credit<'a> {
    /// The entry that books the money.
    pub entry: &'a Entry<'a>,
    /// The part of the money that may be spent: all of it except the part that pays a debt.
    pub spendable: Amount,
}

/// Books the credit and returns the wallet's balance after it. The caller has locked the wallet's
/// row and has looked up the entry's key.
pub fn credit(credit: &Credit<'_>, rules: &WalletConfig) -> Result<Amount> {
    let wallet = credit.entry.wallet;
    let Some(lane) = free_active_lane(wallet, rules)? else {
        return into_spare(credit, rules);
    };
    // While this transaction holds an active lane, no other one can change the thresholds.
    let thresholds = read_thresholds(wallet, rules.credit_limit)?;
    if all_armed(&thresholds) {
        return into_lane(credit, rules, lane);
    }
    let free = lock_free(wallet, rules.lanes)?;
    if free.whole {
        // An empty spare lane is not locked by this call, and other calls may be waiting for its
        // row.
        into_all(credit, rules, free.ours)
    } else {
        into_some(credit, rules, free, thresholds)
    }
}

/// Locks an active lane that no other transaction has locked. `None` if all are busy.
fn free_active_lane(wallet: &str, rules: &WalletConfig) -> Result<Option<Lane>> {
    for lane in active(rules.lanes) {
        if lane == 0 {
            return store::try_lane(wallet, 0);
        }
        if lock::attempt(wallet, lane) == lock::Attempt::Acquired {
            return store::read_lane(wallet, lane);
        }
    }
    Ok(None)
}

/// The wallet's balance with this credit. Busy lanes count as last committed.
fn balance_after(credit: &Credit<'_>, rules: &WalletConfig) -> Result<Amount> {
    store::credited_elsewhere(credit.entry.wallet, i16::MIN)?
        .minus(rules.credit_limit)
        .and_then(|balance| balance.plus(credit.spendable))
        .map_err(range)
}

/// Books the entry at the end of the lane's chain and raises the lane's allotted amount.
fn book(credit: &Credit<'_>, rules: &WalletConfig, lane: &mut Lane, balance: Amount) -> Result<()> {
    let entry = credit.entry;
    lane.allotted = lane.allotted.plus(credit.spendable).map_err(range)?;
    // The key cannot be taken: credits of a wallet queue on its row, and the key was looked up
    // there.
    chain::append(lane, entry, balance, rules.archived)?;
    Ok(())
}

fn write(wallet: &str, lane: &Lane) -> Result<()> {
    if store::write_lane(wallet, lane)? {
        Ok(())
    } else {
        Err(changed_underneath(wallet))
    }
}

/// Credits one lane. All thresholds are armed, so any lane will do and no threshold can be crossed.
fn into_lane(credit: &Credit<'_>, rules: &WalletConfig, mut lane: Lane) -> Result<Amount> {
    let balance = balance_after(credit, rules)?;
    book(credit, rules, &mut lane, balance)?;
    write(credit.entry.wallet, &lane)?;
    Ok(balance)
}

/// Credits with every lane locked that counts for the balance: the exact total decides.
fn into_all(credit: &Credit<'_>, rules: &WalletConfig, lanes: Vec<Lane>) -> Result<Amount> {
    let limit = rules.credit_limit;
    let mut whole = AllLanes::new(credit.entry.wallet, lanes, limit)?;
    let before = whole.room()?;
    let balance = whole
        .balance(limit)?
        .plus(credit.spendable)
        .map_err(range)?;
    book(credit, rules, whole.booking_lane(rules.lanes)?, balance)?;
    let crossings = whole.settle(before, rules.lane_split())?;
    whole.write()?;
    crossings::emit(credit.entry.wallet, &crossings)?;
    Ok(balance)
}

/// Credits while some lanes are busy. Arms the thresholds that the free lanes can guarantee.
fn into_some(
    credit: &Credit<'_>,
    rules: &WalletConfig,
    free: Free,
    stored: Vec<Threshold>,
) -> Result<Amount> {
    let wallet = credit.entry.wallet;
    let limit = rules.credit_limit;
    let balance = balance_after(credit, rules)?;
    let Free {
        ours: mut free,
        all,
        ..
    } = free;
    let payee = free
        .iter_mut()
        .find(|lane| active(rules.lanes).contains(&lane.lane))
        .ok_or_else(|| changed_underneath(wallet))?;
    book(credit, rules, payee, balance)?;

    // Busy lanes never go below their watermarks unless all lanes are locked, and the watermarks
    // are fixed while this transaction holds a lane. So the sum of the watermarks plus the slack of
    // the free lanes is certainly available.
    let certain: i128 = all.iter().map(|lane| lane.watermark.units()).sum::<i128>()
        + free
            .iter()
            .map(|lane| lane.room().units() - lane.watermark.units())
            .sum::<i128>();
    let certain = Amount::from_units(certain)
        .and_then(|c| c.minus(limit))
        .map_err(range)?;
    let mut thresholds = stored.clone();
    let crossings: Vec<Crossing> = cross_upwards(&mut thresholds, certain);

    let wanted = watermark_for(&thresholds, limit)?.units();
    let mut missing = wanted - all.iter().map(|lane| lane.watermark.units()).sum::<i128>();
    for lane in free
        .iter_mut()
        .filter(|lane| active(rules.lanes).contains(&lane.lane))
    {
        let raise = missing
            .min(lane.room().units() - lane.watermark.units())
            .max(0);
        lane.watermark = Amount::from_units(lane.watermark.units() + raise).map_err(range)?;
        missing -= raise;
    }
    for lane in &free {
        let unchanged = all.contains(lane);
        if !unchanged {
            write(wallet, lane)?;
        }
    }
    write_thresholds(wallet, &stored, &thresholds)?;
    crossings::emit(wallet, &crossings)?;
    if thresholds
        .iter()
        .any(|threshold| threshold.state != State::Armed)
        || missing > 0
    {
        ask_for_attention(wallet)?;
    }
    Ok(balance)
}

/// Requests a recheck: the next charge, in any backend, locks all lanes.
pub fn ask_for_attention(wallet: &str) -> Result<()> {
    ATTENTION.run(&[Value::Text(wallet)])?;
    invalidation::announce_wallets();
    Ok(())
}

/// Arms the thresholds that a certainly available amount reaches. Fires none.
fn cross_upwards(thresholds: &mut [Threshold], certain: Amount) -> Vec<Crossing> {
    let mut reached: Vec<Threshold> = thresholds
        .iter()
        .filter(|t| match t.kind {
            Kind::Low | Kind::Topup | Kind::Covered => certain >= t.at,
            Kind::Depleted => certain > t.at,
        })
        .cloned()
        .collect();
    let crossings = cross(&mut reached, certain, certain);
    for threshold in thresholds {
        if let Some(now) = reached
            .iter()
            .find(|r| (r.kind, r.at) == (threshold.kind, threshold.at))
        {
            *threshold = now.clone();
        }
    }
    crossings
}

/// Credits a spare lane, because every active lane is busy. The next charge fetches the money.
fn into_spare(credit: &Credit<'_>, rules: &WalletConfig) -> Result<Amount> {
    let wallet = credit.entry.wallet;
    let balance = balance_after(credit, rules)?;
    let all = store::read_lanes(wallet)?;
    let is_spare = |lane: &&Lane| lane.lane > 0 && !active(rules.lanes).contains(&lane.lane);
    let free = all
        .iter()
        .filter(is_spare)
        .map(|lane| lane.lane)
        .find(|lane| lock::attempt(wallet, *lane) == lock::Attempt::Acquired);
    let number = match free {
        Some(lane) => lane,
        None => {
            let last = all.iter().map(|lane| lane.lane).max().unwrap_or(0);
            let number = last.max(rules.lanes) + 1;
            lock::wait(wallet, number);
            store::new_lane(wallet, number, rules.epoch)?;
            number
        }
    };
    let mut lane = store::read_lane(wallet, number)?.ok_or_else(|| changed_underneath(wallet))?;
    book(credit, rules, &mut lane, balance)?;
    write(wallet, &lane)?;
    ask_for_attention(wallet)?;
    Ok(balance)
}
