CREATE TABLE wallet.topup_rules (
    wallet_id        text NOT NULL REFERENCES wallet.wallets,
    name             text NOT NULL,
    rule             jsonb NOT NULL,
    threshold        numeric(28,12) CHECK (threshold <> 'NaN'),
    amount           numeric(28,12) CHECK (amount > 0 AND amount <> 'NaN'),
    target_balance   numeric(28,12) CHECK (target_balance > 0 AND target_balance <> 'NaN'),
    method           text NOT NULL,
    cooldown         interval NOT NULL,
    back_off         interval NOT NULL,
    max_count        integer,
    max_amount       numeric(28,12),
    period           text NOT NULL CHECK (period IN ('hour', 'day', 'week', 'month', 'quarter', 'year', 'lifetime')),
    max_declines     integer NOT NULL CHECK (max_declines > 0),
    step             interval,
    created_at       timestamptz NOT NULL,
    next_at          timestamptz,
    refused          text,
    evaluate_at      timestamptz,
    PRIMARY KEY (wallet_id, name),
    CHECK (amount IS NOT NULL OR target_balance IS NOT NULL),
    CHECK (threshold IS NOT NULL OR step IS NOT NULL)
);
CREATE INDEX topup_rules_due ON wallet.topup_rules (evaluate_at) WHERE evaluate_at IS NOT NULL;
COMMENT ON TABLE wallet.topup_rules IS 'When a wallet requests money by itself, one row per name. The state columns are written under the locks of all lanes.';
COMMENT ON COLUMN wallet.topup_rules.rule IS 'The rule as given.';
COMMENT ON COLUMN wallet.topup_rules.step IS 'Time-based rules only: the interval between two top-ups, counted from created_at.';
COMMENT ON COLUMN wallet.topup_rules.next_at IS 'Time-based rules only: when the next top-up is due.';
COMMENT ON COLUMN wallet.topup_rules.refused IS 'Why the last evaluation of the rule requested no money, so that each reason is reported once.';
COMMENT ON COLUMN wallet.topup_rules.evaluate_at IS 'When to evaluate the rule again. The lanes store this time too.';

CREATE TABLE wallet.topup_requests (
    wallet_id     text NOT NULL,
    topup_id      uuid NOT NULL,
    rule_name     text NOT NULL,
    amount        numeric(28,12) NOT NULL CHECK (amount > 0 AND amount <> 'NaN'),
    method        text NOT NULL,
    cause         text NOT NULL CHECK (cause IN ('threshold', 'interval')),
    status        text NOT NULL CHECK (status IN ('requested', 'succeeded', 'failed')),
    reason        text,
    reference     text,
    entry_id      uuid,
    created_at    timestamptz NOT NULL,
    finished_at   timestamptz,
    PRIMARY KEY (wallet_id, topup_id)
);
CREATE UNIQUE INDEX topup_open ON wallet.topup_requests (wallet_id, rule_name) WHERE status = 'requested';
COMMENT ON TABLE wallet.topup_requests IS 'Top-ups that rules requested. The view topups shows them.';
COMMENT ON COLUMN wallet.topup_requests.rule_name IS 'The name of the rule that requested it.';
COMMENT ON COLUMN wallet.topup_requests.cause IS 'The cause of the request: threshold, if the balance fell below it, or interval.';
COMMENT ON COLUMN wallet.topup_requests.entry_id IS 'The entry that credited the top-up.';
COMMENT ON INDEX wallet.topup_open IS 'One open top-up per rule.';

CREATE TYPE wallet.topup_result AS (
    wallet        text,
    topup_id      uuid,
    amount        numeric,
    method        text,
    status        text,
    reason        text,
    reference     text,
    created_at    timestamptz,
    finished_at   timestamptz,
    entry_id      uuid,
    balance       numeric,
    replayed      boolean,
    rule_name     text
);
COMMENT ON TYPE wallet.topup_result IS 'The result of complete_topup() and fail_topup().';
REVOKE ALL ON TYPE wallet.topup_result FROM PUBLIC;
