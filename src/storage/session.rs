//! The one place where the extension acts as its owner.
//!
//! It prevents two attacks. A caller may put a schema with its own `=`, `+` or tables named like
//! ours at the front of `search_path`. Or a caller may use its own rights to reach rows of other
//! wallets. Inside a session, the current user is the owner of the tables, forced row-level
//! security is off (the functions check rights themselves, see `access`), and the search path is
//! fixed, so that a kept plan always refers to the same objects. All settings are restored at the
//! end of the session. After an error, the abort of the (sub)transaction restores them, and no code
//! of ours runs in between.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::pg_sys;

use crate::error::{Error, Result};
use crate::pg::{clock, invalidation, version};
use crate::storage::direct::table;
use crate::storage::giving_way::{self, Rank};

const SEARCH_PATH: &CStr = c"pg_catalog, wallet, pg_temp";

thread_local! {
    /// The settings that the running session has changed for statements and must restore.
    static STATEMENTS: Cell<Option<Setup>> = const { Cell::new(None) };
    /// The transaction that last locked rows or lanes.
    static LOCKED: Cell<Option<u32>> = const { Cell::new(None) };
    /// Whether a call is running that processes several wallets and was the first of its
    /// transaction.
    static IS_LONG: Cell<bool> = const { Cell::new(false) };
    /// Owner of the extension's tables. It is looked up again after an invalidation.
    static OWNER: Cell<Option<(u64, pg_sys::Oid)>> = const { Cell::new(None) };
}

/// The changes that [`prepare_for_statements`] made.
#[derive(Clone, Copy)]
struct Setup {
    /// Nesting level of the settings, if the search path had to be fixed.
    nesting: Option<i32>,
}

/// Proves that the current user is the owner. The first statement connects SPI and fixes the search
/// path. A call that reads and writes rows only directly needs neither.
pub struct Session {
    /// The database role that made the call.
    pub caller: pg_sys::Oid,
    /// The owner of the extension's tables.
    pub owner: pg_sys::Oid,
}

impl Session {
    /// Whether the caller is the owner or a superuser. These need no access grant.
    pub fn may_do_anything(&self) -> bool {
        // SAFETY: a catalog look-up.
        self.caller == self.owner || unsafe { pg_sys::superuser_arg(self.caller) }
    }
}

/// Runs `work` as the owner of the extension. The value that it returns must be Rust's own, because
/// the memory that SPI allocated is freed at the end.
pub fn as_owner<T>(work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    let owner = owner()?;
    let turn = giving_way::begin(match (IS_LONG.get(), has_locks()) {
        (true, _) => Rank::Long,
        (false, true) => Rank::Later,
        (false, false) => Rank::First,
    });
    let (mut caller, mut context) = (pg_sys::InvalidOid, 0);
    // SAFETY: out parameters on the stack. Setting a user id needs no resource, and it is restored
    // on both ways out: by the return below and by the abort of the (sub)transaction.
    unsafe {
        pg_sys::GetUserIdAndSecContext(&mut caller, &mut context);
        let inside =
            context | (pg_sys::SECURITY_LOCAL_USERID_CHANGE | pg_sys::SECURITY_NOFORCE_RLS) as i32;
        pg_sys::SetUserIdAndSecContext(owner, inside);
    }
    // An outer session exists if this one runs in a trigger of its statement. Its settings are
    // restored at the end. Settings left by a session that ended in an error are meaningless.
    let outer = STATEMENTS.replace(None);
    let tables = Tables {
        outer: table::begin(),
    };
    let result = work(&Session { caller, owner });
    tables.close();
    // SAFETY: undoes the changes of prepare_for_statements in this session, in reverse order.
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

/// Runs a call that processes several wallets. The locks that it acquires for one wallet do not
/// make it a later call for the next.
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

/// Records that rows or lanes are locked or are about to be.
pub fn note_lock() {
    LOCKED.set(Some(clock::transaction()));
}

/// Whether the running transaction may hold locks on rows or lanes. Locks that a savepoint released
/// count too.
pub fn has_locks() -> bool {
    LOCKED.get() == Some(clock::transaction())
}

/// The tables that a session opens. When an error unwinds, they are dropped without being closed.
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

/// Connects SPI and fixes the search path, once per session.
pub fn prepare_for_statements() -> Result<()> {
    if STATEMENTS.get().is_some() {
        return Ok(());
    }
    let nesting = pin_search_path();
    // SAFETY: `as_owner` disconnects SPI; after an error the abort does.
    let code = unsafe { pg_sys::SPI_connect() };
    if code != pg_sys::SPI_OK_CONNECT as i32 {
        return Err(Error::internal(format!("SPI_connect failed with {code}")));
    }
    STATEMENTS.set(Some(Setup { nesting }));
    Ok(())
}

/// Sets the search path for the session unless it is already fixed.
fn pin_search_path() -> Option<i32> {
    // SAFETY: the variable is a NUL-terminated string once the backend runs. AtEOXact_GUC of the
    // same nesting level undoes set_config_option with GUC_ACTION_SAVE, also at abort.
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

/// The owner of `wallet.wallets`, who owns all objects of the extension.
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

/// Copies a varlena datum into the memory context of the function's caller, where it outlives the
/// session.
pub fn to_caller(datum: pg_sys::Datum) -> pg_sys::Datum {
    // SAFETY: called inside a session; the datum is a varlena (a composite or jsonb).
    unsafe { pg_sys::SPI_datumTransfer(datum, false, -1) }
}
