//! The commands.

mod check;
mod reconcile;
mod serve;
mod sign_in_link;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{self, Config, problems};

/// The statements that create the roles.
const ROLES: &str = include_str!("../../sql/roles.sql");

/// The HTTP API of the wallet extension.
#[derive(Debug, Parser)]
#[command(name = "walletd", version)]
struct Arguments {
    /// The file with the settings. Environment variables override it.
    #[arg(long, global = true, env = "WALLETD_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until SIGTERM or SIGINT.
    Serve,
    /// Check the settings, the connections, TLS, the roles and the extension.
    Check,
    /// Print the OpenAPI document.
    Openapi,
    /// Print the SQL that creates the roles of walletd.
    SetupSql,
    /// Print all settings with their defaults, as a file.
    Settings,
    /// Print a link with which a person signs in to the page, once.
    SignInLink(sign_in_link::Wanted),
    /// Compare payments with the ledger, and book what is missing: for events that did not arrive.
    Reconcile(reconcile::Wanted),
    /// Print the version.
    Version,
}

/// Runs the command of the arguments.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    match &arguments.command {
        Command::Openapi => match crate::api::document() {
            Ok(document) => {
                println!("{document}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.to_string()),
        },
        Command::SetupSql => {
            print!("{ROLES}");
            ExitCode::SUCCESS
        }
        Command::Settings => match config::defaults() {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.to_string()),
        },
        Command::Version => {
            println!("walletd {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        Command::Serve => with_settings(&arguments, serve::serve),
        Command::SignInLink(wanted) => {
            with_settings(&arguments, |config| sign_in_link::print(config, wanted))
        }
        Command::Reconcile(wanted) => {
            with_settings(&arguments, |config| reconcile::reconcile(config, wanted))
        }
        Command::Check => with_settings(&arguments, check::check),
    }
}

fn fail(text: &str) -> ExitCode {
    eprintln!("walletd: {text}");
    ExitCode::FAILURE
}

/// Reads the settings, refuses those that cannot work, and starts the runtime.
fn with_settings<F: Future<Output = ExitCode>>(
    arguments: &Arguments,
    command: impl FnOnce(Config) -> F,
) -> ExitCode {
    let config = match config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error.to_string()),
    };
    let mut is_fatal = false;
    for problem in problems(&config) {
        let kind = if problem.is_fatal { "error" } else { "warning" };
        eprintln!("walletd: {kind}: {} {}", problem.setting, problem.text);
        is_fatal |= problem.is_fatal;
    }
    if is_fatal {
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    match runtime {
        Ok(runtime) => runtime.block_on(command(config)),
        Err(error) => fail(&error.to_string()),
    }
}
