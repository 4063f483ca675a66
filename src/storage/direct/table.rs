//! Opening a hot table, and judging whether the direct way is right for it.
//!
//! A charge comes back to the same tables several times. What it has opened stays open until its
//! session ends ([`begin`], [`end`]); an error leaves the closing to the abort.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ptr;

use pgrx::pg_sys;

use crate::pg::writable::require_writable;
use crate::pg::{invalidation, raw};
use crate::storage::direct::layout::{self, Layout};

/// A table that this way may be taken on.
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

/// How many there are.
const TABLES: usize = 12;

/// Indexes that a table has at most.
const INDEXES: usize = 3;

/// Stands where a table has no such index.
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

    /// Columns that the code below knows; another number is another version's table.
    pub(super) fn columns(self) -> i32 {
        match self {
            Which::Allowances => 21,
            Which::Ledger | Which::Archive => 31,
            Which::Wallets => 25,
            Which::Limits => 15,
            Which::Prices => 17,
            Which::Markups | Which::Rates => 9,
            Which::Mappings => 5,
            Which::Reservations => 33,
            Which::Thresholds => 4,
            Which::UnreadPaths => 10,
        }
    }

    /// True for a table to which rows are written without the executor: then every index and
    /// trigger counts.
    fn is_written(self) -> bool {
        matches!(
            self,
            Which::Allowances | Which::Ledger | Which::Reservations
        )
    }

    /// The primary key, or what stands for it; the one that has each key of a call once, where that is
    /// another; the one that has some of the rows only.
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

/// What a table is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Also in a read-only transaction and on a standby.
    Read,
    /// Rows will be inserted or updated.
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

/// Oids of a table and its indexes, as found fit.
#[derive(Clone, Copy, Debug)]
struct Fit {
    table: pg_sys::Oid,
    indexes: [pg_sys::Oid; INDEXES],
    layout: Layout,
    elements: Option<Layout>,
}

/// What was found out about a table, and when.
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
    /// How the rows stand of which its last column is an array.
    pub(super) elements: Option<Layout>,
    access: Access,
}

/// The tables that a session has open; nothing outside of one.
pub type Opened = Option<[Option<Table>; TABLES]>;

thread_local! {
    static OPENED: RefCell<Opened> = const { RefCell::new(None) };
}

/// Begins a session with nothing open and gives what an outer one has.
pub fn begin() -> Opened {
    OPENED.replace(Some([None; TABLES]))
}

/// Closes what the session opened and goes back to the outer one.
pub fn end(outer: Opened) {
    for table in OPENED.replace(outer).into_iter().flatten().flatten() {
        table.close();
    }
}

/// Goes back to the outer session after an error: the abort closes what was open.
pub fn abandon(outer: Opened) {
    OPENED.set(outer);
}

impl Table {
    /// Opens the table, or says that this way is not right for it: it must be a local heap table
    /// with our columns and our indexes alone, without rules, and without triggers on what is done
    /// here but our own, which only refuse what is never done here.
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
            // The executor would refuse it for us.
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
        // Locking takes in invalidations: what was judged may have changed just before.
        match verdict() {
            Some((generation, Some(_))) if generation == invalidation::tables() => Some(table),
            _ => {
                table.close();
                judge(which).map(|fit| Table::lock(fit, access))
            }
        }
    }

    /// Whether the table has that page. While it is open none goes.
    pub(super) fn has_block(&self, block: pg_sys::BlockNumber) -> bool {
        // SAFETY: the relation is open; its storage, if that has been opened, is described. What is known of its
        // size is forgotten by whoever hears that it was cut off, which locking the table has made us do; it
        // may only have grown since.
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
        // SAFETY: the relations existed when they were judged; opening raises if one is gone.
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
        // SAFETY: opened by `lock`, closed once; the locks stay until the transaction ends.
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

/// What was found out about the table, and is still so.
fn fit(which: Which) -> Option<Fit> {
    match VERDICTS.with(|verdicts| verdicts[which as usize].get()) {
        Some((generation, fit)) if generation == invalidation::tables() => fit,
        _ => judge(which),
    }
}

/// Looks at the table and remembers the verdict until a relation changes.
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
            // Where Citus is, a table may be distributed.
            && pg_sys::get_relname_relid(
                c"pg_dist_partition".as_ptr(),
                pg_sys::PG_CATALOG_NAMESPACE.into(),
            ) == pg_sys::InvalidOid;
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
        // Entries are only inserted, allowances only updated, so that others' triggers on other
        // events do no harm, such as those of a foreign key that refers to an entry.
        let (insert, update) = (
            pg_sys::TRIGGER_TYPE_INSERT as i16,
            pg_sys::TRIGGER_TYPE_UPDATE as i16,
        );
        let (event, ours): (i16, &CStr) = match which {
            Which::Allowances => (update, c"refuse_overdraft_on_update"),
            Which::Reservations => (insert | update, c""),
            _ => (insert, c""),
        };
        triggers
            .iter()
            .filter(|trigger| trigger.tgtype & event != 0)
            .all(|trigger| CStr::from_ptr(trigger.tgname) == ours)
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
