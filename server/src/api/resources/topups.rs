//! `POST /v1/top-up`: a page on which a customer pays money into the wallet.
//!
//! Nothing is booked here. The provider's signed event leads to the payment, and the worker's role
//! books it: the role of tenants cannot fund.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ring::digest;
use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::extract::{Body, Idempotency, Key};
use crate::api::problem::{BodyProblems, IdProblems, Problem, ReadProblems, WriteProblems, table};
use crate::api::state::Api;
use crate::api::values::{Amount, Decimal as Digits};
use crate::db::Call;
use crate::payments::{CheckoutRequest, Money, Payments, ProviderError};

const OWNER: &str = "SELECT pg_catalog.json_build_object('wallet', b.wallet, 'currency', b.currency, \
       'status', b.status, 'role', m.role, 'blocked', coalesce(m.blocked, false))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.balances b ON b.wallet = o.wallet \
  LEFT JOIN wallet.member_list m ON m.wallet = o.wallet AND m.user_id = o.user_id";

/// The longest address of e-mail.
const EMAIL_MAX: usize = 254;

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
    let Some(payments) = &api.payments else {
        return Err(
            Problem::new(table::NOT_FOUND, "Payments are not set up here.")
                .hint("The operator sets payments.stripe."),
        );
    };
    may_fund(&owner)?;
    let amount = request.amount.into_text();
    let money = in_range(&api, &owner.currency, &amount)?;
    let email = request.email.map(address).transpose()?;
    let name = payments.provider.name();
    let customer = payments.ledger.saved(&owner.wallet, name, false).await?;
    let checkout = CheckoutRequest {
        idempotency_key: key_of(&owner.wallet, idempotency.as_deref()),
        wallet: owner.wallet,
        money,
        email,
        is_saved: request.save_card,
        customer: customer.map(|(customer, _)| customer),
    };
    let page = begin(payments, &checkout).await?;
    let page = TopupPage {
        checkout_id: page.0,
        url: page.1,
        amount,
        currency: checkout.money.currency,
    };
    Ok((StatusCode::CREATED, Json(page)))
}

/// The roles of members that may fund are those of the table in the reference of access.
fn may_fund(owner: &Owner) -> Result<(), Problem> {
    let may = match owner.role.as_deref() {
        Some(role) => ["owner", "admin", "billing"].contains(&role) && !owner.blocked,
        None => true,
    };
    if !may {
        return Err(
            Problem::new(table::kind_of("WL009"), "The user of the key may not fund.")
                .hint("Use a key of an owner, an admin, or a user with the role billing."),
        );
    }
    if owner.status == "closed" {
        return Err(Problem::new(
            table::kind_of("WL004"),
            "The wallet is closed.",
        ));
    }
    Ok(())
}

/// The amount, if it is offered.
fn in_range(api: &Api, currency: &str, amount: &str) -> Result<Money, Problem> {
    let offer = api.offers.iter().find(|offer| offer.currency == currency);
    let Some(offer) = offer else {
        let detail = format!("Nobody can pay in {currency} here.");
        return Err(Problem::new(table::kind_of("WL012"), detail)
            .hint("The operator sets payments.stripe.amounts."));
    };
    let exact = Decimal::from_str_exact(amount).ok();
    match exact.filter(|exact| *exact >= offer.min && *exact <= offer.max) {
        Some(amount) => Ok(Money {
            amount,
            currency: currency.to_owned(),
        }),
        None => {
            let (min, max) = (offer.min, offer.max);
            let detail = format!("The amount must be from {min} to {max} {currency}.");
            Err(Problem::new(table::kind_of("WL012"), detail).hint("Choose another amount."))
        }
    }
}

fn address(email: String) -> Result<String, Problem> {
    let is_plain = email.len() <= EMAIL_MAX
        && email.contains('@')
        && email.chars().all(|c| !c.is_whitespace() && !c.is_control());
    match is_plain {
        true => Ok(email),
        false => Err(Problem::new(
            table::INVALID_BODY,
            "The email is no address.",
        )),
    }
}

/// The provider's idempotency key. Keys of one wallet never meet those of another.
fn key_of(wallet: &str, key: Option<&str>) -> String {
    let Some(key) = key else {
        return uuid::Uuid::now_v7().to_string();
    };
    let text = format!("{}:{wallet}{key}", wallet.len());
    let hash = digest::digest(&digest::SHA256, text.as_bytes());
    let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    format!("checkout-{}", hex.collect::<String>())
}

async fn begin(
    payments: &Payments,
    request: &CheckoutRequest,
) -> Result<(String, String), Problem> {
    match payments.provider.create_checkout(request).await {
        Ok(page) => Ok((page.id, page.url)),
        Err(ProviderError::Refused(code)) if code == "idempotency_error" => Err(Problem::new(
            table::kind_of("WL006"),
            "The idempotency key belongs to another request.",
        )
        .hint("Use another key for another payment.")),
        Err(ProviderError::Refused(code) | ProviderError::Declined(code)) => Err(Problem::new(
            table::kind_of("WL012"),
            format!("The payment provider refuses the payment: {code}."),
        )
        .hint("Choose an amount that can be paid in the currency.")),
        Err(error) => Err(Problem::provider(error.to_string())),
    }
}
