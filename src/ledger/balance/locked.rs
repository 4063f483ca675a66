//! The whole balance of a wallet in one's hands: all lanes locked, the exact total known.
//!
//! What is not the everyday charge is booked here: holds, settlements, debits. Whoever has the
//! books is alone with the wallet's lanes and with the windows of its limits.

use std::rc::Rc;

use crate::allowance::all_lanes::AllLanes;
use crate::allowance::crossings;
use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::balance::chain;
use crate::ledger::grants::burn::Burn;
use crate::ledger::grants::course::{self, Course, Effect, Holding, Kept};
use crate::ledger::grants::lot_end::Ending;
use crate::ledger::grants::pools::{self, Pools};
use crate::ledger::grants::scope::Purpose;
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

/// A wallet's balance and rules, with all its lanes locked.
pub struct LockedBalance<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Its rules.
    pub rules: Rc<WalletConfig>,
    /// Its lanes.
    pub whole: AllLanes<'a>,
    /// What of the balance only some use may take.
    pub pools: Pools<'a>,
    /// What holds keep of grants that have ended.
    kept: Vec<Kept>,
    expired: Expired<'a>,
    before: Amount,
}

impl<'a> LockedBalance<'a> {
    /// Waits for charges under way and opens the books. What expired holds have set aside can be spent; it is given back
    /// as far as that takes.
    pub fn open(wallet: &'a str) -> Result<LockedBalance<'a>> {
        LockedBalance::open_for(wallet, None)
    }

    /// The same for a call that closes a hold itself, whether or not its time has come.
    pub fn open_for(wallet: &'a str, hold: Option<[u8; 16]>) -> Result<LockedBalance<'a>> {
        let mut books = LockedBalance::open_unswept(wallet, hold)?;
        if books.rules.scoped || books.rules.keeps {
            // Grants know what holds have set aside of them.
            books.sweep()?;
        }
        books.pools = Pools::read(wallet, &books.rules)?;
        Ok(books)
    }

    /// The same for a call that only gives back what some expired holds have set aside.
    pub fn open_to_sweep(wallet: &'a str) -> Result<LockedBalance<'a>> {
        LockedBalance::open_unswept(wallet, None)
    }

    fn open_unswept(wallet: &'a str, hold: Option<[u8; 16]>) -> Result<LockedBalance<'a>> {
        // Read anew: what this backend knows may be older than the last grant.
        if config::read(wallet)?.grants_are_due() {
            due::sweep(wallet)?;
        }
        let (rules, lanes) = config::read_with_lanes(wallet)?;
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

    /// Gives back what all expired holds have set aside.
    pub fn sweep(&mut self) -> Result<()> {
        self.expired.sweep_all(&mut self.whole).map(drop)
    }

    /// Gives back what some of them have; says how many.
    pub fn sweep_some(&mut self) -> Result<i64> {
        let swept = self.expired.sweep_some(&mut self.whole)?;
        Ok(swept.len() as i64)
    }

    /// Gives back as much as an amount takes that is going to leave the lanes.
    pub fn make_way(&mut self, amount: Amount) -> Result<()> {
        let credit = self.rules.credit_limit;
        self.expired.make_way(&mut self.whole, amount, credit)
    }

    /// Warnings of what is used without what expired holds have set aside.
    pub fn warnings<'w>(&mut self, warnings: Vec<Warning<'w>>) -> Result<Vec<Warning<'w>>> {
        self.expired.without(warnings)
    }

    /// WL002 where one of the limits that a request takes from next refuses it with all that expired holds have;
    /// otherwise these give back what it needs.
    pub fn make_way_in(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        if self.expired.are_none() {
            return Ok(());
        }
        if let Some(refusal) = self.expired.refusal(applied)? {
            return Err(refusal);
        }
        self.expired.make_way_in(&mut self.whole, applied)
    }

    /// What is left of a limit that a request takes from.
    pub fn left_in(&mut self, one: &Applied<'_>) -> Result<Amount> {
        self.ask(std::slice::from_ref(one))?;
        let freed = self.expired.of(one.window_id)?;
        Ok(window::status_with(self.wallet, one.clone(), freed)?.remaining())
    }

    /// Finds what expired holds have in the windows of a request, before any of these is written.
    pub fn ask(&mut self, applied: &[Applied<'_>]) -> Result<()> {
        self.expired.ask_in(applied)
    }

    /// What can still be spent, credit included.
    pub fn room(&self) -> Result<Amount> {
        let expired = self.expired.of(BALANCE)?;
        self.whole.room()?.plus(expired).map_err(range)
    }

    /// The same for a use that may take also from grants with a scope, those that had not ended at a time. Where it is
    /// enough for an amount, that need not be all.
    pub fn room_for(
        &mut self,
        purpose: Purpose<'_>,
        at: Timestamp,
        amount: Amount,
    ) -> Result<Amount> {
        let room = self.room()?;
        let missing = amount.minus(room).map_err(range)?;
        let own = self.pools.available(purpose, at, missing)?;
        room.plus(own).map_err(range)
    }

    /// What there is for other use only.
    pub fn beside(&mut self, purpose: Purpose<'_>, at: Timestamp) -> Result<Amount> {
        self.pools.beside(purpose, at)
    }

    /// What grants with a scope pay of an amount.
    pub fn split(
        &mut self,
        purpose: Purpose<'_>,
        at: Timestamp,
        amount: Amount,
    ) -> Result<Vec<Burn>> {
        let room = self.room()?;
        self.split_within(purpose, at, amount, room)
    }

    /// What grants with a scope pay of an amount of which lots that have ended pay the beginning.
    pub fn split_behind(
        &mut self,
        purpose: Purpose<'_>,
        at: Timestamp,
        amount: Amount,
        kept: Amount,
    ) -> Result<Vec<Burn>> {
        let room = self.room()?.minus(kept).map_err(range)?;
        let amount = amount.minus(kept).map_err(range)?;
        self.split_within(purpose, at, amount, room)
    }

    fn split_within(
        &mut self,
        purpose: Purpose<'_>,
        at: Timestamp,
        amount: Amount,
        room: Amount,
    ) -> Result<Vec<Burn>> {
        let general = kept::without(self.whole.general(self.rules.credit_limit)?, &self.kept)?;
        self.pools.split(purpose, at, amount, general, room)
    }

    /// The wallet's balance.
    pub fn balance(&self) -> Result<Amount> {
        self.whole.balance(self.rules.credit_limit)
    }

    /// The lane in which holds are held that are made with all lanes in hand.
    pub fn holding_lane(&mut self) -> Result<i16> {
        Ok(self.whole.booking_lane(self.rules.lanes)?.lane)
    }

    /// Sets an amount aside in a lane, and what grants with a scope have for that in these; gives what in which.
    pub fn hold(
        &mut self,
        lane: i16,
        amount: Amount,
        purpose: Purpose<'_>,
        at: Timestamp,
    ) -> Result<Vec<Burn>> {
        // A lane that is not in use any more had nothing of it, and gets nothing.
        let in_use = self.whole.lanes.iter().any(|row| row.lane == lane);
        let room = if in_use { self.room()? } else { Amount::ZERO };
        let parts = self.split_within(purpose, at, amount, room)?;
        let scoped = pools::sum_of(&parts)?.unwrap_or_default();
        self.whole
            .set_aside(lane, amount.minus(scoped).map_err(range)?)?;
        let epoch = self.rules.epoch;
        self.pools.hold(&mut self.whole, &parts, epoch)?;
        Ok(parts)
    }

    /// Books an entry of money out. `taken` of it leaves the balance: all but what becomes a debt.
    /// Gives the balance after it.
    pub fn debit(&mut self, entry: &Entry<'_>, taken: Amount) -> Result<Amount> {
        self.debit_with(entry, taken, &[])
    }

    /// The same where grants with a scope pay these parts.
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
        // The lane may be overdrawn for a moment: rebalancing makes up for it.
        lane.spent = lane.spent.plus(taken).map_err(range)?;
        chain::append(lane, entry, balance, self.rules.archived)?;
        Ok(balance)
    }

    /// How much of an amount grants pay that have ended, for a hold that is older than their ends.
    pub fn kept_for(&self, made: Timestamp, most: Amount) -> Result<Amount> {
        let parts = course::take_kept(&mut self.kept.clone(), made, most)?;
        Ok(pools::sum_of(&parts)?.unwrap_or_default())
    }

    /// Has them pay it.
    pub fn spend_kept(&mut self, made: Timestamp, amount: Amount, entry: [u8; 16]) -> Result<()> {
        let before = self.kept.clone();
        let parts = course::take_kept(&mut self.kept, made, amount)?;
        self.kept.retain(|kept| !kept.amount.is_zero());
        kept::write(self.wallet, &before, &self.kept)?;
        kept::spent(self.wallet, &parts, entry)
    }

    /// Ends what holds keep no longer of grants that have ended, once a hold has let go. One whose row does not say so
    /// yet is named, with what it has set aside still.
    pub fn lapse(&mut self, at: Timestamp, hold: Option<([u8; 16], Holding)>) -> Result<()> {
        if !self.rules.keeps {
            return Ok(());
        }
        // What was given back is there now.
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
            // Notes the burn too.
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

    /// Cuts the lanes anew, writes them, and emits what was crossed.
    pub fn close(mut self) -> Result<()> {
        self.lapse(clock::now(), None)?;
        self.make_way(Amount::ZERO)?;
        let crossings = self.whole.settle(self.before, self.rules.cut())?;
        self.whole.write()?;
        crossings::emit(self.wallet, &crossings)
    }
}
