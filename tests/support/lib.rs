//! Support for the tests over real connections.

mod audit;
mod calls;
mod crowd;
mod database;
mod errors;
mod events;
mod functions;
mod payments;
mod plan;
mod pool;
mod programs;
mod roles;
mod seed;
mod server;
mod zone;

pub use audit::{audit, check_snapshot};
pub use calls::{
    Charge, Charged, Funded, archive, balance, charge, create, entries, fund, limit, price, usage,
};
pub use crowd::{crowd, together};
pub use database::Database;
pub use errors::{detail, expect, sqlstate, state_of};
pub use events::{Heard, Listener, alternating, recorded};
pub use functions::{Declared, FUNCTIONS, Function, Level, Reach, Scene};
pub use payments::{Paid, Provider};
pub use plan::{explained, pages};
pub use pool::Pool;
pub use programs::python_with;
pub use roles::Roles;
pub use rust_decimal::Decimal;
pub use seed::{Seed, scale};
pub use server::Server;
pub use zone::noon;

/// A literal amount, as tests write it.
pub fn dec(text: &str) -> Decimal {
    text.parse().expect("a literal number")
}
