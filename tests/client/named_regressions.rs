//! Billing bugs of other projects, by the numbers of their reports, which must not occur here.

use postgres::Client;
use rust_decimal::Decimal;
use wallet_tests::{Database, dec, expect, state_of, together};

fn number(client: &mut Client, sql: &str) -> Decimal {
    client.query_one(sql, &[]).unwrap().get(0)
}

/// The SQLSTATE of a refusal, or `None`.
fn outcome<T>(result: Result<T, postgres::Error>) -> Option<String> {
    result.err().map(|error| state_of(&error))
}

/// A wallet with money, and a model that costs one cent per thousand input tokens and three per
/// thousand output tokens.
fn funded(database: &Database, amount: u32) -> Client {
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "SELECT wallet.create_wallet('acme');
             SELECT wallet.fund('acme', {amount});
             SELECT wallet.set_price('llm', 'input_tokens', 0.01, per => 1000);
             SELECT wallet.set_price('llm', 'output_tokens', 0.03, per => 1000);"
        ))
        .unwrap();
    client
}

/// There: many calls and one charge. Here: each call has its own key and is billed exactly once.
#[test]
fn eliza_10909_n_calls_are_n_charges() {
    let database = Database::new();
    let mut client = funded(&database, 100);
    let calls = 8;
    together(&database, calls, |n, client| {
        for _ in 0..3 {
            client
                .query_one(
                    "SELECT cost FROM wallet.charge('acme', '{\"model\":\"llm\",\"input_tokens\":1000}',
                         tags => '{\"request\":\"r1\"}', idempotency_key => 'r1/' || $1::text)",
                    &[&n.to_string()],
                )
                .unwrap();
        }
    });
    assert_eq!(
        number(&mut client, "SELECT balance FROM wallet.balances"),
        dec("99.92")
    );
    // The key of a request cannot be used for two different calls: that is an error, not a free
    // call.
    let usage = |tokens: u32| {
        format!(
            "SELECT wallet.charge('acme', '{{\"model\":\"llm\",\"input_tokens\":{tokens}}}', idempotency_key => 'r2')"
        )
    };
    client.batch_execute(&usage(1000)).unwrap();
    expect(client.batch_execute(&usage(2000)), "WL006");
}

/// There: a settlement released the rest, then failed, and the error handler released the whole
/// hold again. Here: a closed hold remains closed, and refunds never exceed the charge, even
/// concurrently.
#[test]
fn eliza_11473_nothing_is_refunded_twice() {
    let database = Database::new();
    let mut client = funded(&database, 10);
    let hold: uuid::Uuid = client
        .query_one("SELECT hold_id FROM wallet.hold('acme', 6)", &[])
        .unwrap()
        .get(0);
    client
        .query_one(
            "SELECT cost FROM wallet.settle('acme', $1, amount => 2)",
            &[&hold],
        )
        .unwrap();
    for again in [
        "SELECT wallet.void('acme', $1, 'error path')",
        "SELECT wallet.settle('acme', $1, amount => 0)",
    ] {
        expect(client.query_one(again, &[&hold]), "WL008");
    }
    assert_eq!(
        number(&mut client, "SELECT available FROM wallet.balances"),
        dec("8")
    );
    let entry: uuid::Uuid = client
        .query_one(
            "SELECT entry_id FROM wallet.charge('acme', amount => 4)",
            &[],
        )
        .unwrap()
        .get(0);
    let outcomes = together(&database, 8, |_, client| {
        outcome(client.query_one(
            "SELECT amount FROM wallet.refund('acme', $1, 3, 'provider failed')",
            &[&entry],
        ))
    });
    let refused = outcomes
        .iter()
        .filter(|state| state.as_deref() == Some("WL012"))
        .count();
    assert_eq!(refused, 7, "{outcomes:?}");
    assert_eq!(
        number(&mut client, "SELECT balance FROM wallet.balances"),
        dec("7")
    );
    let rest = "SELECT amount FROM wallet.refund('acme', (SELECT entry_id FROM wallet.entries WHERE kind = 'charge' AND amount = -4))";
    assert_eq!(number(&mut client, rest), dec("1"));
    expect(client.batch_execute(rest), "WL012");
}

/// There: requests in flight did not count, so that all requests before the first settlement
/// passed.
#[test]
fn blnk_181_open_holds_count() {
    let database = Database::new();
    let mut client = funded(&database, 10);
    let outcomes = together(&database, 16, |_, client| {
        outcome(client.query_one("SELECT hold_id FROM wallet.hold('acme', 3)", &[]))
    });
    let refused = outcomes
        .iter()
        .filter(|state| state.as_deref() == Some("WL001"))
        .count();
    assert_eq!(refused, 13, "{outcomes:?}");
    assert_eq!(
        number(&mut client, "SELECT held FROM wallet.balances"),
        dec("9")
    );
    assert_eq!(
        number(&mut client, "SELECT available FROM wallet.balances"),
        dec("1")
    );
    let charge = "SELECT wallet.charge('acme', amount => 2)";
    expect(client.batch_execute(charge), "WL001");
}

/// There: the reservation of a request was never released.
#[test]
fn litellm_27639_no_reservation_leaks() {
    let database = Database::new();
    let mut client = funded(&database, 100);
    client
        .batch_execute("SELECT wallet.set_limit('acme', 10, 'month', scope => 'user')")
        .unwrap();
    let mut worker = database.connect();
    worker
        .batch_execute("SELECT wallet.hold('acme', 9, user_id => 'ana', ttl => '1 second')")
        .unwrap();
    drop(worker);
    let charge = "SELECT wallet.charge('acme', amount => 5, user_id => 'ana')";
    expect(client.batch_execute(charge), "WL002");
    std::thread::sleep(std::time::Duration::from_millis(1_200));
    // Nothing was swept: the charge itself detects that the hold has expired.
    client.batch_execute(charge).unwrap();
    for held in [
        "SELECT held FROM wallet.balances",
        "SELECT held FROM wallet.limits_status",
    ] {
        assert_eq!(number(&mut client, held), Decimal::ZERO);
    }
    // The whole amount can be spent, and then nothing is reserved.
    client
        .batch_execute("SELECT wallet.charge('acme', amount => 95)")
        .unwrap();
    let held = "SELECT sum(held) FROM wallet.allowances";
    assert_eq!(number(&mut client, held), Decimal::ZERO);
    let status: String = client
        .query_one("SELECT status FROM wallet.holds", &[])
        .unwrap()
        .get(0);
    assert_eq!(status, "expired");
}

/// There: a client disconnected during a stream and was billed for more than it had received. Here:
/// what it received is billed once, and the rest of the estimate is released.
#[test]
fn new_api_5288_a_disconnect_bills_what_was_seen() {
    let database = Database::new();
    let mut client = funded(&database, 1);
    let hold: uuid::Uuid = client
        .query_one(
            "SELECT hold_id FROM wallet.hold('acme', usage => '{\"model\":\"llm\",\"input_tokens\":1000,\"output_tokens\":20000}',
                 user_id => 'ana')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(
        number(&mut client, "SELECT held FROM wallet.balances"),
        dec("0.61")
    );
    for _ in 0..2 {
        let cost: Decimal = client
            .query_one(
                "SELECT cost FROM wallet.settle('acme', $1, '{\"model\":\"llm\",\"input_tokens\":1000,\"output_tokens\":300}',
                     idempotency_key => 'stream')",
                &[&hold],
            )
            .unwrap()
            .get(0);
        assert_eq!(cost, dec("0.019"));
    }
    assert_eq!(
        number(&mut client, "SELECT available FROM wallet.balances"),
        dec("0.981")
    );
    assert_eq!(
        number(&mut client, "SELECT held FROM wallet.balances"),
        Decimal::ZERO
    );
}
