//! What only real connections show: commits, waiting, notifications, caches of other backends.

mod abuse;
mod access_matrix;
mod accounting;
mod batch;
mod caches;
mod card_data;
mod chain;
mod drain;
mod feeds;
mod grants;
mod idempotency;
mod lanes;
mod limit_rules;
mod limits;
mod member_roles;
mod named_regressions;
mod notify;
mod prices;
mod refusals;
mod several;
mod stale;
mod topups;
mod transactions;
mod unpriced;
mod waiting;
mod workers;
