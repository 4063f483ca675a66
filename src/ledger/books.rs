//! The whole balance of a wallet in one's hands: all lanes locked, the exact total known.
//!
//! What is not the everyday charge is booked here: holds, settlements, debits. Whoever has the
//! books is alone with the wallet's lanes and with the windows of its limits.

use std::rc::Rc;

use crate::allowance::lanes::{changed_underneath, range};
use crate::allowance::outbox;
use crate::allowance::whole::{Extent, Whole};
use crate::error::Result;
use crate::ledger::grants;
use crate::ledger::holds::expiry;
use crate::ledger::rules::{self, Rules};
use crate::limits::limit::Limit;
use crate::limits::spread;
use crate::money::Amount;
use crate::storage::rows::{Entry, link};
use crate::storage::store;

/// A wallet's balance and rules, with all its lanes locked.
pub struct Books<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// Its rules.
    pub rules: Rc<Rules>,
    /// Its lanes.
    pub whole: Whole<'a>,
    before: Amount,
}

impl<'a> Books<'a> {
    /// Waits for charges under way, opens the books, and gives back what expired holds set aside.
    pub fn open(wallet: &'a str) -> Result<Books<'a>> {
        Books::open_for(wallet, None)
    }

    /// The same for a call that closes a hold itself, whether or not its time has come.
    pub fn open_for(wallet: &'a str, hold: Option<[u8; 16]>) -> Result<Books<'a>> {
        if rules::known(wallet)?.grants_are_due() {
            grants::sweep(wallet)?;
        }
        let (rules, lanes) = rules::read_with_lanes(wallet, Extent::Counting)?;
        if rules.lanes > 1 && rules.limits.iter().any(Limit::can_spread) {
            spread::gather_all(wallet)?;
        }
        let mut whole = Whole::new(wallet, lanes, rules.credit_limit)?;
        let before = whole.room()?;
        expiry::sweep(wallet, &mut whole, hold)?;
        Ok(Books {
            wallet,
            rules,
            whole,
            before,
        })
    }

    /// What can still be spent, credit included.
    pub fn room(&self) -> Result<Amount> {
        self.whole.room()
    }

    /// The wallet's balance.
    pub fn balance(&self) -> Result<Amount> {
        self.whole.balance(self.rules.credit_limit)
    }

    /// Sets an amount aside and gives the lane in which it is held.
    pub fn hold(&mut self, amount: Amount) -> Result<i16> {
        let lane = self.whole.booking_lane(self.rules.lanes)?;
        lane.held = lane.held.plus(amount).map_err(range)?;
        Ok(lane.lane)
    }

    /// Books an entry of money out. `taken` of it leaves the balance: all but what becomes a debt.
    /// Gives the balance after it.
    pub fn debit(&mut self, entry: &Entry<'_>, taken: Amount) -> Result<Amount> {
        let balance = self.balance()?.minus(taken).map_err(range)?;
        let lane = self.whole.booking_lane(self.rules.lanes)?;
        let booked = lane.booked.plus(entry.amount).map_err(range)?;
        let link = link(entry, lane, booked, balance);
        // The lane may be overdrawn for a moment: the re-cut makes up for it.
        lane.spent = lane.spent.plus(taken).map_err(range)?;
        lane.booked = booked;
        lane.seq = link.seq;
        lane.hash = Some(link.hash);
        if !store::append(entry, &link)? {
            return Err(changed_underneath(self.wallet));
        }
        Ok(balance)
    }

    /// Cuts the lanes anew, writes them, and emits what was crossed.
    pub fn close(mut self) -> Result<()> {
        let crossings = self.whole.settle(self.before, self.rules.cut())?;
        self.whole.write()?;
        outbox::emit(self.wallet, &crossings)
    }
}
