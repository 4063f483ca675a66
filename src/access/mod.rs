//! Who may do what.

pub mod api;
pub mod audit;
pub mod keys_api;
pub mod members_api;
pub mod rights;
