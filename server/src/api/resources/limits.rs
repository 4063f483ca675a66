//! `GET /v1/limits`: the limits of the wallet with what is used of them.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::extract::{Args, Key};
use crate::api::page::{Page, PageSize};
use crate::api::problem::{Problem, ReadProblems, table};
use crate::api::state::Api;
use crate::api::values::Decimal;
use crate::db::Call;

const LIMITS: &str = "SELECT (SELECT coalesce(pg_catalog.json_agg(t ORDER BY t.limit_id, coalesce(t.subject, '')), '[]') FROM ( \
         SELECT l.limit_id, l.scope, l.subject, l.period, l.metric, l.mode, l.max, l.used, l.held, l.remaining, \
                l.percent, l.resets_at, l.paused, l.time_zone, l.is_default \
           FROM wallet.limits_status l \
          WHERE l.wallet = o.wallet AND ($2 IS NULL OR l.scope = $2) AND ($3 IS NULL OR l.subject = $3) \
            AND ($4 IS NULL OR (l.limit_id, coalesce(l.subject, '')) > ($4::uuid, $5)) \
          ORDER BY l.limit_id, coalesce(l.subject, '') LIMIT $6::integer) t)::text \
  FROM wallet.key_owner($1) o";

/// Which limits.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Limits of this scope, such as `user`.
    scope: Option<String>,
    /// Limits of this subject, such as the name of a user.
    subject: Option<String>,
    /// `next` of the page before.
    #[param(pattern = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:")]
    cursor: Option<String>,
    /// The number of rows of a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 1000, default = 50)]
    limit: PageSize,
}

/// A limit with what one subject used of it in the running window.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "limit_id": "01a22dca-d427-7260-816e-8621ab9e5737", "scope": "user", "subject": "alice",
    "period": "day", "metric": "amount", "mode": "hard", "max": "30.00", "used": "1.25",
    "held": "0.00", "remaining": "28.75", "percent": "4.2", "resets_at": "2026-03-02T00:00:00Z",
    "paused": false, "time_zone": "UTC", "is_default": false
}))]
pub struct Limit {
    limit_id: Uuid,
    scope: String,
    /// The subject that used the limit.
    subject: Option<String>,
    period: String,
    /// `amount`, `requests`, `tokens` or a meter.
    metric: String,
    /// `hard`, `soft` or `approve`.
    mode: String,
    max: Option<Decimal>,
    used: Option<Decimal>,
    held: Option<Decimal>,
    remaining: Option<Decimal>,
    /// Used and held, in percent of the maximum.
    percent: Option<Decimal>,
    /// When the window ends. Null: never.
    #[schema(value_type = Option<String>, format = DateTime)]
    resets_at: Option<Timestamp>,
    paused: bool,
    time_zone: Option<String>,
    /// Whether it applies to every wallet that has no such limit of its own.
    is_default: bool,
}

/// The limits of the wallet with what is used of them.
#[utoipa::path(
    get, path = "/v1/limits", tag = "wallet", operation_id = "listLimits",
    params(Filter),
    responses(
        (status = 200, description = "A page of limits", body = Page<Limit>,
         headers(("Link" = String, description = "The next page, if there is one"))),
        ReadProblems
    )
)]
pub async fn list(
    State(api): State<Api>,
    Key(key): Key,
    uri: Uri,
    Args(filter): Args<Filter>,
) -> Result<Response, Problem> {
    let size = filter.limit;
    let (last_id, last_subject) = filter.cursor.as_deref().map(cursor_of).transpose()?.unzip();
    let arguments = vec![
        filter.scope,
        filter.subject,
        last_id,
        last_subject,
        Some(size.rows().to_string()),
    ];
    let rows: Vec<Limit> = api.ask(key, Call::read(LIMITS, arguments)).await?;
    let cursor = |row: &Limit| format!("{}:{}", row.limit_id, row.subject.as_deref().unwrap_or(""));
    Ok(Page::new(rows, size, cursor).answer(&uri))
}

/// The limit and the subject of the last row before a page.
fn cursor_of(text: &str) -> Result<(String, String), Problem> {
    let parts = text.split_once(':');
    let parts = parts.and_then(|(id, subject)| Some((id.parse::<Uuid>().ok()?, subject)));
    let (id, subject) = parts.ok_or_else(|| {
        Problem::new(table::BAD_REQUEST, "The cursor is not the next of a page.")
            .hint("Pass the field next of the page before, unchanged.")
    })?;
    Ok((id.to_string(), subject.to_owned()))
}
