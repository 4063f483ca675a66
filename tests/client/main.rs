//! What only real connections show: commits, waiting, notifications, caches of other backends.

mod abuse;
mod caches;
mod drain;
mod limits;
mod notify;
mod once;
mod transactions;
mod waiting;
