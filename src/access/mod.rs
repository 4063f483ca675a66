//! Rights of database roles, members and keys.

pub mod audit;
pub mod audit_making;
pub mod call;
pub mod claims;
pub mod family;
pub mod granted;
pub mod grants;
pub mod kept_by_key;
pub mod keys;
pub mod level;
pub mod members;
pub mod policy_rows;
pub mod proven_key;
pub mod rights;
pub mod spending_policy;
