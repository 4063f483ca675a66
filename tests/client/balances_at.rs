//! `balances_at` says again what the views said at earlier times, and ties to the ledger.

use std::thread;
use std::time::Duration;

use postgres::{Client, Row};
use wallet_tests::{Database, Decimal, Seed, dec, scale};

const WALLETS: [&str; 3] = ["a", "b", "c"];

/// What the views said: the time, and balance and promotional credit of each wallet.
struct Said {
    at: i64,
    of: Vec<(Decimal, Decimal)>,
    /// The calls since the last time, and what the views had.
    calls: Vec<String>,
}

impl Said {
    /// Rows of time, balance and promotional credit.
    fn of(rows: &[Row], calls: Vec<String>) -> Said {
        Said {
            at: rows[0].get(0),
            of: rows.iter().map(|row| (row.get(1), row.get(2))).collect(),
            calls,
        }
    }
}

/// Reads the views in one statement. Credit that a grant had when it ended, and that is kept for
/// older holds, is part of the balance, but not of the view grants. It is known once the end is
/// booked, so nothing may be due.
fn look(client: &mut Client, calls: Vec<String>) -> Said {
    let rows = loop {
        client
            .batch_execute("SELECT wallet.sweep_expired()")
            .unwrap();
        let rows = views(client);
        if rows.iter().all(|row| !row.get::<_, bool>(3)) {
            break rows;
        }
    };
    let mut calls = calls;
    calls.extend(rows.iter().map(|row| row.get::<_, String>(4)));
    Said::of(&rows, calls)
}

/// The time, balance, promotional credit, and whether something is due, by wallet.
fn views(client: &mut Client) -> Vec<Row> {
    client
        .query(
            "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, b.balance - b.debt,
                    coalesce((SELECT sum(g.remaining) FROM wallet.grants g WHERE g.wallet = b.wallet AND g.promotional), 0)
                    + coalesce((SELECT sum(k.amount) FROM wallet.kept_credit k JOIN wallet.grant_lots g USING (wallet_id, grant_id)
                                 WHERE k.wallet_id = b.wallet AND g.promotional), 0)
                    + coalesce((SELECT sum(l.remaining) FROM wallet.grant_lots l
                                 WHERE l.wallet_id = b.wallet AND l.promotional AND l.scope IS NOT NULL
                                   AND l.status = 'active' AND l.expires_at <= statement_timestamp()), 0),
                    coalesce(w.grants_due <= statement_timestamp(), false),
                    concat('promotional in ', b.wallet, ': ',
                           (SELECT jsonb_object_agg(g.grant_id, g.remaining) FROM wallet.grants g
                             WHERE g.wallet = b.wallet AND g.promotional AND g.remaining > 0), ' ',
                           (SELECT jsonb_agg(k) FROM wallet.kept_credit k WHERE k.wallet_id = b.wallet))
               FROM wallet.balances b JOIN wallet.wallets w ON w.wallet_id = b.wallet ORDER BY b.wallet",
            &[],
        )
        .unwrap()
}

/// What the function itself says now. Nothing that is due has been booked for it.
fn ask(client: &mut Client) -> Said {
    let rows = client
        .query(
            "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::bigint, balance, promotional
               FROM wallet.balances_at(statement_timestamp()) ORDER BY wallet",
            &[],
        )
        .unwrap();
    Said::of(&rows, Vec::new())
}

/// One random call on a wallet. Some are refused.
fn step(client: &mut Client, seed: &mut Seed, number: usize) -> Option<String> {
    let wallet = WALLETS[seed.below(3) as usize];
    let cents = seed.cents(1, 400);
    let older = |kind: &str| {
        format!(
            "(SELECT e.entry_id FROM wallet.entries e WHERE e.wallet = '{wallet}' AND e.kind = '{kind}' ORDER BY md5(e.entry_id::text || {number}) LIMIT 1)"
        )
    };
    let model = ["'m-1'", "'m-2'", "NULL"][seed.below(3) as usize];
    let sql = match seed.below(22) {
        0 => format!("SELECT wallet.fund('{wallet}', {cents}, reference => 'r-{number}')"),
        1 => format!("SELECT wallet.fund('{wallet}', {cents}, promotional => true)"),
        2 | 3 => format!(
            "SELECT wallet.fund('{wallet}', {cents}, promotional => {}, expires_at => clock_timestamp() + {} * interval '1 millisecond', priority => {})",
            seed.below(3) > 0,
            50 + seed.below(1500),
            90 + seed.below(20),
        ),
        4 => format!("SELECT wallet.fund('{wallet}', {cents}, promotional => true, scope => '{{\"models\": [\"m-1\"]}}')"),
        5 | 6 => format!("SELECT wallet.refund('{wallet}', {})", older("charge")),
        7 => format!("SELECT wallet.refund('{wallet}', {}, 0.01)", older("charge")),
        8 => format!("SELECT wallet.void_grant('{wallet}', (SELECT g.grant_id FROM wallet.grants g WHERE g.wallet = '{wallet}' AND g.promotional AND g.remaining > 0 LIMIT 1))"),
        9 => format!("SELECT wallet.reverse_funding('{wallet}', {}, 'bounced', {cents} / 2)", older("funding")),
        10 => format!("SELECT wallet.transfer('{wallet}', '{}', {cents} / 4)", WALLETS[seed.below(3) as usize]),
        11 => format!("SELECT wallet.adjust('{wallet}', {cents} / 3 * {}, reason => 'test')", [1, -1][seed.below(2) as usize]),
        12 | 13 => format!(
            "DO $$ DECLARE h uuid; BEGIN
                 SELECT hold_id INTO h FROM wallet.hold('{wallet}', amount => {cents} / 2, model => {model}, ttl => {} * interval '1 second');
                 IF {} THEN PERFORM wallet.settle('{wallet}', h, amount => {cents} / 5); END IF;
             END $$",
            1 + seed.below(2),
            seed.below(2) == 0,
        ),
        14 => format!(
            "SELECT wallet.settle(h.wallet, h.hold_id, amount => 0.02) FROM wallet.holds h WHERE h.wallet = '{wallet}' AND h.status = 'open' LIMIT 1"
        ),
        15 => "SELECT wallet.maintain()".to_owned(),
        // Due at once and every second. It pays what was used on credit.
        16 | 17 => format!(
            "SELECT wallet.set_recurring_grant('{wallet}', {cents} / 2, '{} seconds', '{} seconds', name => 'every-{}')",
            1 + seed.below(2),
            1 + seed.below(3),
            seed.below(2),
        ),
        _ => format!("SELECT wallet.charge('{wallet}', amount => {cents} / 2, model => {model})"),
    };
    client.batch_execute(&sql).is_ok().then_some(sql)
}

/// The entries, grants and burns of a wallet around a time, for whoever reads the failure.
fn near(client: &mut Client, wallet: &str, at: i64) -> String {
    let sql = format!(
        "WITH t AS (SELECT to_timestamp(0) + {at} * interval '1 microsecond' AS at)
         SELECT string_agg(r.row, E'\n' ORDER BY r.at) FROM (
             SELECT l.created_at AS at, 'entry ' || to_jsonb(l)::text AS row FROM wallet.ledger_all l, t
              WHERE l.wallet_id = '{wallet}' AND l.effective_at BETWEEN t.at - interval '4 s' AND t.at + interval '4 s'
              UNION ALL
             SELECT g.created_at, 'lot ' || to_jsonb(g)::text FROM wallet.grant_lots g, t
              WHERE g.wallet_id = '{wallet}' AND g.created_at BETWEEN t.at - interval '20 s' AND t.at + interval '4 s'
              UNION ALL
             SELECT r.created_at, 'hold ' || to_jsonb(r)::text FROM wallet.reservations r, t
              WHERE r.wallet_id = '{wallet}' AND r.created_at BETWEEN t.at - interval '4 s' AND t.at + interval '4 s') r"
    );
    let row = client.query_one(&sql, &[]).unwrap();
    row.get::<_, Option<String>>(0).unwrap_or_default()
}

fn check(client: &mut Client, said: &[Said], state: &str) {
    for (place, said) in said.iter().enumerate() {
        let sql = format!(
            "SELECT wallet, balance, paid, promotional, wallet.balance_at(wallet, to_timestamp(0) + {} * interval '1 microsecond')
               FROM wallet.balances_at(to_timestamp(0) + {} * interval '1 microsecond') ORDER BY wallet",
            said.at, said.at
        );
        for (row, (balance, promotional)) in client.query(&sql, &[]).unwrap().iter().zip(&said.of) {
            let numbers: [Decimal; 4] = [1, 2, 3, 4].map(|column| row.get(column));
            let wanted = [*balance, balance - promotional, *promotional, *balance];
            assert_eq!(
                numbers,
                wanted,
                "{state}, {place}: {} at {} after {:#?}, {}",
                row.get::<_, String>(0),
                said.at,
                said.calls,
                near(client, row.get(0), said.at)
            );
        }
    }
}

#[test]
fn balances_at_says_what_the_views_said_at_that_time() {
    let mut seed = Seed::of("balances_at_says_what_the_views_said_at_that_time");
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, credit) in WALLETS.iter().zip([0, 5, 40]) {
        client
            .batch_execute(&format!(
                "SELECT wallet.create_wallet('{wallet}', credit_limit => {credit}, lanes => {}); SELECT wallet.fund('{wallet}', 6);
                 SELECT wallet.set_bonus('{wallet}', '[{{\"from\": 1, \"percent\": 10}}]')",
                1 + credit / 20
            ))
            .unwrap();
    }
    let mut said = vec![look(&mut client, Vec::new())];
    let mut calls = Vec::new();
    for number in 0..scale(150) {
        calls.extend(step(&mut client, &mut seed, number));
        if seed.below(4) == 0 {
            thread::sleep(Duration::from_millis(seed.below(120)));
            said.push(ask(&mut client));
            said.push(look(&mut client, std::mem::take(&mut calls)));
        }
    }
    let promotional = said.iter().flat_map(|said| &said.of);
    assert!(
        promotional
            .filter(|(_, promotional)| *promotional > dec("0"))
            .count()
            > 30
    );
    check(&mut client, &said, "at the end");
    client
        .batch_execute("SELECT wallet.roll_up(now()); SELECT wallet.archive(w, now()) FROM unnest('{a,b,c}'::text[]) w")
        .unwrap();
    check(&mut client, &said, "rolled up and archived");
    let now = client
        .query_one(
            "SELECT bool_and(a.balance = b.balance - b.debt AND a.paid + a.promotional = a.balance AND f.balance = a.balance AND f.promotional = a.promotional)
               FROM wallet.balances_at() a JOIN wallet.balances b USING (wallet) JOIN wallet.balances_at(now() + interval '1 hour') f USING (wallet)",
            &[],
        )
        .unwrap();
    assert!(now.get::<_, bool>(0));
}

/// What grants pay of earlier use counts when the grants begin, not when the use was booked.
#[test]
fn a_later_grant_changes_no_earlier_figure() {
    let database = Database::new();
    let mut client = database.connect();
    let owed = "SELECT wallet.create_wallet('acme', credit_limit => 5); SELECT wallet.fund('acme', 2, reference => 'r')";
    let used = "SELECT wallet.charge('acme', amount => 4)";
    let bounced = "SELECT wallet.charge('acme', amount => 6);
                   SELECT wallet.reverse_funding('acme', (SELECT entry_id FROM wallet.entries WHERE reference = 'r'), 'bounced')";
    let granted = "SELECT wallet.fund('acme', 10, promotional => true)";
    let renewed = "SELECT wallet.set_recurring_grant('acme', 10, '1 second', '1 day')";
    let booked = "SELECT wallet.sweep_expired()";
    for (before, after) in [
        (used, granted),
        (bounced, granted),
        (used, renewed),
        (bounced, renewed),
    ] {
        client
            .batch_execute(&format!("{owed}; {before}; SELECT pg_sleep(0.01)"))
            .unwrap();
        let at = "SELECT to_jsonb(b)::text FROM wallet.balances_at($1::text::timestamptz) b";
        let said = |client: &mut Client, when: &str| -> String {
            client.query_one(at, &[&when]).unwrap().get(0)
        };
        let now = |client: &mut Client| -> String {
            client
                .query_one("SELECT statement_timestamp()::text", &[])
                .unwrap()
                .get(0)
        };
        let first = now(&mut client);
        let told = said(&mut client, &first);
        assert!(told.contains("\"promotional\": 0.00"), "{told}");
        client.batch_execute(after).unwrap();
        assert_eq!(said(&mut client, &first), told, "{before}, {after}");
        // The second renewal is due and not booked.
        thread::sleep(Duration::from_millis(1100));
        let second = now(&mut client);
        let due = said(&mut client, &second);
        client.batch_execute(booked).unwrap();
        assert_eq!(said(&mut client, &second), due, "{before}, {after}");
        assert_eq!(said(&mut client, &first), told, "{before}, {after}");
        client
            .batch_execute("DROP EXTENSION wallet CASCADE; CREATE EXTENSION wallet")
            .unwrap();
    }
}
