//! walletd as a process, with a database of its own, and a client.

mod certificate;
mod client;
mod process;
mod proxy;
mod receiver;
mod smtp;
mod visitor;
mod world;

pub use certificate::localhost;
pub use client::{Answer, Client};
pub use process::{Walletd, output};
pub use proxy::Proxy;
pub use receiver::{Hook, Receiver, Reply};
pub use smtp::Smtp;
pub use visitor::Visitor;
pub use world::{SECRET, World, url, with, with_settings};
