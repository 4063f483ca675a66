//! Who may do what.

pub mod api;
pub mod audit;
pub mod keys_api;
pub mod known;
pub mod members_api;
pub mod rights;
pub mod spending_policy;
