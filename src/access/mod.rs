//! Who may do what.

pub mod api;
pub mod audit;
pub mod kept_by_key;
pub mod keys_api;
pub mod members_api;
pub mod policy_rows;
pub mod rights;
pub mod spending_policy;
