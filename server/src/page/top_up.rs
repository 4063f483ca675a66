//! Paying money into the wallet: a form, and then a link to the page of the payment provider.
//!
//! The policy of the page lets no form lead to another site, so the answer is a link and not a
//! redirect. A form that is sent twice gets the same payment, because it has a key of its own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::account::SignedIn;
use super::failure::Failure;
use super::layout;
use super::parts::{hidden, input};
use super::session::Posted;
use super::state::Pages;
use crate::payments::{CheckoutError, Checkouts, Payer, Wish};

/// A payment.
#[derive(Deserialize)]
pub struct PaymentForm {
    amount: String,
    email: String,
    save: Option<String>,
    payment: String,
}

impl PaymentForm {
    fn empty() -> PaymentForm {
        PaymentForm {
            amount: String::new(),
            email: String::new(),
            save: None,
            payment: uuid::Uuid::now_v7().to_string(),
        }
    }
}

/// The form.
pub async fn form(State(pages): State<Pages>, person: SignedIn) -> Result<Markup, Failure> {
    let checkouts = payments_of(&pages, &person)?;
    Ok(view(checkouts, &person, &PaymentForm::empty(), None))
}

/// Begins a payment.
pub async fn begin(
    State(pages): State<Pages>,
    posted: Posted<PaymentForm>,
) -> Result<Response, Failure> {
    let (person, form) = posted.signed_in(&pages).await?;
    let checkouts = payments_of(&pages, &person)?;
    let account = &person.account;
    let payer = Payer {
        wallet: &account.wallet,
        currency: &account.currency,
        status: &account.status,
        role: account.role.as_deref(),
        // A session of a blocked member has ended.
        is_blocked: false,
    };
    let wish = Wish {
        amount: form.amount.trim().to_owned(),
        email: Some(form.email.trim().to_owned()).filter(|email| !email.is_empty()),
        save_card: form.save.is_some(),
        idempotency_key: Some(form.payment.clone()),
    };
    match checkouts.begin(&payer, wish).await {
        Ok(checkout) => Ok(begun(&person, &form, &checkout.url).into_response()),
        Err(error) => {
            let failure = failure(error, &account.currency)?;
            let text = failure.text.clone();
            Ok(failure.mark(view(checkouts, &person, &form, Some(&text)).into_response()))
        }
    }
}

fn payments_of<'a>(pages: &'a Pages, person: &SignedIn) -> Result<&'a Checkouts, Failure> {
    match &pages.checkouts {
        None => Err(Failure::not_found()),
        Some(_) if !person.can_pay => {
            let text = "Only an owner, an admin, or a user with the role billing may do this.";
            Err(Failure::new(StatusCode::FORBIDDEN, "not_permitted", text))
        }
        Some(checkouts) => Ok(checkouts),
    }
}

/// The failure that the form shows for an error. `Err` if it has a page of its own.
fn failure(error: CheckoutError, currency: &str) -> Result<Failure, Failure> {
    let wrong = |text: String| {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        Ok(Failure::new(status, "payment_refused", text))
    };
    match error {
        CheckoutError::Database(error) => Err(error.into()),
        CheckoutError::Provider(_) => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "provider_unavailable",
            "The payment provider cannot be reached. Nothing was paid. Try again soon.",
        )),
        CheckoutError::NotPermitted | CheckoutError::Closed => {
            wrong("Nobody can pay into this wallet with this key.".to_owned())
        }
        CheckoutError::NotOffered => wrong(format!("Nobody can pay in {currency} here.")),
        CheckoutError::OutOfRange(offer) => wrong(format!(
            "The amount must be a number from {} to {} {currency}.",
            offer.min, offer.max
        )),
        CheckoutError::NoAddress => wrong("The e-mail is no address.".to_owned()),
        CheckoutError::KeyTaken => {
            wrong("This form was sent already, with something else.".to_owned())
        }
        CheckoutError::Refused(code) => {
            wrong(format!("The payment provider refuses the payment: {code}."))
        }
    }
}

fn view(
    checkouts: &Checkouts,
    person: &SignedIn,
    form: &PaymentForm,
    wrong: Option<&str>,
) -> Markup {
    let currency = &person.account.currency;
    let content = html! {
        @if let Some(text) = wrong { div.notice.wrong role="alert" { p { (text) } } }
        @match checkouts.offer(currency) {
            None => p { "Nobody can pay in " (currency) " here." },
            Some(offer) => {
                p { "You pay on a page of the payment provider. The money is in the wallet when the provider says that it is paid." }
                form.fields method="post" action="/top-up" {
                    (hidden("token", &person.token))
                    (hidden("payment", &form.payment))
                    (input("p-amount", "amount", &format!("Amount in {currency}, from {} to {}", offer.min, offer.max), &form.amount, true))
                    (input("p-email", "email", "E-mail address for the receipt (optional)", &form.email, false))
                    div.field {
                        input #p-save type="checkbox" name="save" value="true" checked[form.save.is_some()];
                        label.beside for="p-save" { "Save the card for automatic top-ups" }
                    }
                    button type="submit" { "Continue" }
                }
            }
        }
    };
    layout::page("Top up", "/top-up", person, content)
}

fn begun(person: &SignedIn, form: &PaymentForm, url: &str) -> Markup {
    let content = html! {
        p { "The payment of " (form.amount.trim()) " " (person.account.currency) " can be made now." }
        p { a.button href=(url) rel="noreferrer" { "Pay on the page of the provider" } }
        p { a href="/top-up" { "Another amount" } }
    };
    layout::page("Top up", "/top-up", person, content)
}
