//! Who may do what.

pub mod api;
pub mod rights;
