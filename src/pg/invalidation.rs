//! Tells the backend's caches when their contents may be stale.
//!
//! When a transaction that asked for it commits, PostgreSQL sends an invalidation message for a
//! relation to every backend. A backend processes its own messages after each command and again at
//! an abort. A statement trigger on the cached tables asks for the message
//! (`sql/schema/triggers.sql`). The callback here increments a counter. A cache that stores an
//! older count is stale.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::clock;

thread_local! {
    /// The number of invalidations of the hot tables.
    static TABLES: Cell<u64> = const { Cell::new(1) };
    /// The number of invalidations of any relation of the extension.
    static GENERATION: Cell<u64> = const { Cell::new(1) };
    /// The transaction in which something was cached under a snapshot that may be older than the
    /// newest commit.
    static OLD_SNAPSHOT: Cell<Option<u32>> = const { Cell::new(None) };
    /// The relations whose invalidations count. `None` until they are looked up first.
    static WATCHED: Cell<Option<[pg_sys::Oid; NAMES.len()]>> = const { Cell::new(None) };
}

/// Registers the callback; called once, when the library is loaded.
pub fn register() {
    // SAFETY: the callback is a plain function that lives as long as the library, and the library
    // is never unloaded.
    unsafe {
        pg_sys::CacheRegisterRelcacheCallback(Some(on_relcache), pg_sys::Datum::null());
    }
}

#[pg_guard]
extern "C-unwind" fn on_relcache(_arg: pg_sys::Datum, relation: pg_sys::Oid) {
    let all = relation == pg_sys::InvalidOid;
    let (cached, hot) = match WATCHED.get() {
        Some([prices, wallets, hot @ ..]) => (
            all || relation == prices || relation == wallets,
            all || relation == prices || relation == wallets || hot.contains(&relation),
        ),
        None => (true, true),
    };
    if cached {
        GENERATION.set(GENERATION.get() + 1);
        WATCHED.set(None);
    }
    if hot {
        TABLES.set(TABLES.get() + 1);
    }
}

/// Processes the invalidations of other backends, and returns the count that caches compare.
pub fn catch_up() -> u64 {
    // SAFETY: reads the shared invalidation queue, which is allowed wherever a function may run.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    if OLD_SNAPSHOT
        .get()
        .is_some_and(|transaction| transaction != clock::transaction())
    {
        // The contents cached in that transaction may miss a change whose message was processed
        // before.
        OLD_SNAPSHOT.set(None);
        GENERATION.set(GENERATION.get() + 1);
    }
    if WATCHED.get().is_none() {
        WATCHED.set(Some(relations()));
    }
    GENERATION.get()
}

/// The count, without processing new invalidations.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// The number of changes of the hot tables' definitions.
pub fn tables() -> u64 {
    TABLES.get()
}

/// Records that something is being cached now. Under REPEATABLE READ it comes from the
/// transaction's snapshot, so it must not outlive the transaction.
pub fn note_caching() {
    if clock::one_snapshot_for_all() {
        OLD_SNAPSHOT.set(Some(clock::transaction()));
    }
}

/// The relations whose changes the caches must learn of: first those that caches read, then the
/// others that are accessed without the executor.
pub(crate) const NAMES: [&CStr; 12] = [
    c"prices",
    c"wallets",
    c"allowances",
    c"ledger",
    c"limits",
    c"markups",
    c"usage_mappings",
    c"reservations",
    c"ledger_archive",
    c"thresholds",
    c"unread_paths",
    c"fx_rates",
];

fn relations() -> [pg_sys::Oid; NAMES.len()] {
    // SAFETY: catalog look-ups by name, which return InvalidOid if there is no such object.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"wallet".as_ptr(), true);
        NAMES.map(|name| pg_sys::get_relname_relid(name.as_ptr(), schema))
    }
}

/// Asks for an invalidation of the relation in every backend when this transaction commits.
fn announce(relation: pg_sys::Oid) {
    // SAFETY: a trigger or the caller has just written to this relation.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}

/// Makes every backend read prices and markups again when this transaction commits.
pub fn announce_prices() {
    let [prices, ..] = relations();
    announce(prices);
}

/// Makes every backend read the rules of all wallets again when this transaction commits.
pub fn announce_wallets() {
    let [_, wallets, ..] = relations();
    announce(wallets);
}
