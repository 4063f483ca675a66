//! Erasure of a person's identifier.

mod entries;
pub mod erase;
mod fields;
mod kept;
mod limits;
pub mod person;
