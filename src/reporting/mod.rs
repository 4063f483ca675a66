//! Reports on the ledger, for people and for other programs.

pub mod cost_allocation;
pub mod currencies;
pub mod forecast;
pub mod journal;
pub mod retention;
pub mod rollups;
pub mod run_out;
pub mod upkeep;
