//! Wallets, money in, charges, the ledger and its chain.

pub mod api;
pub mod charge;
pub mod credit;
pub mod funding;
pub mod funding_api;
pub mod fx;
pub mod headers;
pub mod limit_windows;
pub mod limits;
pub mod limits_api;
pub mod limits_check;
pub mod limits_view;
pub mod once;
pub mod past;
pub mod prices_api;
pub mod replay;
pub mod reprice;
pub mod request;
pub mod reversal;
pub mod rules;
pub mod triggers;
pub mod unpriced;
pub mod vouchers;
pub mod wallets;
