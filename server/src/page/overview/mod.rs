//! The overview: what the wallet has, what it spends, what needs attention.

mod data;
mod view;

use maud::Markup;

use super::account::SignedIn;
use super::failure::Failure;
use super::state::Pages;
use data::{OVERVIEW, Overview};

/// The page.
pub async fn show(pages: &Pages, person: &SignedIn) -> Result<Markup, Failure> {
    let account = &person.account;
    let arguments = vec![
        Some(account.wallet.clone()),
        Some(account.today.first_of_month().to_string()),
        Some(account.today.to_string()),
    ];
    let overview: Overview = pages.read(&person.key, OVERVIEW, arguments).await?;
    Ok(view::page(person, &overview))
}
