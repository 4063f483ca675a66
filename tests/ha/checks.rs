//! What must be true after a failover.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;

use postgres::{Client, NoTls};
use uuid::Uuid;
use wallet_tests::{Decimal, audit};

use crate::client::{Kind, Seen, Session};
use crate::cluster::{Cluster, wait_for};
use crate::workload::{Book, Done, wallets};

/// The entries of keys: how many, the first one, and the amount of money.
type Entries = BTreeMap<String, (usize, Uuid, Decimal)>;

pub fn entries(client: &mut Client) -> Entries {
    let sql = "SELECT idempotency_key, entry_id, abs(amount) FROM wallet.entries
                WHERE idempotency_key IS NOT NULL";
    let mut entries = Entries::new();
    for row in client.query(sql, &[]).expect("entries") {
        let found = entries
            .entry(row.get(0))
            .or_insert((0, row.get(1), row.get(2)));
        found.0 += 1;
    }
    entries
}

/// Each acknowledged call exists exactly once and as it was answered, and nothing else exists.
pub fn exactly_once(client: &mut Client, done: &[Done]) {
    let mut entries = entries(client);
    for done in done {
        let expected = Some((1, done.answer.entry, done.call.amount));
        assert_eq!(entries.remove(&done.call.key), expected, "{done:?}");
        assert_eq!(done.answer.amount, done.call.amount, "{done:?}");
    }
    assert!(
        entries.is_empty(),
        "calls that nobody was told of: {entries:?}"
    );
}

/// The application's rows and the entries of their transactions: both or neither.
pub fn whole(client: &mut Client, done: &[Done]) {
    let sql = "SELECT r.key, r.entry_id FROM app.requests r
                 LEFT JOIN wallet.entries e ON e.entry_id = r.entry_id AND e.idempotency_key = r.key
                WHERE e.entry_id IS NULL";
    let torn = client.query(sql, &[]).expect("rows without an entry");
    assert!(torn.is_empty(), "rows without an entry: {torn:?}");
    let own: BTreeSet<String> = client
        .query("SELECT key FROM app.requests", &[])
        .expect("the application's rows")
        .iter()
        .map(|row| row.get(0))
        .collect();
    let entries = entries(client);
    for done in done.iter().filter(|done| done.call.kind == Kind::Own) {
        let key = &done.call.key;
        assert_eq!(
            own.contains(key),
            entries.contains_key(key),
            "{key} is torn"
        );
    }
}

/// Sends every acknowledged call again, with its key: the answer is the first one.
pub fn replays(cluster: &Cluster, done: &[Done]) {
    let seen = Seen::default();
    let mut session = Session::new(cluster.config("app", false), &seen);
    for done in done {
        let again = session.call(&done.call);
        let answer = again.unwrap_or_else(|state| panic!("{done:?}: a replay gets {state}"));
        let first = (done.answer.entry, done.answer.amount);
        assert_eq!((answer.entry, answer.amount), first, "{done:?}");
        assert!(answer.replayed, "{done:?} was booked again");
    }
}

pub fn digest(client: &mut Client) -> String {
    let sql = "SELECT wallet.digest()::text";
    client.query_one(sql, &[]).expect("digest").get(0)
}

/// What `verify` finds wrong, with a digest from before, by wallet.
pub fn broken(client: &mut Client, digest: &str) -> BTreeMap<String, String> {
    let sql = "SELECT w.wallet_id, v.\"check\" || ' ' || v.detail
                 FROM wallet.wallets w, wallet.verify(w.wallet_id, $1::text::jsonb) v WHERE NOT v.ok";
    let rows = client.query(sql, &[&digest]).expect("verify");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Both nodes have the same chains, after what is still under way.
pub fn same_digest(cluster: &Cluster) {
    let (primary, standby) = cluster.roles();
    let here = digest(
        &mut primary
            .config("postgres")
            .connect(NoTls)
            .expect("the primary"),
    );
    wait_for("the former primary has the same digest", || {
        let mut there = standby.config("postgres").connect(NoTls).ok()?;
        let standby: bool = there
            .query_one("SELECT pg_is_in_recovery()", &[])
            .ok()?
            .get(0);
        (standby && digest(&mut there) == here).then_some(())
    });
}

/// The worker listened again on a new connection, and no event is left over.
fn events(client: &mut Client, book: &Book) {
    let listened = book.listened.load(Ordering::Relaxed);
    assert!(listened > 1, "the worker listened {listened} times");
    let sql = "SELECT count(*), count(*) FILTER (WHERE done_at IS NULL) FROM wallet.events";
    let row = client.query_one(sql, &[]).expect("events");
    let (all, open): (i64, i64) = (row.get(0), row.get(1));
    assert!(all > 10 && open == 0, "{open} of {all} events are open");
}

/// All of it, after a failover that may lose nothing.
pub fn nothing_lost(cluster: &Cluster, book: &Book, kept: &str) {
    let (mut client, done) = (cluster.administrator(), book.done());
    exactly_once(&mut client, &done);
    whole(&mut client, &done);
    assert_eq!(broken(&mut client, kept), BTreeMap::new());
    events(&mut client, book);
    replays(cluster, &done);
    for wallet in wallets() {
        audit(&mut client, wallet);
    }
}
