//! The result of a charge or a settlement, and the headers that describe it.

use axum::Json;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::values::Decimal;

/// Whether the prices or the provider say what a use costs.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CostFrom {
    /// The prices of the wallet.
    #[default]
    Prices,
    /// The cost that the usage object reports.
    Provider,
}

/// A line of a cost: one meter at one price.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct Line {
    /// The unit that was counted, such as `input_tokens`.
    pub meter: String,
    /// How much of it.
    pub quantity: Decimal,
    /// The price of `per` units.
    pub unit_price: Option<Decimal>,
    /// The number of units that `unit_price` pays for.
    pub per: Option<Decimal>,
    /// The cost of this line.
    pub amount: Decimal,
    /// The price that applied.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub price_id: Option<Uuid>,
    /// The currency of the price, if it was converted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub currency: Option<String>,
    /// The exchange rate, if the price was converted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate: Option<Decimal>,
    /// The row of that rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rate_id: Option<Uuid>,
    /// Whether the price was divided by the rate.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub inverse: Option<bool>,
}

/// A charge that was booked.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "entry_id": "01a22dca-d47a-74a6-8e58-c2f090d55aeb",
    "cost": "0.007",
    "currency": "USD",
    "balance": "99.993",
    "model": "gpt-4o",
    "total_tokens": 1450,
    "lines": [{"meter": "input_tokens", "quantity": "1000", "unit_price": "2.5", "per": "1000000",
               "amount": "0.0025", "price_id": "01a22dca-d423-7469-99ce-488fcbc401da"}],
    "replayed": false
}))]
pub struct Charged {
    /// The entry of the ledger.
    pub entry_id: Uuid,
    /// The charged amount.
    pub cost: Decimal,
    /// The wallet's currency.
    pub currency: String,
    /// The balance after it.
    pub balance: Option<Decimal>,
    /// The model.
    pub model: Option<String>,
    /// The sum of all tokens.
    pub total_tokens: Option<i64>,
    /// How the cost was computed.
    pub lines: Option<Vec<Line>>,
    /// Whether the same request was booked before.
    pub replayed: bool,
}

impl Charged {
    /// The headers of `wallet.usage_headers()` that the result itself has.
    fn headers(&self) -> HeaderMap {
        let tokens = self.total_tokens.map(|tokens| tokens.to_string());
        let balance = self.balance.as_ref().map(Decimal::as_str);
        let pairs = [
            ("x-usage-cost", Some(self.cost.as_str())),
            ("x-usage-currency", Some(self.currency.as_str())),
            ("x-total-tokens", tokens.as_deref()),
            ("x-model", self.model.as_deref()),
            ("x-wallet-balance", balance),
        ];
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            // A model may have any name. One that no header can have is only in the body.
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }
}

impl IntoResponse for Charged {
    fn into_response(self) -> Response {
        let status = match self.replayed {
            true => StatusCode::OK,
            false => StatusCode::CREATED,
        };
        (status, self.headers(), Json(self)).into_response()
    }
}
