//! Wallets: their settings, their status, and what a charge must know of them.
pub mod basis;
pub mod change;
pub mod config;
pub mod settings;
