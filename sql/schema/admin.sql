-- Views for the screens of an administrator: the rules that the calls set, one row per rule.
CREATE VIEW wallet.member_list WITH (security_invoker = true) AS
SELECT m.wallet_id AS wallet, m.user_id, m.role, m.team, m.allowed_models, m.blocked, m.created_at
  FROM wallet.members m;
COMMENT ON VIEW wallet.member_list IS 'The members of wallets, with their roles and teams.';
COMMENT ON COLUMN wallet.member_list.allowed_models IS 'Names or patterns of the models that the member may use. NULL means all.';
COMMENT ON COLUMN wallet.member_list.blocked IS 'Whether the member may do nothing.';

CREATE VIEW wallet.model_rule_list WITH (security_invoker = true) AS
SELECT r.wallet_id AS wallet, r.scope, r.subject, r.allowed, r.blocked, r.created_at
  FROM wallet.model_rules r;
COMMENT ON VIEW wallet.model_rule_list IS 'Which models a wallet, a team or a user may use.';
COMMENT ON COLUMN wallet.model_rule_list.subject IS 'The team or user; * means each one that has no rule of its own.';

CREATE VIEW wallet.topup_rule_list WITH (security_invoker = true) AS
SELECT r.wallet_id AS wallet, r.name, r.rule, r.method, r.next_at, r.refused, r.created_at
  FROM wallet.topup_rules r;
COMMENT ON VIEW wallet.topup_rule_list IS 'The top-up rules of wallets.';
COMMENT ON COLUMN wallet.topup_rule_list.rule IS 'The rule as set_topup_rule() got it.';
COMMENT ON COLUMN wallet.topup_rule_list.next_at IS 'When the next top-up is due, for a rule with an interval.';
COMMENT ON COLUMN wallet.topup_rule_list.refused IS 'Why the last evaluation of the rule requested no money; NULL if it did not refuse.';

CREATE VIEW wallet.recurring_grant_list WITH (security_invoker = true) AS
SELECT r.wallet_id AS wallet, r.name, round(r.amount, greatest(min_scale(r.amount), 2)) AS amount, r.period, r.expires_after,
       round(r.rollover_max, greatest(min_scale(r.rollover_max), 2)) AS rollover_max, r.scope, r.started_at, r.next_at,
       r.actor, r.metadata
  FROM wallet.recurring_grants r;
COMMENT ON VIEW wallet.recurring_grant_list IS 'The recurring grants of wallets.';
COMMENT ON COLUMN wallet.recurring_grant_list.next_at IS 'When the next grant is due. The first call after it books the grant.';

CREATE VIEW wallet.voucher_list WITH (security_invoker = true) AS
SELECT v.voucher_id, round(v.amount, greatest(min_scale(v.amount), 2)) AS amount, v.currency, v.expires_at,
       v.max_redemptions, v.redemptions, v.scope, v.created_at, v.actor, v.metadata
  FROM wallet.vouchers v;
COMMENT ON VIEW wallet.voucher_list IS 'Vouchers, without their codes and hashes. The redemptions themselves are fundings.';

CREATE VIEW wallet.markup_list WITH (security_invoker = true) AS
SELECT m.markup_id, m.price_list, trim_scale(m.percent) AS percent, trim_scale(m.fixed) AS fixed, m.currency,
       m.effective_from,
       m.effective_from <= statement_timestamp()
       AND NOT EXISTS (SELECT FROM wallet.markups n
                        WHERE n.price_list = m.price_list AND n.effective_from <= statement_timestamp()
                          AND (n.effective_from, n.markup_id) > (m.effective_from, m.markup_id)) AS in_force,
       m.created_at, m.actor, m.metadata
  FROM wallet.markups m;
COMMENT ON VIEW wallet.markup_list IS 'The markups of price lists, past and future ones too.';
COMMENT ON COLUMN wallet.markup_list.percent IS 'Added to the cost by prices of the default list. NULL for both parts: the list has no markup from then on.';
COMMENT ON COLUMN wallet.markup_list.in_force IS 'Whether charges get this markup now.';

CREATE VIEW wallet.price_lists WITH (security_invoker = true) AS
SELECT w.price_list, w.wallet_id AS wallet, w.currency
  FROM wallet.wallets w
 UNION ALL
-- Lists that no visible wallet uses.
SELECT l.price_list, NULL, NULL
  FROM (SELECT p.price_list FROM wallet.prices p UNION SELECT m.price_list FROM wallet.markups m) l
 WHERE NOT EXISTS (SELECT FROM wallet.wallets w WHERE w.price_list = l.price_list);
COMMENT ON VIEW wallet.price_lists IS 'Which wallet uses which price list: one row per wallet, and one row per list that no wallet uses.';
COMMENT ON COLUMN wallet.price_lists.wallet IS 'The wallet; NULL for a list that none of the visible wallets uses.';
