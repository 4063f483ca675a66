//! Usage objects of providers, made into disjoint meters.
//!
//! Which shape an object has and where its numbers stand is data: the files in `builtin` and the table
//! `wallet.usage_mappings`. `mapping` reads that data, `apply` applies it, `store` keeps it.

pub mod api;
pub mod apply;
pub mod builtin;
pub mod mapping;
pub mod path;
pub mod store;

#[cfg(test)]
pub mod samples;
#[cfg(test)]
mod tests;
