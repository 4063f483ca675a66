//! Money from outside: fundings and what becomes of them, settled at once or later, failed, reversed.
//!
//! A pending funding is a row of `funding_requests` and nothing else: no entry, no money ([`rows`]). The entry
//! that credits it has its id ([`booking`]). One provider's reference is credited once, whatever the keys
//! say ([`replay`]). What comes on top of a payment is a promotional grant beside it ([`bonus`]).

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
