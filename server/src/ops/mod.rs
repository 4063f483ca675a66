//! Operations: the log, health, metrics, and a server that ends in order.

mod client;
mod endpoints;
mod listener;
mod logging;
mod metrics;
mod requests;
mod work;

pub use client::client_of;
pub use endpoints::{Status, endpoints};
pub use listener::{Limits, serve};
pub use logging::start_log;
pub use metrics::{Metrics, Pools};
pub use requests::{Refused, observe};
pub use work::WorkMetrics;
