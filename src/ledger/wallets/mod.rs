//! Wallets: their settings, their status, and the rules that a charge needs.
pub mod basis;
pub mod change;
pub mod config;
pub mod default_limits;
pub mod obstacles;
pub mod settings;
pub mod status;
pub mod tree;
