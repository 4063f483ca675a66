//! What happened, told to those who act on it: the outbox's workers.

pub mod api;
pub mod events;
mod free;
pub mod topups;
pub mod topups_api;
