//! Limits and the ledger: setting, recounting, checking and listing limits.
pub mod check;
pub mod metric;
pub mod recount;
pub mod set;
pub mod view;
