//! Wallets, fundings, charges, the ledger and its chain.

pub mod archive;
pub mod balance;
pub mod batch;
pub mod charges;
pub mod funding;
pub mod grants;
pub mod holds;
pub mod limits;
pub mod movements;
pub mod permit;
pub mod proof;
pub mod refund;
pub mod triggers;
pub mod wallets;
