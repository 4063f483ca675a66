//! The hot tables without the executor.
//!
//! For every statement, the executor parses CHECK and WHEN expressions from text, opens indexes and
//! builds a plan state. That costs more than reading and writing the row. Here, rows are found by
//! the primary key's index and written with `heap_update` and `heap_insert`. The executor calls the
//! same functions, with the same visibility, waiting, WAL and index entries. `store` uses this path
//! only for tables that support it (see [`table`]), and SPI otherwise. Both return the same
//! results.
//!
//! CHECK constraints and triggers do not run here. Their rules hold because the callers check them
//! before they write: a lane or window never spends and holds more than its allotment.
//!
//! The caller owns the memory. Relations, scans and snapshots are released on every return. After
//! an error, the abort of the (sub)transaction releases them.

mod fields;
pub mod holds;
pub mod lanes;
mod layout;
pub mod ledger;
mod patch;
pub mod prices;
pub mod rules;
mod scan;
pub mod table;
pub mod thresholds;
mod tid_cache;
mod unique_insert;
pub mod unread;
pub mod windows;
pub mod write;
