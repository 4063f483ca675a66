//! Clients that call all the time, and what they were told.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use postgres::fallible_iterator::FallibleIterator;
use wallet_tests::{Decimal, Seed, dec};

use crate::client::{Answer, Call, Kind, Seen, Session};
use crate::cluster::Cluster;

const CLIENTS: usize = 4;
/// Wallets of the clients: with one lane, and with several.
const WALLETS: [&str; 2] = ["solo", "wide"];

/// An acknowledged call.
#[derive(Clone, Debug)]
pub struct Done {
    pub call: Call,
    pub answer: Answer,
    pub at: Instant,
}

/// What all clients together know.
#[derive(Default)]
pub struct Book {
    done: Mutex<Vec<Done>>,
    pub seen: Seen,
    /// How often the worker listened: once per connection.
    pub listened: AtomicUsize,
    /// The clients shall end.
    over: AtomicBool,
    /// They have ended.
    quiet: AtomicBool,
}

impl Book {
    pub fn done(&self) -> Vec<Done> {
        self.done.lock().expect("a list").clone()
    }

    pub fn count(&self) -> usize {
        self.done.lock().expect("a list").len()
    }

    /// After a loss: what is booked now.
    pub fn replace(&self, done: Vec<Done>) {
        *self.done.lock().expect("a list") = done;
    }

    fn begin(&self) {
        self.over.store(false, Ordering::Relaxed);
        self.quiet.store(false, Ordering::Relaxed);
        self.listened.store(0, Ordering::Relaxed);
    }

    pub fn add(&self, call: Call, answer: Answer) {
        let at = Instant::now();
        self.done
            .lock()
            .expect("a list")
            .push(Done { call, answer, at });
    }

    /// Waits until that many calls more are acknowledged.
    pub fn wait_for(&self, more: usize) {
        let until = self.count() + more;
        let begun = Instant::now();
        while self.count() < until {
            assert!(
                begun.elapsed() < Duration::from_secs(90),
                "no calls are acknowledged"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The longest time without an acknowledged call since then.
    pub fn silence(&self, since: Instant) -> Duration {
        let done = self.done();
        let mut last = since;
        let mut longest = Duration::ZERO;
        for done in done.iter().filter(|done| done.at > since) {
            longest = longest.max(done.at.duration_since(last));
            last = last.max(done.at);
        }
        longest
    }
}

/// The next call of a client. The first one also moves a wallet across its threshold, in both
/// directions.
fn next(seed: &mut Seed, scene: &str, client: usize, number: usize) -> Call {
    let key = format!("{scene}-{client}-{number}");
    if client == 0 && number.is_multiple_of(3) {
        let kind = [Kind::Charge, Kind::Fund][number / 3 % 2];
        return Call {
            kind,
            wallet: "tide",
            amount: dec("60"),
            key,
        };
    }
    let kind =
        [Kind::Charge, Kind::Own, Kind::Own, Kind::Settle, Kind::Fund][seed.below(5) as usize];
    let wallet = WALLETS[seed.below(2) as usize];
    Call {
        kind,
        wallet,
        amount: seed.cents(1, 300),
        key,
    }
}

/// One client, until the end. Its last call is acknowledged, too: nothing stays unknown. It stops
/// after an even number of crossings, so that the next scene finds the threshold armed.
fn client(cluster: &Cluster, book: &Book, mut seed: Seed, scene: &str, number: usize) {
    let mut session = Session::new(cluster.config("app", number.is_multiple_of(2)), &book.seen);
    for call_number in 0_usize.. {
        if book.over.load(Ordering::Relaxed) && call_number.is_multiple_of(6) {
            return;
        }
        let call = next(&mut seed, scene, number, call_number);
        match session.call(&call) {
            Ok(answer) => book.add(call, answer),
            Err(state) => panic!("{call:?} was refused with {state}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A worker: it listens again on each new connection, and then claims what it was not told.
fn listener(cluster: &Cluster, book: &Book) {
    let mut session = Session::new(cluster.config("app", true), &book.seen);
    let work = |client: &mut postgres::Client| {
        client.batch_execute("LISTEN wallet_events")?;
        book.listened.fetch_add(1, Ordering::Relaxed);
        loop {
            let claim = "SELECT id FROM wallet.claim_events(lease => '2 s')";
            for row in client.query(claim, &[])? {
                let id: uuid::Uuid = row.get(0);
                client.execute("SELECT wallet.finish_event($1)", &[&id])?;
            }
            let open = "SELECT count(*) FROM wallet.events WHERE done_at IS NULL";
            if book.quiet.load(Ordering::Relaxed)
                && client.query_one(open, &[])?.get::<_, i64>(0) == 0
            {
                return Ok(());
            }
            let pause = Duration::from_millis(500);
            client.notifications().timeout_iter(pause).next()?;
        }
    };
    session.keep(work).expect("no event is refused");
}

/// Runs all clients while `scene` runs.
pub fn during<T>(
    cluster: &Cluster,
    book: &Book,
    seed: &Seed,
    name: &str,
    scene: impl FnOnce() -> T,
) -> T {
    /// Also where the scene fails, or its threads would never end.
    struct Then<'a>(&'a AtomicBool);
    impl Drop for Then<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    book.begin();
    std::thread::scope(|workers| {
        workers.spawn(|| listener(cluster, book));
        // The clients' last calls have events, too.
        let _quiet = Then(&book.quiet);
        std::thread::scope(|clients| {
            for number in 0..CLIENTS {
                let seed = seed.thread(number);
                clients.spawn(move || client(cluster, book, seed, name, number));
            }
            let _over = Then(&book.over);
            book.wait_for(150);
            scene()
        })
    })
}

/// The roles, the wallets and the application's table.
pub fn prepare(cluster: &Cluster) {
    let mut config = cluster.nodes[0].config("postgres");
    config.dbname("postgres");
    let mut client = config.connect(postgres::NoTls).expect("the first node");
    client
        .batch_execute("CREATE DATABASE ha TEMPLATE template0 ENCODING 'UTF8'")
        .expect("a database");
    client
        .batch_execute("CREATE ROLE app LOGIN PASSWORD 'test'")
        .expect("a role");
    cluster
        .administrator()
        .batch_execute(
            "CREATE EXTENSION wallet;
             SELECT wallet.grant_access('app', 'charger'), wallet.grant_access('app', 'billing');
             CREATE SCHEMA app;
             CREATE TABLE app.requests (key text PRIMARY KEY, entry_id uuid NOT NULL);
             GRANT USAGE ON SCHEMA app TO app;
             GRANT ALL ON app.requests TO app;
             SELECT wallet.create_wallet('solo'), wallet.create_wallet('wide', lanes => 4),
                    wallet.create_wallet('tide', low_balance => '{550}');
             SELECT wallet.fund(name, 100000) FROM unnest('{solo,wide}'::text[]) name;
             SELECT wallet.fund('tide', 600)",
        )
        .expect("wallets");
}

/// The wallets of the clients, which every check looks at.
pub fn wallets() -> [&'static str; 3] {
    [WALLETS[0], WALLETS[1], "tide"]
}

/// A charge of a scene.
pub fn charge(wallet: &'static str, amount: Decimal, key: &str) -> Call {
    Call {
        kind: Kind::Charge,
        wallet,
        amount,
        key: key.to_owned(),
    }
}
