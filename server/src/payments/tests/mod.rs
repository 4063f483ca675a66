//! The second provider, which keeps its books in memory, against a database.

mod fake;
mod ledger;
