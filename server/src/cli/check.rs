//! `walletd check`: whether walletd could serve with these settings.

use std::process::ExitCode;

use crate::config::{Config, Secret};
use crate::db::{Connections, DbError, Finding, look_at_page, look_at_tenants, look_at_worker};
use crate::payments::{Provider, Stripe};
use crate::worker;

/// Prints one line per finding. Fails if one of them is wrong.
pub async fn check(config: Config) -> ExitCode {
    let database = &config.database;
    let mut is_right = true;
    let page = config.page.is_on().then_some(&config.page.database);
    let urls = [
        ("database.tenants", Some(&database.tenants)),
        ("database.worker", Some(&database.worker)),
        ("page.database", page),
    ];
    for (setting, url) in urls {
        let Some(url) = url else { continue };
        for finding in look(setting, url, &config).await {
            let word = if finding.is_right { "ok" } else { "wrong" };
            println!("{word}: {setting} {}", finding.text);
            is_right &= finding.is_right;
        }
    }
    for (setting, finding) in worker::look(&config).await {
        let word = if finding.is_right { "ok" } else { "wrong" };
        println!("{word}: {setting} {}", finding.text);
        is_right &= finding.is_right;
    }
    if config.payments.stripe.is_enabled() {
        let (is_accepted, text) = match ask_stripe(&config).await {
            Ok(text) => (true, text),
            Err(text) => (false, text),
        };
        let word = if is_accepted { "ok" } else { "wrong" };
        println!("{word}: payments.stripe {text}");
        is_right &= is_accepted;
    }
    match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Whether Stripe accepts the key.
async fn ask_stripe(config: &Config) -> Result<String, String> {
    let stripe = Stripe::new(&config.payments.stripe);
    let stripe = stripe.map_err(|error| error.to_string())?;
    let checked = stripe.check().await;
    checked.map_err(|error| format!("cannot be used: {error}"))
}

async fn look(setting: &str, url: &Secret, config: &Config) -> Vec<Finding> {
    let wrong = |text: String| {
        vec![Finding {
            is_right: false,
            text,
        }]
    };
    let connections = match Connections::new(url, 1, &config.database) {
        Ok(connections) => connections,
        Err(error) => return wrong(format!("cannot be used: {error}")),
    };
    let found = match setting {
        "database.tenants" => look_at_tenants(&connections).await,
        "page.database" => look_at_page(&connections).await,
        _ => look_at_worker(&connections).await,
    };
    found.unwrap_or_else(|error| {
        wrong(match error {
            DbError::Unavailable(trouble) | DbError::Unknown(trouble) => {
                format!("could not be reached: {trouble}")
            }
            DbError::Refused(refusal) => format!("{}: {}", refusal.sqlstate, refusal.message),
            DbError::UnknownKey => "the key is not valid".to_owned(),
            DbError::Garbled(reason) => reason,
        })
    })
}
