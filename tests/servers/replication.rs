//! Logical replication of every table into another server with the extension. Rows, chain and
//! digest are the same there, its backends notice what arrives, and it continues when the first
//! server is gone.

use std::time::Duration;

use postgres::Client;
use wallet_tests::{Database, Server, crowd};

use crate::{broken, digest, fill, goes_on};

/// Every table of the extension with its rows as text.
fn contents(client: &mut Client) -> Vec<(String, String)> {
    let tables = "SELECT relname::text FROM pg_class
                   WHERE relnamespace = 'wallet'::regnamespace AND relkind = 'r' ORDER BY 1";
    let tables = client.query(tables, &[]).expect("pg_class");
    tables
        .iter()
        .map(|row| {
            let name: String = row.get(0);
            let sql = format!(
                "SELECT coalesce(string_agg(t::text, E'\\n' ORDER BY t::text), '') FROM wallet.{name} t"
            );
            (name, client.query_one(&sql, &[]).expect("rows").get(0))
        })
        .collect()
}

/// Waits until the subscription has applied what the publisher has written.
fn applied(publisher: &mut Client) {
    let sql = "SELECT pg_current_wal_lsn()::text";
    let written: String = publisher.query_one(sql, &[]).expect("a position").get(0);
    let sql = format!(
        "SELECT count(*) FROM pg_stat_replication WHERE application_name = 'wallet_copy' AND replay_lsn >= '{written}'"
    );
    for _ in 0..1200 {
        if publisher
            .query_one(&sql, &[])
            .expect("replication")
            .get::<_, i64>(0)
            == 1
        {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("the subscriber does not catch up with {written}");
}

#[test]
fn a_subscriber_has_the_same_ledger() {
    let _crowd = crowd();
    let database = Database::new();
    let mut publisher = database.connect();
    fill(&mut publisher);
    let server = Server::fresh("subscriber");
    server
        .connect("postgres")
        .batch_execute("CREATE DATABASE copy TEMPLATE template0 ENCODING 'UTF8'")
        .expect("a database");
    let mut subscriber = server.connect("copy");
    subscriber
        .batch_execute("CREATE EXTENSION wallet")
        .expect("the extension");
    publisher
        .batch_execute("CREATE PUBLICATION wallet_all FOR TABLES IN SCHEMA wallet")
        .expect("a publication");
    let subscription = format!(
        "CREATE SUBSCRIPTION wallet_copy CONNECTION 'host={} port={} user={} dbname={}' PUBLICATION wallet_all",
        std::env::var("PGHOST").expect("PGHOST"),
        std::env::var("PGPORT").expect("PGPORT"),
        std::env::var("PGUSER").expect("PGUSER"),
        database.name(),
    );
    subscriber
        .batch_execute(&subscription)
        .expect("a subscription");
    let copied = "SELECT bool_and(srsubstate = 'r') FROM pg_subscription_rel";
    for attempt in 0.. {
        if subscriber
            .query_one(copied, &[])
            .expect("the first copy")
            .get(0)
        {
            break;
        }
        assert!(attempt < 1200, "the first copy does not end");
        std::thread::sleep(Duration::from_millis(50));
    }
    applied(&mut publisher);
    assert_eq!(
        contents(&mut publisher),
        contents(&mut subscriber),
        "the first copy"
    );

    // A backend that has cached prices and rights notices those that arrive.
    let price = "SELECT cost::text FROM wallet.price_usage('{\"model\":\"m\",\"input_tokens\":1000}', 'acme')";
    let cost =
        |client: &mut Client| -> String { client.query_one(price, &[]).expect("a price").get(0) };
    assert_eq!(cost(&mut subscriber), "1.00");
    publisher
        .batch_execute(
            "SELECT wallet.set_price('m', 'input_tokens', 0.003);
             SELECT wallet.charge('acme', '{\"model\":\"m\",\"input_tokens\":10}', user_id => 'ann', idempotency_key => 'r' || n),
                    wallet.charge('hot', amount => 0.5)
               FROM generate_series(1, 10) n;
             SELECT wallet.set_lanes('hot', 4), wallet.set_limit('hot', 800, 'lifetime'), wallet.fund('hot', 7);
             SELECT wallet.void('acme', hold_id) FROM wallet.holds WHERE wallet = 'acme' AND status = 'open';
             SELECT wallet.hold('acme', amount => 3, ttl => '1 day');
             SELECT wallet.archive('acme', statement_timestamp(), 5), wallet.archive('hot', statement_timestamp())",
        )
        .expect("every call");
    publisher
        .batch_execute(
            "SELECT wallet.set_member('hot', 'gone@example.com', 'member');
             SELECT wallet.charge('hot', amount => 0.25, user_id => 'gone@example.com', tags => '{\"by\": \"gone@example.com\"}') FROM generate_series(1, 4);
             SELECT wallet.archive('hot', statement_timestamp(), 2);
             SELECT wallet.erase_user('gone@example.com');
             SELECT wallet.close_period('hot', '2020-02-01Z')",
        )
        .expect("a person is erased, a period closed");
    applied(&mut publisher);
    let gone: Vec<String> = contents(&mut subscriber)
        .into_iter()
        .filter(|(_, rows)| rows.contains("gone@example.com"))
        .map(|(table, _)| table)
        .collect();
    assert_eq!(
        gone,
        Vec::<String>::new(),
        "the person is erased there, too"
    );
    assert_eq!(cost(&mut subscriber), "3.00", "a cached price");
    assert_eq!(
        contents(&mut publisher),
        contents(&mut subscriber),
        "what came after it"
    );
    let heads = |client: &mut Client| -> String {
        let sql = "SELECT wallet.digest()::text";
        client.query_one(sql, &[]).expect("digest").get(0)
    };
    let (here, there) = (heads(&mut publisher), heads(&mut subscriber));
    assert!(here.contains("acme") && here == there, "{here}\n{there}");
    let kept = digest(&mut publisher);
    assert_eq!(broken(&mut subscriber, &kept), Vec::<String>::new());

    // The publisher is abandoned: the copy is a wallet like any other.
    subscriber
        .batch_execute("DROP SUBSCRIPTION wallet_copy")
        .expect("the end of the subscription");
    goes_on(&mut subscriber);
    assert_eq!(broken(&mut subscriber, &kept), Vec::<String>::new());
}
