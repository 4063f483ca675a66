//! `verify`: checks that the stored rows of a wallet agree with each other. One pass reads the
//! ledger in the order of the ids, whatever the number of windows. Memory is needed for the lanes,
//! the running windows and the entries that are out of order.
//!
//! The pass proves that all is right. If it cannot, queries in plain SQL find the error. These are
//! slower, but nearly every wallet is right.

mod chain;
mod found;
mod item;
mod lines;
mod pass;
mod tree;
mod windows;

pub use found::Proof;
pub use pass::prove;
