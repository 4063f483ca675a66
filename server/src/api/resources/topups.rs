//! `POST /v1/top-up`: a page on which a customer pays money into the wallet.
//!
//! Nothing is booked here. The provider's signed event leads to the payment, and the worker's role
//! books it: the role of tenants cannot fund.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::{Body, Idempotency, Key};
use crate::api::problem::{BodyProblems, IdProblems, Problem, ReadProblems, WriteProblems, table};
use crate::api::state::Api;
use crate::api::values::{Amount, Decimal as Digits};
use crate::db::Call;
use crate::payments::{CheckoutError, Payer, Wish};

const OWNER: &str = "SELECT pg_catalog.json_build_object('wallet', b.wallet, 'currency', b.currency, \
       'status', b.status, 'role', m.role, 'blocked', coalesce(m.blocked, false))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.balances b ON b.wallet = o.wallet \
  LEFT JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id";

/// A payment that a customer wants to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"amount": "25", "email": "alice@example.com", "save_card": true}))]
pub struct TopupRequest {
    /// The amount, in the currency of the wallet.
    amount: Amount,
    /// The address to which the provider sends the receipt.
    #[schema(max_length = 254)]
    email: Option<String>,
    /// Whether the payment method is saved, for top-ups that rules request.
    #[serde(default)]
    save_card: bool,
}

/// A page of the payment provider.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "checkout_id": "cs_test_a1", "url": "https://checkout.stripe.com/c/pay/cs_test_a1",
    "amount": "25", "currency": "USD"
}))]
pub struct TopupPage {
    /// The provider's id of the page.
    checkout_id: String,
    /// Where the customer pays.
    url: String,
    /// The amount.
    #[schema(value_type = Digits)]
    amount: String,
    /// Its currency.
    currency: String,
}

#[derive(Debug, Deserialize)]
struct Owner {
    wallet: String,
    currency: String,
    status: String,
    role: Option<String>,
    blocked: bool,
}

/// Begins a payment into the wallet. Nothing is booked until the provider says that it is paid.
///
/// With an idempotency key, a retry returns the same page. The key must not belong to a member
/// whose role may not fund.
#[utoipa::path(
    post, path = "/v1/top-up", tag = "payments", operation_id = "createTopUp",
    request_body = TopupRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Identifies the request, so that a retry returns the same page.", example = "req-1")),
    responses(
        (status = 201, description = "The customer can pay at the address", body = TopupPage),
        ReadProblems, BodyProblems, IdProblems, WriteProblems
    )
)]
pub async fn create(
    State(api): State<Api>,
    Key(key): Key,
    Idempotency(idempotency): Idempotency,
    Body(request): Body<TopupRequest>,
) -> Result<(StatusCode, Json<TopupPage>), Problem> {
    let owner: Owner = api.ask(key, Call::read(OWNER, Vec::new())).await?;
    let Some(checkouts) = &api.checkouts else {
        return Err(
            Problem::new(table::NOT_FOUND, "Payments are not set up here.")
                .hint("The operator sets payments.stripe."),
        );
    };
    let payer = Payer {
        wallet: &owner.wallet,
        currency: &owner.currency,
        status: &owner.status,
        role: owner.role.as_deref(),
        is_blocked: owner.blocked,
    };
    let amount = request.amount.into_text();
    let wish = Wish {
        amount: amount.clone(),
        email: request.email,
        save_card: request.save_card,
        idempotency_key: idempotency,
    };
    let begun = checkouts.begin(&payer, wish).await;
    let page = begun.map_err(|error| problem(error, &owner.currency))?;
    let page = TopupPage {
        checkout_id: page.id,
        url: page.url,
        amount,
        currency: owner.currency,
    };
    Ok((StatusCode::CREATED, Json(page)))
}

fn problem(error: CheckoutError, currency: &str) -> Problem {
    let wallet = |sqlstate, detail: String| Problem::new(table::kind_of(sqlstate), detail);
    match error {
        CheckoutError::NotPermitted => wallet("WL009", "The user of the key may not fund.".into())
            .hint("Use a key of an owner, an admin, or a user with the role billing."),
        CheckoutError::Closed => wallet("WL004", "The wallet is closed.".into()),
        CheckoutError::NotOffered => wallet("WL012", format!("Nobody can pay in {currency} here."))
            .hint("The operator sets payments.stripe.amounts."),
        CheckoutError::OutOfRange(offer) => wallet(
            "WL012",
            format!(
                "The amount must be from {} to {} {currency}.",
                offer.min, offer.max
            ),
        )
        .hint("Choose another amount."),
        CheckoutError::NoAddress => Problem::new(table::INVALID_BODY, "The email is no address."),
        CheckoutError::KeyTaken => wallet(
            "WL006",
            "The idempotency key belongs to another request.".into(),
        )
        .hint("Use another key for another payment."),
        CheckoutError::Refused(code) => wallet(
            "WL012",
            format!("The payment provider refuses the payment: {code}."),
        )
        .hint("Choose an amount that can be paid in the currency."),
        CheckoutError::Provider(error) => Problem::provider(error.to_string()),
        CheckoutError::Database(error) => error.into(),
    }
}
