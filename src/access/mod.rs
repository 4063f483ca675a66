//! Rights of database roles, members and keys.

pub mod audit;
pub mod call;
pub mod grants;
pub mod kept_by_key;
pub mod keys;
pub mod members;
pub mod policy_rows;
pub mod rights;
pub mod spending_policy;
