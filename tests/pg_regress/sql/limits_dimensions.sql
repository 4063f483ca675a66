-- Limits of two or three dimensions: what they count, which of them override which, what errors and
-- events say, and that a new limit counts earlier usage.
SELECT wallet FROM wallet.create_wallet('dims');
SELECT balance FROM wallet.fund('dims', 1000);
CREATE FUNCTION regress.used(of_wallet text) RETURNS TABLE (scope text, subject text, metric text, max numeric, used numeric, held numeric, remaining numeric)
LANGUAGE sql AS $$
    SELECT scope, subject, metric, max, used, held, remaining FROM wallet.limits_status WHERE wallet = of_wallet ORDER BY scope, subject, metric, max
$$;

-- Each combination of a user and a model has 5, and the users al* share 8 on the models gpt-4*.
SELECT wallet.set_limit('dims', 5, 'lifetime', scope => 'user+model') AS each_pair \gset
SELECT wallet.set_limit('dims', 8, 'lifetime', scope => 'user+model', subject => '["al*", "gpt-4*"]') AS shared \gset
SELECT * FROM regress.used('dims');
SELECT cost FROM wallet.charge('dims', amount => 5, user_id => 'ben', model => 'gpt-4o');
SELECT cost FROM wallet.charge('dims', amount => 5, user_id => 'ben', model => 'claude');
SELECT cost FROM wallet.charge('dims', amount => 6, user_id => 'alice', model => 'gpt-4o');
CALL regress.fails($$ SELECT wallet.charge('dims', amount => 0.01, user_id => 'ben', model => 'gpt-4o') $$);
CALL regress.fails($$ SELECT wallet.charge('dims', amount => 2.01, user_id => 'albert', model => 'gpt-4.1') $$);
SELECT cost FROM wallet.charge('dims', amount => 2, user_id => 'albert', model => 'gpt-4.1');
-- Without a user or a model, a request is in no combination.
SELECT cost FROM wallet.charge('dims', amount => 7, user_id => 'ben');
SELECT cost FROM wallet.charge('dims', amount => 7, model => 'gpt-4o');
SELECT * FROM regress.used('dims');
SELECT scope, subject, used, remaining, allowed, reason
  FROM wallet.check_limits('dims', user_id => 'ben', model => 'claude', amount => 1);
SELECT scope, subject, used, remaining, allowed, reason
  FROM wallet.check_limits('dims', user_id => 'alice', model => 'gpt-4o', amount => 1);

-- The order of the dimensions does not matter, and a blank in the array neither.
SELECT wallet.set_limit('dims', 5, 'lifetime', scope => 'model+user', subject => ' [ "*" , "*" ] ') = :'each_pair' AS same,
       wallet.set_limit('dims', 8, 'lifetime', scope => 'model+user', subject => '["gpt-4*","al*"]') = :'shared' AS same;
SELECT scope, subject FROM wallet.limits WHERE wallet_id = 'dims' ORDER BY 2;

-- The events and the audit trail have the values, too.
SELECT event, payload ->> 'scope' AS scope, payload ->> 'subject' AS subject, payload ->> 'used' AS used
  FROM wallet.events WHERE wallet = 'dims' AND event LIKE 'limit%' ORDER BY 1, 3;
SELECT after ->> 'scope' AS scope, after ->> 'subject' AS subject FROM wallet.audit WHERE wallet = 'dims' AND action = 'set_limit' ORDER BY 2;

-- Three dimensions, a key and tags. A + in the name of a tag is written twice.
SELECT wallet FROM wallet.create_wallet('dims3');
SELECT balance FROM wallet.fund('dims3', 1000);
SELECT key_id, secret FROM wallet.create_key('dims3', 'ann', 'laptop') \gset
SELECT wallet.set_limit('dims3', 3, 'lifetime', scope => 'tag:job+tag:c++++') IS NOT NULL AS two_tags;
SELECT wallet.set_limit('dims3', 4, 'lifetime', scope => 'tag:a++b') IS NOT NULL AS one_tag;
SELECT wallet.set_limit('dims3', 6, 'lifetime', scope => 'service+key+team', subject => format('["chat", "%s", "*"]', :'key_id')) IS NOT NULL AS three;
SELECT wallet.set_limit('dims3', 2, 'lifetime', scope => 'user+model+tag:job', metric => 'requests') IS NOT NULL AS requests;
SELECT cost FROM wallet.charge('dims3', amount => 2, user_id => 'ann', model => 'm', tags => '{"job": "night", "c++": "17"}');
SELECT cost FROM wallet.charge('dims3', amount => 3, tags => '{"a+b": "x \"y\""}');
SELECT cost FROM wallet.charge('dims3', amount => 4, key => :'secret', team => 'red', service => 'chat');
SELECT cost FROM wallet.charge('dims3', amount => 1, user_id => 'ann', model => 'm', tags => '{"job": "night"}');
SELECT scope, regress.mask(subject) AS subject, metric, max, used, remaining FROM regress.used('dims3');
CALL regress.fails($$ SELECT wallet.charge('dims3', amount => 2, tags => '{"job": "night", "c++": "17"}') $$);
CALL regress.fails($$ SELECT wallet.charge('dims3', amount => 2, tags => '{"a+b": "x \"y\""}') $$);
CALL regress.fails(format($$ SELECT wallet.charge('dims3', amount => 3, key => %L, team => 'red', service => 'chat') $$, :'secret'));
CALL regress.fails($$ SELECT wallet.charge('dims3', amount => 0, user_id => 'ann', model => 'm', tags => '{"job": "night"}') $$);

-- A hold reserves in the combination, and its settlement and a refund count there.
SELECT wallet FROM wallet.create_wallet('dims_hold');
SELECT balance FROM wallet.fund('dims_hold', 100);
SELECT wallet.set_limit('dims_hold', 10, 'lifetime', scope => 'team+model', subject => '["*", "gpt-*"]') IS NOT NULL AS set;
SELECT hold_id FROM wallet.hold('dims_hold', amount => 6, team => 'red', model => 'gpt-4o') \gset
SELECT * FROM regress.used('dims_hold');
SELECT regress.outcome($$ SELECT wallet.hold('dims_hold', amount => 5, team => 'red', model => 'gpt-5') $$) AS red,
       regress.outcome($$ SELECT wallet.hold('dims_hold', amount => 5, team => 'blue', model => 'gpt-5', ttl => '1 hour') $$) AS blue;
SELECT cost FROM wallet.settle('dims_hold', :'hold_id', amount => 4);
SELECT entry_id FROM wallet.charge('dims_hold', amount => 3, team => 'red', model => 'gpt-5') \gset
SELECT amount FROM wallet.refund('dims_hold', :'entry_id', 1);
SELECT * FROM regress.used('dims_hold');

-- Which of two limits apply to alice's use of gpt-4o: the table of the reference, cell by cell. Each
-- cell has a wallet with two limits, of which a charge counts in one or in both, and check_limits
-- names the same.
CREATE TABLE regress.target (name text PRIMARY KEY, subject text);
INSERT INTO regress.target VALUES ('A', '["*","*"]'), ('B', '["alice","*"]'), ('C', '["*","gpt-4o"]'), ('D', '["alice","gpt-4o"]'),
    ('E', '["alice","gpt-4*"]'), ('F', '["al*","gpt-4o"]'), ('G', '["*","gpt-4*"]'), ('H', '["al*","*"]');
CREATE FUNCTION regress.applies(names text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    of_wallet text := 'dims_' || array_to_string(names, '');
    counted text;
    checked text;
BEGIN
    PERFORM wallet.create_wallet(of_wallet), wallet.fund(of_wallet, 10);
    PERFORM wallet.set_limit(of_wallet, 5, 'lifetime', scope => 'user+model', subject => t.subject) FROM regress.target t WHERE name = ANY (names);
    SELECT string_agg(t.name, ' ' ORDER BY t.name) INTO checked
      FROM wallet.check_limits(of_wallet, user_id => 'alice', model => 'gpt-4o', amount => 1) c
      JOIN wallet.limits l ON l.wallet_id = of_wallet AND l.limit_id = c.limit_id
      JOIN regress.target t ON t.subject = l.subject;
    PERFORM wallet.charge(of_wallet, amount => 1, user_id => 'alice', model => 'gpt-4o');
    SELECT string_agg(t.name, ' ' ORDER BY t.name) INTO counted
      FROM wallet.limits_status s
      JOIN wallet.limits l ON l.wallet_id = of_wallet AND l.limit_id = s.limit_id
      JOIN regress.target t ON t.subject = l.subject
     WHERE s.wallet = of_wallet AND s.used = 1;
    IF EXISTS (SELECT FROM wallet.verify(of_wallet) v WHERE NOT v.ok) THEN
        RAISE EXCEPTION '% is not verified', names;
    END IF;
    RETURN CASE WHEN counted = checked THEN counted ELSE format('counted %s, checked %s', counted, checked) END;
END
$$;
CREATE TABLE regress.cell AS
SELECT a.name AS a, b.name AS b, regress.applies(ARRAY[a.name, b.name]) AS applies FROM regress.target a JOIN regress.target b ON a.name < b.name;
SELECT t.name, t.subject, max(applies) FILTER (WHERE b = 'B') AS "B", max(applies) FILTER (WHERE b = 'C') AS "C", max(applies) FILTER (WHERE b = 'D') AS "D",
       max(applies) FILTER (WHERE b = 'E') AS "E", max(applies) FILTER (WHERE b = 'F') AS "F", max(applies) FILTER (WHERE b = 'G') AS "G", max(applies) FILTER (WHERE b = 'H') AS "H"
  FROM regress.target t LEFT JOIN regress.cell c ON c.a = t.name GROUP BY 1, 2 ORDER BY 1;
-- Three and more: B and C both apply, but with D only D does.
SELECT regress.applies('{A,B,C}') AS "A B C", regress.applies('{A,B,C,D}') AS "A B C D", regress.applies('{B,C,F,G}') AS "B C F G";
-- Limits of other scopes, periods and metrics do not override.
SELECT wallet FROM wallet.create_wallet('dims_apart');
SELECT balance FROM wallet.fund('dims_apart', 100);
SELECT wallet.set_limit('dims_apart', 50, 'lifetime', scope => 'user+model') IS NOT NULL
   AND wallet.set_limit('dims_apart', 50, 'lifetime', scope => 'user', subject => 'alice') IS NOT NULL
   AND wallet.set_limit('dims_apart', 50, 'lifetime', scope => 'user+team', subject => '["alice","red"]') IS NOT NULL
   AND wallet.set_limit('dims_apart', 50, 'rolling 2 days', scope => 'user+model', subject => '["alice","gpt-4o"]') IS NOT NULL
   AND wallet.set_limit('dims_apart', 50, 'lifetime', scope => 'user+model', subject => '["alice","gpt-4o"]', metric => 'requests') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('dims_apart', amount => 1, user_id => 'alice', team => 'red', model => 'gpt-4o');
SELECT * FROM regress.used('dims_apart');

-- A new limit counts what each combination has used before, refunds included. So does a limit on *
-- once the limit that replaced it is dropped.
SELECT wallet.set_limit('dims_hold', 100, 'lifetime', scope => 'model+team') IS NOT NULL
   AND wallet.set_limit('dims_hold', 100, 'rolling 2 days', scope => 'model+team', subject => '["gpt-*", "red"]', metric => 'requests') IS NOT NULL AS set;
SELECT * FROM regress.used('dims_hold');
SELECT wallet.set_limit('dims', 100, 'year', scope => 'user+model', subject => '["*", "gpt-4*"]') IS NOT NULL AS set;
SELECT subject, used FROM wallet.limits_status WHERE wallet = 'dims' AND period = 'year' ORDER BY 1;
SELECT wallet.drop_limit('dims', :'shared');
SELECT * FROM regress.used('dims') WHERE max = 5;
SELECT cost FROM wallet.charge('dims', amount => 3, user_id => 'albert', model => 'gpt-4.1');
CALL regress.fails($$ SELECT wallet.charge('dims', amount => 0.01, user_id => 'albert', model => 'gpt-4.1') $$);

-- While a limit is paused, the limit on * that it replaces applies, with all usage of its window.
SELECT wallet FROM wallet.create_wallet('dims_pause');
SELECT balance FROM wallet.fund('dims_pause', 100);
SELECT wallet.set_limit('dims_pause', 5, 'lifetime', scope => 'user') IS NOT NULL
   AND wallet.set_limit('dims_pause', 10, 'lifetime', scope => 'user', subject => 'alice') IS NOT NULL AS set;
SELECT cost FROM wallet.charge('dims_pause', amount => 4, user_id => 'alice');
SELECT wallet.set_limit('dims_pause', 10, 'lifetime', scope => 'user', subject => 'alice', paused => true) IS NOT NULL AS paused;
SELECT * FROM regress.used('dims_pause');
CALL regress.fails($$ SELECT wallet.charge('dims_pause', amount => 1.01, user_id => 'alice') $$);
SELECT cost FROM wallet.charge('dims_pause', amount => 1, user_id => 'alice');
SELECT wallet.set_limit('dims_pause', 10, 'lifetime', scope => 'user', subject => 'alice', paused => false) IS NOT NULL AS resumed;
SELECT cost FROM wallet.charge('dims_pause', amount => 5, user_id => 'alice');
SELECT * FROM regress.used('dims_pause');
SELECT count(*) FILTER (WHERE NOT ok) AS broken FROM wallet.verify('dims_pause');

-- What is refused.
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+planet') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'tag:a+b') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'tag:a+user') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+wallet') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model+user') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'tag:x+tag:x') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+team+model+service') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => NULL) $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => 'alice') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => '["alice"]') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'model+user', subject => '["a", "b", "c"]') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => '["alice", 4]') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model+tag:x', subject => '{"user": "alice"}') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => '["alice", ""]') $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => format('["alice", "%s"]', repeat('m', 256))) $$);
CALL regress.fails($$ SELECT wallet.set_limit('dims', 1, 'day', scope => 'user+model', subject => format('["%s", "%s"]', repeat('é', 255), repeat('é', 255))) $$);

-- The report names combinations, and everything adds up.
SELECT line FROM wallet.report('dims') line WHERE line LIKE '%user+model%';
SELECT w AS wallet, v."check", v.detail FROM unnest('{dims,dims3,dims_hold,dims_apart}'::text[]) w, wallet.verify(w) v WHERE NOT v.ok;
SELECT w AS wallet, b FROM unnest('{dims,dims3,dims_hold,dims_apart}'::text[]) w, regress.broken(w) b;
