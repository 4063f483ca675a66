//! A wallet in plain numbers: whole units of 10^-12, booked charge by charge, lot by lot, in the
//! order of time. Nothing is done later than it is due. There are no lanes, sweeps, roll-ups or
//! archives.

mod calls;
mod due;
mod holds;
mod limits;
mod lots;
mod reports;

use std::collections::{BTreeMap, VecDeque};

use crate::act::{About, Of, Place, Scope, Use};
use crate::calendar::{At, Length};

pub use limits::{Limit, PAIRS, window_of};
pub use reports::{Dimension, Line, Sums};

/// A line of the ledger.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The kind in the view `entries`.
    pub kind: &'static str,
    /// Signed: money in is positive.
    pub amount: i128,
    /// The time from which it counts in balances: when it was booked, or when it was due if time
    /// caused it.
    pub at: At,
    /// The time of usage, for reports.
    pub used: At,
    /// The act that booked it. `None` if time did.
    pub place: Option<Place>,
    /// Its user, team and so on.
    pub about: About,
    /// Input and output tokens.
    pub tokens: (i64, i64),
    /// For a refund: the refunded charge.
    pub charge: Option<Place>,
    /// Whether it adds promotional credit.
    pub promotional: bool,
}

/// A lot of credit.
#[derive(Clone, Debug)]
pub struct Lot {
    /// The act whose id it has. `None` if the id is not known.
    pub place: Option<Place>,
    /// Its number in the order of creation.
    pub number: usize,
    pub created: At,
    pub priority: i32,
    pub ends: Option<At>,
    pub promotional: bool,
    pub scope: Option<Scope>,
    /// The name of the recurring grant that made it.
    pub recurring: Option<&'static str>,
    pub amount: i128,
    /// The amount that can be spent. For an expired scoped lot, the amount that holds have in it.
    pub live: i128,
    /// The amount that it has paid, minus refunds.
    pub paid: i128,
    /// The amount that adjustments and voids took from it: a chargeback does not take it again.
    pub given_back: i128,
    /// Whether its end has been reached.
    pub over: bool,
    /// Whether its last money has expired.
    pub expired: bool,
    /// The status that a call gave it at its end.
    pub status: Option<&'static str>,
}

impl Lot {
    /// The position in burn order: the least is burned first.
    pub fn rank(&self) -> (i32, At, bool, At, usize) {
        let ends = self.ends.unwrap_or(At::MAX);
        (
            self.priority,
            ends,
            !self.promotional,
            self.created,
            self.number,
        )
    }
}

/// Money of an expired lot that is kept for holds made before the expiry.
#[derive(Clone, Debug)]
pub struct Kept {
    pub lot: usize,
    pub ended: At,
    pub amount: i128,
    rank: (i32, At, bool, At, usize),
}

/// A hold.
#[derive(Clone, Debug)]
pub struct Hold {
    pub place: Place,
    pub created: At,
    pub expires: At,
    pub status: &'static str,
    /// The amount reserved at first.
    pub amount: i128,
    /// The amount reserved now in lots without a scope.
    pub general: i128,
    /// The amounts reserved in scoped lots.
    pub parts: Vec<(usize, i128)>,
    pub settled: i128,
    pub about: About,
    /// The amounts reserved in limits: which, whose, when, how much.
    pub windows: Vec<(usize, String, Option<At>, i128)>,
}

impl Hold {
    /// The amount it holds.
    pub fn held(&self) -> i128 {
        self.general + self.parts.iter().map(|part| part.1).sum::<i128>()
    }
}

/// A charge, with what refunds and payments need.
#[derive(Clone, Debug)]
pub struct Charge {
    pub cost: i128,
    /// The lots that paid it, and how much each.
    pub parts: Vec<(usize, i128)>,
    pub refunded: i128,
    /// The part that is still a debt, minus refunds of it.
    pub owed: i128,
    /// The part of its debt that was refunded before it was paid.
    pub early: i128,
    pub about: About,
    /// When it was booked.
    pub at: At,
    /// The moment whose windows of limits it counts in.
    pub window_at: At,
    pub requests: i64,
    pub tokens: i64,
}

/// A funding.
#[derive(Clone, Debug)]
pub struct Funding {
    pub place: Place,
    pub amount: i128,
    pub status: &'static str,
    pub reversed: i128,
    terms: Terms,
}

#[derive(Clone, Copy, Debug)]
struct Terms {
    ends: Option<At>,
    priority: i32,
    promotional: bool,
    scope: Option<Scope>,
}

#[derive(Clone, Debug)]
struct Recurring {
    name: &'static str,
    amount: i128,
    period: Length,
    lives: Option<Length>,
    rollover: Option<i128>,
    scope: Option<Scope>,
    started: At,
    /// The number of periods since; -1 before the first day.
    turn: i64,
}

/// The balance after a call, if the call returns one, or the SQLSTATE that refuses it.
pub type Answer = Result<Option<i128>, &'static str>;

/// A wallet.
#[derive(Clone, Debug)]
pub struct Wallet {
    pub of: Of,
    pub zone: &'static str,
    pub credit: i128,
    pub created: At,
    pub lots: Vec<Lot>,
    pub kept: Vec<Kept>,
    /// The charges that credit paid, the oldest first.
    pub unpaid: VecDeque<(Place, i128)>,
    /// Its debts, the oldest first: of a charge, or of a chargeback.
    pub debts: VecDeque<(Option<Place>, i128)>,
    pub holds: Vec<Hold>,
    pub charges: BTreeMap<Place, Charge>,
    pub fundings: Vec<Funding>,
    pub entries: Vec<Entry>,
    recurring: BTreeMap<&'static str, Recurring>,
    pub limits: Vec<Limit>,
    pub rule: &'static str,
}

impl Wallet {
    /// An empty wallet.
    pub fn new(of: Of, zone: &'static str, credit: i128, created: At) -> Wallet {
        Wallet {
            of,
            zone,
            credit,
            created,
            lots: Vec::new(),
            kept: Vec::new(),
            unpaid: VecDeque::new(),
            debts: VecDeque::new(),
            holds: Vec::new(),
            charges: BTreeMap::new(),
            fundings: Vec::new(),
            entries: Vec::new(),
            recurring: BTreeMap::new(),
            limits: Vec::new(),
            rule: "none",
        }
    }

    /// The part of the balance that every charge may use.
    pub fn general(&self) -> i128 {
        let live = self
            .lots
            .iter()
            .filter(|lot| lot.scope.is_none())
            .map(|lot| lot.live)
            .sum::<i128>();
        let kept = self.kept.iter().map(|kept| kept.amount).sum::<i128>();
        let unpaid = self.unpaid.iter().map(|unpaid| unpaid.1).sum::<i128>();
        live + kept - unpaid
    }

    /// The balance.
    pub fn balance(&self) -> i128 {
        let scoped = self.lots.iter().filter(|lot| lot.scope.is_some());
        self.general() + scoped.map(|lot| lot.live).sum::<i128>()
    }

    /// Its debt in addition to the balance.
    pub fn debt(&self) -> i128 {
        self.debts.iter().map(|debt| debt.1).sum()
    }

    /// The amount that open holds reserve.
    pub fn held(&self) -> i128 {
        self.holds.iter().map(Hold::held).sum()
    }

    fn held_general(&self) -> i128 {
        self.holds.iter().map(|hold| hold.general).sum()
    }

    fn held_in(&self, lot: usize) -> i128 {
        let parts = self.holds.iter().flat_map(|hold| &hold.parts);
        parts.filter(|part| part.0 == lot).map(|part| part.1).sum()
    }

    /// The part of a scoped lot that no hold reserves.
    pub fn free(&self, lot: usize) -> i128 {
        self.lots[lot].live - self.held_in(lot)
    }

    /// The scoped part of `available`.
    pub fn scoped(&self) -> i128 {
        let scoped = |lot: &usize| self.lots[*lot].scope.is_some() && !self.lots[*lot].over;
        (0..self.lots.len())
            .filter(scoped)
            .map(|lot| self.free(lot))
            .sum()
    }

    /// The sum of the entries up to and including a moment.
    pub fn balance_at(&self, at: At) -> i128 {
        self.entries
            .iter()
            .filter(|entry| entry.at <= at)
            .map(|entry| entry.amount)
            .sum()
    }

    /// Checks that the lots agree with the ledger, and that no money is kept without a hold.
    pub fn check(&self) {
        let booked: i128 = self.entries.iter().map(|entry| entry.amount).sum();
        assert_eq!(
            booked + self.debt(),
            self.balance(),
            "the model contradicts itself: balance"
        );
        let kept: i128 = self.kept.iter().map(|kept| kept.amount).sum();
        assert!(
            kept <= self.held_general(),
            "the model contradicts itself: kept"
        );
        assert!(
            self.lots.iter().all(|lot| lot.live >= 0),
            "the model contradicts itself: lots"
        );
    }

    fn entry(
        &mut self,
        kind: &'static str,
        amount: i128,
        at: At,
        place: Option<Place>,
    ) -> &mut Entry {
        self.entries.push(Entry {
            kind,
            amount,
            at,
            used: at,
            place,
            about: About::default(),
            tokens: (0, 0),
            charge: None,
            promotional: false,
        });
        self.entries.last_mut().expect("an entry")
    }
}

/// Prices in units per token: input, output.
pub fn prices(model: &str) -> (i128, i128) {
    match model {
        "m1" => (2_500_000, 10_000_000),
        "m2" => (150_000, 600_001),
        other => panic!("{other} has no price"),
    }
}

/// Cost, input and output tokens, and the model that the usage names.
pub fn measure(cost: &Use) -> (i128, (i64, i64), Option<&'static str>) {
    match *cost {
        Use::Amount(amount) => (amount, (0, 0), None),
        Use::Tokens(model, input, output) => {
            let (of_input, of_output) = prices(model);
            (
                i128::from(input) * of_input + i128::from(output) * of_output,
                (input, output),
                Some(model),
            )
        }
    }
}
