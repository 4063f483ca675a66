//! The SQL functions. Each one checks its arguments and the caller's rights, calls the domain code,
//! and builds the rows of its result.

pub mod access;
pub mod approvals;
pub mod archive;
pub mod bonuses;
pub mod charge_batch;
pub mod charges;
pub mod choose_model;
pub mod compare_models;
pub mod currencies;
pub mod due;
pub mod events;
pub mod exchange_rates;
pub mod forecast;
pub mod fundings;
pub mod grants;
pub mod holds;
pub mod import_prices;
pub mod journal;
pub mod keys;
pub mod limits;
pub mod limits_view;
pub mod markups;
pub mod members;
pub mod metrics;
pub mod movements;
pub mod plans;
pub mod prices;
pub mod proof;
pub mod reports;
pub mod repricing;
pub mod rollups;
pub mod run_out;
pub mod topups;
pub mod usage_mappings;
pub mod wallets;
