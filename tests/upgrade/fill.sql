-- Data for a database: every kind of row that charges, money and rules create.
SELECT wallet.set_price('m', 'input_tokens', 0.001, effective_from => '2020-01-01Z');
SELECT wallet.set_markup('reseller', 20, 0.001);
SELECT wallet.set_metric('points', '{"input_tokens": 0.5, "images": 1000}');
SELECT wallet.set_fx_rate('EUR', 'USD', 1.1);
SELECT wallet.create_voucher('welcome', 5, max_redemptions => 3);
SELECT wallet.create_wallet('acme', low_balance => '{50,20}'), wallet.create_wallet('hot', lanes => 8), wallet.create_wallet('peer');
SELECT wallet.fund('acme', 100, reference => 'p1'), wallet.fund('hot', 100), wallet.fund('hot', 7, status => 'pending', reference => 'p2');
SELECT wallet.fund('acme', 5, promotional => true, expires_at => '2999-01-01Z'), wallet.redeem_voucher('acme', 'welcome');
SELECT wallet.set_recurring_grant('peer', 3, 'month');
SELECT wallet.set_recurring_grant('peer', 2, 'week', name => 'later', starts_on => '2990-01-01');
SELECT wallet.set_bonus('*', '[{"from":1000,"percent":1}]'), wallet.set_bonus('peer', '[{"from":1,"percent":5}]', expires_in => '1 month');
SELECT wallet.reverse_funding('peer', entry_id, amount => 3) FROM wallet.fund('peer', 9, reference => 'p3');
SELECT wallet.set_limit('acme', 900, 'lifetime', scope => 'user'), wallet.set_limit('hot', 950, 'lifetime'), wallet.set_limit('hot', 5000, 'lifetime', metric => 'points');
SELECT wallet.set_topup_rule('acme', '{"threshold":200,"amount":10}'), wallet.set_topup_rule('acme', '{"threshold":100,"amount":20}', name => 'second');
SELECT wallet.set_member('acme', 'ann', 'owner', 'red'), wallet.set_ip_rules('peer', '{10.0.0.0/8}'), wallet.set_model_rules('peer', allowed => '{m}');
SELECT wallet.charge('acme', amount => 1, user_id => 'ann', idempotency_key => 'k' || n),
       wallet.charge('hot', '{"model":"m","input_tokens":10}', tags => '{"t":"x"}', idempotency_key => 'h' || n)
  FROM generate_series(1, 40) n;
SELECT wallet.hold('acme', amount => 3, ttl => '1000 days', idempotency_key => 'hold');
SELECT wallet.refund('acme', entry_id, 0.5) FROM wallet.entries WHERE wallet = 'acme' AND kind = 'charge' LIMIT 1;
SELECT wallet.transfer('hot', 'peer', 2), wallet.adjust('peer', 1, 'a gift');
SELECT wallet.update_wallet('hot', unknown_price => 'unpriced');
SELECT wallet.charge('hot', '{"model":"unknown","pages":1,"steps":3}');
