//! `walletd reconcile`: books payments whose events did not arrive.

use std::process::ExitCode;

use super::serve::payments;
use crate::config::Config;
use crate::payments::Outcome;

/// The payments.
#[derive(Debug, clap::Args)]
pub struct Wanted {
    /// The provider's ids of the payments, such as pi_3Nt.
    #[arg(required = true, value_name = "PAYMENT", value_parser = plain)]
    payments: Vec<String>,
}

/// An id: it goes into the address of a request.
fn plain(text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    match (1..=255).contains(&text.len()) && text.bytes().all(is_plain) {
        true => Ok(text.to_owned()),
        false => Err("has other characters than letters, digits and underscores".to_owned()),
    }
}

/// Prints one line per payment. Fails if one of them is not booked.
pub async fn reconcile(config: Config, wanted: &Wanted) -> ExitCode {
    let payments = match payments(&config) {
        Ok(Some(payments)) => payments,
        Ok(None) => {
            eprintln!("walletd: error: payments are not set up: see payments.stripe");
            return ExitCode::FAILURE;
        }
        Err(error) => {
            eprintln!("walletd: error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let mut are_booked = true;
    for id in &wanted.payments {
        match payments.reconcile(id).await {
            Ok(outcome) => {
                println!("{id}: {}", outcome.word());
                are_booked &= outcome != Outcome::NotOurs;
            }
            Err(failure) => {
                println!("{id}: not booked: {failure}");
                are_booked = false;
            }
        }
    }
    match are_booked {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
