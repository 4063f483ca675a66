//! What only real connections show: commits, waiting, notifications, caches of other backends.

mod abuse;
mod caches;
mod drain;
mod idempotency;
mod lanes;
mod limits;
mod notify;
mod transactions;
mod waiting;
