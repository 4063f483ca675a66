//! `verify`: what is stored of a wallet agrees with itself. One pass over its ledger in the order of the ids, whatever
//! the number of windows; memory for the lanes, the running windows and what stands out of order.
//!
//! The pass shows that all is well. Where it cannot, queries in plain SQL say what is wrong: a wallet is sound nearly
//! always.

mod chain;
mod lines;
mod pass;
mod windows;

pub use pass::{Proof, prove};
