//! Remembers where the rows of `wallet.allowances` are stored, so that finding a row again needs no
//! index.
//!
//! An update of a lane or window that leaves its keys unchanged stays on the page (HOT). The index
//! entry still points to the chain's first line pointer: the root. A backend remembers roots. A row
//! found at a root is used only if it is visible and has the requested keys. At most one version of
//! the row with these keys is visible under a snapshot, so the index would find the same version.
//! In all other cases the index is searched and the new root remembered: the row moved to another
//! page, its line pointer was reused for another row, or the table was rewritten.
//!
//! Under SERIALIZABLE the index is always searched, because its pages are part of the transaction's
//! read set.

use std::cell::RefCell;
use std::hash::BuildHasher;
use std::ptr;
use std::rc::Rc;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use pgrx::pg_sys;

use crate::error::Result;
use crate::pg::{invalidation, raw};
use crate::storage::direct::table::Table;
use crate::storage::direct::write::tid_of;
use crate::storage::rows::AllowanceId;

/// The maximum number of rows that a backend remembers. Beyond that, the cache is cleared.
const MAX_ROOTS: usize = 100_000;

/// A root line pointer: the one that the index entry of a row names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CachedTid {
    pub(super) block: pg_sys::BlockNumber,
    offset: pg_sys::OffsetNumber,
}

impl CachedTid {
    /// No row.
    pub(super) const NONE: CachedTid = CachedTid {
        block: pg_sys::InvalidBlockNumber,
        offset: 0,
    };

    /// The line pointer with that TID.
    pub(super) fn of(tid: pg_sys::ItemPointerData) -> CachedTid {
        CachedTid {
            block: u32::from(tid.ip_blkid.bi_hi) << 16 | u32::from(tid.ip_blkid.bi_lo),
            offset: tid.ip_posid,
        }
    }
}

/// A lane of a balance: its root, its number, and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneRoot {
    pub(super) root: CachedTid,
    pub(super) lane: i16,
    pub(super) epoch: i64,
}

/// All lanes of a balance, and the generation in which they were read.
type Lanes = (u64, Rc<[LaneRoot]>);

thread_local! {
    static HASHER: RandomState = RandomState::default();
    /// Roots by a digest of the keys. If two keys share a digest, the second one costs an index
    /// search.
    static ROWS: RefCell<HashMap<u64, CachedTid>> = RefCell::default();
    /// Lanes of balances by a digest of the wallet.
    static BALANCES: RefCell<HashMap<u64, Lanes>> = RefCell::default();
}

/// A digest of a row's keys.
pub(super) fn digest(wallet: &str, allowance: AllowanceId, lane: Option<i16>) -> u64 {
    HASHER.with(|hasher| hasher.hash_one((wallet, allowance, lane)))
}

/// Whether remembered roots may be used in this transaction.
pub(super) fn may_be_used() -> bool {
    // SAFETY: a plain global that only this backend writes.
    unsafe { pg_sys::XactIsoLevel < pg_sys::XACT_SERIALIZABLE as i32 }
}

/// The remembered root of a row.
pub(super) fn recall(digest: u64) -> Option<CachedTid> {
    if may_be_used() {
        ROWS.with_borrow(|rows| rows.get(&digest).copied())
    } else {
        None
    }
}

/// Remembers the root of a row that a scan has just found.
pub(super) fn remember(digest: u64, root: CachedTid) {
    ROWS.with_borrow_mut(|rows| {
        if rows.len() >= MAX_ROOTS {
            rows.clear();
        }
        rows.insert(digest, root);
    });
}

/// All lanes of a balance, unless lanes may have been added since. A call that adds a lane either
/// changes the rules, and with them the epoch of every lane, or adds a spare lane and increments
/// the generation.
pub(super) fn recall_balance(digest: u64) -> Option<Rc<[LaneRoot]>> {
    if !may_be_used() {
        return None;
    }
    BALANCES.with_borrow(|balances| match balances.get(&digest) {
        Some((generation, lanes)) if *generation == invalidation::generation() => {
            Some(lanes.clone())
        }
        _ => None,
    })
}

/// Remembers all lanes of a balance.
pub(super) fn remember_balance(digest: u64, mut lanes: Vec<LaneRoot>) {
    invalidation::note_caching();
    // Sorted by page, so that each page is read once.
    lanes.sort_unstable();
    BALANCES.with_borrow_mut(|balances| {
        if balances.len() >= MAX_ROOTS / 16 {
            balances.clear();
        }
        balances.insert(digest, (invalidation::generation(), lanes.into()));
    });
}

/// Whether pages that need pruning are pruned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prune {
    /// Yes: a row on the page is about to be changed.
    Yes,
    /// No: the transactions that change the rows prune the page.
    No,
}

/// The part of a page, in bytes, that is kept free for new row versions.
const ROOM: u16 = (pg_sys::BLCKSZ / 4) as u16;

/// Whether a page has so little room that it should be pruned. An index scan prunes a page as soon
/// as its free part is below the one that the table's fillfactor leaves. Rows fill the other half,
/// so each update would prune, and prune one row version. Here a dozen of them are pruned at once.
///
/// # Safety
/// The buffer is pinned. The bounds are read without a lock, as PostgreSQL does it: a wrong answer
/// does no harm.
pub(super) unsafe fn is_crowded(buffer: pg_sys::Buffer) -> bool {
    // SAFETY: the caller's guarantee. Each page has a header.
    let header = unsafe { pg_sys::BufferGetPage(buffer) }.cast::<pg_sys::PageHeaderData>();
    // SAFETY: another backend may write them, so they are read once each.
    let (lower, upper) = unsafe {
        (
            (&raw const (*header).pd_lower).read_volatile(),
            (&raw const (*header).pd_upper).read_volatile(),
        )
    };
    upper.saturating_sub(lower) < ROOM
}

/// Calls `each` with the visible version behind each root until `each` returns false. Returns false
/// in that case, and if there is no visible version behind one of the roots. Roots of the same page
/// are adjacent.
pub(super) fn at(
    table: &Table,
    roots: impl Iterator<Item = CachedTid>,
    prune: Prune,
    mut each: impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<bool> {
    let roots: Vec<CachedTid> = roots.collect();
    let mut tuples = vec![pg_sys::HeapTupleData::default(); roots.len()];
    let mut snapshot = ptr::null_mut();
    for page in roots.chunk_by(|a, b| a.block == b.block) {
        // SAFETY: the snapshot is used at once, before any other snapshot is taken. The statement's
        // own snapshot, which is active and not newer, keeps the visible versions from being
        // removed.
        match unsafe { at_page(table, &mut snapshot, page, &mut tuples, prune, &mut each) } {
            Ok(true) => {}
            other => return other,
        }
    }
    Ok(true)
}

/// Like [`at`], for a single root.
pub(super) fn at_one(
    table: &Table,
    root: CachedTid,
    prune: Prune,
    mut each: impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<bool> {
    let mut tuples = [pg_sys::HeapTupleData::default()];
    let mut snapshot = ptr::null_mut();
    // SAFETY: as in `at`. `each` may change the row: no snapshot is used after that.
    unsafe { at_page(table, &mut snapshot, &[root], &mut tuples, prune, &mut each) }
}

/// Reads the roots of one page. The first page takes the snapshot. There are as many tuples as
/// roots, or more.
///
/// # Safety
/// All roots are on one page. `each` takes no snapshot, unless there is only one root.
unsafe fn at_page(
    table: &Table,
    snapshot: &mut pg_sys::Snapshot,
    roots: &[CachedTid],
    tuples: &mut [pg_sys::HeapTupleData],
    prune: Prune,
    each: &mut impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<bool> {
    let Some(CachedTid { block, .. }) = roots.first() else {
        return Ok(true);
    };
    // VACUUM may have truncated the page before. It cannot truncate the table while it is locked.
    if !table.has_block(*block) {
        return Ok(false);
    }
    // SAFETY: the page exists. It is pinned until its tuples have been read, so that they do not
    // move, and locked while their visibility is checked. heap_hot_search_buffer accepts any line
    // pointer. A PostgreSQL error leaves lock and pin to the abort.
    unsafe {
        let (buffer, all_found) = raw::guarded(|| {
            if snapshot.is_null() {
                *snapshot = raw::GetTransactionSnapshot();
            }
            let buffer = raw::ReadBuffer(table.relation, *block);
            if prune == Prune::Yes && is_crowded(buffer) {
                raw::heap_page_prune_opt(table.relation, buffer);
            }
            raw::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let all_found = roots.iter().zip(tuples.iter_mut()).all(|(root, tuple)| {
                let (high, low) = ((root.block >> 16) as u16, (root.block & 0xffff) as u16);
                let mut tid = tid_of((high, low, root.offset));
                raw::heap_hot_search_buffer(
                    &mut tid,
                    table.relation,
                    buffer,
                    *snapshot,
                    tuple,
                    ptr::null_mut(),
                    true,
                )
            });
            raw::LockBuffer(buffer, pg_sys::BUFFER_LOCK_UNLOCK as i32);
            (buffer, all_found)
        });
        let mut result = Ok(all_found);
        if all_found {
            for tuple in tuples.iter_mut().take(roots.len()) {
                result = each(tuple);
                if !matches!(result, Ok(true)) {
                    break;
                }
            }
        }
        pg_sys::ReleaseBuffer(buffer);
        result
    }
}
