//! Grants: lots of credit with an expiry, a priority, paid or promotional.
//!
//! Every funding is a lot. Charges know nothing of lots: what was spent since lots were settled last
//! is what they have together less the balance, and it is spread in burn order when the next
//! grant event happens, under the wallet's row and all lanes. A plain funding comes last in
//! the order, so it is added without that.
//!
//! Time needs no worker: the wallet's rules know when the next grant ends, and the first call after
//! it books what is due.

use crate::allowance::cut::active;
use crate::allowance::lanes::{changed_underneath, range};
use crate::allowance::outbox::{self, Event, Field, Name};
use crate::allowance::whole::{Cut, Extent, Whole};
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::burn::{self, Burn, Lot, Rank};
use crate::ledger::funding::lock_wallet;
use crate::ledger::once::Once;
use crate::ledger::recurring;
use crate::ledger::rules::{self, Rules};
use crate::ledger::scope::Scope;
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::{self, Timestamp};
use crate::storage::plan::{Run, Value};
use crate::storage::rows::{Call, Document, Entry, Kind, link, uuid_text};
use crate::storage::{jsonb::Jsonb, store};

/// How long before its end a grant is announced, at most.
const NOTICE: i64 = 7 * 24 * 3600 * 1_000_000;
/// Turns of a recurring grant that one call makes up for.
const MAX_TURNS: usize = 100;

statement!(
    ACTIVE,
    [TEXTOID],
    "SELECT grant_id, remaining, priority, expires_at, promotional, created_at, warn_at, recurring,
            scope, held
       FROM wallet.grant_lots WHERE wallet_id = $1 AND status = 'active'"
);

statement!(
    ADD,
    [
        TEXTOID,
        UUIDOID,
        NUMERICOID,
        NUMERICOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        INT4OID,
        BOOLOID,
        BOOLOID,
        JSONBOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.grant_lots
        (wallet_id, grant_id, amount, remaining, expires_at, warn_at, priority, promotional,
         recurring, scope, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
);

statement!(
    SET_REMAINING,
    [TEXTOID, UUIDOID, NUMERICOID],
    "UPDATE wallet.grant_lots
        SET remaining = $3, status = CASE WHEN $3 = 0 THEN 'depleted' ELSE 'active' END
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    END,
    [TEXTOID, UUIDOID, NUMERICOID, TEXTOID, UUIDOID],
    "UPDATE wallet.grant_lots SET remaining = $3, status = $4, ended_id = $5
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    WARNED,
    [TEXTOID, UUIDOID],
    "UPDATE wallet.grant_lots SET warn_at = NULL WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    EXTEND,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "UPDATE wallet.grant_lots SET expires_at = $3, warn_at = $4
      WHERE wallet_id = $1 AND grant_id = $2"
);

statement!(
    BURNT,
    [TEXTOID, UUIDOID, UUIDOID, NUMERICOID, UUIDOID],
    "INSERT INTO wallet.grant_burns (wallet_id, burn_id, grant_id, amount, entry_id)
     VALUES ($1, $2, $3, $4, $5)"
);

// A lot that could not end because holds have set it aside is tried again after a minute.
statement!(
    SET_DUE,
    [TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.wallets w
        SET grants_due = coalesce(
            least((SELECT min(CASE WHEN l.expires_at > $2 THEN l.expires_at
                                   ELSE $2 + interval '1 minute' END)
                     FROM wallet.grant_lots l
                    WHERE l.wallet_id = $1 AND l.status = 'active' AND l.expires_at IS NOT NULL),
                  (SELECT min(l.warn_at) FROM wallet.grant_lots l
                    WHERE l.wallet_id = $1 AND l.status = 'active'),
                  (SELECT r.next_at FROM wallet.recurring_grants r WHERE r.wallet_id = $1)),
            'infinity'),
            scoped = EXISTS (SELECT FROM wallet.grant_lots l
                              WHERE l.wallet_id = $1 AND l.status = 'active' AND l.scope IS NOT NULL)
      WHERE w.wallet_id = $1"
);

statement!(
    FIND,
    [TEXTOID, UUIDOID],
    "SELECT g.status, g.ended_id, l.amount, coalesce(l.balance, l.lane_balance)
       FROM wallet.grant_lots g
       LEFT JOIN wallet.ledger_all l ON l.wallet_id = g.wallet_id AND l.entry_id = g.ended_id
      WHERE g.wallet_id = $1 AND g.grant_id = $2"
);

// The lot that was burnt last comes first: it gets its money back first. The lots are settled, so what
// was burnt up to now covers all charges but those that credit paid; wallet.payments_of() says the same of
// all charges.
statement!(
    PAID_BY,
    [TEXTOID, UUIDOID],
    "WITH noted AS MATERIALIZED (
        SELECT u.entry_id, u.grant_id, u.amount, c.created_at, c.lane, c.seq
          FROM wallet.grant_burns u
          JOIN wallet.ledger_all c ON c.wallet_id = $1 AND c.entry_id = u.entry_id AND c.kind = 'c'
         WHERE u.wallet_id = $1
     ), debit AS MATERIALIZED (
        SELECT -c.amount - (SELECT coalesce(sum(n.amount), 0) FROM noted n WHERE n.entry_id = $2) AS amount,
               (SELECT sum(-l.amount)
                  FROM wallet.ledger_all l
                 WHERE l.wallet_id = $1 AND l.amount < 0 AND l.kind IN ('c', 'a', 't')
                   AND (l.created_at, l.lane, l.seq) <= (c.created_at, c.lane, c.seq))
               - (SELECT coalesce(sum(n.amount), 0) FROM noted n
                   WHERE (n.created_at, n.lane, n.seq) <= (c.created_at, c.lane, c.seq)) AS upto
          FROM wallet.ledger_all c
         WHERE c.wallet_id = $1 AND c.entry_id = $2 AND c.amount < 0
     ), burns AS MATERIALIZED (
        SELECT u.grant_id, u.amount, sum(u.amount) OVER (ORDER BY u.burn_id) AS upto
          FROM wallet.grant_burns u
         WHERE u.wallet_id = $1 AND u.entry_id IS NULL
     )
     SELECT p.grant_id, sum(p.amount)
       FROM (SELECT b.grant_id,
                    least(b.upto, d.upto) - greatest(b.upto - b.amount, d.upto - d.amount) AS amount
               FROM debit d
               JOIN burns b ON b.upto > d.upto - d.amount AND b.upto - b.amount < d.upto
             UNION ALL
             SELECT n.grant_id, n.amount FROM noted n WHERE n.entry_id = $2) p
       JOIN wallet.grant_lots g ON g.wallet_id = $1 AND g.grant_id = p.grant_id
      GROUP BY p.grant_id, g.priority, g.expires_at, g.promotional, g.created_at, g.grant_id
      ORDER BY g.priority DESC, g.expires_at DESC NULLS FIRST, g.promotional, g.created_at DESC,
               g.grant_id DESC"
);

statement!(
    RETURN,
    [TEXTOID, UUIDOID, NUMERICOID],
    "UPDATE wallet.grant_lots SET remaining = remaining + $3, status = 'active', ended_id = NULL
      WHERE wallet_id = $1 AND grant_id = $2 AND status NOT IN ('voided', 'reversed')
        AND remaining + $3 <= amount
      RETURNING scope IS NOT NULL"
);

/// What distinguishes a grant from a plain funding.
#[derive(Clone, Debug)]
pub struct Terms {
    /// When what is left of it ends.
    pub expires_at: Option<Timestamp>,
    /// Low ones are burnt first.
    pub priority: i32,
    /// Given and not paid.
    pub promotional: bool,
    /// What it may be used for.
    pub scope: Option<Jsonb>,
}

impl Default for Terms {
    fn default() -> Terms {
        Terms {
            expires_at: None,
            priority: PLAIN_PRIORITY,
            promotional: false,
            scope: None,
        }
    }
}

/// The priority of a funding of which nothing was said.
pub const PLAIN_PRIORITY: i32 = 100;

impl Terms {
    /// True for a funding of which nothing was said.
    pub fn plain(&self) -> bool {
        self.expires_at.is_none()
            && self.priority == PLAIN_PRIORITY
            && !self.promotional
            && self.scope.is_none()
    }
}

/// A new lot.
pub struct NewLot<'a> {
    /// The entry that grants it.
    pub id: [u8; 16],
    /// How much.
    pub amount: Amount,
    /// How much of it is left at once.
    pub remaining: Amount,
    /// Its terms.
    pub terms: &'a Terms,
    /// True when it is one of many.
    pub recurring: bool,
    /// When it was granted.
    pub created_at: Timestamp,
}

/// Notes a lot.
pub fn add(wallet: &str, lot: &NewLot<'_>) -> Result<()> {
    let terms = lot.terms;
    ADD.run(&[
        Value::Text(wallet),
        Value::Uuid(lot.id),
        Value::Amount(lot.amount),
        Value::Amount(lot.remaining),
        Value::OptTime(terms.expires_at),
        Value::OptTime(terms.expires_at.map(|end| warn_at(lot.created_at, end))),
        Value::Int4(terms.priority),
        Value::Bool(terms.promotional),
        Value::Bool(lot.recurring),
        Value::OptJsonb(terms.scope),
        Value::Time(lot.created_at),
    ])
    .map(drop)
}

/// A week before its end, but not before three quarters of its time are over.
fn warn_at(created_at: Timestamp, end: Timestamp) -> Timestamp {
    let life = end.0.saturating_sub(created_at.0);
    Timestamp(end.0 - NOTICE.min(life / 4))
}

/// An active lot.
#[derive(Clone)]
pub struct Active {
    /// Its place in the order, and what is left of it.
    pub lot: Lot,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    warn_at: Option<Timestamp>,
    recurring: bool,
    /// What it may be used for; nothing for all.
    pub scope: Option<Scope>,
    /// Of one with a scope: what holds have set aside.
    pub held: Amount,
}

impl Active {
    /// The lot with what holds leave of it.
    pub fn free(&self) -> Lot {
        let units = self.lot.remaining.units() - self.held.units();
        Lot {
            remaining: Amount::from_units(units.max(0)).unwrap_or_default(),
            ..self.lot.clone()
        }
    }
}

/// A wallet whose row and lanes are all ours, with its lots settled.
pub struct Ledge<'a> {
    wallet: &'a str,
    rules: std::rc::Rc<Rules>,
    whole: Whole<'a>,
    before: Amount,
    lots: Vec<Active>,
    events: Vec<(Name, [u8; 16], Amount, Option<Timestamp>)>,
}

impl<'a> Ledge<'a> {
    /// Locks all lanes and settles the lots. The caller holds the wallet's row.
    pub fn open(wallet: &'a str) -> Result<Ledge<'a>> {
        let (rules, lanes) = rules::read_with_lanes(wallet, Extent::Every)?;
        let whole = Whole::new(wallet, lanes, rules.credit_limit)?;
        let before = whole.room()?;
        let mut ledge = Ledge {
            wallet,
            rules,
            whole,
            before,
            lots: read_active(wallet)?,
            events: Vec::new(),
        };
        ledge.settle()?;
        Ok(ledge)
    }

    /// The wallet's rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The wallet's balance now.
    pub fn balance(&self) -> Result<Amount> {
        self.whole.balance(self.rules.credit_limit)
    }

    /// What of the balance every charge may use.
    fn general(&self) -> Result<Amount> {
        self.whole.general(self.rules.credit_limit)
    }

    /// What of a lot with a scope no hold has set aside; zero of any other.
    pub fn scoped_available(&self, id: [u8; 16]) -> Amount {
        let mut lots = self.lots.iter();
        let found = lots.find(|one| one.lot.rank.id == id && one.scope.is_some());
        found.map_or(Amount::ZERO, |one| one.free().remaining)
    }

    /// What every charge may use and no hold has set aside, without credit; not below zero.
    pub fn available(&self) -> Result<Amount> {
        Ok(self
            .whole
            .room()?
            .minus(self.rules.credit_limit)
            .map_err(range)?
            .max(Amount::ZERO))
    }

    /// Lots with a scope are settled always.
    fn settle(&mut self) -> Result<()> {
        let balance = self.general()?;
        let mut lots = self.unscoped();
        let surplus = balance.units().max(0) - burn::total(&lots);
        let burns = burn::settle(&mut lots, balance);
        record(self.wallet, &burns, None)?;
        self.keep(&burns)?;
        if surplus > 0 {
            // Money that came back or in by a call that names no lot: a plain one of its own.
            let amount = Amount::from_units(surplus).map_err(range)?;
            self.add_lot(&NewLot {
                id: uuid::Uuid::now_v7().into_bytes(),
                amount,
                remaining: amount,
                terms: &Terms::default(),
                recurring: false,
                created_at: clock::now(),
            })?;
        }
        Ok(())
    }

    /// The lots that every charge may use.
    fn unscoped(&self) -> Vec<Lot> {
        let lots = self.lots.iter().filter(|one| one.scope.is_none());
        lots.map(|one| one.lot.clone()).collect()
    }

    /// Takes what was burnt from the lots, here and in the table.
    fn keep(&mut self, burns: &[Burn]) -> Result<()> {
        for burn in burns {
            let Some(one) = self.lots.iter_mut().find(|one| one.lot.rank.id == burn.id) else {
                continue;
            };
            one.lot.remaining = one.lot.remaining.minus(burn.amount).map_err(range)?;
            SET_REMAINING.run(&[
                Value::Text(self.wallet),
                Value::Uuid(burn.id),
                Value::Amount(one.lot.remaining),
            ])?;
        }
        self.lots.retain(|one| !one.lot.remaining.is_zero());
        Ok(())
    }

    fn add_lot(&mut self, new: &NewLot<'_>) -> Result<()> {
        add(self.wallet, new)?;
        if new.remaining.is_zero() {
            SET_REMAINING.run(&[
                Value::Text(self.wallet),
                Value::Uuid(new.id),
                Value::Amount(Amount::ZERO),
            ])?;
            return Ok(());
        }
        let terms = new.terms;
        self.lots.push(Active {
            lot: Lot {
                rank: Rank {
                    priority: terms.priority,
                    expires_at: terms.expires_at.map_or(i64::MAX, |at| at.0),
                    paid: !terms.promotional,
                    created_at: new.created_at.0,
                    id: new.id,
                },
                remaining: new.remaining,
            },
            expires_at: terms.expires_at,
            warn_at: terms.expires_at.map(|end| warn_at(new.created_at, end)),
            recurring: new.recurring,
            scope: terms.scope.map(Scope::stored).transpose()?,
            held: Amount::ZERO,
        });
        Ok(())
    }

    /// Books an entry that changes by `spendable` what every charge may use, and by `scoped` what only some may;
    /// gives the balance after it.
    pub fn book(&mut self, entry: &Entry<'_>, spendable: Amount, scoped: Amount) -> Result<Amount> {
        if !scoped.is_zero() {
            let lane = self.whole.scoped(self.rules.epoch)?;
            lane.allotted = lane.allotted.plus(scoped).map_err(range)?;
        }
        let balance = self.balance()?.plus(spendable).map_err(range)?;
        let lane = self.whole.booking_lane(self.rules.lanes)?;
        let booked = lane.booked.plus(entry.amount).map_err(range)?;
        let link = link(entry, lane, booked, balance);
        // The lane may be overdrawn for a moment: the re-cut makes up for it.
        lane.allotted = lane.allotted.plus(spendable).map_err(range)?;
        lane.booked = booked;
        lane.seq = link.seq;
        lane.hash = Some(link.hash);
        debug_assert!(active(self.rules.lanes).contains(&link.lane));
        if !store::append(entry, &link, self.rules.archived)? {
            return Err(changed_underneath(self.wallet));
        }
        Ok(balance)
    }

    /// Books money in that is a lot of its own.
    pub fn grant(
        &mut self,
        entry: &Entry<'_>,
        spendable: Amount,
        terms: &Terms,
        recurring: bool,
    ) -> Result<Amount> {
        let is_scoped = terms.scope.is_some();
        let before = self.general()?.max(Amount::ZERO);
        let balance = if is_scoped {
            self.book(entry, Amount::ZERO, spendable)?
        } else {
            self.book(entry, spendable, Amount::ZERO)?
        };
        // What credit was used before, the lot makes up for, unless it is for some use only.
        let remaining = if is_scoped {
            spendable
        } else {
            let after = self.general()?.max(Amount::ZERO);
            after.minus(before).map_err(range)?
        };
        self.add_lot(&NewLot {
            id: entry.entry_id,
            amount: entry.amount,
            remaining,
            terms,
            recurring,
            created_at: entry.created_at,
        })?;
        let made_up = spendable.minus(remaining).map_err(range)?;
        if !made_up.is_zero() {
            let burn = Burn {
                id: entry.entry_id,
                amount: made_up,
            };
            record(self.wallet, &[burn], None)?;
        }
        Ok(balance)
    }

    /// Books a refund and gives it back to the grants that paid the charge, what was burnt last
    /// first. `before` is what of the charge was refunded before. What no grant had paid, or one
    /// that was taken back meanwhile, becomes a plain lot; a grant that has expired ends again.
    pub fn give_back(
        &mut self,
        entry: &Entry<'_>,
        charge: [u8; 16],
        before: Amount,
    ) -> Result<Amount> {
        let paid = PAID_BY.run(&[Value::Text(self.wallet), Value::Uuid(charge)])?;
        let (mut skip, mut left) = (before.units(), entry.amount.units());
        let mut scoped = 0;
        for row in 0..paid.len() {
            let part = paid.amount(row, 1)?.units();
            let skipped = part.min(skip);
            skip -= skipped;
            let back = (part - skipped).min(left);
            if back == 0 {
                continue;
            }
            left -= back;
            let returned = RETURN.run(&[
                Value::Text(self.wallet),
                Value::Uuid(paid.need(row, 0)?),
                Value::Amount(Amount::from_units(back).map_err(range)?),
            ])?;
            if !returned.is_empty() && returned.need::<bool>(0, 0)? {
                scoped += back;
            }
        }
        let scoped = Amount::from_units(scoped).map_err(range)?;
        let general = entry.amount.minus(scoped).map_err(range)?;
        let balance = self.book(entry, general, scoped)?;
        self.lots = read_active(self.wallet)?;
        self.settle()?;
        Ok(balance)
    }

    /// Takes what leaves the balance from a lot first and then from the others in burn order, all for that
    /// entry: `scoped` where the lot has a scope, and `amount` of what every charge may use.
    pub fn take_back(
        &mut self,
        first: [u8; 16],
        amount: Amount,
        scoped: Amount,
        entry: [u8; 16],
    ) -> Result<()> {
        let mut lots = self.unscoped();
        let mut own: Vec<Lot> = lots.extract_if(.., |lot| lot.rank.id == first).collect();
        let mut burns = burn::burn(&mut own, amount);
        let taken: i128 = burns.iter().map(|burn| burn.amount.units()).sum();
        let rest = Amount::from_units(amount.units() - taken).map_err(range)?;
        burns.extend(burn::burn(&mut lots, rest));
        if !scoped.is_zero() {
            burns.push(Burn {
                id: first,
                amount: scoped,
            });
        }
        record(self.wallet, &burns, Some(entry))?;
        self.keep(&burns)?;
        let left = self
            .lots
            .iter()
            .find(|one| one.lot.rank.id == first)
            .map_or(Amount::ZERO, |one| one.lot.remaining);
        if left.is_zero() {
            self.end(first, Amount::ZERO, "reversed", Some(entry))?;
        }
        Ok(())
    }

    fn end(
        &mut self,
        id: [u8; 16],
        remaining: Amount,
        status: &str,
        entry: Option<[u8; 16]>,
    ) -> Result<()> {
        END.run(&[
            Value::Text(self.wallet),
            Value::Uuid(id),
            Value::Amount(remaining),
            Value::Text(status),
            Value::OptUuid(entry),
        ])
        .map(drop)
    }

    /// Ends a lot before all of it was used: books what is left, except what holds have set aside.
    /// Gives the entry and what it took.
    fn finish(&mut self, id: [u8; 16], ending: &Ending<'_>) -> Result<Finished> {
        let there = self.available()?;
        let Some(one) = self.lots.iter().find(|one| one.lot.rank.id == id).cloned() else {
            self.end(id, Amount::ZERO, ending.status, None)?;
            return Ok((None, Amount::ZERO));
        };
        let left = one.lot.remaining;
        let is_scoped = one.scope.is_some();
        let free = if is_scoped {
            one.free().remaining
        } else {
            left.min(there)
        };
        let amount = free.min(ending.most.unwrap_or(left));
        if amount.is_zero() {
            return Ok((None, Amount::ZERO));
        }
        let contra = format!("{}:grant", ending.status);
        let entry = Entry {
            entry_id: uuid::Uuid::now_v7().into_bytes(),
            created_at: clock::now(),
            event_at: ending.at,
            kind: Kind::Expiry,
            call: ending.call,
            amount: amount.negated(),
            key: ending.key,
            fingerprint: ending.fingerprint,
            related_id: Some(id),
            reason: ending.reason,
            actor: ending.actor,
            metadata: ending.metadata.clone(),
            ..blank(self.wallet, &contra)
        };
        let (general, scoped) = if is_scoped {
            (Amount::ZERO, amount.negated())
        } else {
            (amount.negated(), Amount::ZERO)
        };
        self.book(&entry, general, scoped)?;
        let burn = Burn { id, amount };
        record(
            self.wallet,
            std::slice::from_ref(&burn),
            Some(entry.entry_id),
        )?;
        self.keep(&[burn])?;
        if amount == left {
            self.end(id, Amount::ZERO, ending.status, Some(entry.entry_id))?;
        }
        Ok((Some(entry.entry_id), amount))
    }

    /// Does what is due until now, in the order of time.
    fn catch_up(&mut self, now: Timestamp) -> Result<()> {
        for _ in 0..MAX_TURNS {
            let end = self
                .lots
                .iter()
                .filter_map(|one| one.expires_at)
                .filter(|end| *end <= now)
                .min();
            let turn = recurring::next(self.wallet, now)?;
            match (turn, end) {
                (Some(turn), end) if end.is_none_or(|end| turn.at <= end) => {
                    self.turn(&turn)?;
                }
                (_, Some(end)) => {
                    if !self.expire(end)? {
                        break;
                    }
                }
                _ => break,
            }
        }
        self.warn(now)
    }

    /// Ends the lots of that time; false when holds keep them all.
    fn expire(&mut self, end: Timestamp) -> Result<bool> {
        let mut ids: Vec<(Rank, [u8; 16])> = self
            .lots
            .iter()
            .filter(|one| one.expires_at == Some(end))
            .map(|one| (one.lot.rank.clone(), one.lot.rank.id))
            .collect();
        ids.sort();
        let mut any = false;
        for (_, id) in ids {
            let (entry, amount) = self.finish(id, &Ending::expired(end))?;
            if entry.is_some() {
                any = true;
                self.events
                    .push((Name::GrantExpired, id, amount, Some(end)));
            }
        }
        // What holds have set aside of them stays until they let go of it.
        for one in self
            .lots
            .iter_mut()
            .filter(|one| one.expires_at == Some(end))
        {
            one.expires_at = None;
        }
        Ok(any || self.lots.iter().any(|one| one.expires_at.is_some()))
    }

    /// A recurring grant's next turn: what may not roll over ends, the rest is carried on.
    fn turn(&mut self, turn: &recurring::Turn) -> Result<()> {
        if let Some(most) = turn.rollover_max {
            let mut old: Vec<Lot> = self
                .lots
                .iter()
                .filter(|one| one.recurring)
                .map(|one| one.lot.clone())
                .collect();
            let excess = burn::total(&old) - most.units();
            let excess = Amount::from_units(excess.max(0)).map_err(range)?;
            for burn in burn::burn(&mut old, excess) {
                let ending = Ending {
                    most: Some(burn.amount),
                    ..Ending::expired(turn.at)
                };
                let (_, amount) = self.finish(burn.id, &ending)?;
                self.events
                    .push((Name::GrantExpired, burn.id, amount, Some(turn.at)));
            }
            if let Some(end) = turn.expires_at {
                let warning = warn_at(turn.at, end);
                for one in self.lots.iter_mut().filter(|one| one.recurring) {
                    one.expires_at = Some(end);
                    one.warn_at = Some(warning);
                    one.lot.rank.expires_at = end.0;
                    EXTEND.run(&[
                        Value::Text(self.wallet),
                        Value::Uuid(one.lot.rank.id),
                        Value::Time(end),
                        Value::Time(warning),
                    ])?;
                }
            }
        }
        self.grant_recurring(turn, None).map(drop)
    }

    /// Books one grant of a recurrence.
    pub fn grant_recurring(
        &mut self,
        turn: &recurring::Turn,
        metadata: Option<Document>,
    ) -> Result<([u8; 16], Amount)> {
        let entry = Entry {
            entry_id: uuid::Uuid::now_v7().into_bytes(),
            created_at: clock::now(),
            event_at: Some(turn.at),
            kind: Kind::Funding,
            call: Call::Grant,
            amount: turn.amount,
            actor: turn.actor.as_deref(),
            metadata,
            ..blank(self.wallet, "funding:grant")
        };
        let terms = Terms {
            expires_at: turn.expires_at,
            promotional: true,
            scope: turn.scope,
            ..Terms::default()
        };
        let balance = self.grant(&entry, turn.amount, &terms, true)?;
        Ok((entry.entry_id, balance))
    }

    fn warn(&mut self, now: Timestamp) -> Result<()> {
        for one in &mut self.lots {
            if one.warn_at.is_none_or(|at| at > now) {
                continue;
            }
            one.warn_at = None;
            WARNED.run(&[Value::Text(self.wallet), Value::Uuid(one.lot.rank.id)])?;
            if one.expires_at.is_some_and(|end| end > now) {
                self.events.push((
                    Name::GrantExpiring,
                    one.lot.rank.id,
                    one.lot.remaining,
                    one.expires_at,
                ));
            }
        }
        Ok(())
    }

    /// Writes the lanes and when something is due next, and emits the events.
    pub fn close(mut self) -> Result<()> {
        SET_DUE.run(&[Value::Text(self.wallet), Value::Time(clock::now())])?;
        let cut = Cut {
            // Every backend must hear of the new time.
            epoch: rules::new_epoch(),
            ..self.rules.cut()
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
        outbox::emit(self.wallet, &crossings)
    }

    /// Writes the lanes under an epoch that the caller has chosen.
    pub fn close_with(mut self, epoch: i64) -> Result<()> {
        let cut = Cut {
            epoch,
            ..self.rules.cut()
        };
        let crossings = self.whole.settle(self.before, cut)?;
        self.whole.write()?;
        outbox::emit(self.wallet, &crossings)
    }
}

/// The entry that ended a lot, and what it took.
type Finished = (Option<[u8; 16]>, Amount);

/// How a lot ends.
struct Ending<'a> {
    status: &'a str,
    call: Call,
    most: Option<Amount>,
    at: Option<Timestamp>,
    key: Option<&'a str>,
    fingerprint: Option<[u8; 16]>,
    reason: Option<&'a str>,
    actor: Option<&'a str>,
    metadata: Option<Document>,
}

impl Ending<'_> {
    fn expired(at: Timestamp) -> Ending<'static> {
        Ending {
            status: "expired",
            call: Call::Expire,
            most: None,
            at: Some(at),
            key: None,
            fingerprint: None,
            reason: None,
            actor: None,
            metadata: None,
        }
    }
}

/// An entry of which nothing is said yet.
fn blank<'a>(wallet: &'a str, contra: &'a str) -> Entry<'a> {
    Entry {
        entry_id: [0; 16],
        created_at: clock::now(),
        event_at: None,
        wallet,
        kind: Kind::Funding,
        call: Call::Grant,
        amount: Amount::ZERO,
        key: None,
        fingerprint: None,
        related_id: None,
        user_id: None,
        key_id: None,
        team: None,
        provider: None,
        model: None,
        service: None,
        region: None,
        service_tier: None,
        lines: None,
        usage: None,
        tags: None,
        contra: Some(contra),
        reference: None,
        reason: None,
        actor: None,
        metadata: None,
    }
}

/// What of a balance has ended and is not booked yet, in units: what its lots without a scope have left whose
/// time has come, as far as no hold has set it aside.
pub fn ended(wallet: &str, rules: &Rules, general: i128, available: i128) -> Result<i128> {
    if !rules.grants_are_due() {
        return Ok(0);
    }
    let lots = read_active(wallet)?;
    let mut lots: Vec<Lot> = lots
        .iter()
        .filter(|one| one.scope.is_none())
        .map(|one| one.lot.clone())
        .collect();
    burn::settle(&mut lots, Amount::from_units(general).map_err(range)?);
    let now = clock::now().0;
    let ended = lots.iter().filter(|lot| lot.rank.expires_at <= now);
    let ended: i128 = ended.map(|lot| lot.remaining.units()).sum();
    Ok(ended.min(available).max(0))
}

/// The active lots of a wallet, as they were settled last.
pub fn read_active(wallet: &str) -> Result<Vec<Active>> {
    let rows = ACTIVE.run(&[Value::Text(wallet)])?;
    (0..rows.len())
        .map(|row| {
            let expires_at = rows.get::<Timestamp>(row, 3);
            let created_at: Timestamp = rows.need(row, 5)?;
            Ok(Active {
                lot: Lot {
                    rank: Rank {
                        priority: rows.need(row, 2)?,
                        expires_at: expires_at.map_or(i64::MAX, |at| at.0),
                        paid: !rows.need::<bool>(row, 4)?,
                        created_at: created_at.0,
                        id: rows.need(row, 0)?,
                    },
                    remaining: rows.amount(row, 1)?,
                },
                expires_at,
                warn_at: rows.get(row, 6),
                recurring: rows.need(row, 7)?,
                scope: rows
                    .datum(row, 8)
                    .map(Jsonb)
                    .map(Scope::stored)
                    .transpose()?,
                held: rows.amount(row, 9)?,
            })
        })
        .collect()
}

/// Notes what was burnt.
pub fn record(wallet: &str, burns: &[Burn], entry: Option<[u8; 16]>) -> Result<()> {
    for burn in burns {
        BURNT.run(&[
            Value::Text(wallet),
            Value::Uuid(uuid::Uuid::now_v7().into_bytes()),
            Value::Uuid(burn.id),
            Value::Amount(burn.amount),
            Value::OptUuid(entry),
        ])?;
    }
    Ok(())
}

/// Books what is due of a wallet's grants, if anything is. Takes the wallet's row and all lanes.
pub fn sweep(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // Whoever waited finds that another call has done it.
    if !rules::read(wallet)?.grants_are_due() {
        return Ok(());
    }
    let mut ledge = Ledge::open(wallet)?;
    ledge.catch_up(clock::now())?;
    ledge.close()
}

/// What `void_grant` was asked for.
pub struct Void<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// The grant.
    pub grant_id: [u8; 16],
    /// Why.
    pub reason: Option<&'a str>,
    /// Idempotency key.
    pub key: Option<&'a str>,
    /// Fingerprint of the call.
    pub fingerprint: [u8; 16],
    /// Who acts.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// What `void_grant` returns.
pub struct Voided {
    /// The entry, where something was left.
    pub entry_id: Option<[u8; 16]>,
    /// What was left.
    pub amount: Amount,
    /// The wallet's balance after it.
    pub balance: Amount,
    /// True when an earlier call did it.
    pub replayed: bool,
}

/// Takes back what is left of a grant, once however often it is called.
pub fn void(void: &Void<'_>) -> Result<Voided> {
    let wallet = void.wallet;
    lock_wallet(wallet)?;
    if let Some(rows) = crate::ledger::replay::by_key(wallet, void.key, Call::Grant)? {
        if rows.need::<[u8; 16]>(0, 1)? != void.fingerprint {
            let key = void.key.unwrap_or_default();
            return Err(crate::ledger::replay::conflict(key, "its arguments"));
        }
        return Ok(Voided {
            entry_id: rows.get(0, 0),
            amount: rows.amount(0, 2)?.negated(),
            balance: rows.amount(0, 3)?,
            replayed: true,
        });
    }
    // A void that took nothing has no entry that would keep its key.
    let call = Once {
        wallet,
        call: "void_grant",
        key: void.key,
        fingerprint: void.fingerprint,
    };
    let answered = call.answered()?.is_some();
    sweep(wallet)?;
    let found = FIND.run(&[Value::Text(wallet), Value::Uuid(void.grant_id)])?;
    if found.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such grant", quoted(wallet)),
        )
        .detail(format!("The grant_id is {}.", uuid_text(void.grant_id)))
        .hint("The view grants shows what there is."));
    }
    let status: String = found.need(0, 0)?;
    if status == "voided" {
        if !answered {
            call.remember(None)?;
        }
        let ledge = Ledge::open(wallet)?;
        let amount = found.opt_amount(0, 2)?.unwrap_or_default().negated();
        return Ok(Voided {
            entry_id: found.get(0, 1),
            amount,
            balance: match found.opt_amount(0, 3)? {
                Some(balance) => balance,
                None => ledge.balance()?,
            },
            replayed: true,
        });
    }
    if status == "expired" || status == "reversed" {
        return Err(
            Error::new(Code::FundingNotOpen, format!("the grant is {status}"))
                .detail(format!("The grant_id is {}.", uuid_text(void.grant_id)))
                .hint("Nothing of it is left to take back."),
        );
    }
    let mut ledge = Ledge::open(wallet)?;
    let ending = Ending {
        status: "voided",
        call: Call::Grant,
        most: None,
        at: None,
        key: void.key,
        fingerprint: void.key.map(|_| void.fingerprint),
        reason: void.reason,
        actor: void.actor,
        metadata: void.metadata.clone(),
    };
    let (entry_id, amount) = ledge.finish(void.grant_id, &ending)?;
    let balance = ledge.balance()?;
    ledge.close()?;
    if entry_id.is_none() {
        call.remember(None)?;
    }
    Ok(Voided {
        entry_id,
        amount,
        balance,
        replayed: false,
    })
}
