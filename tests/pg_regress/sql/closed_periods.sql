-- Closed periods: late usage counts in the open period and is marked, reports of closed periods
-- stay, and rules of cost allocation have dates.
SET TimeZone = 'UTC';
SELECT wallet FROM wallet.create_wallet('cp');
SELECT wallet FROM wallet.create_wallet('cp2', lanes => 2);
SELECT balance FROM wallet.fund('cp', 1000);
SELECT balance FROM wallet.fund('cp2', 1000);
SELECT wallet.set_price('cp-model', 'input_tokens', 1, 1000, effective_from => '2020-01-01') IS NOT NULL AS priced;
SELECT wallet.set_price('cp-model', 'input_tokens', 2, 1000, effective_from => '2026-03-01') IS NOT NULL AS priced;
SELECT cost FROM wallet.charge('cp', '{"model": "cp-model", "input_tokens": 1000}', user_id => 'ann', team => 'red', event_at => '2026-02-10Z', idempotency_key => 'first');
SELECT cost FROM wallet.charge('cp', amount => 4, event_at => '2026-02-11Z');
SELECT cost FROM wallet.charge('cp', amount => 8, team => 'blue', event_at => '2026-03-05Z');
SELECT cost FROM wallet.charge('cp2', amount => 16, event_at => '2026-02-10Z');
SELECT wallet.set_chargeback_rule('cp', 'even');
-- What the reports of the two months say, as one text.
CREATE FUNCTION regress.months() RETURNS text LANGUAGE sql AS $$
    SELECT string_agg(x.line, E'\n')
      FROM (SELECT concat_ws('|', u.wallet, u.day, u.team, u.requests, u.tokens, u.cost, u.refunded) AS line
              FROM wallet.usage('{cp,cp2}', '{wallet,day,team}', from_day => '2026-02-01', to_day => '2026-04-01') u
             UNION ALL
            SELECT concat_ws('|', m.month, b.team, b.requests, b.direct_cost, b.shared_cost, b.total_cost, b.share)
              FROM (VALUES ('2026-02-01'::date), ('2026-03-01')) m(month), wallet.chargeback('cp', m.month) b
             UNION ALL
            SELECT concat_ws('|', s.at, s.kind, s.description, s.amount, s.balance)
              FROM wallet.statement('cp', from_day => '2026-02-01', to_day => '2026-04-01') s) x
$$;
SELECT regress.months() AS before \gset
SELECT :'before' AS reports;

-- Closing. The second call changes nothing; an earlier time is refused.
SELECT wallet.close_period('cp', '2026-04-01Z', actor => 'controller', metadata => '{"run": 3}');
SELECT wallet.close_period('cp', '2026-04-01Z', actor => 'somebody');
CALL regress.fails($$ SELECT wallet.close_period('cp', '2026-03-01Z') $$);
CALL regress.fails($$ SELECT wallet.close_period('cp', 'infinity') $$);
CALL regress.fails($$ SELECT wallet.close_period('cp', NULL) $$);
CALL regress.fails($$ SELECT wallet.close_period(NULL, '2026-03-01Z') $$);
CALL regress.fails($$ SELECT wallet.close_period('nobody', '2026-03-01Z') $$);
CALL regress.fails($$ SELECT wallet.close_period('cp', '9999-01-01Z') $$);
CALL regress.fails($$ SELECT wallet.reopen_period('cp', '2026-05-01Z') $$);
SELECT wallet, closed_until, closed_for, closed_by, metadata FROM wallet.periods WHERE wallet LIKE 'cp%' ORDER BY 1;

-- Late usage of every kind: priced at the time of use, counted when it is booked, and marked.
CREATE VIEW regress.late AS
    SELECT e.wallet, e.amount, e.used_at, e.event_at = e.created_at AS counts_when_booked, u.event_at = e.created_at AS in_reports
      FROM wallet.entries e JOIN wallet.usage_entries u USING (wallet, entry_id)
     WHERE e.wallet LIKE 'cp%' AND e.used_at IS NOT NULL ORDER BY e.entry_id;
SELECT cost FROM wallet.charge('cp', '{"model": "cp-model", "input_tokens": 1000}', team => 'red', event_at => '2026-02-12Z', idempotency_key => 'late');
SELECT cost, sqlstate FROM wallet.charge_batch('cp', '[{"amount": 1, "event_at": "2026-03-31T23:59:59.999999Z"}, {"amount": 2, "event_at": "2026-04-01T00:00:00Z"}, {"amount": 3, "event_at": "2026-02-01T00:00:00Z"}]');
SELECT hold_id FROM wallet.hold('cp', 5, event_at => '2026-02-20Z') \gset
SELECT cost FROM wallet.settle('cp', :'hold_id', amount => 5);
SELECT hold_id FROM wallet.hold('cp', 6) \gset
SELECT cost FROM wallet.settle('cp', :'hold_id', amount => 6, event_at => '2026-02-20Z', final => false);
SELECT wallet.void('cp', :'hold_id') \g /dev/null
SET wallet.storage = spi;
SELECT cost FROM wallet.charge('cp', amount => 7, event_at => '2026-02-12Z');
RESET wallet.storage;
-- A late price belongs to usage of the closed period.
SELECT wallet FROM wallet.update_wallet('cp', unknown_price => 'unpriced');
SELECT cost FROM wallet.charge('cp', '{"model": "cp-new", "input_tokens": 1000}', event_at => '2026-02-15Z');
SELECT wallet.set_price('cp-new', 'input_tokens', 9, 1000, effective_from => '2026-02-01') IS NOT NULL AS priced;
SELECT model, cost FROM wallet.price_unpriced('cp');
TABLE regress.late;
SELECT (t).used_at, (t).amount FROM wallet.transactions('cp', max => 1) t;

-- A retry returns the first answer, also of a request that was booked before the period was closed.
SELECT cost, replayed FROM wallet.charge('cp', '{"model": "cp-model", "input_tokens": 1000}', user_id => 'ann', team => 'red', event_at => '2026-02-10Z', idempotency_key => 'first');
SELECT cost, replayed FROM wallet.charge('cp', '{"model": "cp-model", "input_tokens": 1000}', team => 'red', event_at => '2026-02-12Z', idempotency_key => 'late');
CALL regress.fails($$ SELECT wallet.charge('cp', '{"model": "cp-model", "input_tokens": 1000}', team => 'red', event_at => '2026-02-13Z', idempotency_key => 'late') $$);
-- A refund counts when it is booked.
SELECT amount FROM wallet.refund('cp', (SELECT entry_id FROM wallet.entries WHERE wallet = 'cp' AND amount = -4));

-- Rules of cost allocation: closed months keep theirs.
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cp', 'use', effective_from => '2026-03-15') $$);
SELECT wallet.set_chargeback_rule('cp', 'use');
SELECT wallet.set_chargeback_rule('cp', 'fixed', '{"red": 0.5}', effective_from => '2026-06-17');
SELECT wallet.set_member('cp', 'ann', team => 'green') \g /dev/null
SELECT done >= 0 AS rolled FROM wallet.maintain() WHERE task = 'roll-ups of closed days';
SELECT rule, shares, effective_from FROM wallet.chargeback_rules WHERE wallet_id = 'cp' ORDER BY effective_from;
SELECT regress.months() = :'before' AS unchanged;
SELECT * FROM wallet.archive('cp', now(), 3) \g /dev/null
SELECT regress.months() = :'before' AS unchanged;

-- All wallets: the later closing counts. Both lanes and the archive know it.
SELECT wallet.close_period('*', '2026-03-01Z', actor => 'owner');
SELECT wallet, closed_until, closed_for, closed_by FROM wallet.periods WHERE wallet LIKE 'cp%' ORDER BY 1;
SELECT cost FROM wallet.charge('cp2', amount => 1, event_at => '2026-02-12Z');
SELECT cost FROM wallet.charge('cp2', amount => 2, event_at => '2026-03-12Z');
SET wallet.storage = spi;
SELECT cost FROM wallet.charge('cp2', amount => 3, event_at => '2026-02-12Z');
RESET wallet.storage;
SELECT wallet FROM wallet.create_wallet('cp3');
SELECT balance FROM wallet.fund('cp3', 10);
SELECT cost FROM wallet.charge('cp3', amount => 4, event_at => '2026-02-12Z');
SELECT * FROM regress.late WHERE wallet <> 'cp';

-- Opening a part, and everything.
SELECT wallet.reopen_period('cp', '2026-03-01Z', idempotency_key => 'open');
CALL regress.fails($$ SELECT wallet.reopen_period('cp', '2026-02-01Z', idempotency_key => 'open') $$);
SELECT wallet.close_period('cp', '2026-03-01Z', idempotency_key => 'close');
CALL regress.fails($$ SELECT wallet.close_period('cp', '2026-03-02Z', idempotency_key => 'close') $$);
SELECT cost FROM wallet.charge('cp', amount => 0.5, event_at => '2026-03-12Z');
SELECT cost FROM wallet.charge('cp', amount => 0.25, event_at => '2026-02-12Z');
SELECT wallet.reopen_period('cp'), wallet.reopen_period('*');
SELECT wallet.reopen_period('cp'), wallet.reopen_period('cp', '2026-03-01Z', idempotency_key => 'open');
SELECT cost FROM wallet.charge('cp', amount => 0.125, event_at => '2026-02-12Z');
SELECT amount, used_at FROM wallet.entries WHERE wallet = 'cp' AND amount > -1 AND kind = 'charge' AND amount <> 0 ORDER BY entry_id;
SELECT count(*) AS closed FROM wallet.periods WHERE closed_until IS NOT NULL;
SELECT wallet, action, actor, before ->> 'until' AS before, after ->> 'until' AS after, metadata FROM wallet.audit
 WHERE action IN ('close_period', 'reopen_period') ORDER BY at, audit_id;

-- What a report said at an earlier time.
SELECT max(created_at) AS then FROM wallet.entries WHERE wallet = 'cp' \gset
SELECT string_agg(u::text, E'\n') AS usage FROM wallet.usage_by('cp', 'team') u \gset
SELECT string_agg(c::text, E'\n') AS chargeback FROM wallet.chargeback('cp', '2026-02-01') c \gset
SELECT string_agg(c::text, E'\n') AS several FROM wallet.chargeback('{cp}'::text[], '2026-02-01') c \gset
SELECT string_agg(j::text, E'\n') AS summary FROM wallet.journal_summary('{cp}') j \gset
SELECT cost FROM wallet.charge('cp', amount => 32, team => 'red', event_at => '2026-02-12Z');
SELECT (SELECT string_agg(u::text, E'\n') FROM wallet.usage_by('cp', 'team', as_of => :'then') u) = :'usage' AS usage,
       (SELECT string_agg(c::text, E'\n') FROM wallet.chargeback('cp', '2026-02-01', as_of => :'then') c) = :'chargeback' AS chargeback,
       (SELECT string_agg(c::text, E'\n') FROM wallet.chargeback('{cp}'::text[], '2026-02-01', as_of => :'then') c) = :'several' AS several,
       (SELECT string_agg(j::text, E'\n') FROM wallet.journal_summary('{cp}', as_of => :'then') j) = :'summary' AS summary,
       (SELECT balance FROM wallet.statement('cp', as_of => :'then') ORDER BY line DESC LIMIT 1) = wallet.balance_at('cp', :'then') AS statement,
       wallet.journal('cp', as_of => :'then') NOT LIKE '%32.00%' AS journal,
       wallet.journal('cp') LIKE '%32.00%' AS later_journal;
SELECT bool_and(ok) AS verified FROM wallet.verify('cp');
SELECT bool_and(ok) AS verified FROM wallet.verify_chain('cp');
SELECT bool_and(ok) AS verified FROM wallet.verify('cp2');
CALL regress.fails($$ UPDATE wallet.ledger SET used_at = NULL WHERE wallet_id = 'cp2' $$);
SELECT regress.broken(w) FROM unnest(ARRAY['cp', 'cp2', 'cp3']) w;

-- A month that a closing cuts keeps its rule, and a change of the time zone opens no closed month.
SELECT wallet FROM wallet.create_wallet('cpz', time_zone => 'America/New_York');
SELECT wallet.set_chargeback_rule('cpz', 'even');
SELECT wallet.close_period('cpz', '2026-04-01 04:00Z');
SELECT wallet.set_chargeback_rule('cpz', 'use');
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'none', effective_from => '2026-03-31') $$);
-- The closing is on 1 April in New York, on 31 March in Honolulu, and later on 1 April in Tokyo.
SELECT wallet FROM wallet.update_wallet('cpz', time_zone => 'Pacific/Honolulu');
SELECT wallet.set_chargeback_rule('cpz', 'none');
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'none', effective_from => '2026-03-31') $$);
SELECT rule, effective_from FROM wallet.chargeback_rules WHERE wallet_id = 'cpz' ORDER BY effective_from;
SELECT wallet FROM wallet.update_wallet('cpz', time_zone => 'Asia/Tokyo');
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'use', effective_from => '2026-04-30') $$);
SELECT wallet.set_chargeback_rule('cpz', 'use');
SELECT rule, effective_from FROM wallet.chargeback_rules WHERE wallet_id = 'cpz' ORDER BY effective_from;
SELECT wallet.close_period('cpz', '2026-05-17Z');
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'even', effective_from => '2026-05-18') $$);
SELECT wallet.set_chargeback_rule('cpz', 'even');
SELECT rule, effective_from FROM wallet.chargeback_rules WHERE wallet_id = 'cpz' ORDER BY effective_from;
-- A day is one of the calendar of reports.
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'even', effective_from => 'infinity') $$);
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'even', effective_from => '-infinity') $$);
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'even', effective_from => '5874897-12-31') $$);
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'even', effective_from => '0044-03-15 BC') $$);
CALL regress.fails($$ SELECT wallet.set_chargeback_rule('cpz', 'even', effective_from => '10000-01-01') $$);
