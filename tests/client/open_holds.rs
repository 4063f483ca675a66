//! Limits on open holds, against an upstream that counts the requests that it serves at a time.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{Database, Seed, audit, create, crowd, dec, state_of};

/// An upstream that sleeps, and records how many requests it serves at a time.
#[derive(Default)]
struct Upstream {
    serving: AtomicI64,
    most: AtomicI64,
}

impl Upstream {
    fn serve(&self, time: Duration) {
        let serving = self.serving.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(serving, Ordering::SeqCst);
        std::thread::sleep(time);
        self.serving.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A pool of connections, as an application has one.
struct Pool {
    idle: Mutex<Vec<Client>>,
    returned: Condvar,
}

impl Pool {
    fn of(database: &Database, connections: usize) -> Pool {
        let idle = (0..connections).map(|_| database.connect()).collect();
        Pool {
            idle: Mutex::new(idle),
            returned: Condvar::new(),
        }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Client) -> T) -> T {
        let mut idle = self.idle.lock().expect("the pool");
        let mut client = loop {
            match idle.pop() {
                Some(client) => break client,
                None => idle = self.returned.wait(idle).expect("the pool"),
            }
        };
        drop(idle);
        let result = work(&mut client);
        self.idle.lock().expect("the pool").push(client);
        self.returned.notify_one();
        result
    }
}

const LIMIT: i64 = 10;
const CLIENTS: usize = 200;
const TTL: Duration = Duration::from_millis(2000);

/// Makes a hold as soon as the limits allow it.
fn hold(pool: &Pool, on_expiry: &str) -> uuid::Uuid {
    let sql = "SELECT hold_id FROM wallet.hold('acme', amount => 1, user_id => 'ann',
                      ttl => $1::text::interval, on_expiry => $2)";
    let ttl = format!("{} ms", TTL.as_millis());
    let began = Instant::now();
    loop {
        match pool.with(|client| client.query_one(sql, &[&ttl, &on_expiry])) {
            Ok(row) => return row.get(0),
            Err(error) => assert_eq!(state_of(&error), "WL002", "{error:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(120), "never admitted");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The quantity that the limit has left for another hold.
fn remaining(client: &mut Client) -> i64 {
    let sql = "SELECT remaining::bigint FROM wallet.check_limits('acme', 'ann', amount => 1, for_hold => true)
                WHERE period = 'open' AND metric = 'requests'";
    client.query_one(sql, &[]).expect("check_limits").get(0)
}

fn clients_with_dying_ones(lanes: i32, seed: &Seed) {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", lanes, &[], dec("1000"));
    let sql = "SELECT wallet.set_limit('acme', $1::bigint::numeric, 'open', metric => 'requests'),
                      wallet.set_limit('acme', 1000, 'open', scope => 'user')";
    client.execute(sql, &[&LIMIT]).expect("set_limit");
    let (upstream, pool) = (Upstream::default(), Pool::of(&database, 40));
    let died = AtomicI64::new(0);
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (upstream, pool, died) = (&upstream, &pool, &died);
            let mut seed = seed.thread(number);
            scope.spawn(move || {
                let on_expiry = ["release", "charge"][seed.below(2) as usize];
                let hold = hold(pool, on_expiry);
                upstream.serve(Duration::from_millis(80 + seed.below(80)));
                if number % 10 == 0 {
                    // Dies without settling.
                    died.fetch_add(1, Ordering::SeqCst);
                    return;
                }
                let sql = "SELECT wallet.settle('acme', $1, amount => 0.5)";
                pool.with(|client| client.execute(sql, &[&hold]))
                    .expect("settle");
            });
        }
    });
    // On a busy machine, the clients do not always use all places at the same moment.
    let most = upstream.most.load(Ordering::SeqCst);
    assert!(
        (LIMIT - 3..=LIMIT).contains(&most),
        "{lanes} lanes: {most} of {LIMIT}"
    );
    assert_eq!(died.load(Ordering::SeqCst), CLIENTS as i64 / 10);
    std::thread::sleep(TTL);
    assert_eq!(remaining(&mut client), LIMIT, "{lanes} lanes");
    // No job has run. As many holds fit as the limit says, and no more.
    for _ in 0..LIMIT {
        hold(&pool, "release");
    }
    let sql = "SELECT wallet.hold('acme', amount => 1, user_id => 'ann')";
    let refused = client.execute(sql, &[]).expect_err("the limit is reached");
    assert_eq!(state_of(&refused), "WL002");
    assert_eq!(remaining(&mut client), 0);
    audit(&mut client, "acme");
}

#[test]
fn an_upstream_never_serves_more_than_the_limit_and_the_dead_free_theirs() {
    let _turn = crowd();
    let seed = Seed::of("an_upstream_never_serves_more_than_the_limit_and_the_dead_free_theirs");
    for lanes in [1, 4] {
        clients_with_dying_ones(lanes, &seed);
    }
}
