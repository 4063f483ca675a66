//! What a charge must know of its wallet, read once in a backend and kept.
//!
//! The lane that a charge locks carries the epoch of the rules. Every change of a rule holds all
//! lanes and moves the epoch, so a charge whose epoch is the lane's knows the rules that hold,
//! however long ago it read them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::access::policy_rows::Tables;
use crate::access::spending_policy::{SpendingPolicy, Who, unknown_key};
use crate::access::{kept_by_key, policy_rows};
use crate::allowance::all_lanes::{LaneScope, lock_all};
use crate::allowance::lane_split::active;
pub use crate::allowance::lane_split::new_epoch;
use crate::error::{Error, Result};
use crate::ledger::charges::request::{Asked, Request};
pub use crate::ledger::wallets::basis::Basis;
pub use crate::ledger::wallets::basis::Status;
use crate::limits::lane_windows;
use crate::limits::limit::{Limit, Mode, Scope};
use crate::limits::metric::Metric;
use crate::limits::period::{self, Period};
use crate::pg::{clock, invalidation};
use crate::storage::rows::{Lane, LimitRow};
use crate::storage::store;
use foldhash::HashMap;

/// Wallets that a backend keeps; beyond, it starts anew.
const MAX_WALLETS: usize = 20_000;

/// Bytes of members, keys and model rules that a backend keeps; beyond, it starts anew.
const MAX_KNOWN: usize = 16 << 20;

/// The rules of a wallet.
#[derive(Debug)]
pub struct WalletConfig {
    /// What its row and its lanes say.
    basis: Basis,
    /// Its limits but those that are paused.
    pub limits: Vec<Limit>,
    /// Who may spend; nothing for a wallet that has no rule on it.
    guard: Option<Box<SpendingPolicy>>,
}

impl std::ops::Deref for WalletConfig {
    type Target = Basis;

    fn deref(&self) -> &Basis {
        &self.basis
    }
}

impl WalletConfig {
    /// To whom the use is attributed; WL009 when a rule does not let the request in.
    pub fn admit<'a>(&'a self, request: &'a Request<'_>) -> Result<Who<'a>> {
        let given = request.given();
        match (&self.guard, &request.asked) {
            // Was let in when it was booked without a price.
            (_, Asked::Late(..)) => Ok(given),
            (Some(guard), _) => {
                // What this call reads is kept; what others have kept makes room for it.
                keep_within_bounds();
                let tables = Tables {
                    wallet: request.wallet,
                    lane: *active(self.lanes).start(),
                    epoch: self.epoch,
                };
                guard.admit(&tables, &request.caller(), clock::now())
            }
            (None, _) if request.secret.is_some() => Err(unknown_key()),
            (None, _) => Ok(given),
        }
    }
}

#[derive(Default)]
struct Cache {
    generation: u64,
    wallets: HashMap<String, Rc<WalletConfig>>,
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
pub fn known(wallet: &str) -> Result<Rc<WalletConfig>> {
    known_with_lane(wallet).map(|(rules, _)| rules)
}

/// The same, with the wallet's single lane where it had to be read for them.
pub fn known_with_lane(wallet: &str) -> Result<(Rc<WalletConfig>, Option<Lane>)> {
    match cached(wallet) {
        Some(rules) => Ok((rules, None)),
        None => read_with_lane(wallet),
    }
}

fn cached(wallet: &str) -> Option<Rc<WalletConfig>> {
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

/// WL003 unless there is a wallet of that name.
pub fn require(wallet: &str) -> Result<()> {
    store::read_basis(wallet)?
        .map(drop)
        .ok_or_else(|| Error::wallet_not_found(wallet))
}

/// Starts anew where members, keys and model rules take too much memory. What a running call uses goes with it.
fn keep_within_bounds() {
    if kept_by_key::bytes() > MAX_KNOWN {
        CACHE.with_borrow_mut(|cache| cache.wallets.clear());
    }
}

/// The rules as they are committed now.
pub fn read(wallet: &str) -> Result<Rc<WalletConfig>> {
    read_with_lane(wallet).map(|(rules, _)| rules)
}

fn read_with_lane(wallet: &str) -> Result<(Rc<WalletConfig>, Option<Lane>)> {
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

/// Locks the lanes that count for a wallet's balance, and reads its rules and the lanes.
pub fn read_with_lanes(wallet: &str) -> Result<(Rc<WalletConfig>, Vec<Lane>)> {
    lock_all(wallet, LaneScope::Counting, || {
        let rules = read(wallet)?;
        let lanes = rules.lanes;
        Ok((rules, lanes))
    })
}

/// Locks every lane of a wallet's balance, and reads the lanes and what they and the wallet's row say.
///
/// Who does that changes the rules: windows that are spread over lanes are gathered first.
pub fn lock_to_change(wallet: &str) -> Result<(Basis, Vec<Lane>)> {
    // In the middle of a change the new rules still have the old epoch: they must not be kept, or a rollback would
    // leave them behind under the epoch that holds.
    let (basis, lanes) = lock_all(wallet, LaneScope::Every, || {
        let rows = store::read_basis(wallet)?.ok_or_else(|| Error::wallet_not_found(wallet))?;
        let basis = Basis::of(rows)?;
        let lanes = basis.lanes;
        Ok((basis, lanes))
    })?;
    // Who takes the second lane away has gathered what was spread.
    if basis.lanes > 1 {
        lane_windows::gather_all(wallet)?;
    }
    Ok((basis, lanes))
}

/// Reads the rules, and the single lane where that takes no more, and keeps nothing.
fn fetch(wallet: &str) -> Result<(WalletConfig, Option<Lane>)> {
    let mut rows = store::read_rules(wallet)?.ok_or_else(|| Error::wallet_not_found(wallet))?;
    let lane = rows.lane.take();
    let limits = std::mem::take(&mut rows.limits)
        .into_iter()
        .filter(|row| !row.paused)
        .map(limit_of)
        .collect::<Result<_>>()?;
    let basis = Basis::of(rows)?;
    // Read after the epoch: if it changed in between, the lane shows another epoch.
    let guard = basis
        .guarded
        .then(|| policy_rows::read(wallet, basis.members_only).map(Box::new))
        .transpose()?;
    let rules = WalletConfig {
        basis,
        limits,
        guard,
    };
    Ok((rules, lane))
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
