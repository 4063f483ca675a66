//! What happened, told to those who act on it: the outbox's workers.

pub mod events;
mod free;
pub mod topup_rule;
pub mod topups;
