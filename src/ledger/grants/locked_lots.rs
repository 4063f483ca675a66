//! A wallet locked for a change of its lots: its row and all lanes are locked, and its lots are
//! settled.

use crate::allowance::all_lanes::{AllLanes, LaneSplit};
use crate::allowance::crossings;
use crate::allowance::lane_split::active;
use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::balance::chain;
use crate::ledger::grants::burn::{self, Burn, Lot};
use crate::ledger::grants::course::{Holding, Kept};
use crate::ledger::grants::lots::{self, Active, NewLot};
use crate::ledger::grants::terms::Terms;
use crate::ledger::grants::{burns, kept};
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::ledger::wallets::config::Basis;
use crate::money::Amount;
use crate::outbox;
use crate::outbox::{Event, Field, Name};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::Entry;

// Kept credit ends with its holds. A hold that is being settled is checked again soon, because its
// settlement may be rolled back.
statement!(
    SET_DUE,
    [TEXTOID, TIMESTAMPTZOID],
    "WITH lots AS MATERIALIZED (
        SELECT l.expires_at, l.warn_at, l.scope IS NOT NULL AS scoped, coalesce(l.expires_at <= $2, false) AS ended
          FROM wallet.grant_lots l WHERE l.wallet_id = $1 AND l.status = 'active'
     ), keeping AS MATERIALIZED (
        SELECT EXISTS (SELECT FROM wallet.kept_credit k WHERE k.wallet_id = $1)
               OR EXISTS (SELECT FROM lots l WHERE l.ended) AS keeps
     )
     UPDATE wallet.wallets w
        SET grants_due = coalesce(
            least((SELECT min(l.expires_at) FROM lots l WHERE NOT l.ended),
                  (SELECT min(l.warn_at) FROM lots l WHERE NOT l.ended),
                  (SELECT min(r.next_at) FROM wallet.recurring_grants r WHERE r.wallet_id = $1),
                  (SELECT min(CASE WHEN r.expires_at > $2 THEN r.expires_at WHEN NOT r.charge_on_expiry THEN $2 + interval '1 second' END)
                     FROM wallet.reservations r
                    WHERE r.wallet_id = $1 AND r.status = 'open' AND (SELECT k.keeps FROM keeping k))),
            'infinity'),
            scoped = EXISTS (SELECT FROM lots l WHERE l.scoped),
            keeps = (SELECT k.keeps FROM keeping k)
      WHERE w.wallet_id = $1"
);

/// A wallet whose row and lanes are all locked, with its lots settled.
pub struct LockedLots<'a> {
    pub(super) wallet: &'a str,
    rules: Basis,
    pub(super) whole: AllLanes<'a>,
    before: Amount,
    pub(super) lots: Vec<Active>,
    pub(super) kept: Vec<Kept>,
    pub(super) swept: Vec<Holding>,
    opened: Timestamp,
    /// False if the rest of what is due is booked next: a lot may have ended by now.
    pub(super) warns: bool,
    pub(super) events: Vec<(Name, [u8; 16], Amount, Option<Timestamp>)>,
}

impl<'a> LockedLots<'a> {
    /// Locks all lanes, settles the lots and books what is due. The caller holds the wallet's row
    /// lock.
    pub fn open(wallet: &'a str) -> Result<LockedLots<'a>> {
        LockedLots::open_but(wallet, None)
    }

    /// Like [`LockedLots::open`], for a call that closes `hold` itself, whether or not the hold has
    /// expired.
    pub fn open_but(wallet: &'a str, hold: Option<[u8; 16]>) -> Result<LockedLots<'a>> {
        LockedLots::open_at(wallet, None, hold)
    }

    /// Like [`LockedLots::open`], for what was due by an earlier time. The caller opens the lots
    /// again for the rest.
    pub fn open_as_of(wallet: &'a str, at: Timestamp) -> Result<LockedLots<'a>> {
        LockedLots::open_at(wallet, Some(at), None)
    }

    fn open_at(
        wallet: &'a str,
        at: Option<Timestamp>,
        hold: Option<[u8; 16]>,
    ) -> Result<LockedLots<'a>> {
        let (rules, lanes) = config::lock_to_change(wallet)?;
        // A lot may have ended while the call waited for the lanes.
        let opened = at.unwrap_or_else(clock::now);
        let whole = AllLanes::new(wallet, lanes, rules.credit_limit)?;
        let before = whole.room()?;
        let kept = kept::of(wallet, &rules)?;
        let mut locked_lots = LockedLots {
            wallet,
            rules,
            kept,
            swept: Vec::new(),
            opened,
            warns: at.is_none(),
            whole,
            before,
            lots: lots::read_active(wallet)?,
            events: Vec::new(),
        };
        let mut expired = Expired::but(wallet, opened, hold, None)?;
        locked_lots.swept = expired.sweep_all(&mut locked_lots.whole)?;
        locked_lots.settle()?;
        locked_lots.catch_up(opened, Timestamp(i64::MIN))?;
        Ok(locked_lots)
    }

    /// The wallet's rules.
    pub fn rules(&self) -> &Basis {
        &self.rules
    }

    /// The wallet's balance now.
    pub fn balance(&self) -> Result<Amount> {
        self.whole.balance(self.rules.credit_limit)
    }

    /// The part of the balance that every charge may use.
    pub(super) fn general(&self) -> Result<Amount> {
        self.whole.general(self.rules.credit_limit)
    }

    /// The part of a lot with a scope that no hold reserves; zero for any other lot.
    pub fn scoped_available(&self, id: [u8; 16]) -> Amount {
        let mut lots = self.lots.iter();
        let found = lots.find(|one| one.lot.rank.id == id && one.scope.is_some());
        found.map_or(Amount::ZERO, |one| one.free().remaining)
    }

    /// The amount that every charge may use and no hold reserves, without the credit limit; at
    /// least zero.
    pub fn available(&self) -> Result<Amount> {
        Ok(self
            .whole
            .room()?
            .minus(self.rules.credit_limit)
            .map_err(range)?
            .max(Amount::ZERO))
    }

    /// The part of the balance that belongs to lots without a scope, without kept credit.
    pub(super) fn spread(&self) -> Result<Amount> {
        kept::without(self.general()?, &self.kept)
    }

    /// Settles the lots without a scope. Lots with a scope are always settled.
    pub(super) fn settle(&mut self) -> Result<()> {
        let balance = self.spread()?;
        let mut lots = self.unscoped();
        let surplus = balance.units().max(0) - burn::total(&lots);
        let burnt = burn::settle(&mut lots, balance);
        burns::record(self.wallet, &burnt, None)?;
        self.keep(&burnt)?;
        if surplus > 0 {
            // Money was returned or added by a call that names no lot. It becomes a plain lot.
            let amount = Amount::from_units(surplus).map_err(range)?;
            self.add_lot(&NewLot {
                id: uuid::Uuid::now_v7().into_bytes(),
                amount,
                remaining: amount,
                terms: &Terms::default(),
                recurring: None,
                created_at: clock::now(),
            })?;
        }
        Ok(())
    }

    /// The lots that every charge may use.
    pub(super) fn unscoped(&self) -> Vec<Lot> {
        let lots = self.lots.iter().filter(|one| one.scope.is_none());
        lots.map(|one| one.lot.clone()).collect()
    }

    /// Takes burnt amounts from the lots, in memory and in the table.
    pub(super) fn keep(&mut self, burnt: &[Burn]) -> Result<()> {
        for burn in burnt {
            let Some(one) = self.lots.iter_mut().find(|one| one.lot.rank.id == burn.id) else {
                continue;
            };
            one.lot.remaining = one.lot.remaining.minus(burn.amount).map_err(range)?;
            lots::set_remaining(self.wallet, burn.id, one.lot.remaining)?;
        }
        self.lots.retain(|one| !one.lot.remaining.is_zero());
        Ok(())
    }

    pub(super) fn add_lot(&mut self, new: &NewLot<'_>) -> Result<()> {
        lots::add(self.wallet, new)?;
        if new.remaining.is_zero() {
            return lots::set_remaining(self.wallet, new.id, Amount::ZERO);
        }
        self.lots.push(Active::new(new)?);
        Ok(())
    }

    /// Books an entry. It changes the money that every charge may use by `spendable` and the money
    /// of lots with a scope by `scoped`. Returns the balance after it.
    pub fn book(&mut self, entry: &Entry<'_>, spendable: Amount, scoped: Amount) -> Result<Amount> {
        self.book_but(entry, spendable, scoped, Amount::ZERO)
    }

    /// Books an entry of which a part ends at once. The stored and the returned balance do not
    /// contain that part.
    pub fn book_but(
        &mut self,
        entry: &Entry<'_>,
        spendable: Amount,
        scoped: Amount,
        ends: Amount,
    ) -> Result<Amount> {
        if !scoped.is_zero() {
            let lane = self.whole.scoped(self.rules.epoch)?;
            lane.allotted = lane.allotted.plus(scoped).map_err(range)?;
        }
        let balance = self.balance()?.plus(spendable).map_err(range)?;
        let balance = balance.minus(ends).map_err(range)?;
        let lane = self.whole.booking_lane(self.rules.lanes)?;
        // The lane may be overdrawn for a moment; rebalancing corrects it.
        lane.allotted = lane.allotted.plus(spendable).map_err(range)?;
        let link = chain::append(lane, entry, balance, self.rules.archived)?;
        debug_assert!(active(self.rules.lanes).contains(&link.lane));
        Ok(balance)
    }

    /// Books incoming money, for every charge or for charges of a scope only.
    pub(super) fn book_grant(
        &mut self,
        entry: &Entry<'_>,
        spendable: Amount,
        is_scoped: bool,
        ends: Amount,
    ) -> Result<Amount> {
        if is_scoped {
            self.book_but(entry, Amount::ZERO, spendable, ends)
        } else {
            self.book_but(entry, spendable, Amount::ZERO, ends)
        }
    }

    /// The rest of a lot without a scope; zero for any other lot.
    pub fn left_of(&self, id: [u8; 16]) -> Amount {
        let mut lots = self.lots.iter();
        let found = lots.find(|one| one.lot.rank.id == id && one.scope.is_none());
        found.map_or(Amount::ZERO, |one| one.lot.remaining)
    }

    /// Books incoming money as a lot of its own. The stored and the returned balance contain
    /// `also_booked`, an amount that is booked in the same call.
    pub fn grant(
        &mut self,
        entry: &Entry<'_>,
        spendable: Amount,
        terms: &Terms,
        recurring: Option<&str>,
        also_booked: Amount,
    ) -> Result<Amount> {
        let is_scoped = terms.scope.is_some();
        // The lot repays credit that was used before, unless it has a scope.
        let remaining = if is_scoped {
            spendable
        } else {
            let before = self.spread()?;
            let after = before.plus(spendable).map_err(range)?;
            let before = before.max(Amount::ZERO);
            after.max(Amount::ZERO).minus(before).map_err(range)?
        };
        // A payment may arrive after its lot has expired.
        let ends = match terms.expires_at {
            Some(end) if end <= self.opened => remaining,
            _ => Amount::ZERO,
        };
        let less = ends.minus(also_booked).map_err(range)?;
        let balance = self.book_grant(entry, spendable, is_scoped, less)?;
        self.add_lot(&NewLot {
            id: entry.entry_id,
            amount: entry.amount,
            remaining,
            terms,
            recurring,
            created_at: entry.event_at.unwrap_or(entry.created_at),
        })?;
        let made_up = spendable.minus(remaining).map_err(range)?;
        if !made_up.is_zero() {
            let burn = Burn {
                id: entry.entry_id,
                amount: made_up,
            };
            burns::record(self.wallet, &[burn], None)?;
        }
        Ok(balance)
    }

    /// Writes the lanes and the time when something is next due, and emits the events.
    pub fn close(mut self) -> Result<()> {
        // Money may have returned to a lot that has ended.
        self.catch_up(self.opened, clock::now())?;
        // A lot that has ended since the lots were opened is not booked yet. It stays due.
        SET_DUE.run(&[Value::Text(self.wallet), Value::Time(self.opened)])?;
        let cut = LaneSplit {
            // Every backend must learn the new due time.
            epoch: config::new_epoch(),
            ..self.rules.lane_split()
        };
        let crossings = self.whole.settle(self.before, cut)?;
        self.whole.write()?;
        for (name, id, amount, end) in &self.events {
            let payload = [
                ("grant_id", Field::Id(*id)),
                ("amount", Field::Amount(*amount)),
                ("expires_at", Field::Time(*end)),
            ];
            let event = Event {
                name: *name,
                threshold: None,
                payload: &payload,
            };
            outbox::emit_event(self.wallet, &event)?;
        }
        crossings::emit(self.wallet, &crossings)
    }

    /// Writes the lanes under an epoch chosen by the caller.
    pub fn close_with(mut self, epoch: i64) -> Result<()> {
        let cut = LaneSplit {
            epoch,
            ..self.rules.lane_split()
        };
        let crossings = self.whole.settle(self.before, cut)?;
        self.whole.write()?;
        crossings::emit(self.wallet, &crossings)
    }
}
