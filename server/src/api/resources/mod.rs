//! The resources of the API: one file each, with its statement, its types and its handler.

pub mod charges;
pub mod estimate;
pub mod holds;
pub mod limits;
pub mod prices;
pub mod topups;
pub mod transactions;
pub mod usage;
pub mod wallet;
