//! The HTTP API for tenants: every request has a key, and reaches the wallet of that key.

mod attribution;
mod charged;
mod extract;
mod openapi;
mod page;
mod problem;
mod resources;
mod state;
mod values;

pub use openapi::{document, router};
pub use state::Api;
