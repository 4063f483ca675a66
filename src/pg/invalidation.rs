//! Tells the backend's caches when what they hold may be stale.
//!
//! PostgreSQL sends an invalidation message for a relation to every backend when a transaction
//! that asked for it commits, and processes one's own at each command and again at an abort. A
//! statement trigger on the tables that caches read asks for it (`sql/schema/triggers.sql`); the
//! callback here counts, and a cache that remembers an older count is stale.

use std::cell::Cell;
use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::clock;

thread_local! {
    /// Counts invalidations of the hot tables.
    static TABLES: Cell<u64> = const { Cell::new(1) };
    /// Counts invalidations of any relation of the extension.
    static GENERATION: Cell<u64> = const { Cell::new(1) };
    /// Transaction in which something was cached under a snapshot older than the newest commit.
    static OLD_SNAPSHOT: Cell<Option<u32>> = const { Cell::new(None) };
    /// Relations whose changes count; empty until the first look.
    static WATCHED: Cell<Option<[pg_sys::Oid; NAMES.len()]>> = const { Cell::new(None) };
}

/// Registers the callback; called once, when the library is loaded.
pub fn register() {
    // SAFETY: the callback is a plain function that lives as long as the library, which is never
    // unloaded.
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

/// Takes in what other backends have committed and gives the count that caches compare.
pub fn catch_up() -> u64 {
    // SAFETY: reads the shared invalidation queue; allowed wherever a function may run.
    unsafe { pg_sys::AcceptInvalidationMessages() };
    if OLD_SNAPSHOT
        .get()
        .is_some_and(|transaction| transaction != clock::transaction())
    {
        // What was cached then may miss a change whose message had come before.
        OLD_SNAPSHOT.set(None);
        GENERATION.set(GENERATION.get() + 1);
    }
    if WATCHED.get().is_none() {
        WATCHED.set(Some(relations()));
    }
    GENERATION.get()
}

/// The count without looking for news.
pub fn generation() -> u64 {
    GENERATION.get()
}

/// Counts changes of the hot tables' definitions.
pub fn tables() -> u64 {
    TABLES.get()
}

/// Says that something is being cached now. Under REPEATABLE READ it is what the transaction's
/// snapshot saw, so it must not outlive the transaction.
pub fn note_caching() {
    if clock::one_snapshot_for_all() {
        OLD_SNAPSHOT.set(Some(clock::transaction()));
    }
}

/// The relations whose changes the caches must hear of: those that caches read, then the others that are reached
/// without the executor.
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
    // SAFETY: catalog look-ups by name that answer InvalidOid when there is none.
    unsafe {
        let schema = pg_sys::get_namespace_oid(c"wallet".as_ptr(), true);
        NAMES.map(|name| pg_sys::get_relname_relid(name.as_ptr(), schema))
    }
}

/// Asks for an invalidation of the relation in every backend when this transaction commits.
fn announce(relation: pg_sys::Oid) {
    // SAFETY: the relation is one that a trigger or the caller has just written to.
    unsafe { pg_sys::CacheInvalidateRelcacheByRelid(relation) };
}

/// Has every backend read prices and markups again when this transaction commits.
pub fn announce_prices() {
    let [prices, ..] = relations();
    announce(prices);
}

/// Has every backend read the wallets' rules again when this transaction commits.
pub fn announce_wallets() {
    let [_, wallets, ..] = relations();
    announce(wallets);
}
