//! The locked balance of a wallet: all lanes locked, the exact total known.
//!
//! Everything except the usual charge is booked here: holds, settlements, debits. While a
//! transaction has the locked balance, no other one can change the wallet's lanes or the windows of
//! its limits.

use std::rc::Rc;

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::crossings;
use crate::allowance::lanes::range;
use crate::attribution::UseContext;
use crate::error::Result;
use crate::ledger::balance::chain;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::{self, Course, Effect, Holding, Kept};
use crate::ledger::grants::lot_end::Ending;
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::grants::{due, kept};
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::{Applied, Limit};
use crate::limits::warning::Warning;
use crate::limits::{lane_windows, window};
use crate::money::Amount;
use crate::outbox;
use crate::outbox::{Event, Field, Name};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::rows::{BALANCE, Entry};
use crate::storage::wallet_row::try_lock_wallet;

/// A wallet's balance and rules, with all lanes locked.
pub struct LockedBalance<'a> {
    /// The wallet's name.
    pub wallet: &'a str,
    /// The wallet's rules, as read under the locks.
    pub rules: Rc<WalletConfig>,
    /// The locked lanes.
    pub whole: AllLanes<'a>,
    /// The credit that only some use may spend.
    pub pools: Pools<'a>,
    /// The credit that holds keep of ended grants.
    kept: Vec<Kept>,
    expired: Expired<'a>,
    before: Amount,
}

impl<'a> LockedBalance<'a> {
    /// Waits for running charges and locks the balance. Amounts that expired holds reserve can be
    /// spent. They are released as far as needed.
    pub fn open(wallet: &'a str) -> Result<LockedBalance<'a>> {
        LockedBalance::open_for(wallet, None)
    }

    /// Locks the balance for a call that closes `hold` itself, whether or not the hold has expired.
    pub fn open_for(wallet: &'a str, hold: Option<[u8; 16]>) -> Result<LockedBalance<'a>> {
        let mut locked = LockedBalance::open_unswept(wallet, hold)?;
        if locked.rules.scoped || locked.rules.keeps {
            // Grants count the amounts that holds reserve of them.
            locked.sweep()?;
        }
        locked.pools = Pools::read(wallet, &locked.rules)?;
        Ok(locked)
    }

    /// Locks the balance for a call that only releases some expired holds.
    pub fn open_to_sweep(wallet: &'a str) -> Result<LockedBalance<'a>> {
        LockedBalance::open_unswept(wallet, None)
    }

    fn open_unswept(wallet: &'a str, hold: Option<[u8; 16]>) -> Result<LockedBalance<'a>> {
        // The rules are read again, because the cached ones may be older than the last grant.
        if config::read(wallet)?.is_due() {
            due::sweep_but(wallet, hold)?;
        }
        let (mut rules, mut lanes) = config::read_with_lanes(wallet)?;
        // A grant may have ended while the call waited for the lanes. Most callers hold the row of
        // the wallet. For the others, the transaction that holds it may be waiting for these lanes.
        if rules.grants_are_due_at(clock::now()) && try_lock_wallet(wallet)? {
            due::sweep_but(wallet, hold)?;
            (rules, lanes) = config::read_with_lanes(wallet)?;
        }
        if rules.lanes > 1 && rules.limits.iter().any(Limit::can_spread) {
            lane_windows::gather_all(wallet)?;
        }
        let whole = AllLanes::new(wallet, lanes, rules.credit_limit)?;
        let before = whole.room()?;
        let kept = kept::of(wallet, &rules)?;
        let expired = Expired::but(wallet, clock::now(), hold, rules.keeps.then_some(&kept))?;
        Ok(LockedBalance {
            wallet,
            pools: Pools::of(wallet, Vec::new()),
            kept,
            rules,
            whole,
            expired,
            before,
        })
    }

    /// Releases all expired holds.
    pub fn sweep(&mut self) -> Result<()> {
        self.expired.sweep_all(&mut self.whole).map(drop)
    }

    /// Releases some of the expired holds. Returns their number.
    pub fn sweep_some(&mut self) -> Result<i64> {
        let swept = self.expired.sweep_some(&mut self.whole)?;
        Ok(swept.len() as i64)
    }

    /// Releases as many expired holds as `amount`, which is about to leave the lanes, needs.
    pub fn make_way(&mut self, amount: Amount) -> Result<()> {
        let credit = self.rules.credit_limit;
        self.expired.make_way(&mut self.whole, amount, credit)
    }

    /// The warnings that remain if expired holds do not count.
    pub fn warnings<'w>(&mut self, warnings: Vec<Warning<'w>>) -> Result<Vec<Warning<'w>>> {
        self.expired.without(warnings)
    }

    /// Releases the expired holds that block the limits of a request. WL002 if a limit would refuse
    /// the request even with all of them released.
    pub fn make_way_in(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        if self.expired.are_none() {
            return Ok(());
        }
        if let Some(refusal) = self.expired.refusal(applied)? {
            return Err(refusal);
        }
        self.expired.make_way_in(&mut self.whole, applied)
    }

    /// The remainder of a limit that applies to a request.
    pub fn left_in(&mut self, one: &Applied<'_>) -> Result<Amount> {
        self.ask(std::slice::from_ref(one))?;
        let freed = self.expired.of(one.window_id)?;
        Ok(window::status_with(self.wallet, one.clone(), freed)?.remaining())
    }

    /// Whether more is charged and held in a limit's window than its maximum.
    pub fn is_exceeded(&mut self, one: &Applied<'_>) -> Result<bool> {
        let freed = self.expired.of(one.window_id)?;
        Ok(window::status_with(self.wallet, one.clone(), freed)?.is_exceeded())
    }

    /// Finds the amounts of expired holds in the windows of a request, before any window is
    /// written.
    pub fn ask(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        self.expired.ask_in(applied)
    }

    /// The amount that every charge may spend, including the credit limit.
    pub fn room(&self) -> Result<Amount> {
        let expired = self.expired.of(BALANCE)?;
        self.whole.room()?.plus(expired).map_err(range)
    }

    /// The amount that use may spend, including grants with a scope that had not
    /// ended at `at`. If that covers `amount`, the result may leave out a part of the grants.
    pub fn room_for(
        &mut self,
        context: UseContext<'_>,
        at: Timestamp,
        amount: Amount,
    ) -> Result<Amount> {
        let room = self.room()?;
        let missing = amount.minus(room).map_err(range)?;
        let own = self.pools.available(context, at, missing)?;
        room.plus(own).map_err(range)
    }

    /// The credit that only other uses may spend.
    pub fn for_other_uses(&mut self, context: UseContext<'_>, at: Timestamp) -> Result<Amount> {
        self.pools.for_other_uses(context, at)
    }

    /// The parts of an amount that grants with a scope pay.
    pub fn split(
        &mut self,
        context: UseContext<'_>,
        at: Timestamp,
        amount: Amount,
    ) -> Result<Vec<Burn>> {
        let room = self.room()?;
        self.split_within(context, at, amount, room)
    }

    /// The parts that grants with a scope pay, if ended lots pay the first `kept` of the amount.
    pub fn split_behind(
        &mut self,
        context: UseContext<'_>,
        at: Timestamp,
        amount: Amount,
        kept: Amount,
    ) -> Result<Vec<Burn>> {
        let room = self.room()?.minus(kept).map_err(range)?;
        let amount = amount.minus(kept).map_err(range)?;
        self.split_within(context, at, amount, room)
    }

    fn split_within(
        &mut self,
        context: UseContext<'_>,
        at: Timestamp,
        amount: Amount,
        room: Amount,
    ) -> Result<Vec<Burn>> {
        let general = kept::without(self.whole.general(self.rules.credit_limit)?, &self.kept)?;
        self.pools.split(context, at, amount, general, room)
    }

    /// The wallet's balance.
    pub fn balance(&self) -> Result<Amount> {
        self.whole.balance(self.rules.credit_limit)
    }

    /// The lane that reserves holds that are made with all lanes locked.
    pub fn holding_lane(&mut self) -> Result<i16> {
        Ok(self.whole.booking_lane(self.rules.lanes)?.lane)
    }

    /// Reserves an amount in a lane, and a part of it in grants with a scope. Returns the parts by
    /// grant.
    pub fn hold(
        &mut self,
        lane: i16,
        amount: Amount,
        context: UseContext<'_>,
        at: Timestamp,
    ) -> Result<Vec<Burn>> {
        // A lane that is no longer in use had no part of the hold, and receives none.
        let in_use = self.whole.lanes.iter().any(|row| row.lane == lane);
        let room = if in_use { self.room()? } else { Amount::ZERO };
        let parts = self.split_within(context, at, amount, room)?;
        let scoped = pools::sum_of(&parts)?.unwrap_or_default();
        self.whole
            .set_aside(lane, amount.minus(scoped).map_err(range)?)?;
        let epoch = self.rules.epoch;
        self.pools.hold(&mut self.whole, &parts, epoch)?;
        Ok(parts)
    }

    /// Books an entry that takes money out. `taken` is the part that leaves the balance; the rest
    /// becomes debt. Returns the balance after the entry.
    pub fn debit(&mut self, entry: &Entry<'_>, taken: Amount) -> Result<Amount> {
        self.debit_with(entry, taken, &[])
    }

    /// Like [`LockedBalance::debit`], with the parts that grants with a scope pay.
    pub fn debit_with(
        &mut self,
        entry: &Entry<'_>,
        taken: Amount,
        parts: &[Burn],
    ) -> Result<Amount> {
        let balance = self.balance()?.minus(taken).map_err(range)?;
        let scoped = pools::sum_of(parts)?.unwrap_or_default();
        let taken = taken.minus(scoped).map_err(range)?;
        let epoch = self.rules.epoch;
        self.pools
            .spend(&mut self.whole, parts, entry.entry_id, epoch)?;
        let lane = self.whole.booking_lane(self.rules.lanes)?;
        // The lane may be overdrawn for a moment. The rebalance corrects it.
        lane.spent = lane.spent.plus(taken).map_err(range)?;
        chain::append(lane, entry, balance, self.rules.archived)?;
        Ok(balance)
    }

    /// The part of an amount that ended grants pay, for a hold that was made before their ends.
    pub fn kept_for(&self, made: Timestamp, most: Amount) -> Result<Amount> {
        let parts = course::take_kept(&mut self.kept.clone(), made, most)?;
        Ok(pools::sum_of(&parts)?.unwrap_or_default())
    }

    /// Spends kept credit of ended grants for an entry.
    pub fn spend_kept(&mut self, made: Timestamp, amount: Amount, entry: [u8; 16]) -> Result<()> {
        let before = self.kept.clone();
        let parts = course::take_kept(&mut self.kept, made, amount)?;
        self.kept.retain(|kept| !kept.amount.is_zero());
        kept::write(self.wallet, &before, &self.kept)?;
        kept::spent(self.wallet, &parts, entry)
    }

    /// Ends the kept credit that holds no longer need, after a hold was released. `hold` is a hold
    /// whose row does not show the release yet, with the amounts that it still reserves.
    pub fn lapse(&mut self, at: Timestamp, hold: Option<([u8; 16], Holding)>) -> Result<()> {
        if !self.rules.keeps {
            return Ok(());
        }
        // The released amounts are now available in the lots.
        self.pools = Pools::read(self.wallet, &self.rules)?;
        let mut lots = self.pools.all()?.to_vec();
        let (named, own) = hold.unzip();
        for part in own.iter().flat_map(|own| &own.scoped) {
            for one in lots.iter_mut().filter(|one| one.lot.rank.id == part.id) {
                one.held = one.held.plus(part.amount).map_err(range)?;
            }
        }
        let mut holds = kept::holdings(self.wallet, None, named)?;
        holds.extend(own);
        let general = self.whole.general(self.rules.credit_limit)?;
        let mut course = Course::new(lots, self.kept.clone(), general, holds, at);
        course.lapse(at)?;
        for effect in &course.effects {
            let Effect::Expired {
                id,
                at,
                amount,
                scoped,
            } = effect
            else {
                continue;
            };
            let burn = Burn {
                id: *id,
                amount: *amount,
            };
            self.expire(&burn, *scoped, *at)?;
        }
        kept::write(self.wallet, &self.kept, &course.kept)?;
        self.kept = course.kept;
        self.pools = Pools::read(self.wallet, &self.rules)?;
        Ok(())
    }

    /// Books the end of a part of a grant.
    fn expire(&mut self, burn: &Burn, is_scoped: bool, at: Timestamp) -> Result<()> {
        let ending = Ending::expired(at);
        let contra = ending.contra();
        let entry = ending.entry(self.wallet, burn, &contra);
        let parts = std::slice::from_ref(burn);
        if is_scoped {
            // This also notes the burn.
            self.debit_with(&entry, burn.amount, parts)?;
            let mut lots = self.pools.all()?.iter();
            if lots.any(|one| one.lot.rank.id == burn.id && one.lot.remaining.is_zero()) {
                kept::ended(self.wallet, burn.id, entry.entry_id)?;
            }
        } else {
            self.debit(&entry, burn.amount)?;
            kept::spent(self.wallet, parts, entry.entry_id)?;
        }
        let payload = [
            ("grant_id", Field::Id(burn.id)),
            ("amount", Field::Amount(burn.amount)),
            ("expires_at", Field::Time(Some(at))),
        ];
        let event = Event {
            name: Name::GrantExpired,
            threshold: None,
            payload: &payload,
        };
        outbox::emit_event(self.wallet, &event)
    }

    /// Rebalances and writes the lanes, and emits the events of crossed thresholds.
    pub fn close(mut self) -> Result<()> {
        self.lapse(clock::now(), None)?;
        self.make_way(Amount::ZERO)?;
        let crossings = self.whole.settle(self.before, self.rules.lane_split())?;
        self.whole.write()?;
        crossings::emit(self.wallet, &crossings)
    }
}
