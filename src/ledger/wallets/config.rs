//! The information that a charge needs about its wallet, read once per backend and cached.
//!
//! The lane that a charge locks contains the epoch of the rules. Every change of a rule locks all
//! lanes and sets a new epoch. So if the cached epoch is the lane's, the cached rules are current,
//! however old the cache is.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::access::policy_rows::Tables;
use crate::access::spending_policy::{SpendingPolicy, unknown_key};
use crate::access::{kept_by_key, policy_rows};
use crate::allowance::all_lanes::{LaneScope, lock_all};
use crate::allowance::lane_split::active;
pub use crate::allowance::lane_split::new_epoch;
use crate::attribution::Attribution;
use crate::error::{Error, Result};
use crate::ledger::charges::request::{Asked, Request};
pub use crate::ledger::wallets::basis::Basis;
pub use crate::ledger::wallets::basis::Status;
use crate::ledger::wallets::default_limits;
use crate::limits::defaults::in_force;
use crate::limits::lane_windows;
use crate::limits::limit::Limit;
use crate::limits::period::Period;
use crate::limits::stored::limit_of;
use crate::pg::{clock, invalidation};
use crate::storage::rows::{Lane, Wanted};
use crate::storage::store;
use foldhash::HashMap;

/// Most wallets that a backend caches. Beyond that it clears the cache.
const MAX_WALLETS: usize = 20_000;

/// Most bytes of members, keys and model rules that a backend caches. Beyond that it clears the
/// cache.
const MAX_KNOWN: usize = 16 << 20;

/// The rules of a wallet.
#[derive(Debug)]
pub struct WalletConfig {
    /// The part in the wallet's row and its lanes.
    basis: Basis,
    /// The limits that apply, those of the wallet first. Without those that are paused.
    pub limits: Vec<Limit>,
    /// Whether one of the limits counts the quantities of open holds.
    pub limits_open_holds: bool,
    /// The spending policy. `None` if the wallet has no rule on who may spend.
    guard: Option<Box<SpendingPolicy>>,
}

impl std::ops::Deref for WalletConfig {
    type Target = Basis;

    fn deref(&self) -> &Basis {
        &self.basis
    }
}

impl WalletConfig {
    /// The user, team and key to which the use is attributed. WL009 if the spending policy refuses
    /// the request.
    pub fn admit<'a>(&'a self, request: &'a Request<'_>) -> Result<Attribution<'a>> {
        let given = request.attribution;
        match (&self.guard, &request.asked) {
            // The use was admitted when it was booked without a price.
            (_, Asked::Late(..)) => Ok(given),
            (None, _) if request.passed.is_some() => Ok(given),
            (Some(guard), _) => {
                // The rows that this call reads are cached, so the cache first makes room for them.
                keep_within_bounds();
                let tables = Tables {
                    wallet: request.wallet,
                    lane: *active(self.lanes).start(),
                    epoch: self.epoch,
                };
                match request.passed {
                    None => guard.admit(&tables, &request.caller(), clock::now()),
                    Some(_) => guard.admit_passed(&tables, &request.caller()),
                }
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
    /// The last transaction that booked due changes.
    static CAUGHT_UP: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Records that the running transaction books due changes of a wallet. The rules that it reads from
/// now on are not cached.
pub fn note_catching_up() {
    CAUGHT_UP.set(Some(clock::transaction()));
}

/// The cached rules. The caller must compare their epoch with a lane's.
pub fn known(wallet: &str) -> Result<Rc<WalletConfig>> {
    known_with_lane(wallet).map(|(rules, _)| rules)
}

/// The cached rules. If they had to be read, also the wallet's single lane.
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

/// Whether this backend caches rules of that epoch.
pub fn is_cached(wallet: &str, epoch: i64) -> bool {
    CACHE.with_borrow(|cache| {
        let rules = cache.wallets.get(wallet);
        rules.is_some_and(|rules| rules.epoch == epoch)
    })
}

/// WL003 unless the wallet exists.
pub fn require(wallet: &str) -> Result<()> {
    read_basis(wallet).map(drop)
}

/// The part of the rules in the wallet's row and its lanes, as committed now. Its cost does not
/// depend on how many limits the wallet has. Caches nothing.
pub fn read_basis(wallet: &str) -> Result<Basis> {
    let rows = store::read_rules(wallet, Wanted::Basis)?;
    Basis::of(rows.ok_or_else(|| Error::wallet_not_found(wallet))?)
}

/// Clears the cache if members, keys and model rules take too much memory, including those of the
/// running call.
fn keep_within_bounds() {
    if kept_by_key::bytes() > MAX_KNOWN {
        CACHE.with_borrow_mut(|cache| cache.wallets.clear());
    }
}

/// The rules as committed now.
pub fn read(wallet: &str) -> Result<Rc<WalletConfig>> {
    read_with_lane(wallet).map(|(rules, _)| rules)
}

fn read_with_lane(wallet: &str) -> Result<(Rc<WalletConfig>, Option<Lane>)> {
    let generation = invalidation::generation();
    let (rules, lane) = fetch(wallet)?;
    let rules = Rc::new(rules);
    invalidation::note_caching();
    // The due changes may be rolled back with this transaction, and would then be due again.
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

/// Locks every lane of a wallet's balance, and reads the lanes and the part of the rules in them
/// and in the wallet's row.
///
/// The caller changes the rules, so spread windows are gathered first.
pub fn lock_to_change(wallet: &str) -> Result<(Basis, Vec<Lane>)> {
    // During a change, the new rules still have the old epoch. They must not be cached, because
    // after a rollback they would remain in the cache under the valid epoch.
    let (basis, lanes) = lock_all(wallet, LaneScope::Every, || {
        let basis = read_basis(wallet)?;
        let lanes = basis.lanes;
        Ok((basis, lanes))
    })?;
    // With one lane, no window is spread. The call that removed the second lane has gathered them.
    if basis.lanes > 1 {
        lane_windows::gather_all(wallet)?;
    }
    Ok((basis, lanes))
}

/// Reads the rules, and the single lane if that costs no extra read. Caches nothing.
fn fetch(wallet: &str) -> Result<(WalletConfig, Option<Lane>)> {
    let defaults = default_limits::known()?;
    let wanted = match defaults.is_empty() {
        true => Wanted::Limits,
        false => Wanted::LimitsAndHome,
    };
    let mut rows =
        store::read_rules(wallet, wanted)?.ok_or_else(|| Error::wallet_not_found(wallet))?;
    let lane = rows.lane.take();
    let own = std::mem::take(&mut rows.limits);
    let of_all = match &rows.home {
        Some(home) => in_force(&defaults, &own, home)?,
        None => Vec::new(),
    };
    let own = own.into_iter().filter(|row| !row.paused).map(limit_of);
    let mut limits = own.collect::<Result<Vec<Limit>>>()?;
    limits.extend(of_all);
    let basis = Basis::of(rows)?;
    // Read after the epoch: if the policy changed in between, the lane has another epoch.
    let guard = basis
        .guarded
        .then(|| policy_rows::read(wallet, basis.members_only).map(Box::new))
        .transpose()?;
    let rules = WalletConfig {
        basis,
        limits_open_holds: limits.iter().any(|limit| limit.period == Period::Open),
        limits,
        guard,
    };
    Ok((rules, lane))
}
