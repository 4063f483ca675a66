//! `GET /v1/transactions`: the ledger of the wallet, the newest entries first.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::charged::Line;
use crate::api::extract::{Args, Key};
use crate::api::page::{Page, PageSize};
use crate::api::problem::{Problem, ReadProblems};
use crate::api::state::Api;
use crate::api::values::{Decimal, Document, word};
use crate::db::Call;

const TRANSACTIONS: &str = "SELECT (SELECT coalesce(pg_catalog.json_agg(t ORDER BY t.entry_id DESC), '[]') FROM ( \
         SELECT e.entry_id, e.kind, e.amount, e.contra, e.user_id, e.team, e.model, e.service, e.provider, \
                e.region, e.service_tier, e.usage, e.lines, e.tags, e.reference, e.reason, e.actor, e.event_at, \
                e.created_at, e.effective_at, e.idempotency_key, e.metadata, e.related_id, e.original, e.key_id \
           FROM wallet.transactions(o.wallet, user_id => $2, team => $3, kind => $4, model => $5, \
                                    before => $6::uuid, max => $7::integer) e) t)::text \
  FROM wallet.key_owner($1) o";

/// The kind of an entry.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Money that was paid in.
    Funding,
    /// Use that was charged.
    Charge,
    /// A charge that was refunded.
    Refund,
    /// A correction.
    Adjustment,
    /// Credit that ended.
    Expiry,
    /// Money from or to another wallet.
    Transfer,
    /// A payment that was taken back.
    Chargeback,
}

/// Which entries. If several filters are given, all of them must match.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Entries of this user.
    user_id: Option<String>,
    /// Entries of this team.
    team: Option<String>,
    /// Entries of this kind.
    #[param(inline)]
    kind: Option<Kind>,
    /// Entries of this model.
    model: Option<String>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
    /// The number of rows of a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 1000, default = 50)]
    limit: PageSize,
}

/// An entry of the ledger, which never changes.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "entry_id": "01a22dca-d47a-74a6-8e58-c2f090d55aeb", "kind": "charge", "amount": "-0.007",
    "contra": "usage:openai/gpt-4o", "user_id": "alice", "team": null, "model": "gpt-4o",
    "service": null, "provider": "openai", "region": null, "service_tier": null,
    "usage": {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 450}, "lines": null,
    "tags": null, "reference": null, "reason": null, "actor": null,
    "event_at": "2026-03-01T12:00:00Z", "created_at": "2026-03-01T12:00:00Z",
    "effective_at": "2026-03-01T12:00:00Z", "idempotency_key": "req-1", "metadata": null,
    "related_id": null, "original": null, "key_id": null
}))]
pub struct Transaction {
    entry_id: Uuid,
    kind: Kind,
    /// Positive if money enters the wallet.
    amount: Decimal,
    /// The other side, such as `funding:card`.
    contra: String,
    user_id: Option<String>,
    team: Option<String>,
    model: Option<String>,
    service: Option<String>,
    provider: Option<String>,
    region: Option<String>,
    service_tier: Option<String>,
    /// The usage object as it was sent.
    usage: Option<Document>,
    /// How the cost was computed.
    lines: Option<Vec<Line>>,
    tags: Option<Document>,
    /// The id of a payment.
    reference: Option<String>,
    reason: Option<String>,
    actor: Option<String>,
    /// The time of use.
    #[schema(value_type = Option<String>, format = DateTime)]
    event_at: Option<Timestamp>,
    /// The time of booking.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// From when on the entry counts in a balance.
    #[schema(value_type = Option<String>, format = DateTime)]
    effective_at: Option<Timestamp>,
    idempotency_key: Option<String>,
    metadata: Option<Document>,
    /// The entry or hold to which this one refers.
    related_id: Option<Uuid>,
    /// A funding in another currency: what was paid.
    original: Option<Document>,
    key_id: Option<Uuid>,
}

/// The ledger of the wallet, the newest entries first.
#[utoipa::path(
    get, path = "/v1/transactions", tag = "wallet", operation_id = "listTransactions",
    params(Filter),
    responses(
        (status = 200, description = "A page of entries", body = Page<Transaction>,
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
    let arguments = vec![
        filter.user_id,
        filter.team,
        filter.kind.and_then(word),
        filter.model,
        filter.cursor.map(|cursor| cursor.to_string()),
        Some(size.rows().to_string()),
    ];
    let rows: Vec<Transaction> = api.ask(key, Call::read(TRANSACTIONS, arguments)).await?;
    Ok(Page::new(rows, size, |row| row.entry_id.to_string()).answer(&uri))
}
