//! More than one server: a standby answers queries and continues when it is promoted, and a
//! subscriber of logical replication has the same ledger.

mod read_only;
mod replication;
mod standby;

use postgres::Client;
use wallet_tests::{audit, dec};

/// Wallets with one lane and with several, with limits, prices, members, holds, grants and charges.
fn fill(client: &mut Client) {
    client
        .batch_execute(
            r#"SELECT wallet.set_price('m', 'input_tokens', 0.001);
               SELECT wallet.create_wallet('acme', low_balance => '{50,20}'), wallet.create_wallet('hot', lanes => 8);
               SELECT wallet.fund('acme', 100, reference => 'p1'), wallet.fund('hot', 100),
                      wallet.fund('acme', 5, promotional => true, expires_at => '2999-01-01Z');
               SELECT wallet.set_limit('acme', 900, 'lifetime', scope => 'user'), wallet.set_limit('hot', 950, 'lifetime');
               SELECT wallet.set_member('acme', 'ann', 'owner', 'red');
               SELECT wallet.charge('acme', amount => 1, user_id => 'ann', idempotency_key => 'k' || n),
                      wallet.charge('hot', '{"model":"m","input_tokens":10}', idempotency_key => 'h' || n)
                 FROM generate_series(1, 20) n;
               SELECT wallet.hold('acme', amount => 3, ttl => '1 day', idempotency_key => 'hold');
               SELECT wallet.refund('acme', entry_id, 0.5) FROM wallet.entries WHERE wallet = 'acme' AND kind = 'charge' LIMIT 1;"#,
        )
        .expect("wallets");
}

/// What `verify` finds broken, in each wallet and against the digest.
fn broken(client: &mut Client, digest: &str) -> Vec<String> {
    let sql = "SELECT w.wallet_id || ': ' || v.\"check\" || ' ' || v.detail
                 FROM wallet.wallets w, wallet.verify(w.wallet_id, $1::text::jsonb) v WHERE NOT v.ok";
    let rows = client.query(sql, &[&digest]).expect("verify");
    rows.iter().map(|row| row.get(0)).collect()
}

fn digest(client: &mut Client) -> String {
    let sql = "SELECT wallet.digest()::text";
    client.query_one(sql, &[]).expect("digest").get(0)
}

/// Charges continue where the others stopped: a replay answers, and the chain and the limits
/// continue.
fn goes_on(client: &mut Client) {
    let replay = "SELECT replayed FROM wallet.charge('acme', amount => 1, user_id => 'ann', idempotency_key => 'k1')";
    assert!(
        client
            .query_one(replay, &[])
            .expect("a replay")
            .get::<_, bool>(0)
    );
    let before = wallet_tests::balance(client, "hot");
    wallet_tests::charge(client, "hot", dec("2")).expect("a charge");
    assert_eq!(wallet_tests::balance(client, "hot"), before - dec("2"));
    client
        .batch_execute(
            "SELECT wallet.settle('acme', hold_id, amount => 2) FROM wallet.holds WHERE wallet = 'acme' AND status = 'open';
             SELECT wallet.set_price('m', 'input_tokens', 0.002), wallet.set_lanes('hot', 3), wallet.fund('hot', 5)",
        )
        .expect("every call works");
    let beyond = wallet_tests::charge(client, "acme", dec("5000"));
    wallet_tests::expect(beyond, "WL001");
    for wallet in ["acme", "hot"] {
        audit(client, wallet);
    }
}
