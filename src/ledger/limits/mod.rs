//! Limits where they meet the ledger: setting, recounting, checking and showing them.
pub mod check;
pub mod recount;
pub mod set;
pub mod view;
