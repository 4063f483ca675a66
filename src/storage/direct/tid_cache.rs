//! Where the rows of `wallet.allowances` stand, so that finding one again takes no index.
//!
//! An update of a lane or window that leaves its keys alone stays on the page, behind the line
//! pointer to which the index leads: the root. A backend remembers roots. What it finds there is
//! taken only if it is visible and has the keys that are asked for: of a row with certain keys one
//! version at most is visible under a snapshot, so that is the row that the index would find. All
//! else (the row moved to another page, its place was given to another row, the table was written
//! anew) is found by the index, and the new root remembered.
//!
//! Under SERIALIZABLE the index is asked always: its pages are part of what the transaction is
//! said to have read.

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

/// Rows that a backend remembers; beyond, it starts anew.
const MAX_ROOTS: usize = 100_000;

/// A line pointer of the table to which its index leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CachedTid {
    pub(super) block: pg_sys::BlockNumber,
    offset: pg_sys::OffsetNumber,
}

impl CachedTid {
    /// No row's.
    pub(super) const NONE: CachedTid = CachedTid {
        block: pg_sys::InvalidBlockNumber,
        offset: 0,
    };

    /// The line pointer of that place.
    pub(super) fn of(tid: pg_sys::ItemPointerData) -> CachedTid {
        CachedTid {
            block: u32::from(tid.ip_blkid.bi_hi) << 16 | u32::from(tid.ip_blkid.bi_lo),
            offset: tid.ip_posid,
        }
    }
}

/// A lane of a balance: where it stands, its number, and the version of the rules that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaneRoot {
    pub(super) root: CachedTid,
    pub(super) lane: i16,
    pub(super) epoch: i64,
}

/// All lanes of a balance, and as of which generation.
type Lanes = (u64, Rc<[LaneRoot]>);

thread_local! {
    static HASHER: RandomState = RandomState::default();
    /// Roots by a digest of the keys; that two keys may share one costs a look into the index.
    static ROWS: RefCell<HashMap<u64, CachedTid>> = RefCell::default();
    /// Balances by a digest of the wallet.
    static BALANCES: RefCell<HashMap<u64, Lanes>> = RefCell::default();
}

/// The keys of a row, digested.
pub(super) fn digest(wallet: &str, allowance: AllowanceId, lane: Option<i16>) -> u64 {
    HASHER.with(|hasher| hasher.hash_one((wallet, allowance, lane)))
}

/// Whether remembered roots may be used in this transaction.
fn may_be_used() -> bool {
    // SAFETY: a plain global that only this backend writes.
    unsafe { pg_sys::XactIsoLevel < pg_sys::XACT_SERIALIZABLE as i32 }
}

/// The root of a row that was found before.
pub(super) fn recall(digest: u64) -> Option<CachedTid> {
    if may_be_used() {
        ROWS.with_borrow(|rows| rows.get(&digest).copied())
    } else {
        None
    }
}

/// Remembers where the index led to for a row that a scan has just found.
pub(super) fn remember(digest: u64, root: CachedTid) {
    ROWS.with_borrow_mut(|rows| {
        if rows.len() >= MAX_ROOTS {
            rows.clear();
        }
        rows.insert(digest, root);
    });
}

/// All lanes of a balance, if there are no others by now. Whoever makes a lane either changes the rules,
/// and with them the version that every lane has, or makes a spare one and moves the generation.
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

/// Remembers them.
pub(super) fn remember_balance(digest: u64, mut lanes: Vec<LaneRoot>) {
    invalidation::note_caching();
    // By page, so that each is looked at once.
    lanes.sort_unstable();
    BALANCES.with_borrow_mut(|balances| {
        if balances.len() >= MAX_ROOTS / 16 {
            balances.clear();
        }
        balances.insert(digest, (invalidation::generation(), lanes.into()));
    });
}

/// Whether pages are pruned where they need it, as by an index scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Prune {
    /// Yes: a row there is going to be changed.
    Yes,
    /// That is left to those who change the rows.
    No,
}

/// Calls `each` with the visible version behind each root until it says no; false then, and when there
/// is none behind one of them. The roots of a page stand together.
pub(super) fn at(
    table: &Table,
    roots: impl Iterator<Item = CachedTid>,
    prune: Prune,
    mut each: impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<bool> {
    let roots: Vec<CachedTid> = roots.collect();
    let mut snapshot = ptr::null_mut();
    for page in roots.chunk_by(|a, b| a.block == b.block) {
        // SAFETY: the snapshot is used at once, while nobody takes another one; the statement's own, which is
        // active and not newer, keeps what it shows.
        match unsafe { at_page(table, &mut snapshot, page, prune, &mut each) } {
            Ok(true) => {}
            other => return other,
        }
    }
    Ok(true)
}

/// The first page takes the snapshot.
///
/// # Safety
/// The roots are of one page, and `each` takes no snapshot.
unsafe fn at_page(
    table: &Table,
    snapshot: &mut pg_sys::Snapshot,
    roots: &[CachedTid],
    prune: Prune,
    each: &mut impl FnMut(pg_sys::HeapTuple) -> Result<bool>,
) -> Result<bool> {
    let Some(CachedTid { block, .. }) = roots.first() else {
        return Ok(true);
    };
    // A page that VACUUM has cut off is not there any more; it can cut off none while the table
    // is locked.
    if !table.has_block(*block) {
        return Ok(false);
    }
    let mut tuples = vec![pg_sys::HeapTupleData::default(); roots.len()];
    // SAFETY: the page exists. It is pinned until its tuples have been read, which keeps them
    // where they are, and locked while their visibility is judged; heap_hot_search_buffer stands
    // any line pointer. Pruning is done here as an index scan does it. A PostgreSQL error leaves
    // lock and pin to the abort.
    unsafe {
        let (buffer, all_found) = raw::guarded(|| {
            if snapshot.is_null() {
                *snapshot = raw::GetTransactionSnapshot();
            }
            let buffer = raw::ReadBuffer(table.relation, *block);
            if prune == Prune::Yes {
                raw::heap_page_prune_opt(table.relation, buffer);
            }
            raw::LockBuffer(buffer, pg_sys::BUFFER_LOCK_SHARE as i32);
            let all_found = roots.iter().zip(&mut tuples).all(|(root, tuple)| {
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
            for tuple in &mut tuples {
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
