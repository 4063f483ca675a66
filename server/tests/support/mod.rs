//! walletd as a process, with a database of its own, and a client.

mod certificate;
mod client;
mod process;
mod proxy;
mod receiver;
mod smtp;
mod world;

pub use certificate::localhost;
pub use client::{Answer, Client};
pub use process::{Walletd, output};
pub use proxy::Proxy;
pub use receiver::{Hook, Receiver, Reply};
pub use smtp::Smtp;
pub use world::{World, with, with_settings};
