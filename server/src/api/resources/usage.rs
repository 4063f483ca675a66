//! `GET /v1/usage`: what was used, by a dimension.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::api::extract::{Args, Key};
use crate::api::problem::{Problem, ReadProblems, table};
use crate::api::state::Api;
use crate::api::values::Decimal;
use crate::db::Call;

const USAGE: &str = "SELECT pg_catalog.json_build_object('by', $2, 'data', \
         (SELECT coalesce(pg_catalog.json_agg(u ORDER BY u.ordinality), '[]') \
            FROM wallet.usage_by(o.wallet, $2, $3::timestamptz, $4::timestamptz, $5::date, $6::date, $7) \
                 WITH ORDINALITY u))::text \
  FROM wallet.key_owner($1) o";

/// Which usage, and how it is summed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Query {
    /// `user`, `team`, `model`, `service`, `region`, `key`, `hour`, `day` or `tag:NAME`.
    #[param(
        pattern = "^(user|team|model|service|region|key|hour|day|tag:.+)$",
        example = "model"
    )]
    by: String,
    /// The beginning: a day in the wallet's time zone, or a time of RFC 3339.
    #[param(
        example = "2026-03-01",
        pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+(Z|[+-][0-9]{2}:[0-9]{2}))?$"
    )]
    from: Option<String>,
    /// The end, which is not included: a day or a time, as `from`.
    #[param(
        example = "2026-04-01",
        pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T.+(Z|[+-][0-9]{2}:[0-9]{2}))?$"
    )]
    to: Option<String>,
    /// The currency of the answer. The default is the wallet's.
    #[param(example = "USD")]
    currency: Option<String>,
}

/// The usage, summed by a dimension.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({"by": "model", "data": [{
    "value": "gpt-4o", "requests": 2, "tokens": 2900, "cost": "0.014", "average_cost": "0.007",
    "share": "1", "refunded": "0.00", "currency": "USD", "rate": null, "inverse": null
}]}))]
pub struct Usage {
    /// The dimension.
    by: String,
    /// One row per value, the most expensive first.
    data: Vec<Used>,
}

/// The usage of one value.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Used {
    /// The value. Null: requests without one.
    value: Option<String>,
    requests: i64,
    tokens: i64,
    cost: Decimal,
    average_cost: Option<Decimal>,
    /// The part of the cost of all rows. The shares add up to 1.
    share: Option<Decimal>,
    refunded: Decimal,
    currency: String,
    /// The exchange rate, if the figures were converted.
    rate: Option<Decimal>,
    /// Whether figures were divided by the rate.
    inverse: Option<bool>,
}

/// A bound of the period, as the argument for times and that for days.
fn bound(text: Option<String>, name: &str) -> Result<(Option<String>, Option<String>), Problem> {
    let Some(text) = text else {
        return Ok((None, None));
    };
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok((Some(time.to_string()), None));
    }
    // Only days: a time without an offset would be one of another time zone.
    let is_day = text.len() == "2026-03-01".len();
    match text.parse::<Date>() {
        Ok(day) if is_day => Ok((None, Some(day.to_string()))),
        _ => Err(Problem::new(
            table::BAD_REQUEST,
            format!("{name} is neither a day nor a time with an offset."),
        )
        .hint("Write a day as 2026-03-01 and a time as 2026-03-01T12:00:00Z.")),
    }
}

/// Sums what was used by user, team, model, service, region, key, hour, day or tag.
#[utoipa::path(
    get, path = "/v1/usage", tag = "wallet", operation_id = "getUsage",
    params(Query),
    responses((status = 200, description = "What was used", body = Usage), ReadProblems)
)]
pub async fn get(
    State(api): State<Api>,
    Key(key): Key,
    Args(query): Args<Query>,
) -> Result<Json<Usage>, Problem> {
    let (from, from_day) = bound(query.from, "from")?;
    let (to, to_day) = bound(query.to, "to")?;
    let arguments = vec![Some(query.by), from, to, from_day, to_day, query.currency];
    api.ask(key, Call::read(USAGE, arguments)).await.map(Json)
}
