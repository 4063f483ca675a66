//! The access grants of the calling role, cached per backend.
//!
//! A role has its own grants and those of the roles that it is a member of and inherits from. Only
//! these rows are read, so the cost of a call does not depend on the number of other roles. Grants
//! on all wallets are read first and once, so a role that has them needs no row per wallet.
//!
//! They are read with the latest snapshot. Otherwise a transaction under REPEATABLE READ would keep
//! rights that another one has revoked.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::HashMap;
use pgrx::pg_sys;

use crate::access::level::{Level, Need};
use crate::error::{Error, Result};
use crate::pg::invalidation;
use crate::pg::role::{self, DATABASE_OWNER, is_member};
use crate::storage::plan::{Rows, Run, Value, statement};

/// Means all wallets in an access grant.
pub const ALL_WALLETS: &str = "*";

/// The maximum number of answers that a backend caches. Beyond that, the cache is cleared.
const MAX_ANSWERS: usize = 4096;

/// The longest list of wallets that is cached.
const MAX_LIST: usize = 1024;

statement!(
    ROLES,
    [OIDOID],
    "WITH RECURSIVE mine (role) AS (
         SELECT $1
          UNION
         SELECT m.roleid FROM mine JOIN pg_auth_members m ON m.member = mine.role
     )
     SELECT role FROM mine"
);

statement!(
    ON_WALLET,
    [OIDARRAYOID, TEXTOID],
    "SELECT level, proof FROM wallet.role_grants WHERE wallet_id = $2 AND role = ANY ($1)"
);

statement!(
    /// Looks each combination up, however many grants the roles have.
    ANYWHERE,
    [OIDARRAYOID],
    "SELECT l.level, p.proof
       FROM unnest('{reader,auditor,charger,billing,worker,admin}'::text[]) l (level),
            unnest('{none,claim,key}'::text[]) p (proof),
            unnest($1) r (role)
      WHERE (SELECT true FROM wallet.role_grants g
              WHERE g.role = r.role AND g.level = l.level AND g.proof = p.proof LIMIT 1)"
);

statement!(
    WALLETS,
    [OIDARRAYOID],
    "SELECT wallet_id, level FROM wallet.role_grants WHERE role = ANY ($1) AND proof = 'none'"
);

/// The proof that a call must have before a grant counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing.
    None,
    /// The wallet must be named by `wallet.claim`, or a valid key of it must be in `wallet.key`.
    Claim,
    /// A valid key of the wallet must be in `wallet.key`.
    Key,
}

impl Proof {
    const ALL: [Proof; 3] = [Proof::None, Proof::Claim, Proof::Key];

    /// The name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Proof::None => "none",
            Proof::Claim => "claim",
            Proof::Key => "key",
        }
    }
}

/// An access grant that the caller has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The level.
    pub level: Level,
    /// The condition.
    pub proof: Proof,
}

/// Several access grants.
pub type Grants = Rc<[Grant]>;

/// The cached answers about a calling role.
#[derive(Default)]
struct Known {
    /// The roles whose grants the caller has.
    roles: Rc<[pg_sys::Oid]>,
    /// Grants by wallet. The empty name stands for any wallet.
    by_wallet: HashMap<String, Grants>,
    /// The wallets that the caller may read without proof.
    readable: Option<Rc<[String]>>,
}

#[derive(Default)]
struct Cache {
    /// The generation of the grants, and the count of changes of roles.
    seen: (u64, u64),
    callers: HashMap<pg_sys::Oid, Known>,
    answers: usize,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

fn version() -> (u64, u64) {
    (invalidation::generation(), role::changes())
}

/// Runs `work` on the cache after discarding what may be stale.
fn with_cache<T>(work: impl FnOnce(&mut Cache) -> T) -> T {
    let version = version();
    CACHE.with_borrow_mut(|cache| {
        if cache.seen != version || cache.answers > MAX_ANSWERS {
            *cache = Cache {
                seen: version,
                ..Cache::default()
            };
        }
        work(cache)
    })
}

/// Keeps an answer, unless something changed while it was read.
fn keep(caller: pg_sys::Oid, before: (u64, u64), store: impl FnOnce(&mut Known)) {
    invalidation::note_caching();
    if version() != before {
        return;
    }
    with_cache(|cache| {
        cache.answers += 1;
        store(cache.callers.entry(caller).or_default());
    });
}

/// The roles whose grants the caller has: itself, and those whose privileges it has as a member.
fn roles_of(caller: pg_sys::Oid) -> Result<Rc<[pg_sys::Oid]>> {
    let known = with_cache(|cache| cache.callers.get(&caller).map(|known| known.roles.clone()));
    if let Some(roles) = known.filter(|roles| !roles.is_empty()) {
        return Ok(roles);
    }
    let before = version();
    let rows = ROLES.read_latest(&[Value::Oid(caller)])?;
    let mut roles = (0..rows.len())
        .map(|row| rows.need(row, 0))
        .collect::<Result<Vec<pg_sys::Oid>>>()?;
    roles.push(DATABASE_OWNER);
    // The rows do not say who inherits from whom, and may be older than the newest change.
    roles.retain(|role| is_member(caller, *role));
    let roles: Rc<[pg_sys::Oid]> = roles.into();
    keep(caller, before, |known| known.roles = roles.clone());
    Ok(roles)
}

fn read(rows: &Rows) -> Result<Grants> {
    let grant = |row| {
        let (level, proof): (String, String) = (rows.need(row, 0)?, rows.need(row, 1)?);
        let proof = Proof::ALL.into_iter().find(|one| one.as_str() == proof);
        match (Level::parse(&level), proof) {
            (Some(level), Some(proof)) => Ok(Grant { level, proof }),
            _ => Err(Error::internal(format!("unknown access grant {level:?}"))),
        }
    };
    (0..rows.len()).map(grant).collect()
}

/// The caller's grants that name this wallet, or all wallets for `*`.
pub fn on(caller: pg_sys::Oid, wallet: &str) -> Result<Grants> {
    let known = with_cache(|cache| cache.callers.get(&caller)?.by_wallet.get(wallet).cloned());
    if let Some(known) = known {
        return Ok(known);
    }
    let roles = roles_of(caller)?;
    let before = version();
    let rows = match wallet {
        "" => ANYWHERE.read_latest(&[Value::Oids(&roles)])?,
        wallet => ON_WALLET.read_latest(&[Value::Oids(&roles), Value::Text(wallet)])?,
    };
    let grants = read(&rows)?;
    keep(caller, before, |known| {
        known.by_wallet.insert(wallet.to_owned(), grants.clone());
    });
    Ok(grants)
}

/// The caller's grants on at least one wallet.
pub fn anywhere(caller: pg_sys::Oid) -> Result<Grants> {
    on(caller, "")
}

/// The wallets that the caller reaches without proof; only `*` if that is all of them.
pub fn without_proof(caller: pg_sys::Oid, need: Need) -> Result<Rc<[String]>> {
    let is_reader = need == Need::Level(Level::Reader);
    let known = with_cache(|cache| cache.callers.get(&caller)?.readable.clone());
    if let Some(known) = known.filter(|_| is_reader) {
        return Ok(known);
    }
    let roles = roles_of(caller)?;
    let before = version();
    let rows = WALLETS.read_latest(&[Value::Oids(&roles)])?;
    let mut wallets: Vec<String> = Vec::new();
    for row in 0..rows.len() {
        let level: String = rows.need(row, 1)?;
        if Level::parse(&level).is_some_and(|level| need.is_met_by(level)) {
            wallets.push(rows.need(row, 0)?);
        }
    }
    wallets.sort_unstable();
    wallets.dedup();
    if wallets.iter().any(|wallet| wallet == ALL_WALLETS) {
        wallets = vec![ALL_WALLETS.to_owned()];
    }
    let wallets: Rc<[String]> = wallets.into();
    if is_reader && wallets.len() <= MAX_LIST {
        keep(caller, before, |known| {
            known.readable = Some(wallets.clone())
        });
    }
    Ok(wallets)
}
