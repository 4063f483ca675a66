//! `GET /v1/prices`: the prices that are in force for the wallet.

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::api::extract::{Args, Key};
use crate::api::page::{Page, PageSize, linked};
use crate::api::problem::{Problem, ReadProblems};
use crate::api::state::Api;
use crate::api::values::{Decimal, Document};
use crate::db::Call;

/// Rows with the same conditions follow each other in time: the latest one that has begun counts,
/// and if it ends the price, none does. `minimum` is not a condition.
const PRICES: &str = "SELECT pg_catalog.json_build_object('currency', w.currency, 'price_list', w.price_list, \
       'markup', (SELECT pg_catalog.json_build_object('price_list', m.price_list, 'percent', m.percent, \
                                                      'fixed', m.fixed, 'currency', m.currency) \
                    FROM wallet.markup_list m \
                   WHERE m.price_list IN (w.price_list, 'default') AND m.in_force \
                     AND (m.percent IS NOT NULL OR m.fixed IS NOT NULL) \
                   ORDER BY m.price_list = w.price_list DESC LIMIT 1), \
       'data', (SELECT coalesce(pg_catalog.json_agg(t ORDER BY t.model, t.meter, t.price_id), '[]') FROM ( \
          SELECT p.price_id, p.price_list, p.model, p.meter, p.unit_price, p.per, p.currency, p.provider, \
                 p.service, p.region, p.service_tier, p.above_input_tokens, p.conditions, p.effective_from \
            FROM wallet.prices p \
           WHERE p.price_list IN (w.price_list, 'default') AND ($2 IS NULL OR p.model = $2) \
             AND ($3 IS NULL OR p.meter = $3) \
             AND p.effective_from <= pg_catalog.statement_timestamp() AND p.unit_price IS NOT NULL \
             AND NOT EXISTS (SELECT FROM wallet.prices n \
                              WHERE n.price_list = p.price_list AND n.model = p.model AND n.meter = p.meter \
                                AND n.provider IS NOT DISTINCT FROM p.provider \
                                AND n.region IS NOT DISTINCT FROM p.region \
                                AND n.service_tier IS NOT DISTINCT FROM p.service_tier \
                                AND n.above_input_tokens IS NOT DISTINCT FROM p.above_input_tokens \
                                AND n.conditions - 'minimum' = p.conditions - 'minimum' \
                                AND n.effective_from <= pg_catalog.statement_timestamp() \
                                AND (n.effective_from, n.price_id) > (p.effective_from, p.price_id)) \
             AND ($4 IS NULL OR (p.model, p.meter, p.price_id) > \
                  (SELECT c.model, c.meter, c.price_id FROM wallet.prices c WHERE c.price_id = $4::uuid)) \
           ORDER BY p.model, p.meter, p.price_id LIMIT $5::integer) t))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.price_lists w ON w.wallet = o.wallet";

/// Which prices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Filter {
    /// Prices with this name or pattern of models.
    model: Option<String>,
    /// Prices of this meter.
    meter: Option<String>,
    /// `next` of the page before.
    cursor: Option<Uuid>,
    /// The number of rows of a page.
    #[serde(default)]
    #[param(value_type = u16, minimum = 1, maximum = 1000, default = 50)]
    limit: PageSize,
}

/// The prices of a wallet.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({
    "currency": "USD", "price_list": "gold",
    "markup": {"price_list": "gold", "percent": "20", "fixed": null, "currency": "USD"},
    "data": [{"price_id": "01a22dca-d423-7469-99ce-488fcbc401da", "price_list": "default",
              "model": "gpt-4o", "meter": "input_tokens", "unit_price": "2.50", "per": "1000000",
              "currency": "USD", "provider": "openai", "service": null, "region": null,
              "service_tier": null, "above_input_tokens": null, "conditions": {},
              "effective_from": "2024-05-13T00:00:00Z", "markup": true}],
    "next": null
}))]
pub struct Prices {
    /// The currency of the wallet, in which charges are booked.
    currency: String,
    /// The wallet's list. Its prices take precedence over those of the list `default`.
    price_list: String,
    /// The markup on prices of the list `default`. Null: none.
    markup: Option<Markup>,
    /// A page of prices, by model and meter.
    data: Vec<Price>,
    /// Where the next page begins: pass it as `cursor`. The last page has none.
    next: Option<String>,
}

/// The result of the statement.
#[derive(Debug, Deserialize)]
struct Found {
    currency: String,
    price_list: String,
    markup: Option<Markup>,
    data: Vec<Price>,
}

/// A markup on prices.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Markup {
    /// The list that has it.
    price_list: String,
    /// The part of the cost that is added, in percent.
    percent: Option<Decimal>,
    /// An amount that is added once to every charge.
    fixed: Option<Decimal>,
    /// The currency of `fixed`.
    currency: String,
}

/// A price in force.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Price {
    price_id: Uuid,
    /// The wallet's list, or `default`.
    price_list: String,
    /// A name of a model, or a pattern with `*`.
    model: String,
    meter: String,
    /// The price of `per` units, without the markup.
    unit_price: Decimal,
    per: Decimal,
    /// The currency of `unit_price`.
    currency: String,
    provider: Option<String>,
    service: Option<String>,
    region: Option<String>,
    service_tier: Option<String>,
    /// The price applies above that many input tokens.
    above_input_tokens: Option<i64>,
    /// Keys of the usage that must have these values.
    conditions: Document,
    #[schema(value_type = String, format = DateTime)]
    effective_from: Timestamp,
    /// Whether the markup is added to it.
    #[serde(default)]
    markup: bool,
}

/// The prices that are in force for the wallet, and the markup on them.
#[utoipa::path(
    get, path = "/v1/prices", tag = "prices", operation_id = "listPrices",
    params(Filter),
    responses(
        (status = 200, description = "A page of prices", body = Prices,
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
        filter.model,
        filter.meter,
        filter.cursor.map(|cursor| cursor.to_string()),
        Some(size.rows().to_string()),
    ];
    let mut found: Found = api.ask(key, Call::read(PRICES, arguments)).await?;
    for price in &mut found.data {
        price.markup = found.markup.is_some() && price.price_list == "default";
    }
    let page = Page::new(found.data, size, |row| row.price_id.to_string());
    let link = page.link(&uri);
    let prices = Prices {
        currency: found.currency,
        price_list: found.price_list,
        markup: found.markup,
        data: page.data,
        next: page.next,
    };
    Ok(linked(prices, link))
}
