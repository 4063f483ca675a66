-- Defects that were found, each with its story, so that they do not come back.
\pset format unaligned
\pset tuples_only on

-- A role that lost its membership could continue to charge in the same session: the decision was
-- cached.
SET client_min_messages = warning;
CREATE ROLE regress_group;
CREATE ROLE regress_member IN ROLE regress_group;
RESET client_min_messages;
SELECT balance FROM wallet.create_wallet('story_a');
SELECT balance FROM wallet.create_wallet('story_b');
SELECT balance FROM wallet.fund('story_a', 10);
SELECT wallet.grant_access('regress_group', 'charger', 'story_a');
SELECT wallet.grant_access('regress_member', 'charger', 'story_b');
SET ROLE regress_member;
SELECT balance FROM wallet.charge('story_a', amount => 1);
RESET ROLE;
REVOKE regress_group FROM regress_member;
SET ROLE regress_member;
SELECT regress.outcome($$SELECT wallet.charge('story_a', amount => 1)$$);
RESET ROLE;

-- A new role with an old role's name inherited the old role's grants with its own first grant.
DROP OWNED BY regress_member;
DROP ROLE regress_member;
CREATE ROLE regress_member;
SELECT wallet.grant_access('regress_member', 'reader', 'story_a');
SELECT wallet_id, level FROM wallet.access_grants WHERE db_role = 'regress_member';
SET ROLE regress_member;
SELECT regress.outcome($$SELECT wallet.charge('story_b', amount => 0)$$);
RESET ROLE;
SELECT wallet.revoke_access('regress_member', 'reader', 'story_a');
SELECT wallet.revoke_access('regress_group', 'charger', 'story_a');
DROP ROLE regress_member, regress_group;

-- A closed wallet could still be changed.
SELECT status FROM wallet.close_wallet('story_b');
CALL regress.fails($$SELECT wallet.update_wallet('story_b', credit_limit => 5)$$);
CALL regress.fails($$SELECT wallet.set_lanes('story_b', 3)$$);

-- set_limit kept the time zone of the limit it changed. What was spent today must also count in the
-- new day.
SELECT wallet.set_limit('story_a', 5, 'day') IS NOT NULL;
SELECT wallet.set_limit('story_a', 6, 'day', time_zone => 'Asia/Tokyo') IS NOT NULL;
SELECT time_zone, max FROM wallet.limits WHERE wallet_id = 'story_a';
SELECT max, used FROM wallet.check_limits('story_a') WHERE scope = 'wallet';

-- The key of a payment that had been credited before was not stored, and could book another
-- payment.
SELECT amount, replayed FROM wallet.fund('story_a', 5, reference => 'p');
SELECT amount, replayed FROM wallet.fund('story_a', 5, reference => 'p', idempotency_key => 'k');
SELECT amount, replayed FROM wallet.fund('story_a', 5, reference => 'p', idempotency_key => 'k');
CALL regress.fails($$SELECT wallet.fund('story_a', 99, reference => 'q', idempotency_key => 'k')$$);

-- A model whose name is a number was treated as no model.
CALL regress.fails($$SELECT wallet.price_usage('{"model": 7, "input_tokens": 1}')$$);

-- Zero usage lost the provider of the price.
SELECT wallet.set_price('story', 'input_tokens', 1, provider => 'acme-ai') IS NOT NULL;
SELECT cost FROM wallet.charge('story_a', '{"model": "story", "input_tokens": 0}');
SELECT contra FROM wallet.entries WHERE model = 'story';

-- Argument errors take precedence over the key.
SELECT regress.outcome($$SELECT wallet.charge('story_a', amount => 'NaN', key => 'k')$$);
SELECT regress.outcome($$SELECT wallet.charge('story_a', amount => 1, key => 'k')$$);

-- Calls for all wallets did not store their key: a late retry restored an older price.
CREATE FUNCTION pg_temp.price_of_story() RETURNS numeric LANGUAGE sql
RETURN (SELECT cost FROM wallet.price_usage('{"model": "late", "input_tokens": 1}'));
SELECT wallet.set_price('late', 'input_tokens', 1, idempotency_key => 'late-1') AS first \gset
SELECT wallet.set_price('late', 'input_tokens', 2, idempotency_key => 'late-2') IS NOT NULL;
SELECT wallet.set_price('late', 'input_tokens', 1.0, idempotency_key => 'late-1') = :'first', pg_temp.price_of_story();
CALL regress.fails($$SELECT wallet.set_price('late', 'input_tokens', 3, idempotency_key => 'late-1')$$);
SELECT wallet.set_markup('late', 10, idempotency_key => 'late-1') AS first \gset
SELECT wallet.set_markup('late', 20, idempotency_key => 'late-2') IS NOT NULL;
SELECT wallet.set_markup('late', 10, idempotency_key => 'late-1') = :'first';
SELECT percent FROM wallet.markups WHERE price_list = 'late' ORDER BY markup_id DESC LIMIT 1;
CALL regress.fails($$SELECT wallet.set_markup('late', 10, 1, idempotency_key => 'late-1')$$);
SELECT wallet.set_fx_rate('CHF', 'USD', 1.1, idempotency_key => 'late-1') AS first \gset
SELECT wallet.set_fx_rate('CHF', 'USD', 1.2, idempotency_key => 'late-2') IS NOT NULL;
SELECT wallet.set_fx_rate('CHF', 'USD', 1.1, idempotency_key => 'late-1') = :'first';
SELECT rate FROM wallet.fx_rates WHERE from_currency = 'CHF' ORDER BY rate_id DESC LIMIT 1;
CALL regress.fails($$SELECT wallet.set_fx_rate('CHF', 'EUR', 1.1, idempotency_key => 'late-1')$$);
SELECT wallet.set_usage_mapping('late', '{"providers": ["late"], "shapes": [{"at": "u", "all": ["n"]}], "meters": [{"path": "n", "meter": "pages"}]}',
                                idempotency_key => 'late-1');
SELECT wallet.set_usage_mapping('late', NULL, idempotency_key => 'late-2');
SELECT wallet.set_usage_mapping('late', '{"shapes": [{"at": "u", "all": ["n"]}], "meters": [{"path": "n", "meter": "pages"}], "providers": ["late"]}',
                                idempotency_key => 'late-1');
SELECT count(*) FROM wallet.usage_mappings WHERE name = 'late';
CALL regress.fails($$SELECT wallet.set_usage_mapping('late', NULL, idempotency_key => 'late-1')$$);
-- A repeated import returns the rows of the first one, and a dry run does not use its key.
SELECT action, model, meter, old_price, new_price
  FROM wallet.import_prices('litellm', '{"later": {"input_cost_per_token": 1e-6, "mode": "chat"}}', dry_run => true, idempotency_key => 'late-1');
SELECT action, model, meter, old_price, new_price
  FROM wallet.import_prices('litellm', '{"later": {"input_cost_per_token": 1e-6, "mode": "chat"}}', idempotency_key => 'late-1');
SELECT action, new_price FROM wallet.import_prices('litellm', '{"later": {"input_cost_per_token": 2e-6, "mode": "chat"}}', idempotency_key => 'late-2');
SELECT action, model, meter, old_price, new_price
  FROM wallet.import_prices('litellm', '{"later": {"mode": "chat", "input_cost_per_token": 1e-6}}', idempotency_key => 'late-1');
SELECT cost FROM wallet.price_usage('{"model": "later", "input_tokens": 1}');
CALL regress.fails($$SELECT wallet.import_prices('litellm', '{}', idempotency_key => 'late-1')$$);
-- The audit trail has each change once.
SELECT action, count(*) FROM wallet.audit
 WHERE wallet = '*' AND (subject = 'late' OR after ->> 'model' = 'late' OR after ->> 'price_list' = 'late' OR after ->> 'from_currency' = 'CHF'
       OR coalesce(after, before) ->> 'name' = 'late')
 GROUP BY 1 ORDER BY 1;
-- The end of a top-up.
SELECT wallet.create_wallet('story_top'), wallet.fund('story_top', 10) \gset
SELECT wallet.set_topup_rule('story_top', '{"threshold": 5, "amount": 10}') IS NOT NULL;
SELECT balance FROM wallet.charge('story_top', amount => 6);
SELECT topup_id FROM wallet.topups WHERE wallet = 'story_top' \gset
SELECT status, replayed FROM wallet.fail_topup('story_top', :'topup_id', 'declined', idempotency_key => 'k');
SELECT status, replayed FROM wallet.complete_topup('story_top', :'topup_id', 'paid late', idempotency_key => 'k');
-- The decline is announced again: it had been announced before the money arrived.
SELECT status, replayed FROM wallet.fail_topup('story_top', :'topup_id', 'declined', idempotency_key => 'k');
SELECT status, replayed FROM wallet.complete_topup('story_top', :'topup_id', 'paid late', idempotency_key => 'k');
CALL regress.fails(format($$SELECT wallet.complete_topup('story_top', '%s', 'other', idempotency_key => 'k')$$, :'topup_id'));
CALL regress.fails($$SELECT wallet.fail_topup('story_top', '00000000-0000-7000-8000-000000000001', 'declined', idempotency_key => 'k')$$);
SELECT balance FROM wallet.balances WHERE wallet = 'story_top';

-- A void that found nothing left did not store its key.
SELECT wallet.create_wallet('story_void') \gset
SELECT wallet.fund('story_void', 5, promotional => true), wallet.fund('story_void', 7, promotional => true, priority => 200) \gset
SELECT balance FROM wallet.charge('story_void', amount => 5);
SELECT grant_id AS used FROM wallet.grants WHERE wallet = 'story_void' AND amount = 5 \gset
SELECT grant_id AS other FROM wallet.grants WHERE wallet = 'story_void' AND amount = 7 \gset
SELECT amount, balance, replayed FROM wallet.void_grant('story_void', :'used', idempotency_key => 'k');
SELECT amount, balance, replayed FROM wallet.void_grant('story_void', :'used', idempotency_key => 'k');
SELECT set_config('regress.other', :'other', false) IS NOT NULL;
CALL regress.fails($$SELECT wallet.void_grant('story_void', current_setting('regress.other')::uuid, idempotency_key => 'k')$$);
SELECT balance FROM wallet.balances WHERE wallet = 'story_void';

-- A turn of a recurring grant was lost if another grant had expired before it and no call came in
-- between.
SELECT wallet.create_wallet('story_turn'), wallet.create_wallet('story_held') \gset
SELECT balance FROM wallet.set_recurring_grant('story_turn', 10, '3 seconds', expires_after => '1 second');
SELECT balance FROM wallet.set_recurring_grant('story_held', 10, '3 seconds', expires_after => '1 second');
SELECT amount FROM wallet.hold('story_held', 10);
SELECT wallet.create_wallet('story_roll') \gset
SELECT balance FROM wallet.set_recurring_grant('story_roll', 10, '3 seconds', expires_after => '2 seconds', rollover_max => 5);
SELECT amount FROM wallet.hold('story_roll', 10);
SELECT pg_sleep(3.1);
-- Nor is it carried over to the next turn: one grant lasts, not both.
SELECT balance FROM wallet.charge('story_roll', amount => 1);
SELECT count(*) FROM wallet.grants WHERE wallet = 'story_roll' AND expires_at > now();
SELECT balance FROM wallet.set_recurring_grant('story_roll', 0);
SELECT balance FROM wallet.charge('story_turn', amount => 1);
SELECT kind, amount, contra FROM wallet.entries WHERE wallet = 'story_turn' ORDER BY seq;
SELECT balance FROM wallet.set_recurring_grant('story_turn', 0);
-- Money that a hold reserves from an expired grant does not delay a turn.
SELECT balance FROM wallet.charge('story_held', amount => 1);
SELECT kind, amount, contra FROM wallet.entries WHERE wallet = 'story_held' ORDER BY seq;
SELECT balance FROM wallet.set_recurring_grant('story_held', 0);
