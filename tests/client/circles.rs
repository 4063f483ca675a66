//! Which transaction is cancelled in a deadlock: never a single call.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postgres::types::ToSql;
use postgres::{Client, GenericClient};
use uuid::Uuid;
use wallet_tests::{Database, Seed, audit, create, crowd, dec, noon, scale, state_of, together};

/// Transactions with several calls, in one of two ways: these may be cancelled.
const SEVERAL: [&str; 2] = ["several", "charge_batch"];

/// The results of the calls of one kind.
#[derive(Clone, Debug, Default)]
struct Count {
    done: usize,
    /// By a limit, or by REPEATABLE READ.
    refused: usize,
    /// How long each cancelled call had run.
    gave_way: Vec<Duration>,
}

type Counts = BTreeMap<&'static str, Count>;

impl Count {
    fn note(&mut self, begun: Instant, result: Result<(), postgres::Error>, what: &str) -> bool {
        match result {
            Ok(()) => self.done += 1,
            Err(error) if state_of(&error) == "40P01" => self.gave_way.push(begun.elapsed()),
            Err(error) if ["WL002", "40001"].contains(&&*state_of(&error)) => self.refused += 1,
            Err(error) => panic!("{what}: {error:?}"),
        }
        self.done > 0
    }
}

/// One of the four wallets.
fn any(seed: &mut Seed) -> String {
    format!("w{}", seed.below(4))
}

fn user(seed: &mut Seed) -> Option<&'static str> {
    [None, Some("ann"), Some("bob"), Some("cy")][seed.below(4) as usize]
}

type Values<'a> = [&'a (dyn ToSql + Sync)];

fn run(
    client: &mut impl GenericClient,
    sql: &str,
    values: &Values<'_>,
) -> Result<(), postgres::Error> {
    client.execute(sql, values).map(drop)
}

fn charge(client: &mut impl GenericClient, seed: &mut Seed) -> Result<(), postgres::Error> {
    let (wallet, user) = (any(seed), user(seed));
    let team = user.map(|_| ["red", "blue"][seed.below(2) as usize]);
    run(
        client,
        "SELECT wallet.charge($1, amount => 0.01, user_id => $2, team => $3)",
        &[&wallet, &user, &team],
    )
}

fn fund(client: &mut impl GenericClient, seed: &mut Seed) -> Result<(), postgres::Error> {
    run(client, "SELECT wallet.fund($1, 0.01)", &[&any(seed)])
}

/// Several calls in one transaction, in random order. `begun` is when the last one began.
fn several(
    client: &mut Client,
    seed: &mut Seed,
    begun: &mut Instant,
) -> Result<(), postgres::Error> {
    let mut transaction = client.transaction()?;
    charge(&mut transaction, seed)?;
    // The application's own work between the calls.
    std::thread::sleep(Duration::from_micros(seed.below(2_000)));
    *begun = Instant::now();
    charge(&mut transaction, seed)?;
    *begun = Instant::now();
    fund(&mut transaction, seed)?;
    transaction.commit()
}

/// One call, and for some kinds another one in its own transaction.
fn single(client: &mut Client, seed: &mut Seed, counts: &mut Counts) {
    let (wallet, user) = (any(seed), user(seed));
    let mut one = |client: &mut Client, kind: &'static str, sql: &str, values: &Values<'_>| {
        let begun = Instant::now();
        let result = run(client, sql, values);
        counts.entry(kind).or_default().note(begun, result, kind)
    };
    let key = Uuid::from_u64_pair(seed.number(), seed.number()).to_string();
    match seed.below(100) {
        0..56 => {
            let begun = Instant::now();
            let result = charge(client, seed);
            counts
                .entry("charge")
                .or_default()
                .note(begun, result, "charge");
        }
        56..60 => {
            one(
                client,
                "hold that is left",
                "SELECT wallet.hold($1, amount => 0.50, user_id => $2, team => 'red', ttl => '500 ms')",
                &[&wallet, &user],
            );
        }
        60..70 => {
            one(
                client,
                "hold",
                "SELECT wallet.hold($1, amount => 0.02, user_id => $2, idempotency_key => $3)",
                &[&wallet, &user, &key],
            );
            let sql = match seed.below(2) {
                0 => (
                    "settle",
                    "SELECT wallet.settle($1, hold_id, amount => 0.01)",
                ),
                _ => ("void", "SELECT wallet.void($1, hold_id)"),
            };
            let find = " FROM wallet.reservations WHERE wallet_id = $1 AND idempotency_key = $2";
            one(client, sql.0, &format!("{}{find}", sql.1), &[&wallet, &key]);
        }
        70..76 => {
            one(
                client,
                "charge with a key",
                "SELECT wallet.charge($1, amount => 0.01, user_id => $2, idempotency_key => $3)",
                &[&wallet, &user, &key],
            );
            one(
                client,
                "refund",
                "SELECT wallet.refund($1, entry_id) FROM wallet.ledger WHERE wallet_id = $1 AND idempotency_key = $2",
                &[&wallet, &key],
            );
        }
        76..82 => {
            // The same key as other connections at the same moment.
            let key = format!("k{}", seed.below(50));
            one(
                client,
                "charge with the same key",
                "SELECT wallet.charge($1, amount => 0.01, idempotency_key => $2)",
                &[&wallet, &key],
            );
        }
        82..88 => {
            let begun = Instant::now();
            let result = fund(client, seed);
            counts
                .entry("fund")
                .or_default()
                .note(begun, result, "fund");
        }
        88..92 => {
            one(
                client,
                "adjust",
                "SELECT wallet.adjust($1, -0.01, 'why')",
                &[&wallet],
            );
        }
        92..95 => {
            let to = format!("w{}", (wallet.as_bytes()[1] - b'0' + 1) % 4);
            one(
                client,
                "transfer",
                "SELECT wallet.transfer($1, $2, 0.01)",
                &[&wallet, &to],
            );
        }
        95..97 => {
            one(
                client,
                "set_limit",
                "SELECT wallet.set_limit($1, $2::int4, 'day', scope => 'user')",
                &[&wallet, &(3 * scale(1) as i32)],
            );
        }
        _ => {
            one(
                client,
                "charge_batch",
                "SELECT * FROM wallet.charge_batch((SELECT jsonb_agg(jsonb_build_object(
                    'wallet', 'w' || n, 'amount', 0.01, 'user_id', $1::text)) FROM generate_series(0, 3) n))",
                &[&user],
            );
        }
    }
}

fn total(counts: &[Counts], several: bool) -> (usize, Vec<Duration>) {
    let of = counts.iter().flatten();
    let of = of.filter(|(kind, _)| SEVERAL.contains(*kind) == several);
    let mut sum = (0, Vec::new());
    for (_, count) in of {
        sum.0 += count.done + count.refused;
        sum.1.extend(&count.gave_way);
    }
    sum.1.sort();
    sum
}

/// Sixteen connections spend from four wallets. Every twelfth transaction makes several calls.
fn a_crowd(lanes: i32, storage: &str, level: &str) {
    let _crowd = crowd();
    // Holds that are left over fill the limit from time to time.
    let max = 3 * scale(1) as i32;
    let seed = Seed::of(&format!("circles, {lanes} lanes, {storage}, {level}"));
    let database = Database::new();
    let mut client = database.connect();
    for wallet in 0..4 {
        let wallet = format!("w{wallet}");
        create(&mut client, &wallet, lanes, &[dec("50")], dec("100000"));
        for (scope, period) in [
            ("user", "day"),
            ("user", "week"),
            ("team", "day"),
            ("wallet", "month"),
        ] {
            run(
                &mut client,
                "SELECT wallet.set_limit($1, $4::int4, $2, scope => $3, time_zone => $5)",
                &[&wallet, &period, &scope, &max, &noon()],
            )
            .expect("a limit");
        }
    }
    let begun = Instant::now();
    let counts = together(&database, 16, |number, client| {
        let mut seed = seed.thread(number);
        let mut counts = Counts::new();
        client
            .batch_execute(&format!(
                "SET wallet.storage = {storage}; SET default_transaction_isolation = '{level}'"
            ))
            .expect("SET");
        for _ in 0..scale(150) {
            if seed.below(100) < 8 {
                let mut begun = Instant::now();
                let result = several(client, &mut seed, &mut begun);
                counts
                    .entry("several")
                    .or_default()
                    .note(begun, result, "several");
            } else {
                single(client, &mut seed, &mut counts);
            }
        }
        counts
    });
    let took = begun.elapsed();
    let (single, gave_way) = total(&counts, false);
    let (several, circles) = total(&counts, true);
    let at = |share: f64| circles.get((circles.len() as f64 * share) as usize);
    println!(
        "{lanes} lanes, {storage}, {level}: {:.0} a second; {single} single calls, {} gave way; {several} transactions of \
         several, {} gave way, in {:?} (half), {:?} (99 of 100), {:?} (the last)",
        single as f64 / took.as_secs_f64(),
        gave_way.len(),
        circles.len(),
        at(0.5),
        at(0.99),
        circles.last(),
    );
    if !gave_way.is_empty() {
        for count in &counts {
            for (kind, count) in count.iter().filter(|(_, count)| !count.gave_way.is_empty()) {
                println!("{kind}: {:?}", count.gave_way);
            }
        }
    }
    for wallet in 0..4 {
        audit(&mut client, &format!("w{wallet}"));
    }
    assert_eq!(gave_way.len(), 0, "single calls that gave way");
    // With PostgreSQL's own deadlock_timeout each would take at least a second.
    let below =
        |share: f64, most: u64| at(share).is_none_or(|took| *took < Duration::from_millis(most));
    assert!(
        below(0.5, 500) && below(0.99, 2_000),
        "they gave way late: {circles:?}"
    );
}

#[test]
fn a_single_call_is_never_the_deadlock_victim_on_several_lanes() {
    a_crowd(4, "auto", "read committed");
}

#[test]
fn a_single_call_is_never_the_deadlock_victim_on_one_lane() {
    a_crowd(1, "auto", "read committed");
}

#[test]
fn a_single_call_is_never_the_deadlock_victim_through_spi() {
    a_crowd(4, "spi", "read committed");
    a_crowd(1, "spi", "read committed");
}

#[test]
fn a_single_call_is_never_the_deadlock_victim_under_repeatable_read() {
    a_crowd(4, "auto", "repeatable read");
}

/// Waits until this many connections wait for a lock.
fn until_waiting(client: &mut Client, count: i64) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let begun = Instant::now();
    while client
        .query_one(waiting, &[])
        .expect("activity")
        .get::<_, i64>(0)
        != count
    {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody waits");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Wallets `a` and `b` with one lane each, and a way to connect.
fn two_wallets(storage: &str) -> (Database, impl Fn(&Database) -> Client) {
    let database = Database::new();
    let mut client = database.connect();
    for wallet in ["a", "b"] {
        create(&mut client, wallet, 1, &[], dec("100"));
    }
    let set = format!("SET wallet.storage = {storage}");
    let connect = move |database: &Database| {
        let mut client = database.connect();
        client.batch_execute(&set).expect("SET");
        client
    };
    (database, connect)
}

const TRANSFER: &str = "SELECT wallet.transfer('a', 'b', 1)";

/// The call is cancelled as a deadlock victim, and soon.
fn gives_way(client: &mut Client, sql: &str) {
    let begun = Instant::now();
    let error = client.batch_execute(sql).expect_err(sql);
    assert_eq!(state_of(&error), "40P01");
    assert!(
        begun.elapsed() < Duration::from_millis(800),
        "{:?}",
        begun.elapsed()
    );
    client.batch_execute("ROLLBACK").expect("ROLLBACK");
}

/// The single call has waited longer, so that PostgreSQL would cancel it first.
#[test]
fn a_later_call_that_closes_a_cycle_is_the_deadlock_victim() {
    for storage in ["auto", "spi"] {
        let (database, connect) = two_wallets(storage);
        let mut several = connect(&database);
        several
            .batch_execute("BEGIN; SELECT wallet.charge('a', amount => 1)")
            .expect("a charge");
        std::thread::scope(|scope| {
            // It has both wallets' rows and waits for the lane of the first.
            let single = scope.spawn(|| connect(&database).batch_execute(TRANSFER));
            until_waiting(&mut database.connect(), 1);
            std::thread::sleep(Duration::from_millis(700));
            gives_way(&mut several, "SELECT wallet.fund('b', 1)");
            single.join().expect("no panic").expect("a transfer");
        });
        audit(&mut several, "a");
    }
}

/// The later call has checked for deadlocks long before a single call closes the cycle.
#[test]
fn a_later_call_that_waits_checks_for_deadlocks_again() {
    for storage in ["auto", "spi"] {
        let (database, connect) = two_wallets(storage);
        let mut client = database.connect();
        let mut several = connect(&database);
        several
            .batch_execute("BEGIN; SELECT wallet.charge('a', amount => 1)")
            .expect("a charge");
        let mut other = connect(&database);
        other
            .batch_execute("BEGIN; SELECT wallet.fund('b', 1)")
            .expect("a funding");
        std::thread::scope(|scope| {
            // It has the row of `a` and waits for that of `b`.
            let single = scope.spawn(|| connect(&database).batch_execute(TRANSFER));
            until_waiting(&mut client, 1);
            let later = scope.spawn(|| {
                let error = several
                    .batch_execute("SELECT wallet.fund('a', 1)")
                    .expect_err("a circle");
                (error, Instant::now())
            });
            until_waiting(&mut client, 2);
            std::thread::sleep(Duration::from_millis(1_500));
            let closed = Instant::now();
            other.batch_execute("COMMIT").expect("COMMIT");
            let (error, gave_way) = later.join().expect("no panic");
            assert_eq!(state_of(&error), "40P01");
            assert!(
                gave_way - closed < Duration::from_millis(800),
                "{:?}",
                gave_way - closed
            );
            single.join().expect("no panic").expect("a transfer");
        });
        audit(&mut client, "a");
        audit(&mut client, "b");
    }
}

/// Without a deadlock, a later call waits as long as necessary.
#[test]
fn a_later_call_waits_for_a_long_transaction() {
    let (database, connect) = two_wallets("auto");
    let mut client = database.connect();
    let mut holder = connect(&database);
    holder
        .batch_execute("BEGIN; SELECT wallet.charge('b', amount => 1)")
        .expect("a charge");
    let mut several = connect(&database);
    several
        .batch_execute("BEGIN; SELECT wallet.charge('a', amount => 1)")
        .expect("a charge");
    std::thread::scope(|scope| {
        let later =
            scope.spawn(|| several.batch_execute("SELECT wallet.charge('b', amount => 1); COMMIT"));
        until_waiting(&mut client, 1);
        std::thread::sleep(Duration::from_millis(2_500));
        holder.batch_execute("COMMIT").expect("COMMIT");
        later.join().expect("no panic").expect("a charge");
    });
    assert_eq!(wallet_tests::balance(&mut client, "b"), dec("98"));
    audit(&mut client, "b");
}

/// Settings that a call changes for its waits are restored after it, also after an error.
#[test]
fn a_call_restores_the_settings_it_changes() {
    let (database, connect) = two_wallets("auto");
    let mut client = connect(&database);
    client
        .batch_execute("SET log_lock_waits = on; SET deadlock_timeout = '700ms'")
        .expect("SET");
    let check = |client: &mut Client| {
        let row = client
            .query_one(
                "SELECT current_setting('log_lock_waits'), current_setting('deadlock_timeout')",
                &[],
            )
            .expect("settings");
        assert_eq!((row.get(0), row.get(1)), ("on", "700ms"));
    };
    client
        .batch_execute("BEGIN; SELECT wallet.charge('a', amount => 1); SELECT wallet.charge('a', amount => 1); COMMIT")
        .expect("charges");
    check(&mut client);
    let failing = "SELECT wallet.charge('a', amount => 1000)";
    assert_eq!(
        state_of(&client.batch_execute(failing).expect_err("no money")),
        "WL001"
    );
    check(&mut client);
    let later = format!("BEGIN; SELECT wallet.charge('a', amount => 1); SAVEPOINT s; {failing}");
    assert_eq!(
        state_of(&client.batch_execute(&later).expect_err("no money")),
        "WL001"
    );
    client.batch_execute("ROLLBACK TO s").expect("ROLLBACK");
    check(&mut client);
    client.batch_execute("COMMIT").expect("COMMIT");
    check(&mut client);
}

/// The windows in which other users' expired holds reserve an amount precede or follow the charge's
/// own windows in lock order. A charge leaves them alone and releases only the holds in its own
/// windows.
#[test]
fn a_charge_releases_expired_holds_only_in_its_own_windows() {
    for storage in ["auto", "spi"] {
        let database = Database::new();
        let mut client = database.connect();
        client
            .batch_execute(&format!("SET wallet.storage = {storage}"))
            .expect("SET");
        create(&mut client, "acme", 4, &[], dec("100"));
        client
            .batch_execute("SELECT wallet.set_limit('acme', 10, 'day', scope => 'user')")
            .expect("a limit");
        for user in ["ann", "bob"] {
            let hold = "SELECT wallet.hold('acme', amount => 10, user_id => $1, ttl => '1 s')";
            run(&mut client, hold, &[&user]).expect("a hold");
        }
        std::thread::sleep(Duration::from_millis(1_200));
        // Releases what bob's hold reserves, and keeps the window locked.
        let mut other = database.connect();
        other
            .batch_execute("BEGIN; SELECT wallet.charge('acme', amount => 1, user_id => 'bob')")
            .expect("a charge");
        client
            .batch_execute("SET statement_timeout = '3s'; SELECT wallet.charge('acme', amount => 1, user_id => 'ann')")
            .expect("a charge that need not wait");
        other.batch_execute("COMMIT").expect("COMMIT");
        let refused = "SELECT wallet.charge('acme', amount => 9.5, user_id => $1)";
        for user in ["ann", "bob"] {
            let error = run(&mut client, refused, &[&user]).expect_err("more than is left");
            assert_eq!(state_of(&error), "WL002");
        }
        audit(&mut client, "acme");
    }
}
