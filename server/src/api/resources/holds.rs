//! `/v1/holds`: reserves money, books the actual usage, releases the rest.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::attribution::attributed;
use crate::api::charged::{Charged, CostFrom};
use crate::api::extract::{Body, Id, Idempotency, Key, Origin};
use crate::api::problem::{BodyProblems, IdProblems, Problem, ReadProblems, WriteProblems, table};
use crate::api::state::Api;
use crate::api::values::{Amount, Decimal, Document, Time, word};
use crate::db::Call;

const HOLD: &str = "SELECT pg_catalog.to_json(h)::text \
  FROM wallet.key_owner($1) o \
 CROSS JOIN LATERAL wallet.hold(o.wallet, usage => $2::jsonb, amount => $3::numeric, user_id => $4, team => $5, \
       model => $6, service => $7, region => $8, service_tier => $9, tags => $10::jsonb, event_at => $11::timestamptz, \
       client_ip => $12::inet, device => $13, idempotency_key => $14, metadata => $15::jsonb, \
       ttl => pg_catalog.concat($16, ' seconds')::interval, allow_partial => $17::boolean, on_expiry => $18) h";
const SETTLE: &str = "SELECT pg_catalog.to_json(c)::text \
  FROM wallet.key_owner($1) o \
 CROSS JOIN LATERAL wallet.settle(o.wallet, $2::uuid, usage => $3::jsonb, amount => $4::numeric, final => $5::boolean, \
       over => $6, event_at => $7::timestamptz, idempotency_key => $8, metadata => $9::jsonb, cost_from => $10) c";
const VOID: &str = "SELECT pg_catalog.to_json(h)::text \
  FROM wallet.key_owner($1) o \
 CROSS JOIN LATERAL wallet.void(o.wallet, $2::uuid, reason => $3, idempotency_key => $4, metadata => $5::jsonb) h";
const READ: &str = "SELECT (SELECT pg_catalog.to_json(t) FROM ( \
         SELECT h.hold_id, h.status, h.amount, h.held, h.settled, h.user_id, h.team, h.model, h.service, \
                h.provider, h.region, h.service_tier, h.tags, h.metadata, h.reason, h.on_expiry, h.approved, \
                h.created_at, h.expires_at, h.closed_at \
           FROM wallet.holds h WHERE h.wallet = o.wallet AND h.hold_id = $2::uuid) t)::text \
  FROM wallet.key_owner($1) o";

/// The use of the amount if nobody settles or voids the hold in time.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExpiry {
    /// It is released.
    #[default]
    Release,
    /// It is charged.
    Charge,
}

/// How usage that costs more than the held amount is handled.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// The excess is charged, or the settlement is refused.
    #[default]
    Charge,
    /// At most the held amount is booked.
    Cap,
    /// The part that the balance does not cover becomes a debt.
    Debt,
}

const TTL: u32 = 600;

fn ttl() -> u32 {
    TTL
}

fn yes() -> bool {
    true
}

attributed! {
    /// A hold: either `usage`, which is an estimate, or `amount`.
    #[schema(example = json!({
        "usage": {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000},
        "user_id": "alice", "ttl_seconds": 120
    }))]
    pub struct HoldRequest {
        /// The usage that is expected.
        usage: Option<Document>,
        /// The amount itself.
        amount: Option<Amount>,
        /// How long the hold lasts. Choose it longer than the longest request.
        #[serde(default = "ttl")]
        #[schema(default = 600)]
        ttl_seconds: u32,
        /// Whether the hold may shrink to what the balance and the limits allow.
        #[serde(default)]
        allow_partial: bool,
        /// The use of the amount if nobody settles or voids the hold in time.
        #[serde(default)]
        #[schema(inline)]
        on_expiry: OnExpiry,
        /// Anything that should be stored with the hold.
        metadata: Option<Document>,
    }
}

/// A hold that was made or voided.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "hold_id": "01a22dca-d47a-74a6-8e58-c2f090d55aeb", "amount": "0.0425", "balance": "99.993",
    "expires_at": "2026-03-01T12:02:00Z", "replayed": false, "affordable_tokens": 4000, "status": "open"
}))]
pub struct Held {
    /// The id, for settlement.
    hold_id: Uuid,
    /// The reserved amount, or the released amount.
    amount: Decimal,
    /// The balance, of which the held amount is a part.
    balance: Option<Decimal>,
    /// When the hold ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// Whether the same request was made before.
    replayed: bool,
    /// The number of the estimate's output tokens that the amount pays for.
    affordable_tokens: Option<i64>,
    /// `waiting`, `open`, `settled`, `voided` or `expired`.
    status: String,
}

/// A hold.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Hold {
    hold_id: Uuid,
    /// `waiting`, `open`, `settled`, `voided` or `expired`.
    status: String,
    /// The amount reserved at first.
    amount: Decimal,
    /// The amount that is still reserved.
    held: Decimal,
    /// The booked amount.
    settled: Decimal,
    user_id: Option<String>,
    team: Option<String>,
    model: Option<String>,
    service: Option<String>,
    provider: Option<String>,
    region: Option<String>,
    service_tier: Option<String>,
    tags: Option<Document>,
    metadata: Option<Document>,
    reason: Option<String>,
    /// `release` or `charge`.
    on_expiry: Option<String>,
    /// Whether the hold waited for approval and was approved.
    approved: Option<bool>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    closed_at: Option<Timestamp>,
}

/// The settlement of a hold: either `usage` or `amount`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"usage": {"input_tokens": 1000, "output_tokens": 1500}}))]
pub struct SettleRequest {
    /// The actual usage. The hold has the rest of its context.
    usage: Option<Document>,
    /// The cost itself.
    amount: Option<Amount>,
    /// `false` books a part and keeps the rest.
    #[serde(default = "yes", rename = "final")]
    #[schema(default = true)]
    is_final: bool,
    /// How usage that costs more than the held amount is handled.
    #[serde(default)]
    #[schema(inline)]
    over: Over,
    /// The time of use.
    event_at: Option<Time>,
    /// Whether the prices or the provider say what the usage costs.
    #[serde(default)]
    #[schema(inline)]
    cost_from: CostFrom,
    /// Anything that should be stored with the entry.
    metadata: Option<Document>,
}

/// The release of a hold.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"reason": "the provider refused"}))]
pub struct VoidRequest {
    /// Why nothing was used.
    reason: Option<String>,
    /// Anything that should be stored.
    metadata: Option<Document>,
}

impl IntoResponse for Held {
    fn into_response(self) -> Response {
        let status = match (self.replayed, self.status.as_str()) {
            (_, "waiting") => StatusCode::ACCEPTED,
            (true, _) => StatusCode::OK,
            (false, _) => StatusCode::CREATED,
        };
        (status, Json(self)).into_response()
    }
}

/// Reserves money and limits until the actual usage is known.
#[utoipa::path(
    post, path = "/v1/holds", tag = "holds", operation_id = "createHold",
    request_body = HoldRequest,
    params(("Idempotency-Key" = Option<String>, Header, description = "Identifies the request, so that a retry holds once.", example = "req-1")),
    responses(
        (status = 201, description = "The hold was made", body = Held,
         links(
             ("read" = (operation_id = "getHold", parameters(("id" = "$response.body#/hold_id")))),
             ("settle" = (operation_id = "settleHold", parameters(("id" = "$response.body#/hold_id")))),
             ("void" = (operation_id = "voidHold", parameters(("id" = "$response.body#/hold_id"))))
         )),
        (status = 202, description = "The hold waits for approval: do not call the provider yet", body = Held),
        (status = 200, description = "The same request was made before: its result", body = Held),
        ReadProblems, BodyProblems, WriteProblems
    )
)]
pub async fn create(
    State(api): State<Api>,
    Key(key): Key,
    Origin(origin): Origin,
    Idempotency(idempotency): Idempotency,
    Body(mut request): Body<HoldRequest>,
) -> Result<Held, Problem> {
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
        Some(request.ttl_seconds.to_string()),
        Some(request.allow_partial.to_string()),
        word(request.on_expiry),
    ]);
    api.ask(key, Call::write(HOLD, arguments, is_repeatable))
        .await
}

/// A hold with its current status.
#[utoipa::path(
    get, path = "/v1/holds/{id}", tag = "holds", operation_id = "getHold",
    params(("id" = Uuid, Path, description = "The `hold_id`")),
    responses((status = 200, description = "The hold", body = Hold), ReadProblems, IdProblems)
)]
pub async fn get(State(api): State<Api>, Key(key): Key, Id(id): Id) -> Result<Json<Hold>, Problem> {
    let found = api
        .find(key, Call::read(READ, vec![Some(id.to_string())]))
        .await?;
    found.map(Json).ok_or_else(|| {
        Problem::new(table::NOT_FOUND, format!("The wallet has no hold {id}."))
            .hint("Pass the hold_id that the request for the hold returned.")
    })
}

/// Books the actual usage of a hold, and releases the rest.
#[utoipa::path(
    post, path = "/v1/holds/{id}/settle", tag = "holds", operation_id = "settleHold",
    request_body = SettleRequest,
    params(
        ("id" = Uuid, Path, description = "The `hold_id`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies the request, so that a retry books once.", example = "req-1")
    ),
    responses(
        (status = 201, description = "The usage was booked", body = Charged,
         headers(("X-Usage-Cost" = String, description = "The cost"),
                 ("X-Usage-Currency" = String, description = "Its currency"),
                 ("X-Total-Tokens" = String, description = "All tokens, if any were used"),
                 ("X-Model" = String, description = "The model, if there is one"),
                 ("X-Wallet-Balance" = String, description = "The balance after the charge"))),
        (status = 200, description = "The same request was booked before: its result", body = Charged),
        ReadProblems, BodyProblems, IdProblems, WriteProblems
    )
)]
pub async fn settle(
    State(api): State<Api>,
    Key(key): Key,
    Id(id): Id,
    Idempotency(idempotency): Idempotency,
    Body(request): Body<SettleRequest>,
) -> Result<Charged, Problem> {
    let is_repeatable = idempotency.is_some();
    let arguments = vec![
        Some(id.to_string()),
        request.usage.map(Document::into_text),
        request.amount.map(Amount::into_text),
        Some(request.is_final.to_string()),
        word(request.over),
        request.event_at.map(Time::into_text),
        idempotency,
        request.metadata.map(Document::into_text),
        word(request.cost_from),
    ];
    api.ask(key, Call::write(SETTLE, arguments, is_repeatable))
        .await
}

/// Releases everything that a hold still reserves.
#[utoipa::path(
    post, path = "/v1/holds/{id}/void", tag = "holds", operation_id = "voidHold",
    request_body = VoidRequest,
    params(
        ("id" = Uuid, Path, description = "The `hold_id`"),
        ("Idempotency-Key" = Option<String>, Header, description = "Identifies the request, so that a retry has the first result.", example = "req-1")
    ),
    responses(
        (status = 201, description = "The hold was voided", body = Held),
        (status = 200, description = "The same request was made before: its result", body = Held),
        ReadProblems, BodyProblems, IdProblems, WriteProblems
    )
)]
pub async fn void(
    State(api): State<Api>,
    Key(key): Key,
    Id(id): Id,
    Idempotency(idempotency): Idempotency,
    Body(request): Body<VoidRequest>,
) -> Result<Held, Problem> {
    let is_repeatable = idempotency.is_some();
    let arguments = vec![
        Some(id.to_string()),
        request.reason,
        idempotency,
        request.metadata.map(Document::into_text),
    ];
    api.ask(key, Call::write(VOID, arguments, is_repeatable))
        .await
}
