//! Rows whose retention has ended are dropped in small steps, and nothing that is proven changes.
//!
//! What could go wrong: a table grows for ever; something is dropped too early, or although it is
//! still needed; a retry books a second time; a hash no longer matches; a call waits.

use postgres::Client;
use wallet_tests::{Database, archive, audit, dec, state_of};

/// Makes all rows that retention looks at older, as if the time had passed. Entries stay as they
/// are, because their hashes cover their times.
fn pass(client: &mut Client, days: i32) {
    client
        .batch_execute(&format!(
            "SET session_replication_role = replica;
             UPDATE wallet.outbox SET created_at = created_at - interval '{days} days', done_at = done_at - interval '{days} days',
                    available_at = available_at - interval '{days} days';
             UPDATE wallet.audit_log SET at = at - interval '{days} days';
             UPDATE wallet.unread_paths SET first_seen = first_seen - interval '{days} days';
             UPDATE wallet.requests SET created_at = created_at - interval '{days} days';
             UPDATE wallet.reservations SET created_at = created_at - interval '{days} days', expires_at = expires_at - interval '{days} days',
                    closed_at = closed_at - interval '{days} days' WHERE status <> 'open';
             UPDATE wallet.topup_requests SET created_at = created_at - interval '{days} days', finished_at = finished_at - interval '{days} days';
             SET session_replication_role = origin;"
        ))
        .unwrap();
}

fn count(client: &mut Client, table: &str) -> i64 {
    client
        .query_one(&format!("SELECT count(*) FROM wallet.{table}"), &[])
        .unwrap()
        .get(0)
}

fn maintained(client: &mut Client) -> i64 {
    client
        .query_one(
            "SELECT done FROM wallet.maintain() WHERE task = 'rows that were kept long enough'",
            &[],
        )
        .unwrap()
        .get(0)
}

fn open(client: &mut Client) {
    client
        .batch_execute(
            "SELECT wallet.set_price('m', 'input_tokens', 0.001, effective_from => '2020-01-01Z');
             SELECT wallet.create_wallet('acme', low_balance => '{10}');
             SELECT wallet.fund('acme', 1000000)",
        )
        .unwrap();
}

/// The load of half a month: events that are finished, rules that change with a key, usage with a
/// new number that nothing reads, a top-up, and holds.
fn load(client: &mut Client, round: usize) {
    client
        .batch_execute(&format!(
            "SELECT wallet.set_limit('acme', {round} + 100, 'day', 'user', 'u{round}', idempotency_key => 'l{round}');
             SELECT wallet.drop_limit('acme', (SELECT limit_id FROM wallet.limits WHERE subject = 'u{round}'), idempotency_key => 'd{round}');
             SELECT wallet.charge('acme', '{{\"model\": \"m\", \"input_tokens\": 1000, \"other_{round}\": 3}}', user_id => 'ann', idempotency_key => 'c{round}');
             SELECT wallet.set_topup_rule('acme', '{{\"threshold\": 2000000, \"amount\": 1}}', idempotency_key => 't{round}');
             SELECT wallet.charge('acme', amount => 0.01);
             SELECT wallet.fail_topup('acme', (SELECT topup_id FROM wallet.topups WHERE status = 'requested'), 'declined');
             SELECT wallet.set_topup_rule('acme', NULL);
             SELECT wallet.void('acme', hold_id) FROM wallet.hold('acme', amount => 1, idempotency_key => 'h{round}');
             SELECT wallet.settle('acme', hold_id, amount => 1) FROM wallet.hold('acme', amount => 1);
             SELECT wallet.finish_event(e.id) FROM wallet.claim_events(1000) e;"
        ))
        .unwrap_or_else(|error| panic!("{error:?}"));
}

const TABLES: [&str; 6] = [
    "reservations",
    "outbox",
    "audit_log",
    "unread_paths",
    "requests",
    "topup_requests",
];

#[test]
fn a_year_of_constant_load_ends_with_a_constant_number_of_rows() {
    let database = Database::new();
    let mut client = database.connect();
    open(&mut client);
    for (what, keep) in [
        ("events", "40 days"),
        ("audit", "60 days"),
        ("unread_usage", "40 days"),
        ("answers", "40 days"),
        ("topups", "400 days"),
        ("holds", "40 days"),
    ] {
        client
            .query_one(
                "SELECT wallet.set_retention($1, $2::text::interval)",
                &[&what, &keep],
            )
            .unwrap();
    }
    let mut counts = Vec::new();
    for round in 0..40 {
        load(&mut client, round);
        pass(&mut client, 15);
        maintained(&mut client);
        counts.push(TABLES.map(|table| count(&mut client, table)));
    }
    assert!(counts[0].iter().all(|rows| *rows > 0), "{:?}", counts[0]);
    assert_eq!(counts[35], counts[39], "{counts:?}");
    let audited: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.audit WHERE at < now() - interval '60 days'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(audited, 0);
    audit(&mut client, "acme");
}

#[test]
fn everything_is_kept_by_default_and_steps_are_small() {
    let database = Database::new();
    let mut client = database.connect();
    open(&mut client);
    for round in 0..4 {
        load(&mut client, round);
    }
    pass(&mut client, 3000);
    let before = TABLES.map(|table| count(&mut client, table));
    assert_eq!(maintained(&mut client), 0);
    assert_eq!(TABLES.map(|table| count(&mut client, table)), before);
    client
        .batch_execute("SELECT wallet.set_retention('events', '30 days')")
        .unwrap();
    // A row that another transaction has locked is left for the next step.
    let mut other = database.connect();
    let mut blocking = other.transaction().unwrap();
    let locked = "SELECT count(*) FROM (SELECT FROM wallet.outbox WHERE done_at IS NOT NULL ORDER BY event_id LIMIT 1 FOR UPDATE) o";
    blocking.query_one(locked, &[]).unwrap();
    let finished: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.outbox WHERE done_at IS NOT NULL",
            &[],
        )
        .unwrap()
        .get(0);
    let step = |client: &mut Client, most: i32| -> i64 {
        let row = client
            .query_one("SELECT dropped FROM wallet.drop_old($1)", &[&most])
            .unwrap();
        row.get(0)
    };
    assert_eq!(step(&mut client, 2), 2);
    assert_eq!(step(&mut client, 1000), finished - 3);
    blocking.rollback().unwrap();
    assert_eq!(step(&mut client, 1000), 1);
    client
        .batch_execute("SELECT wallet.set_retention('events', NULL)")
        .unwrap();
    let rules = count(&mut client, "retention_rules");
    assert_eq!(rules, 0);
    let audited: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.audit WHERE action = 'set_retention'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(audited, 2);
    let kept: Vec<[Option<String>; 2]> = client
        .query(
            "SELECT before ->> 'keep', after ->> 'keep' FROM wallet.audit
              WHERE action = 'set_retention' ORDER BY at",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| [row.get(0), row.get(1)])
        .collect();
    let month = Some("30 days".to_owned());
    assert_eq!(kept, [[None, month.clone()], [month, None]]);
    let keyed =
        |keep| format!("SELECT wallet.set_retention('events', {keep}, idempotency_key => 'r')");
    client.batch_execute(&keyed("'30 days'")).unwrap();
    let error = client.batch_execute(&keyed("'31 days'")).unwrap_err();
    assert_eq!(state_of(&error), "WL006");
    let error = client
        .batch_execute("SELECT wallet.set_retention('payloads', '1 day')")
        .unwrap_err();
    assert_eq!(state_of(&error), "22023");
}

/// Payloads of archived charges go; amounts, price lines, proofs and retries stay.
#[test]
fn dropped_payloads_leave_everything_that_is_proven() {
    let database = Database::new();
    let mut client = database.connect();
    open(&mut client);
    client
        .batch_execute(
            "SELECT wallet.charge('acme', '{\"model\": \"m\", \"input_tokens\": 1000, \"note\": \"x\"}', user_id => 'ann', tags => '{\"a\": \"b\"}',
                                  metadata => '{\"c\": 1}', idempotency_key => 'k' || n) FROM generate_series(1, 20) n;
             SELECT wallet.fund('acme', 5, metadata => '{\"kept\": true}');
             SELECT wallet.roll_up(now() + interval '1 day')",
        )
        .unwrap();
    let digest: serde_json::Value = client
        .query_one("SELECT wallet.digest()", &[])
        .unwrap()
        .get(0);
    archive(&mut client, "acme", Some(15)).unwrap();
    let report = |client: &mut Client| -> Vec<String> {
        let rows = client
            .query("SELECT u::text FROM wallet.usage_daily u", &[])
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = report(&mut client);
    // As superuser, because a call keeps payloads for at least 400 days.
    client
        .batch_execute("INSERT INTO wallet.retention_rules VALUES ('payloads', '0', now())")
        .unwrap();
    assert_eq!(maintained(&mut client), 14);
    let left = "SELECT count(*) FILTER (WHERE kind = 'c' AND num_nonnulls(usage, tags, metadata) > 0), count(*) FILTER (WHERE kind = 'f' AND metadata IS NOT NULL)
                  FROM wallet.ledger_archive";
    let row = client.query_one(left, &[]).unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 0));
    let booked: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.ledger WHERE num_nonnulls(usage, tags, metadata) > 0",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(booked, 7);
    assert_eq!(report(&mut client), before);
    let wrong = client
        .query(
            "SELECT detail FROM wallet.verify('acme', $1) WHERE NOT ok",
            &[&digest],
        )
        .unwrap();
    assert!(wrong.is_empty());
    audit(&mut client, "acme");
    let retry = client
        .query_one(
            "SELECT cost, replayed FROM wallet.charge('acme', '{\"model\": \"m\", \"input_tokens\": 1000, \"note\": \"x\"}', user_id => 'ann',
                    tags => '{\"a\": \"b\"}', metadata => '{\"c\": 1}', idempotency_key => 'k1')",
            &[],
        )
        .unwrap();
    assert_eq!(retry.get::<_, wallet_tests::Decimal>(0), dec("1"));
    assert!(retry.get::<_, bool>(1));
}

/// The answers of calls that book or create something are kept permanently.
#[test]
fn a_late_retry_books_nothing() {
    let database = Database::new();
    let mut client = database.connect();
    open(&mut client);
    let calls = [
        "wallet.fund('acme', 7, reference => 'p', status => 'pending', idempotency_key => 'k')",
        "wallet.set_recurring_grant('acme', 3, idempotency_key => 'k')",
        "wallet.create_voucher('code', 5, idempotency_key => 'k')",
        "wallet.create_key('acme', 'ann', idempotency_key => 'k')",
        "wallet.adjust('acme', 1, idempotency_key => 'k')",
    ];
    for call in calls {
        client.query_one(&format!("SELECT {call}"), &[]).unwrap();
    }
    client
        .batch_execute("SELECT wallet.set_retention('answers', '7 days')")
        .unwrap();
    pass(&mut client, 500);
    maintained(&mut client);
    let state = |client: &mut Client| {
        let row = client
            .query_one(
                "SELECT (SELECT balance FROM wallet.balances WHERE wallet = 'acme'), (SELECT count(*) FROM wallet.ledger), (SELECT count(*) FROM wallet.api_keys),
                        (SELECT count(*) FROM wallet.funding_requests), (SELECT count(*) FROM wallet.vouchers)",
                &[],
            )
            .unwrap();
        (
            row.get::<_, wallet_tests::Decimal>(0),
            [1, 2, 3, 4].map(|column| row.get::<_, i64>(column)),
        )
    };
    let before = state(&mut client);
    for call in calls {
        client.query_one(&format!("SELECT {call}"), &[]).unwrap();
    }
    assert_eq!(state(&mut client), before);
}

/// The answers of calls that decide what a closed month says are kept permanently.
#[test]
fn a_late_retry_opens_no_month_and_changes_no_rule() {
    let database = Database::new();
    let mut client = database.connect();
    open(&mut client);
    let state = |client: &mut Client| -> String {
        client
            .query_one(
                "SELECT (SELECT jsonb_agg(p.closed_until) FROM wallet.periods p)::text
                     || (SELECT jsonb_agg(r.rule ORDER BY r.effective_from) FROM wallet.chargeback_rules r)::text",
                &[],
            )
            .unwrap()
            .get(0)
    };
    let calls = [
        "SELECT wallet.close_period('acme', '2021-01-01Z', idempotency_key => 'k')",
        "SELECT wallet.set_chargeback_rule('acme', 'even', idempotency_key => 'k')",
        "SELECT wallet.reopen_period('acme', idempotency_key => 'k')",
        "SELECT wallet.close_period('*', '2021-01-01Z', idempotency_key => 'k')",
        "SELECT wallet.reopen_period('*', idempotency_key => 'k')",
    ];
    for call in calls {
        client.batch_execute(call).unwrap();
    }
    client
        .batch_execute(
            "SELECT wallet.set_chargeback_rule('acme', 'use');
             SELECT wallet.close_period('acme', '2022-01-01Z');
             SELECT wallet.close_period('*', '2023-01-01Z');
             SELECT wallet.set_retention('answers', '7 days')",
        )
        .unwrap();
    pass(&mut client, 500);
    maintained(&mut client);
    let before = state(&mut client);
    for call in calls {
        client.batch_execute(call).unwrap();
    }
    assert_eq!(state(&mut client), before);
}

/// A hold of the test below, and how it is closed.
struct Way {
    wallet: &'static str,
    way: &'static str,
    keyed: bool,
}

impl Way {
    fn key(&self) -> String {
        format!("{} {}", self.wallet, self.way)
    }

    fn hold(&self, client: &mut Client) -> String {
        let mut call = format!(
            "SELECT hold_id::text FROM wallet.hold('{}', amount => 10",
            self.wallet
        );
        if self.way.starts_with("charge") {
            call += ", on_expiry => 'charge', ttl => '1 second'";
        }
        if self.keyed {
            call += &format!(", idempotency_key => '{}'", self.key());
        }
        client.query_one(&format!("{call})"), &[]).unwrap().get(0)
    }

    fn settle(&self, id: &str, amount: i32, last: bool) -> String {
        format!(
            "SELECT wallet.settle('{}', '{id}', amount => {amount}, final => {last}, idempotency_key => 's {} {}')",
            self.wallet,
            self.key(),
            self.keyed
        )
    }

    fn void(&self, id: &str) -> String {
        format!("SELECT wallet.void('{}', '{id}')", self.wallet)
    }

    fn close(&self, id: &str) -> String {
        match self.way {
            "settle" => self.settle(id, 4, true),
            "settle for nothing" => self.settle(id, 0, true),
            "settle a part, void" => format!("{}; {}", self.settle(id, 3, false), self.void(id)),
            "void" | "charge, void" => self.void(id),
            _ => String::new(),
        }
    }

    /// Whether the row is the key of something that was booked, or may be charged.
    fn stays(&self) -> bool {
        self.keyed && self.way != "void"
    }
}

/// Holds in every way that they can be closed, in a wallet of its own and in a child. After their
/// retention, late retries of all calls leave the money where it was.
#[test]
fn a_late_retry_of_a_hold_books_nothing() {
    let database = Database::new();
    let mut client = database.connect();
    open(&mut client);
    client
        .batch_execute(
            "SELECT wallet.create_wallet('child');
             SELECT wallet.set_parent('child', 'acme', share => 'pool')",
        )
        .unwrap();
    let mut holds = Vec::new();
    for wallet in ["acme", "child"] {
        for way in [
            "settle",
            "settle for nothing",
            "settle a part, void",
            "void",
            "charge, void",
            "charge",
        ] {
            for keyed in [true, false] {
                let way = Way { wallet, way, keyed };
                let id = way.hold(&mut client);
                client.batch_execute(&way.close(&id)).unwrap();
                holds.push((way, id));
            }
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    client
        .batch_execute(
            "SELECT wallet.sweep_expired(1000); SELECT wallet.set_retention('holds', '30 days')",
        )
        .unwrap();
    let all = count(&mut client, "reservations");
    pass(&mut client, 29);
    assert_eq!(maintained(&mut client), 0);
    pass(&mut client, 2);
    // The parts in the parent go after the holds of the child.
    let dropped = maintained(&mut client) + maintained(&mut client);
    assert_eq!(maintained(&mut client), 0);
    let mut stay: Vec<String> = Vec::new();
    for (way, id) in holds.iter().filter(|(way, _)| way.stays()) {
        stay.push(format!("{} {id}", way.wallet));
        if way.wallet == "child" {
            stay.push(format!("acme {id}"));
        }
    }
    stay.sort();
    let kept = client
        .query(
            "SELECT wallet_id || ' ' || hold_id FROM wallet.reservations ORDER BY 1",
            &[],
        )
        .unwrap();
    let mut kept: Vec<String> = kept.iter().map(|row| row.get(0)).collect();
    kept.sort();
    assert_eq!(kept, stay);
    assert_eq!(dropped, all - stay.len() as i64);

    let money = |client: &mut Client| -> Vec<String> {
        let sql = "SELECT concat_ws(' ', l.wallet_id, sum(l.amount), count(*)) FROM wallet.ledger l GROUP BY l.wallet_id ORDER BY 1";
        let rows = client.query(sql, &[]).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    };
    let before = money(&mut client);
    for (way, id) in &holds {
        let name = way.key();
        if way.way == "settle" {
            let retried = client.batch_execute(&way.settle(id, 4, true));
            match way.keyed {
                true => retried.unwrap(),
                false => assert_eq!(state_of(&retried.unwrap_err()), "42704", "{name}"),
            }
        }
        if way.keyed {
            assert_eq!(way.hold(&mut client), *id, "{name}");
        }
        let voided = client.batch_execute(&way.void(id));
        match (way.keyed, way.way) {
            // The retry of hold has made this one again.
            (true, "void") => voided.unwrap(),
            (true, _) => assert_eq!(state_of(&voided.unwrap_err()), "WL008", "{name}"),
            (false, _) => assert_eq!(state_of(&voided.unwrap_err()), "42704", "{name}"),
        }
    }
    assert_eq!(money(&mut client), before);
    for wallet in ["acme", "child"] {
        audit(&mut client, wallet);
    }
}
