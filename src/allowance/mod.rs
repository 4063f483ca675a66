//! Bounded counters in lanes: how a balance is spent by many transactions at once without ever
//! going below zero and without missing an alert.
//!
//! A charge takes one lane. While every lane stays at or above its watermark, the total stays at
//! or above the sum of the watermarks, which is the highest armed alert threshold: nothing can
//! cross, and no other lane has to be read (`lanes`). Only a lane that would go below its
//! watermark makes the charge lock all lanes in ascending order, look at the exact total, decide,
//! and cut the lanes anew (`all_lanes`).
//!
//! What can go wrong, and why it does not:
//! - Two calls each hold a lane and want the other's: a lane of a wallet with several is locked by
//!   a lock that can be given back, and a call that finds its lane too poor gives it back before
//!   it locks all. A wallet with one lane locks that row, which is the first in the order.
//! - A lane changes between reading and writing: the write carries the version that was read.
//! - The lanes are re-cut, or a rule changes, between reading the rules and locking the lane: the
//!   lane carries the epoch of the rules, and a call that knows another one reads them again.
//! - A funding cannot lock all lanes without waiting: it arms only what the lanes it holds can
//!   guarantee, and has the next charge look at all lanes where that is not enough.

pub mod all_lanes;
pub mod crossings;
pub mod lane_split;
pub mod lanes;
pub mod thresholds;
pub mod topup_rule;
