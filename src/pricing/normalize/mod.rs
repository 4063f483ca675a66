//! Usage objects of providers, made into disjoint meters.
//!
//! Which shape an object has and where its numbers stand is data: the files in `builtin` and the table
//! `wallet.usage_mappings`. `whole` makes one object of what is handed over, `mapping` says which shapes there are, `apply` chooses,
//! `reading` reads, `explain` says what became of each number, `store` keeps the mappings.

pub mod apply;
mod attributes;
pub mod body;
pub mod builtin;
mod costs;
pub mod explain;
mod extra;
mod index;
mod leftover;
mod mapped;
pub mod mapping;
mod meters;
pub mod numbers;
pub mod path;
mod raw;
pub mod read;
pub mod reading;
pub mod refusals;
pub mod set;
pub mod shape;
pub mod store;
mod stream;
pub mod whole;
mod wrapped;

#[cfg(test)]
mod documentation;
#[cfg(test)]
mod sample_tests;
#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
