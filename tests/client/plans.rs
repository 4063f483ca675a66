//! Plans with many clients at once: a new version is taken over by each wallet once, and no charge
//! waits for a call that waits for it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{Database, audit, charge, dec, expect};

fn set_plan(client: &mut Client, plan: &str, definition: &str) -> i64 {
    let sql = "SELECT wallet.set_plan($1, $2::text::jsonb)";
    let row = client.query_one(sql, &[&plan, &definition]);
    row.expect("set_plan").get(0)
}

/// The versions that a wallet has taken over, in the order of time.
fn taken_over(client: &mut Client, wallet: &str) -> Vec<i64> {
    let sql = "SELECT (after ->> 'version')::bigint FROM wallet.audit_log
                WHERE wallet_id = $1 AND action = 'take_over_plan' ORDER BY at, audit_id";
    let rows = client.query(sql, &[&wallet]).expect("audit");
    rows.iter().map(|row| row.get(0)).collect()
}

/// Eight clients call on one wallet with one lane while versions are set. No call fails, or takes
/// long.
fn under_load(statements: &[&str], setup: &str) {
    let database = Database::new();
    let mut client = database.connect();
    set_plan(&mut client, "pro", &limit(0));
    client.batch_execute(setup).expect("setup");
    let (stop, calls) = (AtomicBool::new(false), AtomicU64::new(0));
    let slowest = thread::scope(|scope| {
        let run = || {
            let mut client = database.connect();
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                // Each in a transaction of its own.
                for statement in statements {
                    let begun = Instant::now();
                    client.batch_execute(statement).expect("no call fails");
                    slowest = slowest.max(begun.elapsed());
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            }
            slowest
        };
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        for version in 1..=8 {
            thread::sleep(Duration::from_millis(300));
            set_plan(&mut client, "pro", &limit(version));
        }
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Relaxed);
        let slowest = clients.into_iter().map(|one| one.join().expect("client"));
        slowest.max().expect("clients")
    });
    // A deadlock of single charges takes at least five seconds.
    assert!(slowest < Duration::from_secs(4), "a call took {slowest:?}");
    assert!(calls.load(Ordering::Relaxed) > 100, "{calls:?} calls");
    let taken = taken_over(&mut client, "acme");
    assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
    assert_eq!(taken.last(), Some(&9));
    let sql = "SELECT w.wallet_id, v.* FROM wallet.wallets w, wallet.verify(w.wallet_id) v WHERE NOT v.ok";
    assert!(client.query(sql, &[]).expect("verify").is_empty());
}

fn limit(version: i64) -> String {
    let max = 1_000_000 + version;
    format!(
        r#"{{"limits": [{{"max": {max}, "period": "day"}}],
            "recurring_grants": [{{"name": "included", "amount": {max}, "period": "month"}}]}}"#
    )
}

#[test]
fn charges_go_on_while_a_version_is_set() {
    under_load(
        &["SELECT FROM wallet.charge('acme', amount => 0.001)"],
        "SELECT FROM wallet.create_wallet('acme', plan => 'pro')",
    );
}

#[test]
fn charges_and_questions_go_on_while_a_version_is_set() {
    under_load(
        &[
            "SELECT FROM wallet.charge('acme', amount => 0.001)",
            "SELECT FROM wallet.check_limits('acme', amount => 0.001)",
        ],
        "SELECT FROM wallet.create_wallet('acme', plan => 'pro')",
    );
}

#[test]
fn charges_of_a_child_go_on_while_a_version_is_set() {
    under_load(
        &["SELECT FROM wallet.charge('acme/a', amount => 0.001)"],
        "SELECT FROM wallet.create_wallet('acme', plan => 'pro');
         SELECT FROM wallet.create_wallet('acme/a');
         SELECT FROM wallet.set_parent('acme/a', 'acme')",
    );
}

#[test]
fn holds_go_on_while_a_version_is_set() {
    under_load(
        &["SELECT FROM wallet.hold('acme', amount => 0.001)"],
        "SELECT FROM wallet.create_wallet('acme', plan => 'pro')",
    );
}

/// A backend whose cache of versions is older than the wallet's row takes nothing over.
#[test]
fn a_wallet_does_not_go_back_to_an_earlier_version() {
    let database = Database::new();
    let mut client = database.connect();
    let grants = |amount: i64| {
        format!(
            r#"{{"recurring_grants": [{{"name": "included", "amount": {amount}, "period": "month"}}]}}"#
        )
    };
    set_plan(&mut client, "pro", &grants(10));
    client
        .batch_execute("SELECT FROM wallet.create_wallet('acme', plan => 'pro')")
        .expect("wallet");
    set_plan(&mut client, "pro", &grants(20));
    // Takes version 2 over, and keeps the lane until a third version is set.
    let mut first = database.connect();
    first
        .batch_execute("BEGIN; SELECT FROM wallet.charge('acme', amount => 0.01)")
        .expect("charge");
    let second = thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let mut second = database.connect();
            let sql = "SELECT FROM wallet.charge('acme', amount => 0.02)";
            second.batch_execute(sql).expect("it waited");
            second
        });
        thread::sleep(Duration::from_millis(500));
        set_plan(&mut client, "pro", &grants(30));
        first
            .batch_execute("SELECT FROM wallet.charge('acme', amount => 0.01); COMMIT")
            .expect("charge");
        waiting.join().expect("second")
    });
    let mut second = second;
    second
        .batch_execute("SELECT FROM wallet.charge('acme', amount => 0.02)")
        .expect("charge");
    assert_eq!(taken_over(&mut client, "acme"), [1, 2, 3]);
    audit(&mut client, "acme");
}

/// The amounts granted to a wallet, in the order of the ledger.
fn granted(client: &mut Client, wallet: &str) -> Vec<String> {
    let sql = "SELECT trim_scale(amount)::text FROM wallet.entries
                WHERE wallet = $1 AND kind = 'funding' ORDER BY seq";
    let rows = client.query(sql, &[&wallet]).expect("entries");
    rows.iter().map(|row| row.get(0)).collect()
}

fn shown(client: &mut Client, wallet: &str) -> String {
    let sql = "SELECT trim_scale(balance)::text FROM wallet.balances WHERE wallet = $1";
    client.query_one(sql, &[&wallet]).expect("balance").get(0)
}

/// A plan grants nothing after its end, however late the wallet's next call is. What was due before,
/// what the wallet has on its own, and what the next version has too, is granted.
#[test]
fn the_grants_of_a_plan_end_with_it() {
    let database = Database::new();
    let mut client = database.connect();
    let grants = |amount: i64, period: &str, limit: &str| {
        format!(
            r#"{{"recurring_grants": [{{"name": "included", "amount": {amount}, "period": "{period}"}}]{limit}}}"#
        )
    };
    set_plan(&mut client, "pro", &grants(20, "2 seconds", ""));
    set_plan(&mut client, "free", &grants(1, "month", ""));
    set_plan(&mut client, "same", &grants(7, "2 seconds", ""));
    client
        .batch_execute(
            "SELECT FROM wallet.create_wallet('at', plan => 'pro');
             SELECT wallet.assign_plan('at', 'free', at => r.next_at)
               FROM wallet.recurring_grants r WHERE wallet_id = 'at';
             SELECT FROM wallet.create_wallet('after', plan => 'pro');
             SELECT FROM wallet.set_recurring_grant('after', 3, '2 seconds', name => 'own');
             SELECT wallet.assign_plan('after', 'free', at => r.next_at + interval '1 second')
               FROM wallet.recurring_grants r WHERE wallet_id = 'after' AND name = 'included';
             SELECT FROM wallet.create_wallet('none', plan => 'pro');
             SELECT wallet.assign_plan('none', NULL, at => clock_timestamp() + interval '1 second');
             SELECT FROM wallet.create_wallet('same', plan => 'same');
             SELECT wallet.set_plan('same', jsonb_set(p.definition, '{limits}', '[{\"max\": 99, \"period\": \"day\"}]'),
                                    clock_timestamp() + interval '1 second')
               FROM wallet.plans p WHERE p.plan = 'same'",
        )
        .expect("wallets");
    thread::sleep(Duration::from_millis(5_300));
    // The new grant comes with the call that takes the version over.
    let before = ["at", "after", "none", "same"].map(|wallet| shown(&mut client, wallet));
    assert_eq!(before, ["20", "49", "20", "21"]);
    for wallet in ["at", "after", "none", "same"] {
        let sql = format!("SELECT FROM wallet.charge('{wallet}', amount => 1)");
        client.batch_execute(&sql).expect("charge");
        audit(&mut client, wallet);
    }
    let granted = ["at", "after", "none", "same"].map(|wallet| granted(&mut client, wallet));
    assert_eq!(granted[0], ["20", "1"]);
    let mut after = granted[1].clone();
    after.sort_unstable();
    assert_eq!(after, ["1", "20", "20", "3", "3", "3"]);
    assert_eq!(granted[2], ["20"]);
    assert_eq!(granted[3], ["7", "7", "7"]);
}

/// A version that cannot be taken over fails the calls on its wallets, but neither freezing them nor
/// the maintenance of others.
#[test]
fn a_version_that_cannot_be_taken_over_stops_no_other_wallet() {
    let database = Database::new();
    let mut client = database.connect();
    let huge = r#"{"recurring_grants": [{"name": "a", "amount": 9999999999999999, "period": "year"},
                                        {"name": "b", "amount": 9999999999999999, "period": "year"}]}"#;
    set_plan(&mut client, "pro", "{}");
    client
        .batch_execute(
            "SELECT FROM wallet.create_wallet('broken', plan => 'pro');
             SELECT FROM wallet.create_wallet('fine');
             SELECT FROM wallet.fund('fine', 5, expires_at => clock_timestamp() + interval '500 milliseconds')",
        )
        .expect("wallets");
    set_plan(&mut client, "pro", huge);
    thread::sleep(Duration::from_millis(600));
    expect(charge(&mut client, "broken", dec("1")), "WL012");
    // The first one due fails, and makes room for the next.
    let swept = client.query_one("SELECT wallet.sweep_expired(1)", &[]);
    assert_eq!(swept.expect("sweep").get::<_, i64>(0), 1);
    assert_eq!(shown(&mut client, "fine"), "0");
    client
        .batch_execute("SELECT FROM wallet.freeze_wallet('broken', 'looked at')")
        .expect("freeze");
    set_plan(&mut client, "pro", "{}");
    client
        .batch_execute("SELECT FROM wallet.unfreeze_wallet('broken')")
        .expect("unfreeze");
    audit(&mut client, "broken");
}
