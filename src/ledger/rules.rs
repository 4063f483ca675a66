//! What a charge must know of its wallet, read once in a backend and kept.
//!
//! The lane that a charge locks carries the epoch of the rules. Every change of a rule holds all
//! lanes and moves the epoch, so a charge whose epoch is the lane's knows the rules that hold,
//! however long ago it read them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

pub use crate::allowance::cut::new_epoch;
use crate::allowance::lanes::Cutting;
use crate::allowance::whole::{Cut, Extent, lock_all};
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::guard::{Guard, Who, unknown_key};
use crate::ledger::guard_rows;
use crate::ledger::request::{Asked, Request};
use crate::limits::limit::{Limit, Mode, Scope};
use crate::limits::metric::Metric;
use crate::limits::period::{self, Period};
use crate::limits::spread;
use crate::money::Amount;
use crate::pricing::unknown::UnknownPrice;
use crate::storage::clock::{self, Timestamp};
use crate::storage::rows::{Lane, LimitRow, RuleRows, WalletRow};
use crate::storage::{invalidation, store};
use foldhash::HashMap;

/// Wallets that a backend keeps; beyond, it starts anew.
const MAX_WALLETS: usize = 20_000;

/// Whether a wallet may be spent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Yes.
    Active,
    /// No, but funding is allowed.
    Frozen,
    /// Neither.
    Closed,
}

impl Status {
    fn parse(text: &str) -> Option<Status> {
        match text {
            "active" => Some(Status::Active),
            "frozen" => Some(Status::Frozen),
            "closed" => Some(Status::Closed),
            _ => None,
        }
    }
}

/// The rules of a wallet.
#[derive(Debug)]
pub struct Rules {
    /// Its currency.
    pub currency: String,
    /// How far the balance may go below zero.
    pub credit_limit: Amount,
    /// Whether it may be spent from.
    pub status: Status,
    /// Why it is not active.
    pub status_reason: Option<String>,
    /// Number of lanes.
    pub lanes: i16,
    /// Its price list.
    pub price_list: String,
    /// Its rule for usage without a price.
    pub unknown_price: UnknownPrice,
    /// Version of the rules.
    pub epoch: i64,
    /// Counts fundings that could not look at all lanes.
    pub attention: i64,
    /// The count when all lanes were looked at last.
    pub attended: i64,
    /// Whether no alert threshold waits for money to arm it.
    pub armed: bool,
    /// Whether lanes beside a single active one have money or holds.
    pub beside: bool,
    /// When a grant expires next or is granted again; nothing for a wallet of plain fundings.
    pub grants_due: Option<Timestamp>,
    /// Whether it has money that only some charges may use: then every call looks at all lanes.
    pub scoped: bool,
    /// Whether entries of it stand in the archive: then keys are looked up there too.
    pub archived: bool,
    /// Whether holds keep credit that has ended: then what they let go of ends at once.
    pub keeps: bool,
    /// Its limits but those that are paused.
    pub limits: Vec<Limit>,
    /// Who may spend; nothing for a wallet that has no rule on it.
    pub guard: Option<Guard>,
}

impl Rules {
    /// What the lanes need to know.
    pub fn cutting<'a>(&self, wallet: &'a str) -> Cutting<'a> {
        Cutting {
            wallet,
            lanes: self.lanes,
            alone: self.lanes == 1 && !self.beside,
            epoch: self.epoch,
            read: None,
        }
    }

    /// True when a grant has expired or is granted again, and nobody has booked it yet.
    pub fn grants_are_due(&self) -> bool {
        self.grants_are_due_at(clock::now())
    }

    /// The same at a moment.
    pub fn grants_are_due_at(&self, now: Timestamp) -> bool {
        self.grants_due.is_some_and(|due| due <= now)
    }

    /// True when the next charge has to look at all lanes.
    pub fn needs_attention(&self) -> bool {
        self.attention != self.attended
    }

    /// How a call that has looked at all lanes cuts them.
    pub fn cut(&self) -> Cut {
        // Backends that know the rules must hear that the attention was paid.
        let epoch = if self.needs_attention() {
            new_epoch()
        } else {
            self.epoch
        };
        let (credit_limit, lanes) = (self.credit_limit, self.lanes);
        Cut {
            credit_limit,
            lanes,
            epoch,
            attention: self.attention,
        }
    }

    /// To whom the use is attributed; WL009 when a rule does not let the request in.
    pub fn admit<'a>(&'a self, request: &'a Request<'_>) -> Result<Who<'a>> {
        let given = request.given();
        match (&self.guard, &request.asked) {
            // Was let in when it was booked without a price.
            (_, Asked::Late(..)) => Ok(given),
            (Some(guard), _) => guard.admit(&request.caller(), clock::now()),
            (None, _) if request.secret.is_some() => Err(unknown_key()),
            (None, _) => Ok(given),
        }
    }

    /// WL004 when the wallet is closed.
    pub fn require_open(&self, wallet: &str) -> Result<()> {
        if self.status == Status::Closed {
            self.require_active(wallet)
        } else {
            Ok(())
        }
    }

    /// WL004 unless the wallet may be spent from.
    pub fn require_active(&self, wallet: &str) -> Result<()> {
        let state = match self.status {
            Status::Active => return Ok(()),
            Status::Frozen => "frozen",
            Status::Closed => "closed",
        };
        let error = Error::new(
            Code::WalletNotActive,
            format!("wallet {} is {state}", quoted(wallet)),
        );
        let error = match &self.status_reason {
            Some(reason) => error.detail(format!("The reason given is {}.", quoted(reason))),
            None => error.detail("No reason was given."),
        };
        Err(match self.status {
            Status::Frozen => error.hint("An administrator can call unfreeze_wallet()."),
            _ => error.hint("A closed wallet stays closed; create another one."),
        })
    }
}

#[derive(Default)]
struct Cache {
    generation: u64,
    wallets: HashMap<String, Rc<Rules>>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
    /// The transaction that booked last what was due.
    static CAUGHT_UP: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Says that the running transaction books what is due of a wallet. Rules that it reads from now on say so, and are
/// not kept.
pub fn note_catching_up() {
    CAUGHT_UP.set(Some(clock::transaction()));
}

/// The rules as this backend knows them; their epoch must be compared with a lane's.
pub fn known(wallet: &str) -> Result<Rc<Rules>> {
    known_with_lane(wallet).map(|(rules, _)| rules)
}

/// The same, with the wallet's single lane where it had to be read for them.
pub fn known_with_lane(wallet: &str) -> Result<(Rc<Rules>, Option<Lane>)> {
    match cached(wallet) {
        Some(rules) => Ok((rules, None)),
        None => read_with_lane(wallet),
    }
}

fn cached(wallet: &str) -> Option<Rc<Rules>> {
    let generation = invalidation::generation();
    CACHE.with_borrow_mut(|cache| {
        if cache.generation != generation || cache.wallets.len() > MAX_WALLETS {
            *cache = Cache {
                generation,
                ..Cache::default()
            };
        }
        cache.wallets.get(wallet).cloned()
    })
}

/// The rules as they are committed now.
pub fn read(wallet: &str) -> Result<Rc<Rules>> {
    read_with_lane(wallet).map(|(rules, _)| rules)
}

fn read_with_lane(wallet: &str) -> Result<(Rc<Rules>, Option<Lane>)> {
    let generation = invalidation::generation();
    let (rules, lane) = fetch(wallet)?;
    let rules = Rc::new(rules);
    invalidation::note_caching();
    // What time asked for may be undone with the transaction that booked it, and would be due again.
    if CAUGHT_UP.get() == Some(clock::transaction()) {
        CACHE.with_borrow_mut(|cache| cache.wallets.remove(wallet));
        return Ok((rules, lane));
    }
    CACHE.with_borrow_mut(|cache| {
        if cache.generation == generation && invalidation::generation() == generation {
            cache.wallets.insert(wallet.to_owned(), rules.clone());
        }
    });
    Ok((rules, lane))
}

/// Locks the lanes of a wallet's balance, and reads its rules and the lanes.
///
/// Who locks every one changes the rules: windows that are spread over lanes are gathered first.
pub fn read_with_lanes(wallet: &str, extent: Extent) -> Result<(Rc<Rules>, Vec<Lane>)> {
    let locked = lock_all(wallet, extent, || {
        // In the middle of a change the new rules still have the old epoch: they must not be kept,
        // or a rollback would leave them behind under the epoch that holds.
        let rules = match extent {
            Extent::Counting => read(wallet)?,
            Extent::Every => Rc::new(fetch(wallet)?.0),
        };
        let lanes = rules.lanes;
        Ok((rules, lanes))
    })?;
    if extent == Extent::Every {
        spread::gather_all(wallet)?;
    }
    Ok(locked)
}

/// Reads the rules, and the single lane where that takes no more, and keeps nothing.
fn fetch(wallet: &str) -> Result<(Rules, Option<Lane>)> {
    let mut rows = store::read_rules(wallet)?.ok_or_else(|| Error::wallet_not_found(wallet))?;
    let lane = rows.lane.take();
    Ok((rules_of(wallet, rows)?, lane))
}

fn rules_of(wallet: &str, rows: RuleRows) -> Result<Rules> {
    let WalletRow {
        currency,
        credit_limit,
        status,
        status_reason,
        lanes,
        price_list,
        unknown_price,
        attention,
        grants_due,
        members_only,
        guarded,
        scoped,
        archived,
        keeps,
    } = rows.wallet;
    Ok(Rules {
        currency,
        credit_limit,
        status: Status::parse(&status)
            .ok_or_else(|| Error::internal(format!("unknown wallet status {status:?}")))?,
        status_reason,
        lanes,
        price_list,
        unknown_price: UnknownPrice::of_row(&unknown_price)?,
        epoch: rows.epoch,
        attention,
        attended: rows.attended,
        armed: rows.armed,
        beside: rows.beside,
        grants_due,
        scoped,
        archived,
        keeps,
        limits: rows
            .limits
            .into_iter()
            .filter(|row| !row.paused)
            .map(limit_of)
            .collect::<Result<_>>()?,
        // Read after the epoch: if it changed in between, the lane shows another epoch.
        guard: guarded
            .then(|| guard_rows::read(wallet, members_only))
            .transpose()?,
    })
}

/// The limit of a row, paused or not.
pub fn limit_of(row: LimitRow) -> Result<Limit> {
    let unknown = |what: &str| Error::internal(format!("a limit has an unknown {what}"));
    let (period, period_name) =
        Period::parse(&row.period, row.anchor.map(i32::from)).map_err(|_| unknown("period"))?;
    Ok(Limit {
        id: row.id,
        scope: Scope::parse(&row.scope).ok_or_else(|| unknown("scope"))?,
        subject: row.subject,
        period,
        period_name,
        metric: Metric::parse(&row.metric),
        mode: if row.is_hard { Mode::Hard } else { Mode::Soft },
        max: row.max,
        raises: row.raised_by.into_iter().zip(row.raised_until).collect(),
        warn_at: row.warn_at,
        zone: period::zone(&row.time_zone).map_err(|_| unknown("time zone"))?,
    })
}
