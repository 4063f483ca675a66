//! Holds: money set aside in a short transaction of its own while a provider works, and settled
//! when the cost is known.
//!
//! A hold is open, settled, voided or expired. Expiry needs no worker: an open hold whose time has
//! come counts no more, and whoever needs the money gives it back ([`expired`]).
//!
//! Locks: the hold's row, then the wallet's lanes. Who gives expired holds back has the lanes
//! already and skips the holds that somebody else has locked: those are being settled.

pub mod close;
mod context;
pub mod differs;
pub mod expired;
pub mod expiry;
pub mod hold;
pub mod row;
pub mod settle;

/// Races for a lane that a hold or a settlement may lose before it looks at all lanes.
const MAX_TRIES: usize = 5;
