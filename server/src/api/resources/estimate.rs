//! `POST /v1/estimate`: what usage would cost, and whether it would be allowed. Books nothing.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::attribution::attributed;
use crate::api::charged::{CostFrom, Line};
use crate::api::extract::{Body, Key, Origin};
use crate::api::problem::{BodyProblems, Problem, ReadProblems};
use crate::api::state::Api;
use crate::api::values::{Decimal, Document, word};
use crate::db::Call;

const ESTIMATE: &str = "SELECT pg_catalog.json_build_object('cost', p.cost, 'currency', p.currency, 'model', p.model, \
       'total_tokens', p.total_tokens, 'lines', p.lines, 'checks', \
       (SELECT coalesce(pg_catalog.json_agg(k ORDER BY k.ordinality), '[]') \
          FROM wallet.check_limits(o.wallet, usage => $2::jsonb, user_id => $3, team => $4, model => $5, service => $6, \
                 region => $7, service_tier => $8, tags => $9::jsonb, event_at => $10::timestamptz, \
                 client_ip => $11::inet, device => $12, cost_from => $13, for_hold => $14::boolean) \
               WITH ORDINALITY k))::text \
  FROM wallet.key_owner($1) o \
 CROSS JOIN LATERAL wallet.price_usage($2::jsonb, o.wallet, model => $5, region => $7, service_tier => $8, \
       at => coalesce($10::timestamptz, pg_catalog.now()), cost_from => $13) p";

attributed! {
    /// Usage that is expected.
    #[schema(example = json!({
        "usage": {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 450}, "user_id": "alice"
    }))]
    pub struct EstimateRequest {
        /// The expected usage, as a provider's response or as meters.
        usage: Document,
        /// Whether the prices or the provider say what the usage costs.
        #[serde(default)]
        #[schema(inline)]
        cost_from: CostFrom,
        /// Whether the checks are those of a hold instead of a charge.
        #[serde(default)]
        for_hold: bool,
    }
}

/// The cost of usage, and whether it would be allowed.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "cost": "0.007", "currency": "USD", "model": "gpt-4o", "total_tokens": 1450, "lines": [],
    "allowed": true, "reason": null, "checks": []
}))]
pub struct Estimate {
    /// The cost.
    cost: Decimal,
    /// The wallet's currency.
    currency: String,
    /// The model.
    model: Option<String>,
    /// The sum of all tokens.
    total_tokens: Option<i64>,
    /// How the cost is computed.
    lines: Option<Vec<Line>>,
    /// Whether the same charge would be booked now. Only the charge itself is binding.
    #[serde(default)]
    allowed: bool,
    /// Why not: the first reason of the checks.
    #[serde(default)]
    reason: Option<String>,
    /// The balance, then each limit that applies.
    checks: Vec<Check>,
}

/// The balance or a limit, and whether it allows the usage.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Check {
    /// Null for the balance.
    limit_id: Option<Uuid>,
    /// `balance`, or the scope of the limit.
    scope: Option<String>,
    subject: Option<String>,
    period: Option<String>,
    metric: Option<String>,
    mode: Option<String>,
    max: Option<Decimal>,
    used: Option<Decimal>,
    held: Option<Decimal>,
    remaining: Option<Decimal>,
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Timestamp>,
    allowed: bool,
    reason: Option<String>,
    /// The most that a single request may take.
    max_per_request: Option<Decimal>,
}

/// Estimates what usage would cost, and whether a charge or hold would be allowed. Books nothing.
#[utoipa::path(
    post, path = "/v1/estimate", tag = "prices", operation_id = "createEstimate",
    request_body = EstimateRequest,
    responses((status = 200, description = "The estimate", body = Estimate), ReadProblems, BodyProblems)
)]
pub async fn create(
    State(api): State<Api>,
    Key(key): Key,
    Origin(origin): Origin,
    Body(mut request): Body<EstimateRequest>,
) -> Result<Json<Estimate>, Problem> {
    let attribution = request.attribution(origin);
    let mut arguments = vec![Some(request.usage.into_text())];
    arguments.extend(attribution);
    arguments.extend([word(request.cost_from), Some(request.for_hold.to_string())]);
    let mut estimate: Estimate = api.ask(key, Call::read(ESTIMATE, arguments)).await?;
    estimate.allowed = estimate.checks.iter().all(|check| check.allowed);
    let refused = estimate.checks.iter().find(|check| !check.allowed);
    estimate.reason = refused.and_then(|check| check.reason.clone());
    Ok(Json(estimate))
}
