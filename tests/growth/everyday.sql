-- Runs after the setup of a scene: the rows that the everyday calls need.
SELECT wallet.hold('{w}', amount => 1, ttl => '1 day', idempotency_key => 'everyday');
SELECT wallet.charge('{w}', amount => 1, idempotency_key => 'everyday');
SELECT wallet.fund('{w}', 3, status => 'pending', reference => 'everyday');
SELECT wallet.fund('{w}', 4, reference => 'plain');
-- A wallet of its own, because a limit would change what the calls on the scene's wallet read.
SELECT wallet.create_wallet('asks'), wallet.fund('asks', 100), wallet.set_limit('asks', 1, 'request', mode => 'approve');
SELECT wallet.hold('asks', amount => 2, ttl => '1 day', idempotency_key => 'everyday');
