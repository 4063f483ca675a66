-- Card data is refused in every text and JSON argument, and never repeated.
SELECT wallet FROM wallet.create_wallet('cards');
SELECT balance FROM wallet.fund('cards', 100);
CALL regress.fails($$ SELECT wallet.fund('cards', 1, reference => '4111 1111 1111 1111') $$);
CALL regress.fails($$ SELECT wallet.fund('cards', 1, metadata => '{"customer": {"note": "AMEX 3782-822463-10005"}}') $$);
CALL regress.fails($$ SELECT wallet.charge('cards', amount => 1, tags => '{"CVV": 123}') $$);
CALL regress.fails($$ SELECT wallet.charge('cards', amount => 1, metadata => '{"payment": {"pan": null}}') $$);
CALL regress.fails($$ SELECT wallet.charge('cards', amount => 1, metadata => '{"5555555555554444": 1}') $$);
CALL regress.fails($$ SELECT wallet.charge('cards', '{"model": "m", "input_tokens": 1, "order": 4111111111111111}') $$);
CALL regress.fails($$ SELECT wallet.create_wallet('4111111111111111') $$);
SELECT argument, regress.outcome(format($$ SELECT wallet.charge('cards', amount => 1, %I => '4111-1111-1111-1111') $$, argument))
  FROM unnest('{user_id,team,model,service,region,service_tier,device,idempotency_key,actor}'::text[]) argument;
SELECT key, regress.outcome(format($$ SELECT wallet.charge('cards', amount => 1, metadata => jsonb_build_object(%L, 1)) $$, key))
  FROM unnest('{cvv,cvc,pan,pin,track,Track2,panel,spin}'::text[]) key;
-- Values that are not card numbers pass: a wrong check digit, no issuer, a UUID, a time, a count.
SELECT value, regress.outcome(format($$ SELECT wallet.charge('cards', amount => 0.01, user_id => %L) $$, value))
  FROM unnest('{4111111111111112,1234567890123452,550e8400-e29b-41d4-4111-111111111111,1764000000000,2026-11-24T04:12:14.123456Z}'::text[]) value;
-- An administrator can allow a false positive by name.
SET wallet.allow_card_like = 'order_number, PIN, reference';
SELECT balance FROM wallet.charge('cards', amount => 1, metadata => '{"pin": 1, "order_number": ["4111111111111111", 4111111111111111]}');
SELECT amount FROM wallet.fund('cards', 1, reference => '4111111111111111');
SELECT regress.outcome($$ SELECT wallet.charge('cards', amount => 1, metadata => '{"note": "4111111111111111"}') $$);
RESET wallet.allow_card_like;
-- Only a superuser can change the setting.
SELECT context FROM pg_settings WHERE name = 'wallet.allow_card_like';
SELECT * FROM regress.broken('cards');
