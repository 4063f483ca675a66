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
COMMENT ON TYPE wallet.charge_result IS 'What charge() returns.';
COMMENT ON COLUMN wallet.charge_result.cost IS 'What was taken from the balance, in the wallet''s currency.';
COMMENT ON COLUMN wallet.charge_result.balance IS 'The wallet''s balance after the charge; on a wallet of several lanes it has what other transactions had committed.';
COMMENT ON COLUMN wallet.charge_result.lines IS 'Array of {meter, quantity, unit_price, per, amount, price_id}, with currency, rate, rate_id and inverse where a price was converted; NULL for a charge by amount.';
COMMENT ON COLUMN wallet.charge_result.replayed IS 'True when an earlier call with the idempotency key booked it: this call booked nothing.';

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
COMMENT ON TYPE wallet.fund_result IS 'What fund(), settle_funding(), fail_funding() and redeem_voucher() return.';
COMMENT ON COLUMN wallet.fund_result.balance IS 'The wallet''s balance after the call, the bonus included.';
COMMENT ON COLUMN wallet.fund_result.status IS 'Of the funding now, also in a replay: pending, settled, failed or reversed.';
COMMENT ON COLUMN wallet.fund_result.bonus IS 'What was credited on top of the amount as promotional credit; NULL: nothing.';
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
COMMENT ON TYPE wallet.reversal_result IS 'What reverse_funding() returns.';
COMMENT ON COLUMN wallet.reversal_result.entry_id IS 'The entry that takes money back; NULL where nothing was left to take.';
COMMENT ON COLUMN wallet.reversal_result.amount IS 'How much it takes back, in the wallet''s currency.';
COMMENT ON COLUMN wallet.reversal_result.status IS 'Of the funding: reversed when all of it was taken back, settled when a part was.';
COMMENT ON COLUMN wallet.reversal_result.taken IS 'How much of it was still there and left the balance.';
COMMENT ON COLUMN wallet.reversal_result.debt IS 'What the wallet owes after the call; the next funding pays it first.';
COMMENT ON COLUMN wallet.reversal_result.bonus IS 'How much of the funding''s bonus goes with it, out of the balance or as a debt; NULL where none does.';

CREATE TYPE wallet.void_result AS (
    entry_id   uuid,
    amount     numeric,
    balance    numeric,
    replayed   boolean
);
COMMENT ON TYPE wallet.void_result IS 'What void_grant() returns.';
COMMENT ON COLUMN wallet.void_result.entry_id IS 'The entry that takes the rest back; NULL where nothing was left.';
COMMENT ON COLUMN wallet.void_result.amount IS 'What was left of the grant.';

CREATE TYPE wallet.recurring_result AS (
    grant_id   uuid,
    amount     numeric,
    balance    numeric,
    next_at    timestamptz,
    replayed   boolean
);
COMMENT ON TYPE wallet.recurring_result IS 'What set_recurring_grant() returns.';
COMMENT ON COLUMN wallet.recurring_result.grant_id IS 'The first grant, made at once; NULL where recurring grants were stopped.';

CREATE TYPE wallet.price_result AS (
    cost           numeric,
    currency       text,
    model          text,
    total_tokens   bigint,
    lines          jsonb
);
COMMENT ON TYPE wallet.price_result IS 'What price_usage() returns.';

CREATE TYPE wallet.hold_result AS (
    hold_id             uuid,
    amount              numeric,
    balance             numeric,
    expires_at          timestamptz,
    replayed            boolean,
    affordable_tokens   bigint,
    status              text
);
COMMENT ON TYPE wallet.hold_result IS 'What hold(), void() and extend_hold() return.';
COMMENT ON COLUMN wallet.hold_result.amount IS 'What is set aside; of void() what was given back.';
COMMENT ON COLUMN wallet.hold_result.affordable_tokens IS 'How many of the estimate''s output tokens the amount pays for.';
COMMENT ON COLUMN wallet.hold_result.status IS 'Of the hold now, also in a replay: open, settled, voided or expired.';

CREATE TYPE wallet.forecast_result AS (
    daily_burn        numeric,
    days_left         numeric,
    runs_out_at       timestamptz,
    earliest          timestamptz,
    latest            timestamptz,
    suggested_topup   numeric,
    basis             text
);
COMMENT ON TYPE wallet.forecast_result IS 'What forecast() returns.';
COMMENT ON COLUMN wallet.forecast_result.daily_burn IS 'The mean of a day of the next seven; NULL where too little is known.';
COMMENT ON COLUMN wallet.forecast_result.days_left IS 'How long the use that is foretold finds money, without credit; NULL where nothing is spent or it lasts for more than a hundred years.';
COMMENT ON COLUMN wallet.forecast_result.earliest IS 'With latest: in between it runs out in four of five cases, if use goes on as foretold.';
COMMENT ON COLUMN wallet.forecast_result.suggested_topup IS 'What would make it last so many days.';
COMMENT ON COLUMN wallet.forecast_result.basis IS 'What it is foretold from.';

CREATE TYPE wallet.movement_result AS (
    entry_id   uuid,
    amount     numeric,
    balance    numeric,
    replayed   boolean
);
COMMENT ON TYPE wallet.movement_result IS 'What refund(), adjust() and transfer() return.';
COMMENT ON COLUMN wallet.movement_result.amount IS 'Signed: money in is positive.';

CREATE TYPE wallet.archive_result AS (
    archived          bigint,
    carried_forward   numeric,
    complete          boolean,
    replayed          boolean
);
COMMENT ON TYPE wallet.archive_result IS 'What archive() returns.';
COMMENT ON COLUMN wallet.archive_result.archived IS 'How many entries the call moved.';
COMMENT ON COLUMN wallet.archive_result.carried_forward IS 'The sum of all entries of the wallet that stand in the archive.';
COMMENT ON COLUMN wallet.archive_result.complete IS 'True when nothing is left that could be moved; false when max_entries left some.';
COMMENT ON COLUMN wallet.archive_result.replayed IS 'True when an earlier call with the idempotency key moved them: this call moved nothing.';
