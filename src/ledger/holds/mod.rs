//! Holds: money that is reserved in a short transaction of its own while a provider works, and
//! settled when the cost is known.
//!
//! A hold is open, settled, voided or expired. Expiry needs no worker. An open hold whose
//! `expires_at` has passed no longer counts, and the call that needs its money releases it
//! ([`expired`]).
//!
//! Lock order: the hold's row, then the wallet's lanes. A call that releases expired holds has
//! already locked the lanes. It skips holds that others have locked, because those are being
//! settled.

pub mod approval;
mod booking;
pub mod close;
mod context;
mod differs;
pub mod expired;
pub mod expiry;
pub mod expiry_charge;
mod expiry_job;
pub mod held;
pub mod hold;
mod one_request;
mod parents;
pub mod request;
pub mod row;
pub mod settle;
mod settle_in_lane;

/// How often a hold or a settlement may lose the race for a lane before it locks all lanes.
const MAX_TRIES: usize = 5;
