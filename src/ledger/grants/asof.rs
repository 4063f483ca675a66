//! A wallet's money at a moment, including everything that is due by then, booked or not. Books no
//! entry.

use std::collections::HashMap;

use crate::allowance::lane_split::SCOPED;
use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::grants::burn::{self, Lot};
use crate::ledger::grants::catching_up::MAX_TURNS;
use crate::ledger::grants::course::Course;
use crate::ledger::grants::kept;
use crate::ledger::grants::lots::{self, Active};
use crate::ledger::grants::recurrence::Due;
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config::WalletConfig;
use crate::ledger::wallets::following;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::rows::BALANCE;
use crate::storage::store;

/// A wallet's money at a moment.
pub struct Funds {
    /// The course of time up to the moment. It has no lots if the wallet has plain fundings only.
    pub course: Course,
    /// The due occurrences of recurring grants.
    pub due: Due,
    credit_limit: Amount,
}

impl Funds {
    /// The amount that every charge may spend, including the credit limit. It is below zero if less
    /// is left than holds reserve.
    pub fn room(&self) -> Result<Amount> {
        let units = self.course.general + self.credit_limit.units() - self.course.held;
        Amount::from_units(units).map_err(range)
    }

    /// The wallet's balance.
    pub fn balance(&self) -> Result<Amount> {
        let scoped = self.scoped().map(|one| one.lot.remaining.units());
        Amount::from_units(self.course.general + scoped.sum::<i128>()).map_err(range)
    }

    /// The amount that open holds reserve.
    pub fn held(&self) -> Result<Amount> {
        let scoped = self.scoped().map(|one| one.held.units());
        Amount::from_units(self.course.held + scoped.sum::<i128>()).map_err(range)
    }

    /// The unreserved amount of grants with a scope, which only some charges may use.
    pub fn for_some(&self) -> Result<Amount> {
        let free = self.scoped().map(|one| one.free().remaining.units());
        Amount::from_units(free.sum()).map_err(range)
    }

    fn scoped(&self) -> impl Iterator<Item = &Active> {
        self.course.lots.iter().filter(|one| one.scope.is_some())
    }
}

/// A wallet's money at a moment. `expired` contains the holds that have expired by then.
pub fn standing(
    wallet: &str,
    rules: &WalletConfig,
    now: Timestamp,
    expired: &mut Expired<'_>,
) -> Result<Funds> {
    let lanes = store::read_lanes(wallet)?;
    let lanes = lanes.iter().filter(|lane| lane.lane != SCOPED);
    let (mut general, mut held) = (-rules.credit_limit.units(), 0);
    for lane in lanes {
        general += lane.credited().units();
        held += lane.held.units();
    }
    let general = Amount::from_units(general).map_err(range)?;
    let has_lots = rules.grants_due.is_some() || rules.scoped;
    let mut lots = match has_lots {
        true => lots::read_active(wallet)?,
        false => Vec::new(),
    };
    let kept = kept::of(wallet, rules)?;
    spread(&mut lots, kept::without(general, &kept)?)?;
    let mut due = Due::default();
    let course = if rules.grants_are_due_at(now) || rules.keeps {
        while due.read_on(wallet, now, MAX_TURNS)? {}
        if let Some(ended) = rules.plan_ended() {
            due.end(&following::ended_grants(wallet)?, ended);
        }
        let holds = kept::holdings(wallet, Some(now), None)?;
        let mut course = Course::new(lots, kept, general, holds, Timestamp(i64::MIN));
        course.run(now, &due.turns)?;
        course
    } else {
        expired.free(&mut lots)?;
        Course::still(lots, kept, general, held - expired.of(BALANCE)?.units())
    };
    Ok(Funds {
        course,
        due,
        credit_limit: rules.credit_limit,
    })
}

/// A wallet's money at a moment, with the expired holds read here.
pub fn standing_at(wallet: &str, rules: &WalletConfig, now: Timestamp) -> Result<Funds> {
    standing(wallet, rules, now, &mut Expired::look(wallet, now)?)
}

/// A wallet's current balance, including everything that is due.
pub fn balance(wallet: &str, rules: &WalletConfig) -> Result<Amount> {
    let now = clock::now();
    if rules.grants_are_due_at(now) {
        return standing_at(wallet, rules, now)?.balance();
    }
    store::credited_elsewhere(wallet, i16::MIN)?
        .minus(rules.credit_limit)
        .map_err(range)
}

/// Allocates the spending since the lots were last settled to the lots without a scope.
fn spread(lots: &mut Vec<Active>, balance: Amount) -> Result<()> {
    let plain = lots.iter().filter(|one| one.scope.is_none());
    let mut plain: Vec<Lot> = plain.map(|one| one.lot.clone()).collect();
    let mut burnt = HashMap::new();
    for burn in burn::settle(&mut plain, balance) {
        burnt.insert(burn.id, burn.amount);
    }
    for one in lots.iter_mut() {
        if let Some(amount) = burnt.get(&one.lot.rank.id) {
            one.lot.remaining = one.lot.remaining.minus(*amount).map_err(range)?;
        }
    }
    lots.retain(|one| !one.lot.remaining.is_zero());
    Ok(())
}
