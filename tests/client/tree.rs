//! Many connections spend from a tree of wallets at once. Single calls never deadlock, whatever
//! they are: the locks of a child come before those of its parent. No money is lost, and no limit
//! is exceeded.

use std::collections::BTreeMap;

use postgres::Client;
use wallet_tests::{Database, Seed, crowd, scale, state_of, together};

/// `org` has the teams `t0` to `t2`, and each team has four users.
const PLANT: &str = "
    SELECT wallet.create_wallet('org', lanes => 4);
    SELECT wallet.create_wallet('t' || t, lanes => 2) FROM generate_series(0, 2) t;
    SELECT wallet.create_wallet('u' || t || u) FROM generate_series(0, 2) t, generate_series(0, 3) u;
    SELECT wallet.set_parent('t' || t, 'org') FROM generate_series(0, 2) t;
    SELECT wallet.set_parent('u' || t || u, 't' || t) FROM generate_series(0, 2) t, generate_series(0, 3) u;
    SELECT wallet.set_limit('t0', 300, 'lifetime');
    SELECT wallet.set_limit('org', 200, 'lifetime', scope => 'user', subject => 'ann');
    SELECT wallet.fund('org', 1000)";

/// A random call, with the codes that it may be refused with.
fn call(seed: &mut Seed) -> String {
    let wallet = match seed.below(10) {
        0 => "org".to_owned(),
        1 | 2 => format!("t{}", seed.below(3)),
        _ => format!("u{}{}", seed.below(3), seed.below(4)),
    };
    let user = ["ann", "bob"][seed.below(2) as usize];
    let amount = format!("{}.{:02}", seed.below(3), 1 + seed.below(99));
    let of_hold = |call: &str| {
        format!(
            "SELECT {call} FROM (SELECT hold_id AS id FROM wallet.holds
              WHERE wallet = '{wallet}' AND status = 'open' AND spender IS NULL ORDER BY random() LIMIT 1) h"
        )
    };
    match seed.below(24) {
        0..10 => format!("SELECT wallet.charge('{wallet}', amount => {amount}, user_id => '{user}')"),
        10..14 => format!(
            "SELECT wallet.hold('{wallet}', amount => {amount}, user_id => '{user}', ttl => '{}', on_expiry => '{}')",
            ["1 hour", "5 milliseconds"][seed.below(2) as usize],
            ["charge", "release"][seed.below(2) as usize],
        ),
        14..17 => of_hold(&format!("wallet.settle('{wallet}', h.id, amount => {amount})")),
        17 => of_hold(&format!("wallet.void('{wallet}', h.id)")),
        18 => of_hold(&format!("wallet.extend_hold('{wallet}', h.id, '1 hour')")),
        19 => format!(
            "SELECT wallet.refund('{wallet}', e.entry_id, 0.01) FROM (SELECT entry_id FROM wallet.entries
              WHERE wallet = '{wallet}' AND kind = 'charge' AND amount < 0 ORDER BY random() LIMIT 1) e"
        ),
        20 => "SELECT wallet.fund('org', 1)".to_owned(),
        21 => format!("SELECT wallet.set_limit('{wallet}', 5000, 'day')"),
        22 => format!(
            "SELECT wallet.set_parent('u{}{}', 't{}')",
            seed.below(3),
            seed.below(4),
            seed.below(3)
        ),
        _ => format!("SELECT wallet.check_limits('{wallet}', amount => {amount})"),
    }
}

/// Makes calls until there were enough, and returns the outcomes.
fn busy(client: &mut Client, mut seed: Seed) -> BTreeMap<String, usize> {
    let mut outcomes = BTreeMap::new();
    for _ in 0..scale(150) {
        let sql = call(&mut seed);
        let outcome = match client.batch_execute(&sql) {
            Ok(()) => "done".to_owned(),
            Err(error) => {
                let state = state_of(&error);
                let expected = ["WL001", "WL002", "WL008", "WL012", "WL016"];
                assert!(expected.contains(&state.as_str()), "{sql}: {error:?}");
                state
            }
        };
        *outcomes.entry(outcome).or_default() += 1;
    }
    outcomes
}

#[test]
fn a_tree_is_spent_by_many_at_once() {
    let _crowd = crowd();
    let seed = Seed::of("a_tree_is_spent_by_many_at_once");
    let database = Database::new();
    let mut client = database.connect();
    client.batch_execute(PLANT).expect("a tree");
    let outcomes = together(&database, 10, |number, client| {
        busy(client, seed.thread(number))
    });
    let done: usize = outcomes.iter().filter_map(|one| one.get("done")).sum();
    println!("{outcomes:?}");
    assert!(done > scale(500), "only {done} calls succeeded");
    client
        .batch_execute("SELECT wallet.maintain()")
        .expect("maintenance");
    let wrong: Vec<(String, String)> = client
        .query(
            "SELECT b.wallet, v.detail FROM wallet.balances b, wallet.verify(b.wallet) v WHERE NOT v.ok",
            &[],
        )
        .expect("proof")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let row = client
        .query_one(
            "SELECT (SELECT sum(amount) FROM wallet.entries WHERE wallet <> 'org' AND kind NOT IN ('charge', 'refund')
                       AND contra = 'pool:org')
                    = -(SELECT sum(amount) FROM wallet.entries WHERE wallet = 'org' AND kind = 'transfer'),
                    (SELECT sum(amount) FROM wallet.entries WHERE kind = 'funding')
                    = (SELECT sum(balance) FROM wallet.balances)
                    + (SELECT sum(cost - refunded) FROM wallet.usage_daily),
                    (SELECT count(*) FROM wallet.balances WHERE wallet <> 'org' AND balance <> 0),
                    (SELECT count(*) FROM wallet.limits_status WHERE used > max)",
            &[],
        )
        .expect("sums");
    let sums: (bool, bool, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
    assert_eq!(sums, (true, true, 0, 0));
}

/// `org` has the children `a` to `c`, and `c` has the child `d`. The children of `org` have
/// several lanes, so that one lane does not stand for all of a child's locks.
fn plant_branches(client: &mut Client, lanes: i16) {
    let sql = format!(
        "SELECT wallet.create_wallet('org', lanes => {lanes});
         SELECT wallet.create_wallet('org/' || c, lanes => {lanes}) FROM unnest('{{a,b,c}}'::text[]) c;
         SELECT wallet.create_wallet('d'), wallet.create_wallet('plain');
         SELECT wallet.set_parent('org/' || c, 'org') FROM unnest('{{a,b,c}}'::text[]) c;
         SELECT wallet.set_parent('d', 'org/c');
         SELECT wallet.set_limit(w, 1000000, 'day') FROM unnest('{{org,org/a,org/c}}'::text[]) w;
         SELECT wallet.set_limit('org', 1000000, 'day', scope => 'user');
         SELECT wallet.fund(w, 1000000) FROM unnest('{{org,plain}}'::text[]) w;
         SELECT wallet.set_plan('p', '{{}}');
         SELECT wallet.assign_plan(w, 'p') FROM unnest('{{org,org/a,org/b,org/c,d}}'::text[]) w"
    );
    client.batch_execute(&sql).expect("a tree");
}

/// A call that uses several wallets: a batch, or the maintenance of due plans and holds.
fn long_call(seed: &mut Seed) -> String {
    if seed.below(4) == 0 {
        return "SELECT wallet.sweep_expired()".to_owned();
    }
    let items: Vec<String> = (0..2 + seed.below(4))
        .map(|_| {
            let wallet = ["org", "org/a", "org/b", "org/c", "d", "plain"][seed.below(6) as usize];
            let user = ["ann", "bob"][seed.below(2) as usize];
            format!(r#"{{"wallet": "{wallet}", "amount": 0.01, "user_id": "{user}"}}"#)
        })
        .collect();
    let on_error = ["fail", "skip"][seed.below(2) as usize];
    format!(
        "SELECT 1 / (sqlstate IS NULL)::int FROM wallet.charge_batch('[{}]', on_error => '{on_error}')",
        items.join(", ")
    )
}

/// A call of one wallet, or a change that makes the maintenance take over a plan.
fn short_call(seed: &mut Seed) -> String {
    let wallet = ["org", "org/a", "org/b", "org/c", "d", "plain"][seed.below(6) as usize];
    let user = ["ann", "bob"][seed.below(2) as usize];
    match seed.below(12) {
        0..10 => format!("SELECT wallet.charge('{wallet}', amount => 0.01, user_id => '{user}')"),
        10 => format!(
            "SELECT wallet.hold('{wallet}', amount => 0.01, ttl => '1 millisecond', on_expiry => '{}')",
            ["charge", "release"][seed.below(2) as usize]
        ),
        _ => format!(
            "SELECT wallet.set_limit('{wallet}', {}, 'week')",
            1_000_000 + seed.below(9)
        ),
    }
}

/// No call fails, neither the single ones nor those of several wallets.
fn calls_of_several_wallets(test: &str, lanes: i16) {
    let _crowd = crowd();
    let seed = Seed::of(test);
    let database = Database::new();
    plant_branches(&mut database.connect(), lanes);
    let failed: Vec<String> = together(&database, 6, |number, client| {
        let mut seed = seed.thread(number);
        (0..scale(120))
            .filter_map(|_| {
                let sql = match number {
                    0..3 => long_call(&mut seed),
                    _ => short_call(&mut seed),
                };
                let result = client.batch_execute(&sql);
                result.err().map(|error| format!("{sql}: {error:?}"))
            })
            .collect::<Vec<String>>()
    })
    .concat();
    assert!(
        failed.is_empty(),
        "{} calls failed, first {}",
        failed.len(),
        failed[0]
    );
}

#[test]
fn calls_of_several_wallets_lock_children_first() {
    calls_of_several_wallets("calls_of_several_wallets_lock_children_first", 1);
}

#[test]
fn calls_of_several_wallets_lock_all_lanes_of_children_first() {
    calls_of_several_wallets(
        "calls_of_several_wallets_lock_all_lanes_of_children_first",
        3,
    );
}

/// Waits until as many sessions of the database wait for a lock.
fn until_waiting(client: &mut Client, count: i64) {
    let sql = "SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    for _ in 0..200 {
        if client.query_one(sql, &[]).expect(sql).get::<_, i64>(0) >= count {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{count} sessions do not wait");
}

/// `z/a` is a child of `z`, and both are to take over a version of their plan. A transaction of the
/// application has a lane of the child, a charge of the child waits for it, and then the
/// maintenance comes. In the order of names it would lock `z` and wait for the child, while the
/// charge has the child and waits for `z`.
#[test]
fn maintenance_locks_a_child_before_its_parent() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('z'), wallet.create_wallet('z/a'), wallet.fund('z', 100);
             SELECT wallet.set_parent('z/a', 'z'), wallet.set_plan('p', '{}');
             SELECT wallet.assign_plan('z', 'p'), wallet.assign_plan('z/a', 'p');
             SELECT wallet.set_plan('p', '{\"limits\": [{\"max\": 50, \"period\": \"day\"}]}')",
        )
        .expect("a tree with a plan");
    let mut first = database.connect();
    first
        .batch_execute(
            "BEGIN; SELECT FROM wallet.allowances WHERE wallet_id = 'z/a' FOR NO KEY UPDATE",
        )
        .expect("the lane");
    std::thread::scope(|scope| {
        let call = |sql: &'static str| {
            let mut client = database.connect();
            scope.spawn(move || client.batch_execute(sql))
        };
        let charge = call("SELECT wallet.charge('z/a', amount => 1)");
        until_waiting(&mut client, 1);
        let maintenance = call("SELECT wallet.maintain()");
        until_waiting(&mut client, 2);
        first.batch_execute("COMMIT").expect("the end");
        charge.join().expect("a thread").expect("the charge");
        maintenance
            .join()
            .expect("a thread")
            .expect("the maintenance");
    });
}
