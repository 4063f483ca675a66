//! Checks which database role may call which function on which wallet.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::HashMap;
use pgrx::pg_sys;

use crate::access::spending_policy::{Role, blocked, may_not};
use crate::error::{Code, Error, Result, literal, quoted};
use crate::pg::invalidation;
use crate::pg::role::{is_member, role_name};
use crate::pg::writable::require_writable;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::{Session, as_owner};

/// The access that a database role was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Views, reports, pricing and checks.
    Reader,
    /// The rights of a reader, and spending.
    Charger,
    /// The rights of a reader, and adding and returning money.
    Billing,
    /// All rights.
    Admin,
}

impl Level {
    /// All levels.
    pub const ALL: &'static [Level] =
        &[Level::Reader, Level::Charger, Level::Billing, Level::Admin];

    /// The level's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Reader => "reader",
            Level::Charger => "charger",
            Level::Billing => "billing",
            Level::Admin => "admin",
        }
    }

    /// True if this level includes the rights of the other.
    fn covers(self, needed: Level) -> bool {
        self == Level::Admin || self == needed || needed == Level::Reader
    }
}

/// Means all wallets in an access grant.
pub const ALL_WALLETS: &str = "*";

/// The maximum number of wallets whose access grants a backend caches. Beyond that, the cache is
/// cleared.
const MAX_WALLETS: usize = 4096;

statement!(
    GRANTS,
    [TEXTOID],
    "SELECT role::oid, level FROM wallet.role_grants WHERE wallet_id IN ($1, '*')"
);

statement!(
    ANY_GRANTS,
    [],
    "SELECT DISTINCT role::oid, level FROM wallet.role_grants"
);

statement!(
    ROLE,
    [TEXTOID, TEXTOID],
    "SELECT role, blocked FROM wallet.members WHERE wallet_id = $1 AND user_id = $2"
);

/// The access grants on a wallet: database role and level.
type Grants = Rc<[(pg_sys::Oid, Level)]>;

thread_local! {
    /// Access grants by wallet, and the generation in which they were read. Whether the caller is a
    /// member of a role is checked each time: PostgreSQL caches this itself and forgets it when a
    /// membership changes.
    static GRANTED: RefCell<(u64, HashMap<String, Grants>)> = RefCell::default();
}

/// Runs `work` as the owner after checking that the caller has the level on the wallet. A call with
/// a higher level than reader is refused in a read-only transaction, even if it would change
/// nothing.
pub fn enter<T>(level: Level, wallet: &str, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    as_owner(|session| {
        require(session, level, wallet)?;
        if level != Level::Reader {
            require_writable();
        }
        work(session)
    })
}

/// Like `enter`. If the actor is a member of the wallet, the member role must cover the level:
/// WL009 otherwise.
pub fn enter_as<T>(
    level: Level,
    wallet: &str,
    actor: Option<&str>,
    work: impl FnOnce(&Session) -> Result<T>,
) -> Result<T> {
    enter(level, wallet, |session| {
        require_role(level, wallet, actor)?;
        work(session)
    })
}

/// The error WL009 if the actor is a member of the wallet and the member role does not cover the
/// level.
pub fn require_role(level: Level, wallet: &str, actor: Option<&str>) -> Result<()> {
    match role_of(wallet, actor)? {
        Some(role) if !role_covers(role, level) => Err(may_not(
            role,
            match level {
                Level::Reader => "look",
                Level::Charger => "spend",
                Level::Billing => "move money",
                Level::Admin => "change rules",
            },
        )),
        _ => Ok(()),
    }
}

/// The error WL009 if the actor is a member of the wallet but not an owner.
pub fn require_owner(wallet: &str, actor: Option<&str>, what: &str) -> Result<()> {
    match role_of(wallet, actor)? {
        None | Some(Role::Owner) => Ok(()),
        Some(role) => Err(may_not(role, what)),
    }
}

/// The actor's member role; `None` if the actor is not a member. The error WL009 if the member is
/// blocked.
fn role_of(wallet: &str, actor: Option<&str>) -> Result<Option<Role>> {
    let Some(actor) = actor else {
        return Ok(None);
    };
    let rows = ROLE.run(&[Value::Text(wallet), Value::Text(actor)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    if rows.need(0, 1)? {
        return Err(blocked(actor));
    }
    let role: String = rows.need(0, 0)?;
    Role::parse(&role)
        .map(Some)
        .ok_or_else(|| Error::internal(format!("unknown role {role:?}")))
}

/// Whether a member role covers a level.
fn role_covers(role: Role, level: Level) -> bool {
    match level {
        Level::Reader => true,
        Level::Charger => role.spends(),
        Level::Billing => matches!(role, Role::Owner | Role::Admin | Role::Billing),
        Level::Admin => matches!(role, Role::Owner | Role::Admin),
    }
}

/// Runs `work` as the owner after checking that the caller may read at least one wallet.
pub fn enter_any<T>(work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    enter(Level::Reader, "", work)
}

/// Like `enter_any`, for a caller that has `level` on at least one wallet. `work` checks each
/// wallet itself.
pub fn enter_some<T>(level: Level, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    enter(level, "", work)
}

/// The error 42501 unless the caller has the level on the wallet. An empty wallet means any wallet.
pub fn require(session: &Session, level: Level, wallet: &str) -> Result<()> {
    if session.may_do_anything() {
        return Ok(());
    }
    if allowed(session.caller, level, wallet)? {
        return Ok(());
    }
    let role = role_name(session.caller);
    let on = match wallet {
        "" => "any wallet".to_owned(),
        ALL_WALLETS => "all wallets".to_owned(),
        wallet => format!("wallet {}", quoted(wallet)),
    };
    Err(Error::new(
        Code::InsufficientPrivilege,
        format!("permission denied for {on}"),
    )
    .detail(format!(
        "Role {} needs the level {} on {on}.",
        quoted(&role),
        level.as_str()
    ))
    .hint(format!(
        "An administrator can run: SELECT wallet.grant_access({}, '{}', {});",
        literal(&role),
        level.as_str(),
        literal(if wallet.is_empty() {
            ALL_WALLETS
        } else {
            wallet
        }),
    )))
}

fn allowed(caller: pg_sys::Oid, level: Level, wallet: &str) -> Result<bool> {
    let grants = granted(wallet)?;
    Ok(grants
        .iter()
        .any(|(role, granted)| granted.covers(level) && is_member(caller, *role)))
}

/// The access grants on a wallet and on all wallets; those on any wallet if the wallet is empty.
fn granted(wallet: &str) -> Result<Grants> {
    let generation = invalidation::generation();
    let known = GRANTED.with_borrow_mut(|(seen, wallets)| {
        if *seen != generation || wallets.len() > MAX_WALLETS {
            *seen = generation;
            wallets.clear();
        }
        wallets.get(wallet).cloned()
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let rows = if wallet.is_empty() {
        ANY_GRANTS.run(&[])?
    } else {
        GRANTS.run(&[Value::Text(wallet)])?
    };
    let mut grants = Vec::new();
    for row in 0..rows.len() {
        let (role, level): (pg_sys::Oid, String) = (rows.need(row, 0)?, rows.need(row, 1)?);
        if let Some(level) = Level::ALL.iter().find(|known| known.as_str() == level) {
            grants.push((role, *level));
        }
    }
    let grants: Grants = grants.into();
    invalidation::note_caching();
    GRANTED.with_borrow_mut(|(seen, wallets)| {
        if *seen == generation && invalidation::generation() == generation {
            wallets.insert(wallet.to_owned(), grants.clone());
        }
    });
    Ok(grants)
}

/// The wallets that the role may read; `*` means all.
pub fn readable_by(caller: pg_sys::Oid) -> Result<Vec<String>> {
    wallets_of(caller, Level::Reader)
}

/// The wallets on which the role has the level; `*` means all.
pub fn wallets_of(caller: pg_sys::Oid, level: Level) -> Result<Vec<String>> {
    statement!(
        WALLETS,
        [],
        "SELECT wallet_id, role::oid, level FROM wallet.role_grants ORDER BY wallet_id"
    );
    let rows = WALLETS.run(&[])?;
    let mut wallets = Vec::new();
    for row in 0..rows.len() {
        let (role, granted): (pg_sys::Oid, String) = (rows.need(row, 1)?, rows.need(row, 2)?);
        let granted = Level::ALL.iter().find(|known| known.as_str() == granted);
        if granted.is_some_and(|granted| granted.covers(level)) && is_member(caller, role) {
            wallets.push(rows.need(row, 0)?);
        }
    }
    wallets.dedup();
    Ok(wallets)
}

/// The wallets on which the caller of a session has the level; `None` means all.
pub fn reach(session: &Session, level: Level) -> Result<Option<Vec<String>>> {
    if session.may_do_anything() {
        return Ok(None);
    }
    let wallets = wallets_of(session.caller, level)?;
    Ok((!wallets.iter().any(|wallet| wallet == ALL_WALLETS)).then_some(wallets))
}
