//! Prices: usage in, exact lines out.

pub mod api;
pub mod book;
pub mod lines;
pub mod rate;
pub mod select;
pub mod stored;
pub mod usage;
