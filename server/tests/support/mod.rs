//! walletd as a process, with a database of its own, and a client.

mod client;
mod process;
mod proxy;
mod world;

pub use client::{Answer, Client};
pub use process::{Walletd, output};
pub use proxy::Proxy;
pub use world::{World, with, with_settings};
