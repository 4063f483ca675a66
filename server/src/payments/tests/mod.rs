//! The second provider, which keeps its books in memory, against a database.

mod charge;
mod fake;
mod ledger;
mod topups;
