-- choose_model: the first of several models that a charge would allow.
SELECT wallet FROM wallet.create_wallet('cm');
SELECT balance FROM wallet.fund('cm', 10);
SELECT count(wallet.set_price(model, 'input_tokens', price, per => 1000, provider => provider, effective_from => '2025-01-01Z'))
  FROM (VALUES ('cm-large', 3, 'cm-lab'), ('cm-medium', 1, 'cm-lab'), ('cm-small', 0.1, 'cm-open')) AS p (model, price, provider);

-- The rows are in the order of the candidates. Large would cost 12, and the wallet has 10.
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":4000}', '{cm-large,cm-medium,cm-small}');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":3000}', '{cm-large,cm-medium,cm-small}');
-- The last one, and none.
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100000}', '{cm-medium,cm-small}');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":1000000}', '{cm-medium,cm-small}');

-- A limit on one model leaves the others alone. remaining is the least money that is left for the
-- model; limits on other metrics and soft limits are not in it.
SELECT wallet.set_limit('cm', 2, 'lifetime', scope => 'model', subject => 'cm-large') IS NOT NULL AS set;
SELECT wallet.set_limit('cm', 5, 'lifetime', scope => 'user') IS NOT NULL AS set;
SELECT wallet.set_limit('cm', 1, 'lifetime', mode => 'soft') IS NOT NULL AS set;
SELECT wallet.set_limit('cm', 3500, 'lifetime', scope => 'team', metric => 'tokens') IS NOT NULL AS set;
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":1000}', '{cm-large,cm-medium,cm-small}');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":1000}', '{cm-large,cm-medium,cm-small}', user_id => 'ann');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":4000}', '{cm-large,cm-medium,cm-small}', user_id => 'ann', team => 'sales');
-- The chosen model is charged, and the next request is decided by what is left.
SELECT cost FROM wallet.charge('cm', '{"model":"cm-medium","input_tokens":4500}', user_id => 'ann');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":1000}', '{cm-large,cm-medium,cm-small}', user_id => 'ann');
-- A hold counts like a charge.
SELECT amount, hold_id FROM wallet.hold('cm', amount => 0.45, user_id => 'ann') \gset cm_
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":1000}', '{cm-medium,cm-small}', user_id => 'ann');
SELECT status FROM wallet.void('cm', :'cm_hold_id');

-- Credit for some models only counts for them.
SELECT balance FROM wallet.fund('cm', 90, scope => '{"models":["cm-small"]}');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":60000}', '{cm-medium,cm-small}');
-- Rules on models. A key has the rules of its user.
SELECT wallet.set_model_rules('cm', allowed => '{cm-lab/*,cm-small}', blocked => '{cm-large}', scope => 'user', subject => 'ben');
SELECT * FROM wallet.choose_model('cm', '{"provider":"cm-lab","input_tokens":100}', '{cm-large,cm-medium,cm-small}', user_id => 'ben');
SELECT secret FROM wallet.create_key('cm', 'ben', 'k') \gset
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100}', '{cm-large,cm-medium,cm-small}', key => :'secret');
SELECT DISTINCT reason FROM wallet.choose_model('cm', '{"input_tokens":100}', '{cm-large,cm-small}', key => 'wk_none');

-- A model in the usage is replaced. Its provider serves that model alone; without a model, it
-- serves every candidate.
SELECT * FROM wallet.choose_model('cm', '{"model":"cm-medium","provider":"cm-lab","input_tokens":100}', '{cm-small,cm-medium}');
SELECT * FROM wallet.choose_model('cm', '{"provider":"cm-lab","input_tokens":100}', '{cm-small,cm-medium}');
SELECT * FROM wallet.choose_model('cm', '{"model":"cm-medium-2026","usage":{"prompt_tokens":100,"completion_tokens":0,"total_tokens":100}}', '{cm-small,cm-medium}');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100,"cost":0.7}', '{cm-small,cm-none}', cost_from => 'provider');

-- A candidate that cannot be priced does not stop the choice: without a price, without an exchange
-- rate, too expensive for an amount, and with a quantity that cannot be priced.
SELECT count(wallet.set_price(model, meter, price, currency => currency, effective_from => '2025-01-01Z'))
  FROM (VALUES ('cm-far', 'input_tokens', 1, 'cm_coins'), ('cm-huge', 'input_tokens', 1000000000000000, 'USD'),
               ('cm-steps', 'steps', 1, 'USD'), ('cm-steps', 'input_tokens', 1, 'USD')) AS p (model, meter, price, currency);
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100,"steps":-1}', '{cm-none,cm-far,cm-huge,cm-steps,cm-small}');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100,"images":1}', '{cm-none,cm-small}');
-- The wallet's rule for unknown prices decides as in a charge.
SELECT wallet FROM wallet.update_wallet('cm', unknown_price => 'price_of:cm-medium');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100}', '{cm-none,cm-small}');
SELECT wallet FROM wallet.update_wallet('cm', unknown_price => 'unpriced');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100}', '{cm-none,cm-small}');
SELECT wallet FROM wallet.update_wallet('cm', unknown_price => 'reject');
-- A number that only the prices of some models read.
SELECT wallet FROM wallet.update_wallet('cm', unread_usage => 'reject');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":1,"steps":1}', '{cm-small,cm-steps}');
-- A number that no model reads is an error, and so is usage that nobody can read.
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"usage":{"prompt_tokens":1,"completion_tokens":0,"total_tokens":1,"cm_new":1}}', '{cm-none,cm-small}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":-1}', '{cm-small}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', '{cm-small}', cost_from => 'provider') $$);
SELECT wallet FROM wallet.update_wallet('cm', unread_usage => 'note');
-- A reported cost has one currency, so a missing rate is an error.
SELECT wallet FROM wallet.create_wallet('cm_coins', currency => 'cm_coins');
CALL regress.fails($$ SELECT wallet.choose_model('cm_coins', '{"input_tokens":1,"cost":1}', '{cm-far,cm-small}', cost_from => 'provider') $$);
SELECT * FROM wallet.choose_model('cm_coins', '{"input_tokens":1}', '{cm-small,cm-far}');

-- In a frozen wallet nothing is allowed, whether or not it has a price.
SELECT status FROM wallet.freeze_wallet('cm', 'audit');
SELECT * FROM wallet.choose_model('cm', '{"input_tokens":100}', '{cm-none,cm-small}');
SELECT status FROM wallet.unfreeze_wallet('cm');

-- For a hold, limits on open holds count. A hold above a limit of mode approve is allowed, but one
-- that need not wait is chosen first.
SELECT wallet FROM wallet.create_wallet('cm-hold');
SELECT balance FROM wallet.fund('cm-hold', 100);
SELECT wallet.set_limit('cm-hold', 0, 'lifetime', scope => 'model', subject => 'cm-large', mode => 'approve') \gset
SELECT wallet.set_limit('cm-hold', 0, 'open', scope => 'model', subject => 'cm-medium') \gset
SELECT * FROM wallet.choose_model('cm-hold', '{"input_tokens":100}', '{cm-large,cm-medium,cm-small}', for_hold => true);
SELECT * FROM wallet.choose_model('cm-hold', '{"input_tokens":100}', '{cm-medium,cm-large}', for_hold => true);
SELECT * FROM wallet.choose_model('cm-hold', '{"input_tokens":100}', '{cm-large,cm-medium,cm-small}');

-- Errors about the arguments.
CALL regress.fails($$ SELECT wallet.choose_model('cm', NULL, '{cm-small}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', NULL) $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', '{}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', '{cm-small,NULL}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', '{cm-small,""}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', '{cm-small,cm-large,cm-small}') $$);
CALL regress.fails($$ SELECT wallet.choose_model('cm', '{"input_tokens":1}', ARRAY(SELECT 'm' || i FROM generate_series(1, 101) i)) $$);
SELECT count(*) FROM wallet.choose_model('cm', '{"input_tokens":1}', ARRAY(SELECT 'm' || i FROM generate_series(1, 100) i));
CALL regress.fails($$ SELECT wallet.choose_model('cm-ghost', '{"input_tokens":1}', '{cm-small}') $$);

-- The choice booked nothing: one charge, two fundings.
SELECT kind, count(*), sum(amount) FROM wallet.entries WHERE wallet = 'cm' GROUP BY kind ORDER BY kind;
SELECT * FROM regress.broken('cm');
