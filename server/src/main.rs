//! walletd: the HTTP API and the worker of the wallet extension.
//!
//! It is stateless and has no logic of money: each request is one transaction that calls one
//! function of the extension. Folders use only those above them: `config`, `db`, `ops`,
//! `worker`, `payments`, `api`, `page`, `cli`.

mod api;
mod cli;
mod config;
mod db;
mod ops;
mod page;
mod payments;
mod worker;

fn main() -> std::process::ExitCode {
    cli::run()
}
