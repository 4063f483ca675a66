-- Defects that were found, each with its story: what once went wrong must not come back.
\pset format unaligned
\pset tuples_only on

-- A role that lost its membership could go on charging in the same session: the decision was kept.
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

-- A new role of an old one's name inherited its grants with the first of its own.
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

-- set_limit kept the time zone of the limit that it changed, and what was spent today must count in
-- the new day too.
SELECT wallet.set_limit('story_a', 5, 'day') IS NOT NULL;
SELECT wallet.set_limit('story_a', 6, 'day', time_zone => 'Asia/Tokyo') IS NOT NULL;
SELECT time_zone, max FROM wallet.limits WHERE wallet_id = 'story_a';
SELECT max, used FROM wallet.check_limits('story_a') WHERE scope = 'wallet';

-- A key that came with a payment credited before was not remembered and could book another one.
SELECT amount, replayed FROM wallet.fund('story_a', 5, reference => 'p');
SELECT amount, replayed FROM wallet.fund('story_a', 5, reference => 'p', idempotency_key => 'k');
SELECT amount, replayed FROM wallet.fund('story_a', 5, reference => 'p', idempotency_key => 'k');
CALL regress.fails($$SELECT wallet.fund('story_a', 99, reference => 'q', idempotency_key => 'k')$$);

-- A model that is a number was taken for no model.
CALL regress.fails($$SELECT wallet.price_usage('{"model": 7, "input_tokens": 1}')$$);

-- A use of nothing forgot the price's provider.
SELECT wallet.set_price('story', 'input_tokens', 1, provider => 'acme-ai') IS NOT NULL;
SELECT cost FROM wallet.charge('story_a', '{"model": "story", "input_tokens": 0}');
SELECT contra FROM wallet.entries WHERE model = 'story';

-- Arguments come before the key in the order of precedence.
SELECT regress.outcome($$SELECT wallet.charge('story_a', amount => 'NaN', key => 'k')$$);
SELECT regress.outcome($$SELECT wallet.charge('story_a', amount => 1, key => 'k')$$);
