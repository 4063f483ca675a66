-- Views run with the caller's rights (security_invoker), and row-level security shows the granted
-- wallets. Amounts have at least two decimals, and more if needed.

CREATE VIEW wallet.balances WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet,
       w.currency,
       round(b.balance, greatest(min_scale(b.balance), 2)) AS balance,
       round(b.held, greatest(min_scale(b.held), 2)) AS held,
       round(b.balance - b.held, greatest(min_scale(b.balance - b.held), 2)) AS available,
       round(w.credit_limit, greatest(min_scale(w.credit_limit), 2)) AS credit_limit,
       round(w.debt, greatest(min_scale(w.debt), 2)) AS debt,
       w.status,
       w.lanes::integer AS lanes,
       w.low_balance,
       w.created_at,
       round(b.scoped, greatest(min_scale(b.scoped), 2)) AS scoped,
       w.price_list,
       w.parent,
       w.share
  FROM wallet.wallets w
 CROSS JOIN LATERAL (
        -- Due entries count, booked or not, and amounts reserved by expired holds do not. Functions
        -- compute this per wallet, and only for wallets that may have any, so that no plan depends
        -- on an estimate.
        SELECT d.balance, d.held, d.scoped
          FROM wallet.due_balance(w.wallet_id, statement_timestamp()) d
         WHERE w.scoped OR w.grants_due <= statement_timestamp()
         UNION ALL
        SELECT t.balance, CASE WHEN t.held = 0 THEN 0 ELSE t.held - wallet.expired_held(w.wallet_id, statement_timestamp()) END, 0
          FROM (SELECT coalesce(sum(a.allotted - a.spent), 0) - w.credit_limit AS balance,
                       coalesce(sum(a.held), 0) AS held
                  FROM wallet.allowances a
                 WHERE a.wallet_id = w.wallet_id
                   AND a.allowance_id = '00000000-0000-0000-0000-000000000000') t
         WHERE (w.scoped OR w.grants_due <= statement_timestamp()) IS NOT TRUE
       ) b;
COMMENT ON VIEW wallet.balances IS 'One row per wallet: its balance, the held amount, and the amount that can be spent without credit.';
COMMENT ON COLUMN wallet.balances.balance IS 'Sum of the ledger plus debt. It never falls below minus credit_limit.';
COMMENT ON COLUMN wallet.balances.held IS 'The amount that open holds reserve.';
COMMENT ON COLUMN wallet.balances.available IS 'balance minus held. Alert thresholds are compared with the part of it that every charge may use: available minus scoped.';
COMMENT ON COLUMN wallet.balances.scoped IS 'The part of available that only some models or services may use.';
COMMENT ON COLUMN wallet.balances.parent IS 'The wallet above this one in a tree; NULL if there is none.';
COMMENT ON COLUMN wallet.balances.share IS 'pool: the parent pays for this wallet, whose own balance is always zero. own: it has its own money. NULL without a parent.';
COMMENT ON COLUMN wallet.balances.price_list IS 'The wallet''s price list, which takes precedence over the default list.';

CREATE VIEW wallet.entries WITH (security_invoker = true) AS
SELECT l.wallet_id AS wallet,
       l.entry_id,
       CASE l.kind
           WHEN 'f' THEN 'funding' WHEN 'c' THEN 'charge' WHEN 'r' THEN 'refund'
           WHEN 'a' THEN 'adjustment' WHEN 'x' THEN 'expiry' WHEN 't' THEN 'transfer'
           WHEN 'b' THEN 'chargeback'
       END AS kind,
       round(l.amount, greatest(min_scale(l.amount), 2)) AS amount,
       CASE WHEN l.contra IS NOT NULL THEN l.contra
            ELSE 'usage:' || concat_ws('/', l.provider, coalesce(l.model, l.service, 'other'))
       END AS contra,
       l.user_id,
       l.team,
       l.model,
       l.service,
       CASE WHEN l.kind IN ('f', 'b') THEN NULL
            WHEN l.usage IS NULL AND l.lines IS NOT NULL THEN wallet.entry_usage(l.model, l.lines)
            ELSE l.usage
       END AS usage,
       wallet.entry_lines(l.lines) AS lines,
       l.tags,
       l.reference,
       l.reason,
       l.actor,
       coalesce(l.event_at, l.created_at) AS event_at,
       l.created_at,
       l.lane::integer AS lane,
       l.seq,
       round(l.lane_balance, greatest(min_scale(l.lane_balance), 2)) AS lane_balance,
       l.hash,
       l.provider,
       l.region,
       l.service_tier,
       l.idempotency_key,
       l.metadata,
       l.related_id,
       CASE WHEN l.kind IN ('f', 'b') THEN l.usage END AS original,
       l.key_id,
       l.effective_at,
       l.used_at
  FROM wallet.ledger_all l;
COMMENT ON VIEW wallet.entries IS 'The ledger. Order by entry_id, which is the order of booking, except that a pending funding keeps the id of its request. Within a lane, seq has no gaps.';
COMMENT ON COLUMN wallet.entries.amount IS 'Signed: positive if money enters the wallet. The sum over a wallet is balance minus debt.';
COMMENT ON COLUMN wallet.entries.contra IS 'The contra account, such as funding:card or usage:openai/gpt-4o.';
COMMENT ON COLUMN wallet.entries.related_id IS 'The entry to which this one refers, such as the refunded charge. For a settlement, the hold_id.';
COMMENT ON COLUMN wallet.entries.effective_at IS 'When the entry begins to count in a balance: the time of booking or, for the end of a grant and the renewal of a recurring grant, the due time.';
COMMENT ON COLUMN wallet.entries.used_at IS 'Only if the use was in a closed period when it was booked: the time of use. event_at is then the time from which reports count it.';
COMMENT ON COLUMN wallet.entries.key_id IS 'The key with which the charge was made.';
COMMENT ON COLUMN wallet.entries.original IS 'Fundings in another currency only: amount, currency, rate, rounding, and inverse if the amount was divided by the rate.';
COMMENT ON COLUMN wallet.entries.lane_balance IS 'Running total of the lane''s entries. In a wallet with one lane, this is the wallet''s balance minus debt.';

CREATE VIEW wallet.unpriced WITH (security_invoker = true) AS
SELECT u.wallet_id AS wallet,
       u.entry_id,
       l.model,
       coalesce(l.usage, wallet.entry_usage(l.model, l.lines)) AS usage,
       l.user_id,
       l.team,
       coalesce(l.event_at, l.created_at) AS event_at,
       l.created_at,
       l.provider,
       l.service,
       l.region,
       l.service_tier,
       l.tags
  FROM wallet.unpriced_charges u
 -- OFFSET 0 makes the plan look up each entry by its id.
 CROSS JOIN LATERAL (
        SELECT e.* FROM wallet.ledger_all e
         WHERE e.wallet_id = u.wallet_id AND e.entry_id = u.entry_id
        OFFSET 0) l
 WHERE u.priced_id IS NULL;
COMMENT ON VIEW wallet.unpriced IS 'Charges that were booked at zero because their model had no price, until price_unpriced() books their cost.';

CREATE VIEW wallet.unread_usage WITH (security_invoker = true) AS
SELECT u.provider,
       u.mapping,
       u.path,
       u.model,
       u.first_seen,
       coalesce(e.last_seen, u.first_seen) AS last_seen,
       e.charges,
       u.example,
       u.wallet_id AS wallet
  FROM wallet.unread_paths u
 CROSS JOIN LATERAL (
        SELECT count(*) AS charges, max(l.created_at) AS last_seen
          FROM wallet.ledger_all l
         WHERE l.wallet_id = u.wallet_id AND l.entry_id >= u.entry_id AND l.kind = 'c'
           AND l.model IS NOT DISTINCT FROM u.model AND l.provider IS NOT DISTINCT FROM u.provider
           AND jsonb_path_exists(l.usage, u.jsonpath, '{}', true)) e;
COMMENT ON VIEW wallet.unread_usage IS 'Numbers of usage objects that no mapping and no price read, one row per place, from the first charge on.';
COMMENT ON COLUMN wallet.unread_usage.provider IS 'The provider of the charges.';
COMMENT ON COLUMN wallet.unread_usage.mapping IS 'The mapping that read the rest of the object; NULL for the flat form.';
COMMENT ON COLUMN wallet.unread_usage.path IS 'The path of the number in the usage object.';
COMMENT ON COLUMN wallet.unread_usage.charges IS 'The number of charges of the model since then whose usage has a nonzero number at this path.';
COMMENT ON COLUMN wallet.unread_usage.last_seen IS 'When the last such charge was booked.';
COMMENT ON COLUMN wallet.unread_usage.example IS 'The number in the first charge.';

CREATE VIEW wallet.fundings WITH (security_invoker = true) AS
SELECT f.wallet_id AS wallet,
       f.entry_id,
       round(f.amount, greatest(min_scale(f.amount), 2)) AS amount,
       w.currency,
       f.method,
       f.reference,
       f.status,
       f.created_at,
       round(coalesce(f.original_amount, f.amount),
             greatest(min_scale(coalesce(f.original_amount, f.amount)), 2)) AS original_amount,
       coalesce(f.original_currency, w.currency) AS original_currency,
       trim_scale(coalesce(f.rate, 1)) AS rate,
       f.finished_at,
       f.reason,
       f.reversal_id,
       f.expires_at,
       f.priority,
       f.promotional,
       f.scope,
       f.actor,
       f.metadata,
       round(f.reversed, greatest(min_scale(f.reversed), 2)) AS reversed,
       round(r.original, greatest(min_scale(r.original), 2)) AS reversed_original,
       round(f.bonus, greatest(min_scale(f.bonus), 2)) AS bonus,
       trim_scale(f.bonus_percent) AS bonus_percent,
       f.bonus_id AS bonus_entry_id,
       round(f.bonus_reversed, greatest(min_scale(f.bonus_reversed), 2)) AS bonus_reversed,
       f.inverse
  FROM wallet.funding_requests f
  JOIN wallet.wallets w ON w.wallet_id = f.wallet_id
 CROSS JOIN LATERAL (SELECT CASE WHEN f.original_amount IS NULL THEN f.reversed ELSE f.reversed_original END AS original) r;
COMMENT ON VIEW wallet.fundings IS 'Fundings in every state: pending, settled, failed, reversed.';
COMMENT ON COLUMN wallet.fundings.entry_id IS 'The entry that credits the funding. A pending funding has no such entry yet.';
COMMENT ON COLUMN wallet.fundings.inverse IS 'True if the rate was recorded for the opposite pair: the paid amount is divided by the rate.';
COMMENT ON COLUMN wallet.fundings.status IS 'pending, settled, failed, or reversed if all of it was taken back. For a settled funding, the column reversed shows the part taken back.';
COMMENT ON COLUMN wallet.fundings.finished_at IS 'When the pending funding was settled or failed, or when money was last taken back from a settled one.';
COMMENT ON COLUMN wallet.fundings.reversal_id IS 'The last entry that took back all or part of the funding.';
COMMENT ON COLUMN wallet.fundings.reversed IS 'How much reverse_funding() has taken back so far, in the wallet''s currency.';
COMMENT ON COLUMN wallet.fundings.reversed_original IS 'How much reverse_funding() has taken back so far, in the currency that was paid.';
COMMENT ON COLUMN wallet.fundings.bonus IS 'The promotional credit added to the payment, in the wallet''s currency; NULL if there is no bonus.';
COMMENT ON COLUMN wallet.fundings.bonus_percent IS 'The bonus in percent of the payment.';
COMMENT ON COLUMN wallet.fundings.bonus_entry_id IS 'The entry that credits the bonus, which is a grant of its own.';
COMMENT ON COLUMN wallet.fundings.bonus_reversed IS 'How much of the bonus reverse_funding() has taken back so far.';

CREATE VIEW wallet.bonuses WITH (security_invoker = true) AS
SELECT b.wallet_id AS wallet,
       b.currency,
       b.tiers,
       b.expires_in,
       b.created_at,
       b.actor,
       b.metadata
  FROM wallet.bonus_rules b;
COMMENT ON VIEW wallet.bonuses IS 'Bonuses on payments: one row per wallet that has a bonus of its own, and one row per currency for all other wallets.';
COMMENT ON COLUMN wallet.bonuses.wallet IS 'The wallet, or * for every wallet in the currency that has no bonus of its own.';
COMMENT ON COLUMN wallet.bonuses.tiers IS 'Array of {from, percent}. The tier with the highest from that a payment reaches applies to all of the payment.';
COMMENT ON COLUMN wallet.bonuses.expires_in IS 'How long a bonus lives after it was booked; NULL: it does not expire.';
COMMENT ON COLUMN wallet.bonuses.created_at IS 'When the bonus was set.';

COMMENT ON FUNCTION wallet.due_entries IS 'Returns the entries that a call at a given time would book first: expired credit and renewals of a recurring grant. It runs the code that books them. repaid is the part of a grant that pays what was used on credit before. A time in the future counts as now. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.due_lots IS 'Returns the lots of a wallet that have credit left at a given time, including everything due by then. Errors: 22023, 42501, WL003.';
COMMENT ON FUNCTION wallet.due_balance IS 'Returns balance, held and scoped of a wallet at a given time, including everything due by then. Errors: 22023, 42501, WL003.';

-- The lots of a wallet at a given time, including everything due by then.
CREATE FUNCTION wallet.lots_at(
    of_wallet text, until timestamptz,
    OUT grant_id uuid, OUT amount numeric, OUT remaining numeric, OUT expires_at timestamptz, OUT priority integer,
    OUT promotional boolean, OUT scope jsonb, OUT status text, OUT created_at timestamptz)
RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, wallet, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF (SELECT w.grants_due <= until FROM wallet.wallets w WHERE w.wallet_id = of_wallet) THEN
        RETURN QUERY
            -- Due rows are paired with the stored rows of the same lot by a window function instead
            -- of a join, because the planner cannot estimate the number of either.
            WITH lots AS (
                SELECT n.grant_id, n.amount, n.remaining, n.expires_at, n.priority, n.promotional, n.scope, n.status,
                       n.created_at, false AS due
                  FROM wallet.lots_now(of_wallet) n
                 UNION ALL
                SELECT d.grant_id, d.new_amount, d.remaining, d.expires_at, d.priority, d.promotional, d.new_scope::jsonb, NULL,
                       d.created_at, true
                  FROM wallet.due_lots(of_wallet, until) d
            ), paired AS (
                SELECT b.*,
                       coalesce(lead(b.due) OVER of_lot, false) AS has_due,
                       lead(b.remaining) OVER of_lot AS due_remaining,
                       lead(b.expires_at) OVER of_lot AS due_expires_at
                  FROM lots b
                WINDOW of_lot AS (PARTITION BY b.grant_id ORDER BY b.due)
            )
            SELECT p.grant_id, p.amount, coalesce(p.due_remaining, 0), coalesce(p.due_expires_at, p.expires_at), p.priority,
                   p.promotional, p.scope,
                   CASE WHEN p.has_due AND coalesce(p.due_expires_at <= until, false) THEN 'expired'
                        WHEN p.has_due THEN 'active'
                        WHEN p.status <> 'active' THEN p.status
                        -- The lot has no due row: its remaining amount has expired, or it was used
                        -- up before.
                        WHEN p.remaining > 0 THEN 'expired'
                        ELSE 'depleted' END,
                   p.created_at
              FROM paired p
             WHERE NOT p.due
             UNION ALL
            SELECT p.grant_id, p.amount, p.remaining, p.expires_at, p.priority, p.promotional, p.scope, 'active', p.created_at
              FROM paired p
             WHERE p.due AND p.amount IS NOT NULL;
    ELSE
        RETURN QUERY
            SELECT l.grant_id, l.amount, l.remaining, l.expires_at, l.priority, l.promotional, l.scope,
                   CASE WHEN l.status <> 'active' THEN l.status
                        WHEN l.remaining = 0 THEN 'depleted'
                        WHEN l.expires_at <= until THEN 'expired'
                        ELSE 'active' END,
                   l.created_at
              FROM wallet.lots_now(of_wallet) l;
    END IF;
END
$$;
COMMENT ON FUNCTION wallet.lots_at IS 'Returns the lots of a wallet with the remaining amount of each at a given time, including everything due by then. The view grants calls it.';

CREATE VIEW wallet.grants WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet,
       l.grant_id,
       round(l.amount, greatest(min_scale(l.amount), 2)) AS amount,
       round(r.remaining, greatest(min_scale(r.remaining), 2)) AS remaining,
       l.expires_at,
       l.priority,
       l.promotional,
       l.scope,
       l.status,
       l.created_at
  FROM wallet.wallets w
 CROSS JOIN LATERAL wallet.lots_at(w.wallet_id, statement_timestamp()) l
 CROSS JOIN LATERAL (SELECT CASE WHEN l.status = 'expired' THEN 0 ELSE l.remaining END AS remaining) r;
COMMENT ON VIEW wallet.grants IS 'Lots of credit, one per funding, with the remaining amount of each. Charges burn lots in the order of priority, expiry, promotional before paid, age.';
COMMENT ON COLUMN wallet.grants.grant_id IS 'The entry that granted the credit.';
COMMENT ON COLUMN wallet.grants.status IS 'active, depleted, expired, voided or reversed.';

CREATE VIEW wallet.grant_payments WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet,
       p.entry_id,
       p.grant_id,
       round(p.amount, greatest(min_scale(p.amount), 2)) AS amount,
       p.created_at,
       p.refund_of,
       p.returned_to
  FROM wallet.wallets w
 CROSS JOIN LATERAL wallet.payments_of(w.wallet_id) p;
COMMENT ON VIEW wallet.grant_payments IS 'Which grant paid how much of which charge, and what refunds returned. Amounts paid on credit or left as a debt are not listed until a funding covers them.';
COMMENT ON COLUMN wallet.grant_payments.entry_id IS 'The charge, transfer or adjustment that took the money; for a returned amount, the refund.';
COMMENT ON COLUMN wallet.grant_payments.grant_id IS 'The grant that paid.';
COMMENT ON COLUMN wallet.grant_payments.amount IS 'The amount that the grant paid; negative for a refund.';
COMMENT ON COLUMN wallet.grant_payments.refund_of IS 'Refunds only: the refunded charge.';
COMMENT ON COLUMN wallet.grant_payments.returned_to IS 'Refunds only: the grant that now has the money. It is the grant that paid or, if that was voided or reversed, a new plain grant whose grant_id is the refund''s entry_id.';

CREATE VIEW wallet.events WITH (security_invoker = true) AS
SELECT o.event_id AS id,
       o.wallet_id AS wallet,
       o.event,
       trim_scale(o.threshold) AS threshold,
       o.payload,
       o.created_at,
       o.claimed_at,
       o.done_at,
       o.attempts,
       o.available_at,
       o.last_error
  FROM wallet.outbox o;
COMMENT ON VIEW wallet.events IS 'Events of wallets, one row per event, written in the transaction that caused it.';
COMMENT ON COLUMN wallet.events.available_at IS 'When claim_events() may give the event to a worker, unless it is done by then.';
COMMENT ON COLUMN wallet.events.last_error IS 'The error last passed to retry_event().';

CREATE VIEW wallet.default_limits WITH (security_invoker = true) AS
SELECT l.limit_id,
       l.scope,
       l.subject,
       l.period,
       l.metric,
       l.mode,
       round(m.max, greatest(min_scale(m.max), d.decimals)) AS max,
       l.warn_at,
       l.time_zone,
       l.anchor,
       l.anchor_time,
       round(l.rollover_max, greatest(min_scale(l.rollover_max), d.decimals)) AS rollover_max,
       l.paused,
       l.counts_since,
       l.created_at
  FROM wallet.limits l
 CROSS JOIN LATERAL (SELECT CASE l.metric WHEN 'amount' THEN 2 ELSE 0 END AS decimals) d
 CROSS JOIN LATERAL (
       SELECT l.max + coalesce(sum(r.by) FILTER (WHERE r.until > statement_timestamp()), 0) AS max
         FROM unnest(l.raised_by, l.raised_until) r (by, until)) m
 WHERE l.wallet_id = '*' AND l.dropped_at IS NULL;
COMMENT ON VIEW wallet.default_limits IS 'The default limits: each applies to every wallet that has no limit of the same scope, subject, period and metric.';
COMMENT ON COLUMN wallet.default_limits.max IS 'The maximum, including raises that are currently in effect.';
COMMENT ON COLUMN wallet.default_limits.time_zone IS 'Time zone in which days and months begin. NULL means the time zone of each wallet.';
COMMENT ON COLUMN wallet.default_limits.counts_since IS 'The limit counts usage from this time on.';

CREATE VIEW wallet.limits_status WITH (security_invoker = true) AS
SELECT w.wallet_id AS wallet,
       l.limit_id,
       l.scope,
       l.subject,
       l.period,
       l.metric,
       l.mode,
       round(l.max, greatest(min_scale(l.max), d.decimals)) AS max,
       round(l.used, greatest(min_scale(l.used), d.decimals)) AS used,
       round(l.held, greatest(min_scale(l.held), d.decimals)) AS held,
       round(u.remaining, greatest(min_scale(u.remaining), d.decimals)) AS remaining,
       CASE WHEN l.max > 0 THEN round(100 * (l.used + l.held) / l.max, 1) END AS percent,
       l.resets_at,
       l.paused,
       l.time_zone,
       round(l.carried, greatest(min_scale(l.carried), d.decimals)) AS carried,
       round(l.rollover_max, greatest(min_scale(l.rollover_max), d.decimals)) AS rollover_max,
       l.anchor_time,
       l.is_default
  FROM wallet.wallets w
 CROSS JOIN LATERAL wallet.limits_now(w.wallet_id, statement_timestamp()) l
 CROSS JOIN LATERAL (SELECT CASE l.metric WHEN 'amount' THEN 2 ELSE 0 END AS decimals) d
 CROSS JOIN LATERAL (SELECT greatest(l.max - l.used - l.held, 0) AS remaining) u
 -- Most wallets have no limits, and the function is not called for them.
 WHERE w.known_limits IS DISTINCT FROM '{}' OR (SELECT EXISTS (SELECT FROM wallet.default_limits));
COMMENT ON VIEW wallet.limits_status IS 'Every limit with its current usage: one row per subject that used it in the running window, or one row if no subject did.';
COMMENT ON COLUMN wallet.limits_status.is_default IS 'Whether it is a default limit, which applies because the wallet has no limit of the same scope, subject, period and metric.';
COMMENT ON COLUMN wallet.limits_status.subject IS 'The subject that used the limit. For several dimensions, a JSON array with the value of each.';
COMMENT ON COLUMN wallet.limits_status.max IS 'The maximum, including raises that are currently in effect and the carried amount.';
COMMENT ON COLUMN wallet.limits_status.carried IS 'The amount carried into the window from the windows before. NULL if the limit carries nothing, is paused, or was not used yet and has a window per subject.';
COMMENT ON COLUMN wallet.limits_status.rollover_max IS 'The most that is carried from a window into the next one.';
COMMENT ON COLUMN wallet.limits_status.anchor_time IS 'The time of day at which windows begin. NULL means midnight.';
COMMENT ON COLUMN wallet.limits_status.percent IS 'The sum of used and held, in percent of the maximum.';
COMMENT ON COLUMN wallet.limits_status.resets_at IS 'When the window ends. For a rolling window, when its oldest usage leaves it. NULL if the limit never resets.';

CREATE VIEW wallet.topups WITH (security_invoker = true) AS
SELECT t.wallet_id AS wallet,
       t.topup_id,
       round(t.amount, greatest(min_scale(t.amount), 2)) AS amount,
       t.method,
       t.status,
       t.reason,
       t.reference,
       t.created_at,
       t.finished_at,
       t.cause,
       t.entry_id,
       t.rule_name
  FROM wallet.topup_requests t;
COMMENT ON VIEW wallet.topups IS 'Top-ups that rules requested: requested, succeeded or failed.';
COMMENT ON COLUMN wallet.topups.cause IS 'The cause of the request: threshold or interval.';
COMMENT ON COLUMN wallet.topups.entry_id IS 'The entry that credited the top-up.';
COMMENT ON COLUMN wallet.topups.rule_name IS 'The name of the rule that requested it.';

CREATE VIEW wallet.holds WITH (security_invoker = true) AS
SELECT r.wallet_id AS wallet,
       r.hold_id,
       round(r.amount, greatest(min_scale(r.amount), 2)) AS amount,
       round(r.settled, greatest(min_scale(r.settled), 2)) AS settled,
       CASE WHEN e.expired THEN 'expired' WHEN r.status = 'open' AND r.approval IN ('w', 'c') THEN 'waiting' ELSE r.status END AS status,
       r.user_id,
       r.model,
       r.expires_at,
       r.created_at,
       CASE WHEN e.expired AND NOT r.charge_on_expiry THEN 0.00 ELSE round(r.held, greatest(min_scale(r.held), 2)) END AS held,
       r.team,
       r.service,
       r.tags,
       r.closed_at,
       r.reason,
       r.actor,
       r.metadata,
       r.provider,
       r.region,
       r.service_tier,
       CASE WHEN r.charge_on_expiry OR r.approval = 'c' THEN 'charge' ELSE 'release' END AS on_expiry,
       r.expiry_entry_id,
       coalesce(r.approval = 'a', false) AS approved,
       r.spender
  FROM wallet.reservations r
 CROSS JOIN LATERAL (SELECT r.status = 'open' AND r.expires_at <= statement_timestamp() AS expired) e;
COMMENT ON VIEW wallet.holds IS 'Money reserved until the actual usage is known: waiting for approval, open, settled, voided or expired.';
COMMENT ON COLUMN wallet.holds.amount IS 'The amount reserved at first.';
COMMENT ON COLUMN wallet.holds.settled IS 'The booked amount. It exceeds amount if the usage cost more.';
COMMENT ON COLUMN wallet.holds.held IS 'The amount that is still reserved.';
COMMENT ON COLUMN wallet.holds.spender IS 'The child whose hold this is the part of: the wallet pays for the child. NULL for a hold of the wallet itself.';
COMMENT ON COLUMN wallet.holds.on_expiry IS 'release or charge: the argument on_expiry of hold().';
COMMENT ON COLUMN wallet.holds.expiry_entry_id IS 'The charge that booked the amount after the hold had expired.';
COMMENT ON COLUMN wallet.holds.approved IS 'Whether the hold waited for approval and was approved.';
