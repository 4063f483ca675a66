//! Events and top-ups, for the workers that act on them.

pub mod events;
mod free;
pub mod topup_rule;
pub mod topup_rules;
pub mod topups;
