//! Tests of the program walletd against the private server: `scripts/run walletd`.

// Tests fail by panicking, their helpers too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bodies;
mod broken;
mod check;
mod deliveries;
mod endpoints;
mod failover;
mod headers;
mod lists;
mod load;
mod mail;
mod openapi;
mod operations;
mod page;
mod payments;
mod races;
mod refusals;
mod schedule;
mod secrets;
mod support;
mod tenants;
mod usage;
mod verifiers;
mod workers;
