-- Who paid what, and what refunds returned to them. Names replace the ids.
CREATE VIEW regress.parts AS
SELECT p.wallet, e.kind, e.user_id AS call, coalesce(g.metadata->>'n', g.kind) AS grant, p.amount, r.user_id AS refund_of,
       CASE p.returned_to WHEN p.grant_id THEN 'the same' WHEN p.entry_id THEN 'its own' END AS returned_to,
       e.created_at
  FROM wallet.grant_payments p
  JOIN wallet.entries e ON e.wallet = p.wallet AND e.entry_id = p.entry_id
  JOIN wallet.entries g ON g.wallet = p.wallet AND g.entry_id = p.grant_id
  LEFT JOIN wallet.entries r ON r.wallet = p.wallet AND r.entry_id = p.refund_of;

-- Fund 20, charge 10, refund it, charge 10 twice, fund 5, charge 2: the first grant pays the third
-- charge, too.
SELECT wallet FROM wallet.create_wallet('back');
SELECT balance FROM wallet.fund('back', 20, metadata => '{"n": "A"}');
SELECT entry_id AS c1 FROM wallet.charge('back', amount => 10, user_id => 'c1') \gset
SELECT balance FROM wallet.refund('back', :'c1');
SELECT balance FROM wallet.charge('back', amount => 10, user_id => 'c2');
SELECT balance FROM wallet.charge('back', amount => 10, user_id => 'c3');
SELECT balance FROM wallet.fund('back', 5, metadata => '{"n": "B"}');
SELECT balance FROM wallet.charge('back', amount => 2, user_id => 'c4');
SELECT kind, call, "grant", amount, refund_of, returned_to FROM regress.parts WHERE wallet = 'back' ORDER BY created_at;

-- In parts: what was burned last is returned first, whatever happens in between.
SELECT wallet FROM wallet.create_wallet('steps');
SELECT balance FROM wallet.fund('steps', 3, metadata => '{"n": "A"}');
SELECT balance FROM wallet.fund('steps', 3, metadata => '{"n": "B"}');
SELECT entry_id AS c1 FROM wallet.charge('steps', amount => 5, user_id => 'c1') \gset
SELECT balance FROM wallet.refund('steps', :'c1', 1);
SELECT balance FROM wallet.charge('steps', amount => 2, user_id => 'c2');
SELECT balance FROM wallet.refund('steps', :'c1', 2);
SELECT balance FROM wallet.refund('steps', :'c1');
SELECT kind, call, "grant", amount, refund_of, returned_to FROM regress.parts WHERE wallet = 'steps' ORDER BY created_at, "grant";
SELECT amount, remaining FROM wallet.grants WHERE wallet = 'steps' ORDER BY created_at;

-- What credit has paid is undone first. The returned money then repays the credit that others used.
SELECT wallet FROM wallet.create_wallet('credit', credit_limit => 20);
SELECT balance FROM wallet.fund('credit', 10, metadata => '{"n": "A"}');
SELECT entry_id AS c1 FROM wallet.charge('credit', amount => 15, user_id => 'c1') \gset
SELECT balance FROM wallet.charge('credit', amount => 7, user_id => 'c2');
SELECT kind, call, "grant", amount FROM regress.parts WHERE wallet = 'credit' ORDER BY created_at;
SELECT balance FROM wallet.refund('credit', :'c1', 5);
SELECT balance FROM wallet.refund('credit', :'c1', 9);
SELECT kind, call, "grant", amount, refund_of, returned_to FROM regress.parts WHERE wallet = 'credit' ORDER BY created_at;
SELECT amount, remaining FROM wallet.grants WHERE wallet = 'credit';

-- Money returned to an expired grant expires immediately. A voided grant is over, and the money
-- becomes plain money.
SELECT wallet FROM wallet.create_wallet('ends');
SELECT balance FROM wallet.fund('ends', 10, metadata => '{"n": "short"}', expires_at => clock_timestamp() + interval '0.4 seconds');
SELECT entry_id AS gift FROM wallet.fund('ends', 5, metadata => '{"n": "gift"}', promotional => true) \gset
SELECT entry_id AS c1 FROM wallet.charge('ends', amount => 12, user_id => 'c1') \gset
SELECT amount FROM wallet.void_grant('ends', :'gift');
SELECT pg_sleep(0.45);
SELECT balance FROM wallet.refund('ends', :'c1');
SELECT kind, call, "grant", amount, refund_of, returned_to FROM regress.parts WHERE wallet = 'ends' ORDER BY created_at, "grant";
SELECT kind, amount, event_at = created_at AS now FROM wallet.entries WHERE wallet = 'ends' ORDER BY created_at;
SELECT g.amount, g.remaining, g.promotional, g.status, e.kind FROM wallet.grants g JOIN wallet.entries e ON e.wallet = g.wallet AND e.entry_id = g.grant_id
 WHERE g.wallet = 'ends' ORDER BY g.created_at;

-- A debt is paid by the next funding, which then has paid a part of the charge that left it.
SELECT wallet FROM wallet.create_wallet('owes');
SELECT balance FROM wallet.fund('owes', 10, metadata => '{"n": "A"}');
SELECT hold_id FROM wallet.hold('owes', 4, user_id => 'c1') \gset
SELECT cost, balance FROM wallet.settle('owes', :'hold_id', amount => 13, over => 'debt');
SELECT kind, call, "grant", amount FROM regress.parts WHERE wallet = 'owes';
SELECT balance FROM wallet.fund('owes', 5, metadata => '{"n": "B"}');
SELECT balance FROM wallet.charge('owes', amount => 1, user_id => 'c2');
SELECT kind, call, "grant", amount FROM regress.parts WHERE wallet = 'owes' ORDER BY created_at, "grant";

SELECT w, "check", detail FROM unnest('{back,steps,credit,ends,owes}'::text[]) w, wallet.verify(w) WHERE NOT ok;
DROP VIEW regress.parts;
