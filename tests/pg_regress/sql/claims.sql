-- Roles whose grants count only for wallets that the transaction claims, or for the wallet of its key.
SELECT wallet FROM wallet.create_wallet('cl_a') UNION ALL SELECT wallet FROM wallet.create_wallet('cl_b')
 UNION ALL SELECT wallet FROM wallet.create_wallet('{cl "c"\') UNION ALL SELECT wallet FROM wallet.create_wallet('cl d');
SELECT count(c.entry_id) FROM unnest(ARRAY['cl_a', 'cl_b', '{cl "c"\', 'cl d']) w, wallet.fund(w, 1000) c;
SELECT count(c.entry_id) FROM unnest(ARRAY['cl_a', 'cl_b', 'cl d']) w, wallet.charge(w, amount => 1) c;
CREATE ROLE regress_pool;
SELECT wallet.grant_access('regress_pool', 'charger', claimed => true);
SELECT wallet_id, level, claimed, keyed FROM wallet.access_grants WHERE db_role = 'regress_pool';
CREATE FUNCTION regress.reaches() RETURNS TABLE (wallet text, charge text, fund text, rows bigint) LANGUAGE sql VOLATILE AS $$
    SELECT w, regress.outcome(format('SELECT wallet.charge(%L, amount => 0.01)', w)), regress.outcome(format('SELECT wallet.fund(%L, 1)', w)),
           (SELECT count(*) FROM wallet.balances b WHERE b.wallet = w)
      FROM unnest(ARRAY['cl_a', 'cl_b', '{cl "c"\', 'cl d', 'cl_ghost']) WITH ORDINALITY AS u (w, n) ORDER BY n
$$;

-- Without a claim, nothing. The error says what to do.
SET ROLE regress_pool;
SELECT * FROM regress.reaches();
SELECT wallet.readable_wallets();
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1) $$);
CALL regress.fails($$ SELECT wallet.check_limits('{cl "c"\') $$);
CALL regress.fails($$ SELECT wallet.convert_amount(1, 'USD', 'USD') $$);
CALL regress.fails($$ SELECT wallet.fund('cl_a', 1) $$);
-- One wallet.
BEGIN;
SET LOCAL wallet.claim = 'cl_a';
SELECT * FROM regress.reaches();
SELECT wallet.readable_wallets();
SELECT DISTINCT wallet FROM wallet.entries;
CALL regress.fails($$ SELECT wallet.charge('cl_b', amount => 1) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('cl_new') $$);
COMMIT;
-- The claim ends with the transaction.
SELECT wallet.readable_wallets();
-- Several wallets, some of which need quotes. The hint of the error above works.
BEGIN;
SET LOCAL wallet.claim = '{cl_b, "cl d", cl_ghost}';
SELECT * FROM regress.reaches();
SET LOCAL wallet.claim = E'{"{cl \\"c\\"\\\\"}';
SELECT * FROM regress.reaches();
-- All wallets cannot be claimed.
SET LOCAL wallet.claim = '*';
SELECT * FROM regress.reaches();
SELECT wallet.readable_wallets();
SET LOCAL wallet.claim = '{*,cl_a}';
SELECT wallet.readable_wallets();
-- What cannot be read is refused.
SET LOCAL wallet.claim = '{cl_a';
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1) $$);
CALL regress.fails($$ SELECT * FROM wallet.balances $$);
SET LOCAL wallet.claim = '';
SELECT wallet.readable_wallets();
ROLLBACK;

-- A savepoint that is rolled back, a function with a setting of its own, and a SECURITY DEFINER
-- function.
BEGIN;
SET LOCAL wallet.claim = 'cl_a';
SAVEPOINT a;
SET LOCAL wallet.claim = 'cl_b';
SELECT wallet.readable_wallets();
ROLLBACK TO a;
SELECT wallet.readable_wallets(), regress.outcome($$ SELECT wallet.charge('cl_b', amount => 1) $$);
RESET ROLE;
CREATE FUNCTION regress.claiming() RETURNS text[] LANGUAGE sql SET wallet.claim = 'cl_b' AS $$ SELECT wallet.readable_wallets() $$;
CREATE FUNCTION regress.as_definer() RETURNS text[] LANGUAGE sql SECURITY DEFINER AS $$ SELECT wallet.readable_wallets() $$;
GRANT CREATE ON SCHEMA regress TO regress_pool;
ALTER FUNCTION regress.as_definer OWNER TO regress_pool;
REVOKE CREATE ON SCHEMA regress FROM regress_pool;
CREATE ROLE regress_nobody_else;
GRANT USAGE ON SCHEMA regress TO regress_nobody_else;
SET LOCAL ROLE regress_pool;
SELECT regress.claiming(), wallet.readable_wallets();
SET LOCAL ROLE regress_nobody_else;
SELECT regress.as_definer();
ROLLBACK;
-- Each call decides by the claim at its start, whatever changes it within a statement.
SET ROLE regress_pool;
BEGIN;
SELECT regress.outcome($$ SELECT wallet.charge('cl_a', amount => 1) $$) AS before, set_config('wallet.claim', 'cl_a', true),
       regress.outcome($$ SELECT wallet.charge('cl_a', amount => 1) $$) AS after;
ROLLBACK;
RESET ROLE;

-- Grants add up. A claim does not give more than the grant.
SELECT wallet.grant_access('regress_pool', 'reader', 'cl_b');
SELECT wallet.grant_access('regress_pool', 'billing', 'cl d', claimed => true);
SET ROLE regress_pool;
SELECT * FROM regress.reaches();
BEGIN;
SET LOCAL wallet.claim = '{cl_a,cl d}';
SELECT * FROM regress.reaches();
ROLLBACK;
RESET ROLE;
-- A claimed grant on one wallet: another cannot be claimed.
SELECT wallet.revoke_access('regress_pool', 'charger');
SET ROLE regress_pool;
BEGIN;
SET LOCAL wallet.claim = '{cl_a,cl_b,cl d}';
SELECT * FROM regress.reaches();
ROLLBACK;
CALL regress.fails($$ SELECT wallet.fund('cl d', 1) $$);
RESET ROLE;
-- A grant of the same level on the same wallet is replaced.
SELECT wallet.grant_access('regress_pool', 'billing', 'cl d');
SELECT wallet_id, level, claimed, keyed FROM wallet.access_grants WHERE db_role = 'regress_pool' ORDER BY 1, 2;
SET ROLE regress_pool;
SELECT fund FROM regress.reaches() WHERE wallet = 'cl d';
RESET ROLE;
SELECT wallet.grant_access('regress_pool', 'billing', 'cl d', claimed => true);
SET ROLE regress_pool;
SELECT fund FROM regress.reaches() WHERE wallet = 'cl d';
RESET ROLE;
SELECT before ->> 'claimed' AS before, after ->> 'claimed' AS after FROM wallet.audit
 WHERE subject = 'regress_pool billing' AND action = 'grant_access' ORDER BY at;
CALL regress.fails($$ SELECT wallet.grant_access('regress_pool', 'charger', claimed => true, keyed => true) $$);
CALL regress.fails($$ SELECT wallet.grant_access('regress_pool', 'charger', claimed => NULL) $$);
SELECT wallet.revoke_access('regress_pool', level, wallet_id) FROM wallet.access_grants WHERE db_role = 'regress_pool';

-- Events and top-ups of the claimed wallets, and of no others.
SELECT wallet.grant_access('regress_pool', 'billing', claimed => true);
SELECT count(wallet.freeze_wallet(w)), count(wallet.unfreeze_wallet(w)) FROM unnest(ARRAY['cl_a', 'cl_b']) w;
SET ROLE regress_pool;
SELECT regress.outcome($$ SELECT wallet.claim_events() $$);
BEGIN;
SET LOCAL wallet.claim = 'cl_b';
SELECT wallet, event FROM wallet.claim_events();
SELECT DISTINCT wallet FROM wallet.events;
SELECT regress.outcome(format('SELECT wallet.finish_event(%L)', (SELECT id FROM wallet.events LIMIT 1)));
ROLLBACK;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'billing');

-- A wallet named in a query stays an index condition, and the readable wallets are computed once per
-- table, not once per row.
CREATE FUNCTION regress.plan(query text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE line text; plan text := '';
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (COSTS OFF) ' || query LOOP plan := plan || line || E'\n'; END LOOP;
    RETURN plan;
END
$$;
SELECT wallet.grant_access('regress_pool', 'reader', claimed => true);
SET ROLE regress_pool;
SET wallet.claim = 'cl_a';
SET enable_seqscan = off;
SELECT plan ~ 'Index Cond: \(+wallet_id = ''cl_a''' AS indexed, plan ~ 'InitPlan' AS once, plan ~ 'Seq Scan' AS scans
  FROM regress.plan($$ SELECT * FROM wallet.ledger WHERE wallet_id = 'cl_a' AND entry_id = '00000000-0000-0000-0000-000000000000' $$) plan;
RESET enable_seqscan;
RESET wallet.claim;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'reader');

-- A key claims its wallet. A keyed grant accepts nothing else.
SELECT wallet.grant_access('regress_pool', 'charger', keyed => true);
SELECT wallet_id, level, claimed, keyed FROM wallet.access_grants WHERE db_role = 'regress_pool';
SELECT wallet.set_member('cl_a', 'ann', 'member'), wallet.set_member('cl_a', 'vic', 'viewer');
CREATE TABLE regress.secrets (name text PRIMARY KEY, key_id uuid, secret text);
GRANT SELECT ON regress.secrets TO PUBLIC;
INSERT INTO regress.secrets SELECT 'a', k.key_id, k.secret FROM wallet.create_key('cl_a') k;
INSERT INTO regress.secrets SELECT 'ann', k.key_id, k.secret FROM wallet.create_key('cl_a', 'ann', 'laptop', allowed_models => '{m*}') k;
INSERT INTO regress.secrets SELECT 'vic', k.key_id, k.secret FROM wallet.create_key('cl_a', 'vic') k;
INSERT INTO regress.secrets SELECT 'b', k.key_id, k.secret FROM wallet.create_key('cl_b', 'bob') k;
INSERT INTO regress.secrets SELECT 'revoked', k.key_id, k.secret FROM wallet.create_key('cl_a') k;
INSERT INTO regress.secrets SELECT 'rotated', k.key_id, k.secret FROM wallet.create_key('cl_a') k;
INSERT INTO regress.secrets SELECT 'expiring', k.key_id, k.secret FROM wallet.create_key('cl_a', expires_at => clock_timestamp() + interval '3 seconds') k;
INSERT INTO regress.secrets VALUES ('forged', NULL, 'wk_00000000000000000000000000000000'), ('empty', NULL, '');
CREATE FUNCTION regress.as_key(named text) RETURNS void LANGUAGE sql AS $$
    SELECT FROM (SELECT set_config('wallet.key', secret, true) FROM regress.secrets WHERE name = named) s
$$;
SET ROLE regress_pool;
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1) $$);
SELECT * FROM regress.reaches();
-- An injected claim gives nothing.
BEGIN;
SET LOCAL wallet.claim = '{cl_a,cl_b}';
SELECT * FROM regress.reaches();
SELECT regress.as_key('a');
SELECT * FROM regress.reaches();
SELECT wallet.readable_wallets();
SELECT DISTINCT wallet FROM wallet.entries;
CALL regress.fails($$ SELECT wallet.charge('cl_b', amount => 1) $$);
CALL regress.fails($$ SELECT wallet.create_wallet('cl_new') $$);
-- The secret is never shown.
SHOW wallet.key;
SELECT current_setting('wallet.key'), set_config('wallet.key', secret, true) FROM regress.secrets WHERE name = 'b';
SELECT count(*) FROM pg_settings WHERE name = 'wallet.key';
SELECT wallet.readable_wallets();
ROLLBACK;
SHOW wallet.key;
-- Charges and holds are attributed to the key and its user.
BEGIN;
SELECT regress.as_key('b');
SELECT cost FROM wallet.charge('cl_b', amount => 1);
SELECT cost FROM wallet.charge('cl_b', amount => 1, user_id => 'bob');
SELECT cost FROM wallet.settle('cl_b', (SELECT hold_id FROM wallet.hold('cl_b', amount => 2)), amount => 2);
SELECT item, cost FROM wallet.charge_batch('[{"wallet": "cl_b", "amount": 3}, {"wallet": "cl_b", "amount": 4}]');
SELECT e.amount, e.user_id, s.name AS key FROM wallet.entries e LEFT JOIN regress.secrets s USING (key_id) WHERE e.kind = 'charge' ORDER BY e.seq;
CALL regress.fails($$ SELECT wallet.charge('cl_b', amount => 1, user_id => 'mallory') $$);
CALL regress.fails($$ SELECT wallet.hold('cl_b', amount => 1, user_id => 'mallory') $$);
SELECT item, sqlstate FROM wallet.charge_batch('[{"wallet": "cl_b", "amount": 1}, {"wallet": "cl_b", "amount": 1, "user_id": "mallory"}, {"wallet": "cl_a", "amount": 1}]', on_error => 'skip') ORDER BY 1;
CALL regress.fails($$ SELECT wallet.charge('cl_b', amount => 1, key => 'wk_00000000000000000000000000000000') $$);
SELECT cost FROM wallet.charge('cl_b', amount => 1, key => (SELECT secret FROM regress.secrets WHERE name = 'b'));
ROLLBACK;
-- The rules of the key and of its user apply.
BEGIN;
SELECT regress.as_key('ann');
SELECT cost FROM wallet.charge('cl_a', amount => 1, model => 'm1');
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1, model => 'x1') $$);
SELECT regress.as_key('vic');
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1) $$);
SELECT wallet.readable_wallets();
ROLLBACK;
-- Forged, empty, and no longer valid keys reach nothing, and all look the same.
RESET ROLE;
SELECT wallet.revoke_key('cl_a', key_id) FROM regress.secrets WHERE name = 'revoked';
INSERT INTO regress.secrets SELECT 'new', k.key_id, k.secret FROM wallet.rotate_key('cl_a', (SELECT key_id FROM regress.secrets WHERE name = 'rotated'), overlap => '0') k;
SET ROLE regress_pool;
CREATE TEMPORARY TABLE seen (name text, readable text[], charge text, owners bigint);
DO $$
DECLARE s record;
BEGIN
    FOR s IN SELECT * FROM regress.secrets WHERE name IN ('forged', 'empty', 'revoked', 'rotated', 'new', 'expiring') LOOP
        PERFORM regress.as_key(s.name);
        INSERT INTO seen VALUES (s.name, wallet.readable_wallets(), regress.outcome($q$ SELECT wallet.charge('cl_a', amount => 0.01) $q$),
                                 CASE WHEN s.secret <> '' THEN (SELECT count(*) FROM wallet.key_owner(s.secret)) END);
    END LOOP;
END
$$;
SELECT * FROM seen ORDER BY name;
BEGIN;
SELECT regress.as_key('revoked');
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1) $$);
ROLLBACK;
SELECT pg_sleep(3.1);
BEGIN;
SELECT regress.as_key('expiring');
SELECT regress.outcome($$ SELECT wallet.charge('cl_a', amount => 0.01) $$), wallet.readable_wallets();
COMMIT;
DROP TABLE seen;
RESET ROLE;

-- Under a claimed grant, a key is a claim, and then the only one. Under a plain grant it also
-- restricts the transaction to its wallet.
SELECT wallet.grant_access('regress_pool', 'charger', claimed => true);
SET ROLE regress_pool;
BEGIN;
SET LOCAL wallet.claim = 'cl_b';
SELECT regress.as_key('a');
SELECT * FROM regress.reaches();
SELECT regress.as_key('forged');
SELECT * FROM regress.reaches();
ROLLBACK;
RESET ROLE;
SELECT wallet.grant_access('regress_pool', 'charger');
SET ROLE regress_pool;
BEGIN;
SELECT regress.as_key('a');
SELECT * FROM regress.reaches();
CALL regress.fails($$ SELECT wallet.charge('cl_b', amount => 1) $$);
SELECT regress.as_key('forged');
SELECT * FROM regress.reaches();
ROLLBACK;
RESET ROLE;

-- key_owner() answers for the wallets that the role may reach, and needs no claim.
SELECT wallet.revoke_access('regress_pool', 'charger');
SELECT wallet.grant_access('regress_pool', 'reader', 'cl_b', keyed => true);
SET ROLE regress_pool;
SELECT o.wallet, o.key_id = s.key_id AS key_id, o.user_id, o.name, o.expires_at FROM regress.secrets s, wallet.key_owner(s.secret) o WHERE s.secret <> '' ORDER BY s.name;
RESET ROLE;
SELECT s.name, o.wallet, o.user_id, o.name, o.expires_at IS NOT NULL AS expires FROM regress.secrets s, wallet.key_owner(s.secret) o WHERE s.secret <> '' ORDER BY 1;
CALL regress.fails($$ SELECT wallet.key_owner(NULL) $$);
SELECT wallet.revoke_access('regress_pool', 'reader', 'cl_b');

-- An auditor reads the audit trail and the list of keys, but no hash; a worker only works.
SELECT wallet.grant_access('regress_pool', 'auditor', 'cl_a');
SET ROLE regress_pool;
SELECT count(*) > 0 AS audits, count(*) FILTER (WHERE wallet <> 'cl_a') AS others FROM wallet.audit;
SELECT count(*) > 0 AS keys, count(*) FILTER (WHERE wallet <> 'cl_a') AS others FROM wallet.keys;
SELECT regress.outcome($$ SELECT secret_hash FROM wallet.api_keys $$), regress.outcome($$ SELECT wallet.verify('cl_a') $$),
       regress.outcome($$ SELECT wallet.charge('cl_a', amount => 1) $$), regress.outcome($$ SELECT wallet.create_key('cl_a') $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'auditor', 'cl_a');
SELECT wallet.grant_access('regress_pool', 'worker');
SET ROLE regress_pool;
SELECT wallet FROM wallet.claim_events(10000) WHERE wallet IN ('cl_a', 'cl_b') ORDER BY 1;
SELECT count(*) FROM wallet.maintain();
SELECT regress.outcome($$ SELECT wallet.request_due_topups() $$), regress.outcome($$ SELECT * FROM wallet.events $$),
       regress.outcome($$ SELECT * FROM wallet.balances $$), regress.outcome($$ SELECT wallet.verify('cl_a') $$),
       regress.outcome($$ SELECT wallet.charge('cl_a', amount => 1) $$), regress.outcome($$ SELECT wallet.fund('cl_a', 1) $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'worker');
-- Upkeep needs one grant of worker or admin on all wallets: billing on all and worker on one are not
-- enough together.
SELECT wallet.grant_access('regress_pool', 'billing'), wallet.grant_access('regress_pool', 'worker', 'cl_a');
SET ROLE regress_pool;
CALL regress.fails($$ SELECT wallet.maintain() $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'billing'), wallet.revoke_access('regress_pool', 'worker', 'cl_a');
SELECT * FROM regress.broken('cl_a') UNION ALL SELECT * FROM regress.broken('cl_b');

-- Negotiated prices: a role sees the lists that its wallets use, also an administrator of a wallet. A list that
-- the role does not see answers like one that does not exist.
SELECT wallet.set_price('cl-m', 'requests', 1, effective_from => '2020-01-01Z') IS NOT NULL AS set;
SELECT count(wallet.set_price('cl-m', 'requests', n, price_list => 'cl-list-' || n, effective_from => '2020-01-01Z')),
       count(wallet.set_markup('cl-list-' || n, n)) FROM generate_series(1, 3) n;
SELECT count(wallet.use_price_list('cl_a', 'cl-list-1')), count(wallet.use_price_list('cl_b', 'cl-list-2'));
SELECT wallet.grant_access('regress_pool', 'charger', claimed => true);
SET ROLE regress_pool;
SELECT wallet.readable_price_lists();
SELECT count(*) FROM wallet.prices;
BEGIN;
SET LOCAL wallet.claim = 'cl_a';
SELECT wallet.readable_price_lists();
SELECT price_list, unit_price FROM wallet.prices WHERE model = 'cl-m' ORDER BY 1;
SELECT price_list, percent, in_force FROM wallet.markup_list WHERE price_list LIKE 'cl-%' ORDER BY 1;
SELECT price_list, wallet FROM wallet.price_lists WHERE price_list LIKE 'cl-%' ORDER BY 1;
SELECT cost FROM wallet.charge('cl_a', '{"model": "cl-m", "requests": 1}');
SELECT count(*) FROM wallet.reprice('cl_a', price_list => 'cl-list-1');
CALL regress.fails($$ SELECT wallet.reprice('cl_a', price_list => 'cl-list-2') $$);
CALL regress.fails($$ SELECT wallet.reprice('cl_a', price_list => 'cl-list-none') $$);
SET LOCAL wallet.claim = '{cl_a,cl_b}';
SELECT price_list, unit_price FROM wallet.prices WHERE model = 'cl-m' ORDER BY 1;
ROLLBACK;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'charger');
SELECT wallet.grant_access('regress_pool', 'admin', 'cl_a');
SET ROLE regress_pool;
SELECT price_list FROM wallet.prices WHERE model = 'cl-m' ORDER BY 1;
SELECT price_list, wallet FROM wallet.price_lists WHERE price_list LIKE 'cl-%' ORDER BY 1;
RESET ROLE;

-- The views for an administrator's screens.
SELECT wallet.set_model_rules('cl_a', 'team', 'red', blocked => '{x*}'), wallet.set_recurring_grant('cl_a', 5) IS NOT NULL AS recurring,
       wallet.set_topup_rule('cl_a', '{"threshold": 5, "amount": 10}'), wallet.create_voucher('cl-code', 5) IS NOT NULL AS voucher;
SET ROLE regress_pool;
SELECT wallet, user_id, role, team, allowed_models, blocked FROM wallet.member_list ORDER BY user_id;
SELECT wallet, scope, subject, allowed, blocked FROM wallet.model_rule_list;
SELECT wallet, name, rule, method, next_at, refused FROM wallet.topup_rule_list;
SELECT wallet, name, amount, period, expires_after, rollover_max, scope FROM wallet.recurring_grant_list;
SELECT amount, currency, max_redemptions, redemptions FROM wallet.voucher_list ORDER BY voucher_id DESC LIMIT 1;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'admin', 'cl_a');
SELECT count(wallet.use_price_list(w, 'default')) FROM unnest(ARRAY['cl_a', 'cl_b']) w;
SELECT wallet.set_topup_rule('cl_a', NULL);
SELECT * FROM regress.broken('cl_a') UNION ALL SELECT * FROM regress.broken('cl_b');

-- A claim or a key does not let an administrator change who has access, or make wallets.
CREATE ROLE regress_other;
CREATE FUNCTION regress.changes_access() RETURNS TABLE (call text, outcome text) LANGUAGE sql VOLATILE AS $$
    SELECT call, regress.outcome('SELECT ' || call) FROM unnest(ARRAY[
        $c$ wallet.grant_access('regress_pool', 'admin', 'cl_a') $c$, $c$ wallet.grant_access('regress_other', 'reader', 'cl_a') $c$,
        $c$ wallet.revoke_access('regress_pool', 'admin', 'cl_a') $c$, $c$ wallet.revoke_access('regress_pool', 'admin', 'cl_a', 'k') $c$,
        $c$ wallet.create_wallet('cl_a_new') $c$, $c$ wallet.set_lanes('cl_a', 1) $c$]) call
$$;
CREATE FUNCTION regress.as_all() RETURNS SETOF text LANGUAGE sql AS $$
    SELECT regress.outcome(call) FROM unnest(ARRAY['SELECT voucher_id FROM wallet.vouchers', 'SELECT code_hash FROM wallet.vouchers',
        'SELECT * FROM wallet.vouchers', 'SELECT * FROM wallet.voucher_list']) call
$$;
SELECT wallet.grant_access('regress_pool', 'admin', 'cl_a', claimed => true);
SET ROLE regress_pool;
BEGIN;
SET LOCAL wallet.claim = '{cl_a,cl_a_new}';
SELECT * FROM regress.changes_access();
CALL regress.fails($$ SELECT wallet.grant_access('regress_pool', 'admin', 'cl_a') $$);
CALL regress.fails($$ SELECT wallet.revoke_access('regress_pool', 'admin', 'cl_a') $$);
SELECT count(*) FROM wallet.voucher_list;
ROLLBACK;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'admin', 'cl_a');
SELECT wallet.grant_access('regress_pool', 'admin', claimed => true);
SET ROLE regress_pool;
BEGIN;
SET LOCAL wallet.claim = '{cl_a,cl_a_new}';
SELECT * FROM regress.changes_access();
CALL regress.fails($$ SELECT wallet.create_wallet('cl_a_new') $$);
SELECT count(*) FROM wallet.voucher_list;
ROLLBACK;
RESET ROLE;
SELECT wallet.grant_access('regress_pool', 'admin', keyed => true);
SET ROLE regress_pool;
BEGIN;
SELECT regress.as_key('a');
SELECT * FROM regress.changes_access();
SELECT count(*) FROM wallet.voucher_list;
ROLLBACK;
RESET ROLE;
-- Without a proof, it may. It sees vouchers only if it may read all wallets, and no hash of a code.
SELECT wallet.revoke_access('regress_pool', 'admin');
SELECT wallet.grant_access('regress_pool', 'admin', 'cl_a');
SET ROLE regress_pool;
BEGIN;
SELECT * FROM regress.changes_access();
ROLLBACK;
SELECT * FROM regress.as_all();
SELECT count(*) FROM wallet.voucher_list;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'admin', 'cl_a');
SELECT wallet.grant_access('regress_pool', 'admin');
SET ROLE regress_pool;
BEGIN;
SELECT * FROM regress.as_all();
SELECT count(*) > 0 AS vouchers FROM wallet.voucher_list;
ROLLBACK;
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'admin');
DROP ROLE regress_other;

-- An administrator of a wallet cannot use a list that was negotiated with another.
SELECT count(wallet.use_price_list('cl_b', 'cl-list-2'));
SELECT wallet.grant_access('regress_pool', 'admin', 'cl_a');
SET ROLE regress_pool;
CALL regress.fails($$ SELECT wallet.use_price_list('cl_a', 'cl-list-2') $$);
CALL regress.fails($$ SELECT wallet.use_price_list('cl_a', 'cl-list-none') $$);
CALL regress.fails($$ SELECT wallet.use_price_list('cl_a', '*') $$);
SELECT price_list FROM wallet.use_price_list('cl_a', 'default');
RESET ROLE;
SELECT wallet.revoke_access('regress_pool', 'admin', 'cl_a');
SELECT count(wallet.use_price_list('cl_b', 'default'));
-- No list has the name that means all of them.
CALL regress.fails($$ SELECT wallet.set_price('cl-m', 'requests', 1, price_list => '*') $$);
CALL regress.fails($$ SELECT wallet.set_markup('*', 1) $$);
CALL regress.fails($$ SELECT wallet.import_prices('litellm', '{}', '*') $$);
CALL regress.fails($$ SELECT wallet.use_price_list('cl_a', '*') $$);

-- With a key, its user acts: the member role decides, and no other actor can be named.
SELECT wallet.set_member('cl_a', 'ada', 'admin');
INSERT INTO regress.secrets SELECT 'ada', k.key_id, k.secret FROM wallet.create_key('cl_a', 'ada') k;
INSERT INTO regress.secrets SELECT 'stranger', k.key_id, k.secret FROM wallet.create_key('cl_a', 'stranger') k;
CREATE FUNCTION regress.owns() RETURNS TABLE (call text, outcome text) LANGUAGE sql VOLATILE AS $$
    SELECT call, regress.outcome('SELECT ' || call) FROM unnest(ARRAY[
        $c$ wallet.set_member('cl_a', 'new', 'owner') $c$, $c$ wallet.set_members('cl_a', '[{"user_id": "new", "role": "owner"}]') $c$,
        $c$ wallet.set_member('cl_a', 'own', 'owner', team => 'red') $c$, $c$ wallet.create_key('cl_a', 'own') $c$,
        $c$ wallet.create_keys('cl_a', '[{"user_id": "own"}]') $c$,
        $c$ wallet.rotate_key('cl_a', (SELECT key_id FROM regress.secrets WHERE name = 'own')) $c$,
        $c$ wallet.set_member('cl_a', 'new', 'member') $c$, $c$ wallet.create_key('cl_a', 'ann') $c$,
        $c$ wallet.create_key('cl_a') $c$, $c$ wallet.set_member('cl_a', 'own', 'viewer') $c$]) call
$$;
SELECT wallet.grant_access('regress_pool', 'admin', keyed => true);
SET ROLE regress_pool;
-- While the wallet has no owner, a key whose user is not a member may appoint the first one. An
-- admin may not.
BEGIN;
SELECT regress.as_key('a');
SELECT regress.outcome($$ SELECT wallet.set_member('cl_a', 'own', 'owner') $$);
ROLLBACK;
BEGIN;
SELECT regress.as_key('stranger');
SELECT regress.outcome($$ SELECT wallet.set_member('cl_a', 'own', 'owner') $$);
ROLLBACK;
BEGIN;
SELECT regress.as_key('ada');
SELECT regress.outcome($$ SELECT wallet.set_member('cl_a', 'own', 'owner') $$);
ROLLBACK;
RESET ROLE;
SELECT wallet.set_member('cl_a', 'own', 'owner');
INSERT INTO regress.secrets SELECT 'own', k.key_id, k.secret FROM wallet.create_key('cl_a', 'own') k;
SET ROLE regress_pool;
BEGIN;
SELECT regress.as_key('a');
SELECT * FROM regress.owns();
CALL regress.fails($$ SELECT wallet.set_member('cl_a', 'new', 'owner') $$);
CALL regress.fails($$ SELECT wallet.create_key('cl_a', 'own') $$);
SELECT regress.as_key('stranger');
SELECT * FROM regress.owns();
SELECT regress.as_key('ada');
SELECT * FROM regress.owns();
CALL regress.fails($$ SELECT wallet.create_key('cl_a', 'own') $$);
CALL regress.fails($$ SELECT wallet.set_member('cl_a', 'new', 'owner', actor => 'own') $$);
CALL regress.fails($$ SELECT wallet.set_lanes('cl_a', 1, actor => 'own') $$);
CALL regress.fails($$ SELECT wallet.charge('cl_a', amount => 1, actor => 'own') $$);
CALL regress.fails($$ SELECT wallet.fund('cl_a', 1, actor => 'own') $$);
SELECT regress.outcome($$ SELECT wallet.set_lanes('cl_a', 1, actor => 'ada') $$),
       regress.outcome($$ SELECT wallet.charge('cl_a', amount => 1, actor => 'ada') $$);
SELECT regress.as_key('own');
SELECT * FROM regress.owns();
ROLLBACK;
RESET ROLE;
-- The actor's own role decides in the same way about keys.
SELECT regress.outcome($$ SELECT wallet.create_key('cl_a', 'own', actor => 'ada') $$),
       regress.outcome($$ SELECT wallet.create_key('cl_a', 'own', actor => 'own') $$),
       regress.outcome($$ SELECT wallet.create_key('cl_a', 'ann', actor => 'ada') $$);
SELECT wallet.revoke_access('regress_pool', 'admin');
SELECT * FROM regress.broken('cl_a') UNION ALL SELECT * FROM regress.broken('cl_b');
DROP ROLE regress_pool;
