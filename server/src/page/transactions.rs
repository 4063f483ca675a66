//! The ledger in pages, and what an entry consists of.

use axum::extract::{Path, State};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::account::SignedIn;
use super::failure::Failure;
use super::layout;
use super::parts::{input, money, or_none, select, table};
use super::session::Asked;
use super::state::Pages;

/// The rows of a page. One more is read to see whether there is another page.
const ROWS: usize = 25;

const LIST: &str = "SELECT (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('id', e.entry_id, \
            'at', pg_catalog.to_char(e.created_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI:SS'), \
            'kind', e.kind, 'amount', e.amount::text, 'user', e.user_id, 'team', e.team, 'model', e.model, \
            'contra', e.contra) ORDER BY e.entry_id DESC), '[]') \
       FROM wallet.transactions(o.wallet, user_id => $2, team => $3, kind => $4, model => $5, \
                                before => $6::uuid, max => $7::integer) e)::text \
  FROM wallet.key_owner($1) o JOIN wallet.wallets w ON w.wallet_id = o.wallet";

const ENTRY: &str = "SELECT (SELECT pg_catalog.json_build_object('id', e.entry_id, 'kind', e.kind, 'amount', e.amount::text, 'facts', ( \
            SELECT pg_catalog.json_agg(pg_catalog.json_build_array(f.name, f.value) ORDER BY f.place) FROM (VALUES \
              (1, 'Booked', pg_catalog.to_char(e.created_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI:SS')), \
              (2, 'Used', pg_catalog.to_char(e.event_at AT TIME ZONE w.time_zone, 'YYYY-MM-DD HH24:MI:SS')), \
              (3, 'Account', e.contra), (4, 'User', e.user_id), (5, 'Team', e.team), (6, 'Model', e.model), \
              (7, 'Provider', e.provider), (8, 'Service', e.service), (9, 'Region', e.region), (10, 'Tier', e.service_tier), \
              (11, 'Reference', e.reference), (12, 'Reason', e.reason), (13, 'Actor', e.actor), (14, 'Tags', e.tags::text), \
              (15, 'Usage', e.usage::text), (16, 'Refers to', e.related_id::text), (17, 'Key', e.key_id::text), \
              (18, 'Idempotency key', e.idempotency_key)) AS f (place, name, value) WHERE f.value IS NOT NULL), \
            'lines', (SELECT coalesce(pg_catalog.json_agg(pg_catalog.json_build_object('meter', l.line ->> 'meter', \
                        'quantity', l.line ->> 'quantity', 'unit_price', l.line ->> 'unit_price', 'per', l.line ->> 'per', \
                        'amount', l.line ->> 'amount') ORDER BY l.place), '[]') \
                        FROM pg_catalog.jsonb_array_elements(CASE pg_catalog.jsonb_typeof(e.lines) WHEN 'array' THEN e.lines ELSE '[]' END) \
                             WITH ORDINALITY AS l (line, place))) \
       FROM wallet.entries e WHERE e.wallet = o.wallet AND e.entry_id = $2::uuid)::text \
  FROM wallet.key_owner($1) o JOIN wallet.wallets w ON w.wallet_id = o.wallet";

/// Which entries. An empty field is none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Filter {
    user: String,
    team: String,
    model: String,
    kind: String,
    before: String,
}

#[derive(Deserialize)]
struct Row {
    id: Uuid,
    at: String,
    kind: String,
    amount: String,
    user: Option<String>,
    team: Option<String>,
    model: Option<String>,
    contra: String,
}

const KINDS: &[(&str, &str)] = &[
    ("", "all"),
    ("charge", "charge"),
    ("funding", "funding"),
    ("refund", "refund"),
    ("adjustment", "adjustment"),
    ("expiry", "expiry"),
    ("transfer", "transfer"),
    ("chargeback", "chargeback"),
];

/// The list.
pub async fn list(
    State(pages): State<Pages>,
    person: SignedIn,
    Asked(filter): Asked<Filter>,
) -> Result<Markup, Failure> {
    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
    let before = given(&filter.before);
    if before
        .as_deref()
        .is_some_and(|id| id.parse::<Uuid>().is_err())
    {
        return Err(Failure::no_such_page());
    }
    let arguments = vec![
        given(&filter.user),
        given(&filter.team),
        given(&filter.kind),
        given(&filter.model),
        before,
        Some((ROWS + 1).to_string()),
    ];
    let mut rows: Vec<Row> = pages.read(&person.key, LIST, arguments).await?;
    let has_more = rows.len() > ROWS;
    rows.truncate(ROWS);
    let next = rows
        .last()
        .filter(|_| has_more)
        .map(|row| row.id.to_string());
    Ok(layout::page(
        "Transactions",
        "/transactions",
        &person,
        html! {
            (fields(&filter))
            @if rows.is_empty() { p { "There are no such transactions." } }
            @else { (entries(&rows, &person.account.currency)) }
            nav aria-label="Pages of transactions" {
                ul.paging {
                    @if !filter.before.is_empty() { li { a href=(address(&filter, "")) { "Newest" } } }
                    @if let Some(next) = next { li { a rel="next" href=(address(&filter, &next)) { "Older" } } }
                }
            }
        },
    ))
}

fn address(filter: &Filter, before: &str) -> String {
    let filter = Filter {
        before: before.to_owned(),
        ..filter.clone()
    };
    let query = serde_urlencoded::to_string(filter).unwrap_or_default();
    format!("/transactions?{query}")
}

fn fields(filter: &Filter) -> Markup {
    html! {
        form.fields method="get" action="/transactions" role="search" aria-label="Filter of transactions" {
            (input("f-user", "user", "User", &filter.user, false))
            (input("f-team", "team", "Team", &filter.team, false))
            (input("f-model", "model", "Model", &filter.model, false))
            (select("f-kind", "kind", "Kind", KINDS, &filter.kind))
            button type="submit" { "Filter" }
        }
    }
}

fn entries(rows: &[Row], currency: &str) -> Markup {
    let columns = ["Time", "Kind", "Amount", "User", "Team", "Model or account"];
    let body = html! {
        @for row in rows {
            tr {
                th scope="row" { a href={ "/transactions/" (row.id) } { (row.at) } }
                td { (row.kind) }
                td.number { (money(&row.amount, currency)) }
                td { (or_none(row.user.as_deref())) }
                td { (or_none(row.team.as_deref())) }
                td { (row.model.as_deref().unwrap_or(&row.contra)) }
            }
        }
    };
    table("Transactions, the newest first", &columns, body)
}

#[derive(Deserialize)]
struct Entry {
    id: Uuid,
    kind: String,
    amount: String,
    facts: Vec<(String, String)>,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
struct Line {
    meter: Option<String>,
    quantity: Option<String>,
    unit_price: Option<String>,
    per: Option<String>,
    amount: Option<String>,
}

/// An entry with its lines.
pub async fn entry(
    State(pages): State<Pages>,
    person: SignedIn,
    Path(id): Path<String>,
) -> Result<Markup, Failure> {
    let id: Uuid = id.parse().map_err(|_| Failure::not_found())?;
    let call = crate::db::Call::read(ENTRY, vec![Some(id.to_string())]);
    let entry: Option<Entry> = pages.find(&person.key, call).await?;
    let entry = entry.ok_or_else(Failure::not_found)?;
    let currency = person.account.currency.as_str();
    let rows = html! {
        @for line in &entry.lines {
            tr {
                th scope="row" { (or_none(line.meter.as_deref())) }
                td.number { (or_none(line.quantity.as_deref())) }
                td.number { (or_none(line.unit_price.as_deref())) }
                td.number { (or_none(line.per.as_deref())) }
                td.number { @if let Some(amount) = &line.amount { (money(amount, currency)) } }
            }
        }
    };
    Ok(layout::page(
        "Transaction",
        "/transactions",
        &person,
        html! {
            p.big { (entry.kind) " " (money(&entry.amount, currency)) }
            dl.facts {
                div { dt { "Id" } dd { (entry.id) } }
                @for (name, value) in &entry.facts { div { dt { (name) } dd { (value) } } }
            }
            @if !entry.lines.is_empty() {
                (table("How the cost was computed", &["Meter", "Quantity", "Unit price", "Per", "Amount"], rows))
            }
            p { a href="/transactions" { "Back to the transactions" } }
        },
    ))
}
