//! Wallets, money in, charges, the ledger and its chain.

pub mod api;
pub mod archive;
pub mod archive_api;
pub mod balance;
pub mod batch;
pub mod batch_api;
pub mod bonus_api;
pub mod charges;
pub mod due_api;
pub mod funding;
pub mod funding_api;
pub mod grants;
pub mod grants_api;
pub mod holds;
pub mod holds_api;
pub mod limits;
pub mod limits_api;
pub mod movements;
pub mod movements_api;
pub mod prices_api;
pub mod proof;
pub mod proof_api;
pub mod triggers;
pub mod wallets;
