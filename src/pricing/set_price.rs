//! Prices: the rows.

use crate::storage::plan::statement;

statement!(
    pub SAME_PRICE,
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

// Its parameters begin with those of SAME_PRICE.
statement!(
    pub ADD_PRICE,
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
