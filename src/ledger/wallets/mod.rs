//! Wallets: their settings, their status, and the rules that a charge needs.
pub mod basis;
pub mod branches;
pub mod change;
pub mod closings;
pub mod config;
pub mod default_limits;
pub mod following;
pub mod model_rules;
pub mod obstacles;
pub mod periods;
pub mod plan_book;
pub mod plan_marks;
pub mod setting_args;
pub mod settings;
pub mod status;
pub mod tree;
