//! The pages of `transactions` are those of a plain query on the ledger, whatever part of the
//! ledger is rolled up, and their cost does not depend on the length of the ledger.

use postgres::Client;
use wallet_tests::{Database, Seed, pages, scale};

/// Makes `entries` entries of wallet w over `days` days, on two lanes: entries of the same
/// millisecond, users with one entry and with many, two users with the same hash, and fundings
/// whose ids are older than their booking.
fn fill(client: &mut Client, seed: &mut Seed, entries: u32, days: u32) {
    let seed = (seed.below(1000) as f64) / 1000.0;
    client
        .batch_execute(&format!(
            "SET session_replication_role = replica;
             SELECT wallet.create_wallet('w', lanes => 2, time_zone => 'Pacific/Apia'), wallet.create_wallet('other');
             SELECT setseed({seed});
             CREATE TEMP TABLE twins AS
             SELECT min(u) AS one, max(u) AS other FROM (SELECT 'twin ' || n AS u FROM generate_series(1, 400000) n) c
              GROUP BY substr(md5(u), 1, 8) HAVING count(*) > 1 LIMIT 1;
             CREATE TEMP TABLE made AS
             SELECT n, r, m,
                    date_trunc('day', now()) - interval '{days} days' + {days} * interval '1 day' * ((n / 2 * 2) / {entries}.0) AS at,
                    CASE WHEN n % 97 = 5 THEN 'f' WHEN n % 89 = 3 THEN 'r' WHEN n % 211 = 4 THEN 'a' ELSE 'c' END AS kind
               FROM (SELECT n, random() AS r, random() AS m FROM generate_series(0, {entries} - 1) n) x;
             WITH entry AS (
                 SELECT m.*, 1 + (n % 2) AS lane, n / 2 + 1 AS seq,
                        CASE kind WHEN 'f' THEN m.at - 30 * m.r * interval '1 day' ELSE m.at END AS asked
                   FROM made m
             ), booked AS (
                 INSERT INTO wallet.ledger (entry_id, created_at, seq, lane, kind, call, wallet_id, amount, lane_balance, hash, user_id, team, model)
                 SELECT (lpad(to_hex((extract(epoch FROM asked) * 1000)::bigint), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid,
                        at, seq, lane, kind::\"char\", CASE kind WHEN 'f' THEN 'f' ELSE 'c' END::\"char\", 'w', 1, 1, '\\x',
                        CASE WHEN kind IN ('f', 'a') OR n % 10 = 9 THEN NULL WHEN n % 3 = 0 THEN 'common' WHEN n = 700 THEN 'once'
                             WHEN n % 400 = 1 THEN t.one WHEN n % 500 = 2 THEN t.other ELSE 'user ' || floor(300 * r * r) END,
                        CASE WHEN kind IN ('f', 'a') THEN NULL WHEN n % 5 = 0 THEN 'red' WHEN n % 150 = 1 THEN 'blue' END,
                        CASE WHEN kind IN ('f', 'a') THEN NULL ELSE 'm-' || floor(30 * m * m * m) END
                   FROM entry, twins t
                 RETURNING entry_id, created_at, kind
             )
             INSERT INTO wallet.funding_requests (wallet_id, entry_id, amount, method, status, created_at, finished_at)
             SELECT 'w', entry_id, 1, 'bank', 'settled', created_at - interval '30 days', created_at FROM booked WHERE kind = 'f';
             UPDATE wallet.allowances a SET seq = l.seq
               FROM (SELECT lane, max(seq) AS seq FROM wallet.ledger WHERE wallet_id = 'w' GROUP BY 1) l
              WHERE a.wallet_id = 'w' AND a.lane = l.lane AND a.allowance_id = '00000000-0000-0000-0000-000000000000';
             SET session_replication_role = origin;
             ANALYZE;"
        ))
        .unwrap();
}

/// The arguments of a page, and the same condition on the ledger.
fn filter(client: &mut Client, seed: &mut Seed) -> (String, String) {
    let one = |client: &mut Client, column: &str, seed: &mut Seed| -> String {
        let sql = format!(
            "SELECT {column} FROM (SELECT DISTINCT {column} FROM wallet.ledger WHERE wallet_id = 'w' AND {column} IS NOT NULL) v
              ORDER BY md5({column} || '{}') LIMIT 1",
            seed.below(1_000_000)
        );
        client.query_one(&sql, &[]).unwrap().get(0)
    };
    let (mut arguments, mut condition) = (String::new(), String::new());
    for column in ["user_id", "team", "model"] {
        if seed.below(5) < 2 {
            let value = match (column, seed.below(6)) {
                ("user_id", 0) => "common".to_owned(),
                ("user_id", 1) => "once".to_owned(),
                ("user_id", 2) => "nobody".to_owned(),
                _ => one(client, column, seed),
            };
            arguments += &format!(", {column} => '{value}'");
            condition += &format!(" AND {column} = '{value}'");
        }
    }
    if seed.below(4) == 0 {
        let kinds = [
            ("funding", "f"),
            ("charge", "c"),
            ("refund", "r"),
            ("adjustment", "a"),
            ("expiry", "x"),
        ];
        let (kind, letter) = kinds[seed.below(5) as usize];
        arguments += &format!(", kind => '{kind}'");
        condition += &format!(" AND kind = '{letter}'");
    }
    (arguments, condition)
}

fn ids(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client
        .query(sql, &[])
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// Reads pages one after the other, from the top or from any id.
fn compare(client: &mut Client, seed: &mut Seed) {
    let (arguments, condition) = filter(client, seed);
    let size = [1, 3, 20, 50, 300][seed.below(5) as usize];
    let mut before: Option<String> = match seed.below(3) {
        0 => None,
        _ => ids(
            client,
            &format!(
                "SELECT entry_id::text FROM wallet.ledger WHERE wallet_id = 'w' ORDER BY md5(entry_id::text || '{}') LIMIT 1",
                seed.below(1_000_000)
            ),
        )
        .pop(),
    };
    for _ in 0..4 {
        let (argument, bound) = match &before {
            None => (String::new(), String::new()),
            Some(id) => (
                format!(", before => '{id}'"),
                format!(" AND entry_id < '{id}'"),
            ),
        };
        let page = ids(
            client,
            &format!(
                "SELECT entry_id::text FROM wallet.transactions('w', max => {size}{arguments}{argument})"
            ),
        );
        let plain = ids(
            client,
            &format!(
                "SELECT entry_id::text FROM wallet.ledger WHERE wallet_id = 'w'{condition}{bound} ORDER BY entry_id DESC LIMIT {size}"
            ),
        );
        assert_eq!(page, plain, "{arguments}{argument}");
        match page.last() {
            Some(last) => before = Some(last.clone()),
            None => break,
        }
    }
}

#[test]
fn pages_are_those_of_a_plain_query() {
    let mut seed = Seed::of("pages_are_those_of_a_plain_query");
    let database = Database::new();
    let mut client = database.connect();
    fill(&mut client, &mut seed, 6000, 700);
    for step in 0..4 {
        for _ in 0..scale(60) {
            compare(&mut client, &mut seed);
        }
        match step {
            // The first roll-up has the whole past, the next ones about a day each.
            0 => client.batch_execute("SELECT wallet.roll_up(now() - interval '300 days')"),
            1 => client.batch_execute(
                "SELECT wallet.roll_up(now() - interval '299 days 7 hours'), wallet.roll_up(now() - interval '298 days'),
                        wallet.roll_up(now() - interval '10 days')",
            ),
            // The guess where the other entries begin is wrong.
            2 => client.batch_execute(
                "UPDATE wallet.rollup_states SET floor_id = (SELECT max(entry_id::text)::uuid FROM wallet.ledger)",
            ),
            _ => client.batch_execute("SELECT wallet.set_lanes('other', 2)"),
        }
        .unwrap();
    }
}

/// The pages of memory that a call reads.
fn cost(client: &mut Client, arguments: &str) -> u64 {
    pages(
        client,
        &format!("SELECT * FROM wallet.transactions('w'{arguments})"),
    )
}

#[test]
fn a_page_of_a_long_ledger_costs_what_a_page_of_a_short_one_costs() {
    let mut seed = Seed::of("a_page_of_a_long_ledger");
    let calls = [
        "",
        ", user_id => 'common'",
        ", user_id => 'user 0'",
        ", user_id => 'once'",
        ", kind => 'adjustment', max => 5",
        ", team => 'blue', max => 5",
    ];
    let costs = [4000, 16_000].map(|entries| {
        let database = Database::new();
        let mut client = database.connect();
        // A fixed number of entries per day.
        fill(&mut client, &mut seed, entries, entries / 40);
        client.batch_execute("SELECT wallet.roll_up()").unwrap();
        calls.map(|arguments| {
            cost(&mut client, arguments);
            cost(&mut client, arguments)
        })
    });
    for ((call, short), long) in calls.iter().zip(costs[0]).zip(costs[1]) {
        // A user with one entry is searched in all days: one row of a list each.
        let days = if call.contains("once") {
            16_000 / 40
        } else {
            0
        };
        // The index of a long ledger may have a level more, for each of 50 rows, in both tables.
        let levels = 100;
        assert!(
            long <= short + short / 2 + days + levels,
            "transactions('w'{call}) reads {short} pages of a short ledger and {long} of a long one"
        );
    }
}
