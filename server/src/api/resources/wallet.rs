//! `GET /v1/wallet`: the wallet of the key.

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::api::extract::Key;
use crate::api::problem::{Problem, ReadProblems};
use crate::api::state::Api;
use crate::api::values::Decimal;
use crate::db::Call;

const WALLET: &str = "SELECT pg_catalog.json_build_object( \
       'wallet', b.wallet, 'currency', b.currency, 'status', b.status, 'balance', b.balance, \
       'held', b.held, 'available', b.available, 'scoped', b.scoped, 'credit_limit', b.credit_limit, \
       'debt', b.debt, 'low_balance', b.low_balance, 'price_list', b.price_list, \
       'created_at', b.created_at, \
       'key', pg_catalog.json_build_object('key_id', o.key_id, 'user_id', o.user_id, 'name', o.name, \
                                           'expires_at', o.expires_at))::text \
  FROM wallet.key_owner($1) o \
  JOIN wallet.balances b ON b.wallet = o.wallet";

/// The wallet of the key.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[schema(example = json!({
    "wallet": "acme", "currency": "USD", "status": "active", "balance": "99.993", "held": "0.00",
    "available": "99.993", "scoped": "0.00", "credit_limit": "0.00", "debt": "0.00",
    "low_balance": ["50", "20"], "price_list": "default", "created_at": "2026-03-01T12:00:00Z",
    "key": {"key_id": "01a22dca-d47a-74a6-8e58-c2f090d55aeb", "user_id": "alice", "name": "laptop",
            "expires_at": null}
}))]
pub struct Wallet {
    /// Its name.
    wallet: String,
    /// Its currency.
    currency: String,
    /// `active`, `frozen` or `closed`.
    status: String,
    /// The sum of the ledger plus the debt.
    balance: Decimal,
    /// The part of the balance that open holds reserve.
    held: Decimal,
    /// The balance minus the held part.
    available: Decimal,
    /// The part of `available` that only some models or services may use.
    scoped: Decimal,
    /// How far the balance may go below zero.
    credit_limit: Decimal,
    /// The amount that the next fundings pay first.
    debt: Decimal,
    /// The thresholds below which an event says that the balance is low.
    low_balance: Vec<Decimal>,
    /// The price list that takes precedence over the default list.
    price_list: String,
    /// When the wallet was created.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The key of the request.
    key: KeyOwner,
}

/// The key of a request, without its secret.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
pub struct KeyOwner {
    /// Its id.
    key_id: Uuid,
    /// The user whose key it is.
    user_id: Option<String>,
    /// Its label.
    name: Option<String>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
}

/// The wallet of the key: its balance, what is held, and what can be spent.
#[utoipa::path(
    get, path = "/v1/wallet", tag = "wallet", operation_id = "getWallet",
    responses((status = 200, description = "The wallet", body = Wallet), ReadProblems)
)]
pub async fn get(State(api): State<Api>, Key(key): Key) -> Result<Json<Wallet>, Problem> {
    api.ask(key, Call::read(WALLET, Vec::new())).await.map(Json)
}
