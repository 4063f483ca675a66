//! The one place where the extension acts as its owner.
//!
//! The attack it stops: a caller puts a schema of its own with `=`, `+` or a table named like one
//! of ours in front of `search_path`, or relies on its own rights to reach rows of other wallets.
//! Inside a session the user is the owner of the tables, forced row-level security is off (the
//! functions check rights themselves, see `access`), and the search path is pinned, so that a
//! kept plan never means something else. Everything is put back at the end; after an error the
//! (sub)transaction's abort puts it back, and nothing of ours runs in between.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::pg::{clock, invalidation, version};
use crate::storage::direct::table;
use crate::storage::giving_way::{self, Rank};

const SEARCH_PATH: &CStr = c"pg_catalog, wallet, pg_temp";

thread_local! {
    /// What the running session has set up for statements, and must put back.
    static STATEMENTS: Cell<Option<Setup>> = const { Cell::new(None) };
    /// The transaction in which something was locked last.
    static LOCKED: Cell<Option<u32>> = const { Cell::new(None) };
    /// Whether a call is running that goes from wallet to wallet and was the first of its transaction.
    static IS_LONG: Cell<bool> = const { Cell::new(false) };
    /// Owner of the extension's tables, asked once and again after an invalidation.
    static OWNER: Cell<Option<(u64, pg_sys::Oid)>> = const { Cell::new(None) };
}

/// What [`prepare_for_statements`] did.
#[derive(Clone, Copy)]
struct Setup {
    /// Nesting level of the settings, where the search path had to be pinned.
    nesting: Option<i32>,
}

/// Proof that the user is the owner. The first statement connects SPI and pins the path: a call
/// that reads and writes rows directly pays for neither.
pub struct Session {
    /// The database role that called.
    pub caller: pg_sys::Oid,
    /// The owner of the extension's tables.
    pub owner: pg_sys::Oid,
}

impl Session {
    /// Whether the caller is the owner or a superuser, who need no grant.
    pub fn may_do_anything(&self) -> bool {
        // SAFETY: a catalog look-up.
        self.caller == self.owner || unsafe { pg_sys::superuser_arg(self.caller) }
    }
}

/// Runs `work` as the owner of the extension. Values that it returns are Rust's own: what SPI
/// allocated is gone afterwards.
pub fn as_owner<T>(work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    let owner = owner()?;
    let turn = giving_way::begin(match (IS_LONG.get(), has_locks()) {
        (true, _) => Rank::Long,
        (false, true) => Rank::Later,
        (false, false) => Rank::First,
    });
    let (mut caller, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: out parameters on the stack; setting a user id needs no resource, and both ways
    // out of a failure (return below, abort of the (sub)transaction) restore it.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut caller, &mut context);
        let inside =
            context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS) as i32;
        pg_sys::SetUserIdAndSecContext(owner, inside);
    }
    // What an outer session has set up (this one may run in a trigger of its statement) is put
    // back at the end; what a session that ended in an error has left behind means nothing.
    let outer = STATEMENTS.replace(None);
    let tables = Tables {
        outer: table::begin(),
    };
    let result = work(&Session { caller, owner });
    tables.close();
    // SAFETY: undoes what prepare_for_statements did in this session, in reverse order.
    unsafe {
        if let Some(setup) = STATEMENTS.replace(outer) {
            pg_sys::SPI_finish();
            if let Some(nesting) = setup.nesting {
                pg_sys::AtEOXact_GUC(false, nesting);
            }
        }
        pg_sys::SetUserIdAndSecContext(caller, context);
    }
    drop(turn);
    result
}

/// Runs a call that goes from wallet to wallet: what it has locked in one does not make it a later call in the next.
pub fn as_one_call<T>(work: impl FnOnce() -> T) -> T {
    struct PutBack(bool);
    impl Drop for PutBack {
        fn drop(&mut self) {
            IS_LONG.set(self.0);
        }
    }
    let _before = PutBack(IS_LONG.replace(!has_locks()));
    work()
}

/// Says that rows or lanes are locked, or are going to be.
pub fn note_lock() {
    LOCKED.set(Some(clock::transaction()));
}

/// Whether the running transaction may have rows or lanes locked. What a savepoint undid counts too.
pub fn has_locks() -> bool {
    LOCKED.get() == Some(clock::transaction())
}

/// The tables that a session opens. When an error unwinds, they are forgotten and not closed.
struct Tables {
    outer: table::Opened,
}

impl Tables {
    fn close(self) {
        table::end(self.outer);
        std::mem::forget(self);
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        table::abandon(self.outer);
    }
}

/// Connects SPI and pins the search path, once in a session.
pub fn prepare_for_statements() -> Result<()> {
    if STATEMENTS.get().is_some() {
        return Ok(());
    }
    let nesting = pin_search_path();
    // SAFETY: `as_owner` finishes it; an error in between is cleaned up by the abort.
    let code = unsafe { pg_sys::SPI_connect() };
    if code != pg_sys::SPI_OK_CONNECT as i32 {
        return Err(Error::internal(format!("SPI_connect failed with {code}")));
    }
    STATEMENTS.set(Some(Setup { nesting }));
    Ok(())
}

/// Sets the search path for the session unless it is pinned already.
fn pin_search_path() -> Option<i32> {
    // SAFETY: the variable is a NUL-terminated string once the backend runs; set_config_option
    // with GUC_ACTION_SAVE is undone by AtEOXact_GUC of the same nesting level, also at abort.
    unsafe {
        if CStr::from_ptr(pg_sys::namespace_search_path) == SEARCH_PATH {
            return None;
        }
        let nesting = pg_sys::NewGUCNestLevel();
        pg_sys::set_config_option(
            c"search_path".as_ptr(),
            SEARCH_PATH.as_ptr(),
            pg_sys::GucContext::PGC_USERSET,
            pg_sys::GucSource::PGC_S_SESSION,
            pg_sys::GucAction::GUC_ACTION_SAVE,
            true,
            0,
            false,
        );
        Some(nesting)
    }
}

/// The owner of `wallet.wallets`, who owns everything.
fn owner() -> Result<pg_sys::Oid> {
    let generation = invalidation::catch_up();
    if let Some((seen, owner)) = OWNER.get()
        && seen == generation
    {
        return Ok(owner);
    }
    version::require_known_objects()?;
    // SAFETY: catalog look-ups; the syscache entry is released before returning.
    let owner = unsafe {
        let schema = pg_sys::get_namespace_oid(c"wallet".as_ptr(), true);
        let table = pg_sys::get_relname_relid(c"wallets".as_ptr(), schema);
        let tuple = pg_sys::SearchSysCache1(
            pg_sys::SysCacheIdentifier::RELOID as i32,
            pg_sys::Datum::from(table),
        );
        if tuple.is_null() {
            None
        } else {
            let class = pg_sys::GETSTRUCT(tuple).cast::<pg_sys::FormData_pg_class>();
            let owner = (*class).relowner;
            pg_sys::ReleaseSysCache(tuple);
            Some(owner)
        }
    };
    let owner = owner.ok_or_else(|| Error::internal("the table wallet.wallets does not exist"))?;
    OWNER.set(Some((generation, owner)));
    Ok(owner)
}

/// Copies a varlena datum into the memory of the function's caller, where it outlives the session.
pub fn to_caller(datum: pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: called inside a session; the datum is a varlena (a composite or jsonb).
    unsafe { pg_sys::SPI_datumTransfer(datum, false, -1) }
}
