//! `walletd check`: whether walletd could serve with these settings.

use std::process::ExitCode;

use crate::config::{Config, Secret};
use crate::db::{Connections, DbError, Finding, look_at_page, look_at_tenants, look_at_worker};

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
    match is_right {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
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
