//! The frame around every page.

use maud::{DOCTYPE, Markup, html};

use super::account::{Account, SignedIn};
use super::assets::{PROGRAM, STYLE};
use super::parts::hidden;

/// Who has a page in the navigation.
enum For {
    All,
    Payers,
    Managers,
}

/// The pages of the navigation: address, name, and who has it.
const PAGES: &[(&str, &str, For)] = &[
    ("/", "Overview", For::All),
    ("/transactions", "Transactions", For::All),
    ("/statement", "Statement", For::All),
    ("/top-up", "Top up", For::Payers),
    ("/limits", "Limits", For::All),
    ("/members", "Members", For::Managers),
    ("/keys", "Keys", For::Managers),
];

fn has(person: &SignedIn, page: &For) -> bool {
    match page {
        For::All => true,
        For::Payers => person.can_pay,
        For::Managers => person.account.manages(),
    }
}

fn document(title: &str, header: Markup, content: Markup, is_live: bool) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " – wallet" }

                link rel="stylesheet" href={ "/assets/" (*STYLE) };
                @if is_live { script src={ "/assets/" (*PROGRAM) } defer {} }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                (header)
                main #content tabindex="-1" { (content) }
            }
        }
    }
}

/// A page without a session.
pub fn bare(title: &str, content: Markup) -> Markup {
    let header = html! { header.top { p.brand { "Wallet" } } };
    document(title, header, html! { div.narrow { (content) } }, false)
}

/// A page of a wallet.
pub fn page(title: &str, here: &str, person: &SignedIn, content: Markup) -> Markup {
    let account = &person.account;
    let header = html! {
        header.top {
            p.brand { "Wallet " strong { (account.wallet) } }
            (who(account))
            form method="post" action="/sign-out" {
                (hidden("token", &person.token))
                button.plain type="submit" { "Sign out" }
            }
            nav aria-label="Pages" {
                ul {
                    @for (address, name, whose) in PAGES {
                        @if has(person, whose) {
                            li { a href=(address) aria-current=[(*address == here).then_some("page")] { (name) } }
                        }
                    }
                }
            }
        }
    };
    let content = html! {
        h1 { (title) }
        @if account.status != "active" {
            div.notice.wrong role="note" { p { "The wallet is " (account.status) ": nothing can be spent." } }
        }
        (content)
        footer { p.quiet { "Times and days are those of " (account.time_zone) ". Amounts are in " (account.currency) "." } }
    };
    document(title, header, content, here == "/")
}

fn who(account: &Account) -> Markup {
    let role = account.role.as_deref();
    html! {
        p.who {
            @match &account.user_id {
                Some(user) => { (user) @if let Some(role) = role { ", " (role) } },
                None => "a key without a user",
            }
        }
    }
}
