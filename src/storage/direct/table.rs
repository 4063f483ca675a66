//! Opens a hot table and checks whether the direct path supports it.
//!
//! A charge uses the same tables several times. A table that it has opened stays open until the
//! session ends ([`begin`], [`end`]). After an error, the abort closes it.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

use crate::pg::writable::require_writable;
use crate::pg::{citus, invalidation, raw};
use crate::storage::direct::layout::{self, Layout};

/// A table that the direct path may support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// `wallet.allowances`
    Allowances,
    /// `wallet.ledger`
    Ledger,
    /// `wallet.wallets`, read only
    Wallets,
    /// `wallet.limits`, read only
    Limits,
    /// `wallet.prices`, read only
    Prices,
    /// `wallet.markups`, read only
    Markups,
    /// `wallet.fx_rates`, read only
    Rates,
    /// `wallet.usage_mappings`, read only
    Mappings,
    /// `wallet.reservations`
    Reservations,
    /// `wallet.ledger_archive`, read only
    Archive,
    /// `wallet.thresholds`, read only
    Thresholds,
    /// `wallet.unread_paths`, read only
    UnreadPaths,
}

/// The number of these tables.
const TABLES: usize = 12;

/// The maximum number of indexes of a table.
const INDEXES: usize = 3;

/// The index name where a table has no such index.
const NONE: &CStr = c"";

impl Which {
    fn name(self) -> &'static CStr {
        match self {
            Which::Allowances => c"allowances",
            Which::Ledger => c"ledger",
            Which::Wallets => c"wallets",
            Which::Limits => c"limits",
            Which::Prices => c"prices",
            Which::Markups => c"markups",
            Which::Rates => c"fx_rates",
            Which::Mappings => c"usage_mappings",
            Which::Reservations => c"reservations",
            Which::Archive => c"ledger_archive",
            Which::Thresholds => c"thresholds",
            Which::UnreadPaths => c"unread_paths",
        }
    }

    /// The number of columns that this module knows. A table with another number belongs to another
    /// version.
    pub(super) fn columns(self) -> i32 {
        match self {
            Which::Allowances => 21,
            Which::Ledger | Which::Archive => 34,
            Which::Wallets => 33,
            Which::Limits => 22,
            Which::Prices => 17,
            Which::Markups | Which::Rates => 9,
            Which::Mappings => 5,
            Which::Reservations => 37,
            Which::Thresholds => 4,
            Which::UnreadPaths => 10,
        }
    }

    /// True for a table to which rows are written without the executor. For such a table, every
    /// index and trigger matters.
    fn is_written(self) -> bool {
        matches!(
            self,
            Which::Allowances | Which::Ledger | Which::Reservations
        )
    }

    /// The names of three indexes: the primary key or its equivalent; the index in which each
    /// idempotency key is unique, if that is another one; the partial index.
    fn indexes(self) -> &'static [&'static CStr] {
        match self {
            Which::Allowances => &[c"allowances_pkey"],
            Which::Ledger => &[c"ledger_pkey", c"ledger_idempotency"],
            Which::Wallets => &[c"wallets_pkey"],
            Which::Limits => &[c"limits_pkey"],
            Which::Prices => &[c"prices_model", c"prices_pattern"],
            Which::Markups => &[c"markups_list"],
            Which::Rates => &[c"fx_rates_pair"],
            Which::Mappings => &[c"usage_mappings_pkey"],
            Which::Reservations => &[c"reservations_pkey", NONE, c"reservations_open"],
            Which::Archive => &[c"ledger_archive_key"],
            Which::Thresholds => &[c"thresholds_pkey"],
            Which::UnreadPaths => &[c"unread_paths_pkey"],
        }
    }
}

/// The purpose for which a table is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading, which also works in a read-only transaction and on a standby.
    Read,
    /// Inserting or updating rows.
    Write,
}

impl Access {
    fn lock(self) -> pg_sys::LOCKMODE {
        match self {
            Access::Read => pg_sys::AccessShareLock as pg_sys::LOCKMODE,
            Access::Write => pg_sys::RowExclusiveLock as pg_sys::LOCKMODE,
        }
    }
}

/// The oids of a supported table and its indexes.
#[derive(Clone, Copy, Debug)]
struct Fit {
    table: pg_sys::Oid,
    indexes: [pg_sys::Oid; INDEXES],
    layout: Layout,
    elements: Option<Layout>,
}

/// The result of the check of a table, with the invalidation count at that time.
type Verdict = Cell<Option<(u64, Option<Fit>)>>;

thread_local! {
    static VERDICTS: [Verdict; TABLES] = const { [const { Cell::new(None) }; TABLES] };
}

/// An open table that may be read or written without the executor.
#[derive(Clone, Copy)]
pub struct Table {
    pub(super) relation: pg_sys::Relation,
    pub(super) indexes: [pg_sys::Relation; INDEXES],
    pub(super) layout: Layout,
    /// The layout of the rows in the table's last column, an array.
    pub(super) elements: Option<Layout>,
    access: Access,
}

/// The tables that a session has open; `None` outside of a session.
pub type Opened = Option<[Option<Table>; TABLES]>;

thread_local! {
    static OPENED: RefCell<Opened> = const { RefCell::new(None) };
}

/// Begins a session without open tables. Returns the open tables of the outer session.
pub fn begin() -> Opened {
    OPENED.replace(Some([None; TABLES]))
}

/// Closes the tables that the session opened and restores those of the outer session.
pub fn end(outer: Opened) {
    for table in OPENED.replace(outer).into_iter().flatten().flatten() {
        table.close();
    }
}

/// Restores the tables of the outer session after an error. The abort closes the others.
pub fn abandon(outer: Opened) {
    OPENED.set(outer);
}

impl Table {
    /// Opens the table; `None` if the direct path does not support it. The table must be a local
    /// heap table with exactly our columns and indexes, and without rules. Our own triggers are
    /// allowed, because they only refuse what the direct path never does. Other triggers are
    /// allowed only on events that the direct path never causes.
    pub fn open(which: Which, access: Access) -> Option<Table> {
        let slot = which as usize;
        let (before, is_first_to_write) = OPENED.with_borrow(|opened| {
            let opened = opened.as_ref()?;
            let is_written = |table: &Table| table.access == Access::Write;
            Some((opened[slot], !opened.iter().flatten().any(is_written)))
        })?;
        if let Some(table) = before
            && (table.access == access || access == Access::Read)
        {
            return Some(table);
        }
        if access == Access::Write && is_first_to_write {
            // The executor would make this check for us.
            require_writable();
        }
        let table = Table::open_anew(which, access);
        OPENED.with_borrow_mut(|opened| {
            if let Some(opened) = opened {
                opened[slot] = table;
            }
        });
        if let Some(before) = before {
            before.close();
        }
        table
    }

    fn open_anew(which: Which, access: Access) -> Option<Table> {
        let verdict = || VERDICTS.with(|verdicts| verdicts[which as usize].get());
        let fit = fit(which)?;
        let table = Table::lock(fit, access);
        // Locking the table processes invalidations, so the verdict may have changed just now.
        match verdict() {
            Some((generation, Some(_))) if generation == invalidation::tables() => Some(table),
            _ => {
                table.close();
                judge(which).map(|fit| Table::lock(fit, access))
            }
        }
    }

    /// Whether the table has that page. No page is removed while the table is open.
    pub(super) fn has_block(&self, block: pg_sys::BlockNumber) -> bool {
        // SAFETY: the relation is open; its storage manager entry, if there is one, is valid. The
        // cached size is dropped when an invalidation reports a truncation, and locking the table
        // has processed all invalidations. Since then the table can only have grown.
        unsafe {
            let storage = (*self.relation).rd_smgr;
            let known = match storage.is_null() {
                true => pg_sys::InvalidBlockNumber,
                false => (*storage).smgr_cached_nblocks[pg_sys::ForkNumber::MAIN_FORKNUM as usize],
            };
            if known != pg_sys::InvalidBlockNumber && block < known {
                return true;
            }
            let main = pg_sys::ForkNumber::MAIN_FORKNUM;
            block < pg_sys::RelationGetNumberOfBlocksInFork(self.relation, main)
        }
    }

    fn lock(fit: Fit, access: Access) -> Table {
        let lock = access.lock();
        let mut indexes = [ptr::null_mut(); INDEXES];
        // SAFETY: the relations existed at the time of the check; opening raises an error if one is
        // gone.
        let relation = unsafe {
            raw::guarded(|| {
                let relation = raw::table_open(fit.table, lock);
                for (open, index) in indexes.iter_mut().zip(&fit.indexes) {
                    if *index != pg_sys::InvalidOid {
                        *open = raw::index_open(*index, lock);
                    }
                }
                relation
            })
        };
        Table {
            relation,
            indexes,
            layout: fit.layout,
            elements: fit.elements,
            access,
        }
    }

    fn close(self) {
        let keep = pg_sys::NoLock as pg_sys::LOCKMODE;
        // SAFETY: opened by `lock`, closed once; the locks last until the transaction ends.
        unsafe {
            raw::guarded(|| {
                for index in &self.indexes {
                    if !index.is_null() {
                        raw::index_close(*index, keep);
                    }
                }
                raw::table_close(self.relation, keep);
            });
        }
    }
}

/// The result of the check, if it is still valid.
fn fit(which: Which) -> Option<Fit> {
    match VERDICTS.with(|verdicts| verdicts[which as usize].get()) {
        Some((generation, fit)) if generation == invalidation::tables() => fit,
        _ => judge(which),
    }
}

/// Checks the table and remembers the verdict until a relation changes.
fn judge(which: Which) -> Option<Fit> {
    let generation = invalidation::tables();
    // SAFETY: catalog look-ups; the relation is closed before returning.
    let fit = unsafe {
        let schema = pg_sys::get_namespace_oid(c"wallet".as_ptr(), true);
        let oid = pg_sys::get_relname_relid(which.name().as_ptr(), schema);
        if oid == pg_sys::InvalidOid {
            return None;
        }
        let relation = pg_sys::table_open(oid, Access::Read.lock());
        let fit = fits(relation, which, schema);
        pg_sys::table_close(relation, pg_sys::NoLock as pg_sys::LOCKMODE);
        fit
    };
    VERDICTS.with(|verdicts| verdicts[which as usize].set(Some((generation, fit))));
    fit
}

/// # Safety
/// The relation is open and locked.
unsafe fn fits(relation: pg_sys::Relation, which: Which, schema: pg_sys::Oid) -> Option<Fit> {
    // SAFETY: an open relation has its descriptors; the index list is a palloc'ed list of oids.
    unsafe {
        let class = (*relation).rd_rel;
        let plain = (*class).relkind == pg_sys::RELKIND_RELATION as std::ffi::c_char
            && (*class).relam == pg_sys::HEAP_TABLE_AM_OID
            && !(*class).relispartition
            && (*relation).rd_rules.is_null()
            && (*(*relation).rd_att).natts == which.columns()
            && (!which.is_written() || triggers_are_ours(relation, which))
            && !citus::distributes((*relation).rd_id);
        let list = pg_sys::RelationGetIndexList(relation);
        let count = if list.is_null() { 0 } else { (*list).length };
        pg_sys::list_free(list);
        let mut indexes = [pg_sys::InvalidOid; INDEXES];
        let named = || which.indexes().iter().filter(|name| **name != NONE);
        for (index, name) in indexes.iter_mut().zip(which.indexes()) {
            if *name == NONE {
                continue;
            }
            *index = pg_sys::get_relname_relid(name.as_ptr(), schema);
            if *index == pg_sys::InvalidOid {
                return None;
            }
        }
        let ours = !which.is_written() || usize::try_from(count) == Ok(named().count());
        if !plain || !ours {
            return None;
        }
        Some(Fit {
            table: (*relation).rd_id,
            indexes,
            layout: layout::of((*relation).rd_att)?,
            elements: layout::of_elements((*relation).rd_att),
        })
    }
}

/// # Safety
/// The relation is open and locked.
unsafe fn triggers_are_ours(relation: pg_sys::Relation, which: Which) -> bool {
    // SAFETY: trigdesc is NULL or describes `numtriggers` triggers with NUL-terminated names.
    unsafe {
        let description = (*relation).trigdesc;
        if description.is_null() {
            return which == Which::Reservations;
        }
        let count = usize::try_from((*description).numtriggers).unwrap_or(0);
        let triggers = std::slice::from_raw_parts((*description).triggers, count);
        // No row is deleted, and entries are only inserted. Triggers of others on other events do
        // no harm, such as those of a foreign key that references an entry.
        let (insert, update) = (
            pg_sys::TRIGGER_TYPE_INSERT as i16,
            pg_sys::TRIGGER_TYPE_UPDATE as i16,
        );
        let (event, ours): (i16, &[&CStr]) = match which {
            Which::Allowances => (
                insert | update,
                &[c"refuse_overdraft_on_insert", c"refuse_overdraft_on_update"],
            ),
            Which::Reservations => (insert | update, &[]),
            _ => (insert, &[]),
        };
        triggers
            .iter()
            .filter(|trigger| trigger.tgtype & event != 0)
            .all(|trigger| ours.contains(&CStr::from_ptr(trigger.tgname)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_each_table_is_heard_of() {
        let all = [
            Which::Allowances,
            Which::Ledger,
            Which::Wallets,
            Which::Limits,
            Which::Prices,
            Which::Markups,
            Which::Rates,
            Which::Mappings,
            Which::Reservations,
            Which::Archive,
            Which::Thresholds,
            Which::UnreadPaths,
        ];
        assert_eq!(all.len(), TABLES);
        for which in all {
            assert!(invalidation::NAMES.contains(&which.name()), "{which:?}");
        }
    }
}
