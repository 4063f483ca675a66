-- Append-only: a new price is a new row, so that the price_id of a charge always refers to the
-- price that was used. Of rows for the same price and time, the one recorded last (the greatest
-- UUIDv7) applies.
CREATE TABLE wallet.prices (
    price_id             uuid PRIMARY KEY,
    price_list           text NOT NULL,
    model                text NOT NULL,
    meter                text NOT NULL,
    unit_price           numeric CHECK (unit_price >= 0 AND unit_price <> 'NaN'),
    per                  numeric NOT NULL CHECK (per > 0 AND per <> 'NaN'),
    provider             text,
    service              text,
    region               text,
    service_tier         text,
    above_input_tokens   bigint CHECK (above_input_tokens >= 0),
    conditions           jsonb NOT NULL DEFAULT '{}',
    effective_from       timestamptz NOT NULL,
    created_at           timestamptz NOT NULL,
    actor                text,
    metadata             jsonb,
    currency             text NOT NULL DEFAULT 'USD'
);
CREATE INDEX prices_model ON wallet.prices (price_list, model, meter, effective_from);
CREATE INDEX prices_pattern ON wallet.prices (price_list, model) WHERE model LIKE '%*%';

-- Append-only and dated, like prices. A markup applies to lines priced by the default list. A price
-- in the wallet's own list is negotiated and final.
CREATE TABLE wallet.markups (
    markup_id        uuid PRIMARY KEY,
    price_list       text NOT NULL,
    percent          numeric CHECK (percent > -100 AND percent <> 'NaN'),
    fixed            numeric(28,12) CHECK (fixed >= 0 AND fixed <> 'NaN'),
    effective_from   timestamptz NOT NULL,
    created_at       timestamptz NOT NULL,
    actor            text,
    metadata         jsonb,
    currency         text NOT NULL DEFAULT 'USD'
);
CREATE INDEX markups_list ON wallet.markups (price_list, effective_from);
COMMENT ON TABLE wallet.markups IS 'Markups of price lists on the prices of the default list, each valid from a date on. NULL for both parts: the list has no markup of its own from then on.';
COMMENT ON COLUMN wallet.markups.percent IS 'Percentage added to the cost by prices of the default list. 20 adds a fifth; -8 is a discount.';
COMMENT ON COLUMN wallet.markups.fixed IS 'Amount added once to every charge by usage, in currency.';

COMMENT ON TABLE wallet.prices IS 'Unit prices: one row per model, meter and condition, each valid from a date on. A NULL unit_price ends the price.';
COMMENT ON COLUMN wallet.prices.model IS 'Exact name, provider/model, or a pattern with *.';
COMMENT ON COLUMN wallet.prices.unit_price IS 'Price of `per` units of the meter. NULL: no price from then on.';
COMMENT ON COLUMN wallet.prices.currency IS 'Currency of unit_price. Charges of wallets in another currency are converted by fx_rates.';
COMMENT ON COLUMN wallet.prices.per IS 'The number of units to which unit_price refers, such as 1000000 tokens or 3600 seconds.';
COMMENT ON COLUMN wallet.prices.above_input_tokens IS 'The price applies to requests with more input tokens than this, and to the whole request.';
COMMENT ON COLUMN wallet.prices.conditions IS 'Keys that the usage object must have with equal values, such as {"size": "1024x1024"}.';

-- How usage objects of additional providers are read. The built-in mappings are part of the
-- library.
CREATE TABLE wallet.usage_mappings (
    name         text PRIMARY KEY,
    mapping      jsonb NOT NULL,
    created_at   timestamptz NOT NULL,
    actor        text,
    metadata     jsonb
);
COMMENT ON TABLE wallet.usage_mappings IS 'How usage objects of additional providers are read. A row replaces the built-in mapping of the same name.';
COMMENT ON COLUMN wallet.usage_mappings.mapping IS 'Shapes, meters and their paths, in the form described in docs/usage.md.';
