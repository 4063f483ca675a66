//! `POST /v1/charges`: charges the wallet for usage, or an amount.

use axum::extract::State;

use crate::api::attribution::attributed;
use crate::api::charged::{Charged, CostFrom};
use crate::api::extract::{Body, Idempotency, Key, Origin};
use crate::api::problem::{BodyProblems, Problem, ReadProblems, WriteProblems};
use crate::api::state::Api;
use crate::api::values::{Amount, Document, word};
use crate::db::Call;

const CHARGE: &str = "SELECT pg_catalog.to_json(c)::text \
  FROM wallet.key_owner($1) o \
 CROSS JOIN LATERAL wallet.charge(o.wallet, usage => $2::jsonb, amount => $3::numeric, user_id => $4, team => $5, \
       model => $6, service => $7, region => $8, service_tier => $9, tags => $10::jsonb, event_at => $11::timestamptz, \
       client_ip => $12::inet, device => $13, idempotency_key => $14, metadata => $15::jsonb, cost_from => $16) c";

attributed! {
    /// A charge: either `usage` or `amount`.
    #[schema(example = json!({
        "usage": {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 450}, "user_id": "alice"
    }))]
    pub struct ChargeRequest {
        /// The usage in a provider's response, or meters.
        usage: Option<Document>,
        /// The cost itself.
        amount: Option<Amount>,
        /// Whether the prices or the provider say what the usage costs.
        #[serde(default)]
        #[schema(inline)]
        cost_from: CostFrom,
        /// Anything that should be stored with the entry.
        metadata: Option<Document>,
    }
}

/// Charges the wallet for usage, or an amount. With an idempotency key, a retry books nothing and
/// returns the first result with status 200.
#[utoipa::path(
    post, path = "/v1/charges", tag = "charges", operation_id = "createCharge",
    request_body = ChargeRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Identifies the request, so that a retry books once.", example = "req-1")),
    responses(
        (status = 201, description = "The charge was booked", body = Charged,
         headers(("X-Usage-Cost" = String, description = "The cost"),
                 ("X-Usage-Currency" = String, description = "Its currency"),
                 ("X-Total-Tokens" = String, description = "All tokens, if any were used"),
                 ("X-Model" = String, description = "The model, if there is one"),
                 ("X-Wallet-Balance" = String, description = "The balance after the charge"))),
        (status = 200, description = "The same request was booked before: its result", body = Charged),
        ReadProblems, BodyProblems, WriteProblems
    )
)]
pub async fn create(
    State(api): State<Api>,
    Key(key): Key,
    Origin(origin): Origin,
    Idempotency(idempotency): Idempotency,
    Body(mut request): Body<ChargeRequest>,
) -> Result<Charged, Problem> {
    let is_repeatable = idempotency.is_some();
    let attribution = request.attribution(origin);
    let mut arguments = vec![
        request.usage.map(Document::into_text),
        request.amount.map(Amount::into_text),
    ];
    arguments.extend(attribution);
    arguments.extend([
        idempotency,
        request.metadata.map(Document::into_text),
        word(request.cost_from),
    ]);
    api.ask(key, Call::write(CHARGE, arguments, is_repeatable))
        .await
}
