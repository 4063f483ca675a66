//! Bounded counters in lanes: many transactions spend one balance at once, the balance never goes
//! below zero, and no alert is missed.
//!
//! A charge takes one lane. While every lane stays at or above its watermark, the total stays at or
//! above the sum of the watermarks, which is the highest armed alert threshold. So no threshold can
//! be crossed, and no other lane has to be read (`lanes`). If a lane would go below its watermark,
//! the charge locks all lanes in ascending order, reads the exact total, decides, and rebalances
//! the lanes (`all_lanes`).
//!
//! Possible conflicts, and how they are prevented:
//! - Two calls each hold a lane and want the other's. In a wallet with several lanes, a lane has a
//!   lock that can be released. A call whose lane has too little releases it before it locks all
//!   lanes. In a wallet with one lane, the lock is the row, which is the first in the lock order.
//! - A lane changes between reading and writing. The write carries the version that was read.
//! - The lanes are rebalanced, or a rule changes, between reading the rules and locking the lane.
//!   The lane carries the epoch of the rules, and a call with another epoch reads them again.
//! - A funding cannot lock all lanes without waiting. It arms only the thresholds that its lanes
//!   can guarantee, and makes the next charge lock all lanes if that is not enough.

pub mod all_lanes;
pub mod crossings;
pub mod lane_split;
pub mod lanes;
pub mod thresholds;
mod topup_decision;
pub mod topup_rule;
