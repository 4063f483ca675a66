//! What happened, told to those who act on it: the outbox's workers.

pub mod api;
pub mod events;
pub mod topups;
pub mod topups_api;
