-- Workers on the outbox: leases, completion, retries, rights by wallet.
SELECT wallet FROM wallet.create_wallet('ob_a', low_balance => '{20,10}');
SELECT wallet FROM wallet.create_wallet('ob_b', low_balance => '{20}');
SELECT balance FROM wallet.fund('ob_a', 30);
SELECT balance FROM wallet.fund('ob_b', 30);
-- Events of other tests are ignored here.
SELECT count(*) >= 0 AS all_done FROM (SELECT wallet.finish_event(id) FROM wallet.events WHERE done_at IS NULL) e;
SELECT balance FROM wallet.charge('ob_a', amount => 25);
SELECT balance FROM wallet.charge('ob_b', amount => 25);
-- The oldest events first. A claimed event is hidden from other workers until its lease ends.
SELECT wallet, event, threshold, payload, claimed_at IS NOT NULL AS claimed, done_at, attempts, available_at - claimed_at AS lease
  FROM wallet.claim_events(2);
SELECT wallet, event, threshold, attempts FROM wallet.claim_events();
SELECT wallet, event, threshold, attempts FROM wallet.claim_events();
-- An event is completed once.
SELECT wallet.finish_event(id) FROM wallet.events WHERE wallet = 'ob_a' ORDER BY id;
SELECT wallet.finish_event(id) FROM wallet.events WHERE wallet = 'ob_a' ORDER BY id;
SELECT wallet.retry_event(id) FROM wallet.events WHERE wallet = 'ob_a' ORDER BY id;
-- Released: immediately, or after a pause that doubles.
SELECT wallet.retry_event(id, '0 seconds', 'no answer') <= clock_timestamp() AS now FROM wallet.events WHERE wallet = 'ob_b';
SELECT wallet, attempts, last_error FROM wallet.claim_events(events => '{wallet_balance_low}');
SELECT round(extract(epoch FROM wallet.retry_event(id) - clock_timestamp())) AS pause FROM wallet.events WHERE wallet = 'ob_b';
SELECT count(*) FROM wallet.claim_events();
SELECT claimed_at, done_at, attempts, last_error FROM wallet.events WHERE wallet = 'ob_b';
-- A lease that expired.
SELECT wallet.retry_event(id, '0') IS NOT NULL AS given_back FROM wallet.events WHERE wallet = 'ob_b';
SELECT wallet, attempts FROM wallet.claim_events(lease => '0 seconds');
SELECT wallet, attempts FROM wallet.claim_events();
SELECT count(*) FROM wallet.claim_events(events => '{topup_requested,limit_near}');
-- Without NOTIFY the outbox still works.
SET wallet.notify = off;
SELECT balance FROM wallet.fund('ob_b', 30);
SELECT event, threshold FROM wallet.claim_events();
RESET wallet.notify;
-- Arguments that are refused.
CALL regress.fails($$ SELECT wallet.claim_events(0) $$);
CALL regress.fails($$ SELECT wallet.claim_events(NULL) $$);
CALL regress.fails($$ SELECT wallet.claim_events(lease => '-1 second') $$);
CALL regress.fails($$ SELECT wallet.claim_events(lease => NULL) $$);
CALL regress.fails($$ SELECT wallet.claim_events(events => '{low}') $$);
CALL regress.fails($$ SELECT wallet.finish_event(NULL) $$);
CALL regress.fails($$ SELECT wallet.finish_event('00000000-0000-0000-0000-000000000001') $$);
CALL regress.fails($$ SELECT wallet.retry_event('00000000-0000-0000-0000-000000000001') $$);
-- A worker sees only the events of its wallets.
CREATE ROLE regress_worker;
CREATE ROLE regress_reader;
SELECT wallet.grant_access('regress_worker', 'billing', 'ob_a');
SELECT wallet.grant_access('regress_reader', 'reader', 'ob_a');
SELECT balance FROM wallet.fund('ob_a', 30);
SELECT balance FROM wallet.charge('ob_b', amount => 30);
SET ROLE regress_worker;
SELECT wallet, event, threshold FROM wallet.claim_events();
RESET ROLE;
SELECT id AS others FROM wallet.events WHERE wallet = 'ob_b' AND done_at IS NULL ORDER BY id LIMIT 1 \gset
SET ROLE regress_worker;
SELECT regress.outcome(format('SELECT wallet.finish_event(%L)', :'others'));
SET ROLE regress_reader;
SELECT regress.outcome($$ SELECT wallet.claim_events() $$);
RESET ROLE;
SELECT wallet.revoke_access('regress_worker', 'billing', 'ob_a');
SELECT wallet.revoke_access('regress_reader', 'reader', 'ob_a');
DROP ROLE regress_worker, regress_reader;
