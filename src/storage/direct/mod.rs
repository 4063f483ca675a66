//! The hot tables without the executor.
//!
//! For every statement the executor parses CHECK and WHEN expressions from text, opens indexes and
//! builds a plan state; that costs more than reading and writing the row. Here rows are found by
//! the primary key's index and written with `heap_update` and `heap_insert`, as the executor does
//! it underneath, with the same visibility, waiting, WAL and index entries. `store` takes this way
//! only where it is right (see [`table`]) and the SPI way elsewhere; both answer the same.
//!
//! The rules that CHECK and triggers would enforce hold here because the callers check them before
//! they write: what a lane or window spends and holds is never more than it was allotted.
//!
//! Memory is the caller's; relations, scans and snapshots are released on every return, and after
//! an error by the (sub)transaction's abort.

mod fields;
pub mod holds;
pub mod lanes;
mod layout;
pub mod ledger;
pub mod prices;
pub mod rules;
mod scan;
pub mod table;
pub mod thresholds;
mod tid_cache;
mod unique_insert;
pub mod unread;
pub mod write;
