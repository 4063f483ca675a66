//! Limits and the ledger: setting, recounting, checking and listing limits; choosing a model.
pub mod check;
pub mod choose;
pub mod metric;
pub mod raise;
pub mod recount;
pub mod set;
pub mod view;
