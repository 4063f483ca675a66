//! Erasure of a person's identifier.

pub mod documents;
mod entries;
pub mod erase;
mod fields;
mod kept;
mod limits;
pub mod person;
