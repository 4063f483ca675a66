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
