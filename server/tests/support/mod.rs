//! walletd as a process, with a database of its own, and a client.

mod client;
mod process;
mod proxy;
mod visitor;
mod world;

pub use client::{Answer, Client};
pub use process::{Walletd, output};
pub use proxy::Proxy;
pub use visitor::Visitor;
pub use world::{SECRET, World, url, with, with_settings};
