//! The page for people: what their wallet has, what they spend, and for owners its rules.
//!
//! A session is an encrypted cookie with a key of the wallet. Each request is one transaction with
//! that key, so it reaches this wallet alone, and a revoked key ends the session.

mod account;
mod answer;
mod assets;
mod attempts;
mod chart;
mod cookies;
mod events;
mod failure;
mod followers;
mod layout;
mod overview;
mod owner;
mod parts;
mod routes;
mod session;
mod state;
mod statement;
mod top_up;
mod transactions;

pub use routes::{connections, start};
pub use session::make_link;
