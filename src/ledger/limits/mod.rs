//! Limits and the ledger: setting, recounting, checking and listing limits; choosing a model.
pub mod change;
pub mod check;
pub mod choose;
pub mod default_windows;
pub mod drop;
pub mod limit_args;
pub mod limit_subjects;
pub mod metric;
pub mod raise;
pub mod recount;
pub mod replaced;
pub mod rows;
pub mod set;
pub mod view;
