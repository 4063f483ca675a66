//! Fundings: money from outside, which is credited at once or later, fails, or is reversed.
//!
//! A pending funding is only a row of `funding_requests`. It has no entry and no money ([`rows`]).
//! The entry that credits it later has the same id ([`booking`]). Each payment reference is
//! credited once, whatever the idempotency keys ([`replay`]). A bonus is a promotional grant that
//! is booked with the payment ([`bonus`]).

pub mod bonus;
pub mod bonus_rules;
mod booking;
pub mod fund;
pub mod fx;
mod given_back;
pub mod pending;
mod replay;
pub mod request;
pub mod reversal;
mod rows;
pub mod tiers;
pub mod vouchers;
