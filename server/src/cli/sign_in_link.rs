//! `walletd sign-in-link`: a link with which a person signs in to the page, once.

use std::process::ExitCode;

use crate::config::{Config, Secret};
use crate::db::Connections;
use crate::page::make_link;

/// Whose link it is.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// The wallet.
    #[arg(long)]
    wallet: String,
    /// The member who signs in. Without one, the session can only read.
    #[arg(long)]
    user: Option<String>,
    /// The connection string of a role with the level admin on the wallet.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database: String,
}

/// Prints the link.
pub async fn print(config: Config, wanted: &Wanted) -> ExitCode {
    if !config.page.is_on() {
        eprintln!("walletd: error: page.secrets are missing: there is no page to sign in to");
        return ExitCode::FAILURE;
    }
    let url = Secret::new(wanted.database.clone());
    let connections = match Connections::new(&url, 1, &config.database) {
        Ok(connections) => connections,
        Err(error) => {
            eprintln!("walletd: error: the connection string of --database: {error}");
            return ExitCode::FAILURE;
        }
    };
    match make_link(
        &config,
        &connections,
        &wanted.wallet,
        wanted.user.as_deref(),
    )
    .await
    {
        Ok(link) => {
            println!("{link}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("walletd: error: {error}");
            ExitCode::FAILURE
        }
    }
}
