//! Turns the usage objects of providers into disjoint meters.
//!
//! The shapes of objects and the places of their numbers are data: the files in `builtin` and the
//! table `wallet.usage_mappings`. `read` reads usage in any form. `whole` makes one object of what
//! the caller passes, `mapping` is a mapping, `store` keeps the mappings of a backend, `apply`
//! chooses one, `reading` follows its paths, `meters` counts, `leftover` finds numbers that are not
//! counted, `mapped` builds the usage, and `explain` explains every number.

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
