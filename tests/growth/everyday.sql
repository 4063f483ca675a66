-- Runs after the setup of a scene: the rows that the everyday calls need.
SELECT wallet.hold('{w}', amount => 1, ttl => '1 day', idempotency_key => 'everyday');
SELECT wallet.charge('{w}', amount => 1, idempotency_key => 'everyday');
SELECT wallet.fund('{w}', 3, status => 'pending', reference => 'everyday');
SELECT wallet.fund('{w}', 4, reference => 'plain');
