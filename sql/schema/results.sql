CREATE TYPE wallet.charge_result AS (
    entry_id       uuid,
    cost           numeric,
    currency       text,
    balance        numeric,
    model          text,
    total_tokens   bigint,
    lines          jsonb,
    replayed       boolean
);
COMMENT ON TYPE wallet.charge_result IS 'The result of charge() and settle().';
COMMENT ON COLUMN wallet.charge_result.cost IS 'The amount taken from the balance, in the wallet''s currency.';
COMMENT ON COLUMN wallet.charge_result.balance IS 'The wallet''s balance after the charge. With several lanes, it includes the changes of other transactions that had committed.';
COMMENT ON COLUMN wallet.charge_result.lines IS 'Array of {meter, quantity, unit_price, per, amount, price_id}, with currency, rate, rate_id and inverse if the price was converted. NULL for a charge by amount.';
COMMENT ON COLUMN wallet.charge_result.replayed IS 'True if an earlier call with the same idempotency key booked the charge and this call booked nothing.';

CREATE TYPE wallet.fund_result AS (
    entry_id         uuid,
    amount           numeric,
    currency         text,
    balance          numeric,
    status           text,
    replayed         boolean,
    bonus            numeric,
    bonus_entry_id   uuid
);
COMMENT ON TYPE wallet.fund_result IS 'The result of fund(), settle_funding(), fail_funding() and redeem_voucher().';
COMMENT ON COLUMN wallet.fund_result.balance IS 'The wallet''s balance after the call, including the bonus.';
COMMENT ON COLUMN wallet.fund_result.status IS 'The current status of the funding, also in a replay: pending, settled, failed or reversed.';
COMMENT ON COLUMN wallet.fund_result.bonus IS 'The promotional credit added to the payment; NULL if there is no bonus.';
COMMENT ON COLUMN wallet.fund_result.bonus_entry_id IS 'The entry that credits the bonus.';

CREATE TYPE wallet.reversal_result AS (
    entry_id   uuid,
    amount     numeric,
    currency   text,
    balance    numeric,
    status     text,
    replayed   boolean,
    taken      numeric,
    debt       numeric,
    bonus      numeric
);
COMMENT ON TYPE wallet.reversal_result IS 'The result of reverse_funding().';
COMMENT ON COLUMN wallet.reversal_result.entry_id IS 'The entry that takes the money back; NULL if there was no money left to take.';
COMMENT ON COLUMN wallet.reversal_result.amount IS 'The amount taken back, in the wallet''s currency.';
COMMENT ON COLUMN wallet.reversal_result.status IS 'The status of the funding: reversed if all of it was taken back, settled if only a part was.';
COMMENT ON COLUMN wallet.reversal_result.taken IS 'The part of the amount that was available and left the balance.';
COMMENT ON COLUMN wallet.reversal_result.debt IS 'The wallet''s debt after the call. The next funding pays it first.';
COMMENT ON COLUMN wallet.reversal_result.bonus IS 'The part of the funding''s bonus that is taken back as well, from the balance or as a debt. NULL if there is none.';

CREATE TYPE wallet.void_result AS (
    entry_id   uuid,
    amount     numeric,
    balance    numeric,
    replayed   boolean
);
COMMENT ON TYPE wallet.void_result IS 'The result of void_grant().';
COMMENT ON COLUMN wallet.void_result.entry_id IS 'The entry that takes the remaining credit back; NULL if no credit was left.';
COMMENT ON COLUMN wallet.void_result.amount IS 'The amount that was left of the grant.';

CREATE TYPE wallet.recurring_result AS (
    grant_id   uuid,
    amount     numeric,
    balance    numeric,
    next_at    timestamptz,
    replayed   boolean,
    name       text
);
COMMENT ON TYPE wallet.recurring_result IS 'The result of set_recurring_grant().';
COMMENT ON COLUMN wallet.recurring_result.grant_id IS 'The first grant, which is made at once. NULL if the first day is still to come, or if the call stopped the recurring grant.';

CREATE TYPE wallet.price_result AS (
    cost           numeric,
    currency       text,
    model          text,
    total_tokens   bigint,
    lines          jsonb
);
COMMENT ON TYPE wallet.price_result IS 'The result of price_usage().';

CREATE TYPE wallet.hold_result AS (
    hold_id             uuid,
    amount              numeric,
    balance             numeric,
    expires_at          timestamptz,
    replayed            boolean,
    affordable_tokens   bigint,
    status              text
);
COMMENT ON TYPE wallet.hold_result IS 'The result of hold(), void(), extend_hold(), approve_hold() and deny_hold().';
COMMENT ON COLUMN wallet.hold_result.amount IS 'The reserved amount; for void(), the released amount.';
COMMENT ON COLUMN wallet.hold_result.affordable_tokens IS 'How many of the estimate''s output tokens the amount pays for.';
COMMENT ON COLUMN wallet.hold_result.status IS 'The current status of the hold, also in a replay: waiting, open, settled, voided or expired.';

CREATE TYPE wallet.forecast_result AS (
    daily_burn        numeric,
    days_left         numeric,
    runs_out_at       timestamptz,
    earliest          timestamptz,
    latest            timestamptz,
    suggested_topup   numeric,
    basis             text
);
COMMENT ON TYPE wallet.forecast_result IS 'The result of forecast().';
COMMENT ON COLUMN wallet.forecast_result.daily_burn IS 'The forecast usage per day, as the mean of the next seven days. NULL if there is not enough data.';
COMMENT ON COLUMN wallet.forecast_result.days_left IS 'How many days the money pays for the forecast usage, without credit. NULL if there is no spending or the money lasts more than a hundred years.';
COMMENT ON COLUMN wallet.forecast_result.earliest IS 'Earliest likely time, paired with latest. If usage follows the forecast, the money runs out between the two in four of five cases.';
COMMENT ON COLUMN wallet.forecast_result.suggested_topup IS 'The top-up that makes the money last the requested number of days.';
COMMENT ON COLUMN wallet.forecast_result.basis IS 'The data on which the forecast is based.';

CREATE TYPE wallet.movement_result AS (
    entry_id   uuid,
    amount     numeric,
    balance    numeric,
    replayed   boolean
);
COMMENT ON TYPE wallet.movement_result IS 'The result of refund(), adjust() and transfer().';
COMMENT ON COLUMN wallet.movement_result.amount IS 'Signed: positive if money enters the wallet.';

CREATE TYPE wallet.erasure_result AS (
    pseudonym   text,
    rows        bigint,
    places      jsonb,
    kept        jsonb,
    replayed    boolean
);
COMMENT ON TYPE wallet.erasure_result IS 'The result of erase_user().';
COMMENT ON COLUMN wallet.erasure_result.pseudonym IS 'The pseudonym that took the place of the identifier; NULL if there was nothing to erase.';
COMMENT ON COLUMN wallet.erasure_result.places IS 'The number of changed rows by table.';
COMMENT ON COLUMN wallet.erasure_result.kept IS 'The number of rows by column that still have the identifier, because it is part of a key or a name.';
COMMENT ON COLUMN wallet.erasure_result.replayed IS 'True if an earlier call with the same idempotency key did the work.';

CREATE TYPE wallet.archive_result AS (
    archived          bigint,
    carried_forward   numeric,
    complete          boolean,
    replayed          boolean
);
COMMENT ON TYPE wallet.archive_result IS 'The result of archive().';
COMMENT ON COLUMN wallet.archive_result.archived IS 'The number of entries that the call moved.';
COMMENT ON COLUMN wallet.archive_result.carried_forward IS 'The sum of all archived entries of the wallet.';
COMMENT ON COLUMN wallet.archive_result.complete IS 'True if no further entry can be moved; false if max_entries was reached first.';
COMMENT ON COLUMN wallet.archive_result.replayed IS 'True if an earlier call with the same idempotency key moved the entries and this call moved none.';
