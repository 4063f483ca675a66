//! Adds prices.

use crate::access::call::Call;
use crate::currency::Currency;
use crate::error::Result;
use crate::pg::clock::{self, Timestamp};
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};
use rust_decimal::Decimal;

statement!(
    SAME_PRICE,
    [
        TEXTOID, TEXTOID, TEXTOID, NUMERICOID, NUMERICOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID,
        INT8OID, JSONBOID, TIMESTAMPTZOID, TEXTOID
    ],
    "SELECT price_id,
            unit_price IS NOT DISTINCT FROM $4 AND per = $5 AND service IS NOT DISTINCT FROM $7 AND currency = $13
       FROM wallet.prices
      WHERE price_list = $1 AND model = $2 AND meter = $3
        AND provider IS NOT DISTINCT FROM $6
        AND region IS NOT DISTINCT FROM $8
        AND service_tier IS NOT DISTINCT FROM $9
        AND above_input_tokens IS NOT DISTINCT FROM $10
        AND conditions = $11
        AND effective_from = $12
      ORDER BY price_id DESC
      LIMIT 1"
);

// The parameters begin with those of SAME_PRICE.
statement!(
    ADD_PRICE,
    [
        TEXTOID,
        TEXTOID,
        TEXTOID,
        NUMERICOID,
        NUMERICOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        INT8OID,
        JSONBOID,
        TIMESTAMPTZOID,
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID
    ],
    "INSERT INTO wallet.prices
        (price_list, model, meter, unit_price, per, provider, service, region, service_tier,
         above_input_tokens, conditions, effective_from, currency, price_id, created_at, actor, metadata)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);

/// A row that `set_price` adds to `wallet.prices`.
pub struct NewPrice<'a> {
    /// Name of the price list that gets the price.
    pub list: &'a str,
    /// The model, or a pattern of models.
    pub model: &'a str,
    /// The meter that is priced, such as `input_tokens`.
    pub meter: &'a str,
    /// Price of `per` units; `None` ends the price.
    pub unit_price: Option<Decimal>,
    /// The number of units that `unit_price` pays for.
    pub per: Decimal,
    /// Currency of `unit_price`.
    pub currency: Currency,
    /// The provider of the usage; `None` for any.
    pub provider: Option<&'a str>,
    /// The service of a charge that names none.
    pub service: Option<&'a str>,
    /// The region of the usage; `None` for any.
    pub region: Option<&'a str>,
    /// The service tier of the usage; `None` for the standard one.
    pub service_tier: Option<&'a str>,
    /// The price applies to requests with more input tokens than this; `None` for all.
    pub above_input_tokens: Option<i64>,
    /// Keys of the usage object and the values that they must have.
    pub conditions: Jsonb,
    /// When the price begins.
    pub effective_from: Timestamp,
}

/// Adds a price and returns its id. If the same price exists, it returns the id of that one.
pub fn add(new: &NewPrice<'_>, call: &Call<'_>) -> Result<[u8; 16]> {
    let price = [
        Value::Text(new.list),
        Value::Text(new.model),
        Value::Text(new.meter),
        new.unit_price.map_or(Value::Null, Value::Decimal),
        Value::Decimal(new.per),
        Value::OptText(new.provider),
        Value::OptText(new.service),
        Value::OptText(new.region),
        Value::OptText(new.service_tier),
        Value::OptInt8(new.above_input_tokens),
        Value::Jsonb(new.conditions),
        Value::Time(new.effective_from),
        Value::Text(&new.currency),
    ];
    let same = SAME_PRICE.run(&price)?;
    if same.get(0, 1) == Some(true) {
        return same.need(0, 0);
    }
    let id = uuid::Uuid::now_v7().into_bytes();
    let making = [
        Value::Uuid(id),
        Value::Time(clock::now()),
        Value::OptText(call.actor),
        Value::OptJsonb(call.act().metadata),
    ];
    ADD_PRICE.run(&[&price[..], &making].concat())?;
    Ok(id)
}
