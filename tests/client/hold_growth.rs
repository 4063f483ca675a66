//! Expired holds that are not swept: what they cost other calls. No figure depends on how many have
//! been released.

use std::collections::BTreeMap;

use postgres::Client;
use wallet_tests::{Database, Decimal, Roles, dec, explained, pages, state_of};

/// Users of the wallet, each with a limit.
const USERS: usize = 3;

/// A function that runs a refused call and returns the SQLSTATE, so that EXPLAIN can count its
/// pages.
const REFUSED: &str = "
    CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
        EXECUTE statement;
        RETURN 'not refused';
    EXCEPTION WHEN OTHERS THEN
        RETURN sqlstate;
    END $$";

/// A wallet with 1000, this many expired holds of 0.01, and some open ones.
fn with_expired(client: &mut Client, wallet: &str, expired: usize) {
    client
        .batch_execute(&format!(
            "SELECT wallet.create_wallet('{wallet}', lanes => 2);
             SELECT wallet.fund('{wallet}', 1000);
             SELECT wallet.set_limit('{wallet}', 500, 'month', scope => 'user');
             SELECT wallet.set_limit('{wallet}', 5000, 'lifetime', scope => 'wallet');
             SELECT count(wallet.hold('{wallet}', amount => 0.01, user_id => 'user ' || n % {USERS}, ttl => '1 hour'))
               FROM generate_series(1, {expired}) n;
             UPDATE wallet.reservations SET expires_at = now() WHERE wallet_id = '{wallet}';
             SELECT count(wallet.hold('{wallet}', amount => 1, user_id => 'user ' || n % {USERS}, ttl => '1 hour'))
               FROM generate_series(1, 9) n;"
        ))
        .unwrap();
}

/// How often the pages of a call are counted.
const ROUNDS: u32 = 8;

/// The pages when the session's caches are filled and dead rows are removed, which other tests may
/// delay.
fn pages_when_warm(client: &mut Client, sql: &str) -> u64 {
    let clean = |client: &mut Client| {
        client.batch_execute("VACUUM").unwrap();
        pages(client, sql)
    };
    (0..ROUNDS).map(|_| clean(client)).min().unwrap_or(0)
}

fn is_verified(client: &mut Client) {
    let wrong = client
        .query("SELECT * FROM wallet.verify('acme') WHERE NOT ok", &[])
        .unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
}

/// The balance events, in order.
fn told(client: &mut Client) -> Vec<String> {
    let sql = "SELECT event FROM wallet.events WHERE event LIKE 'wallet_balance_%' ORDER BY id";
    let rows = client.query(sql, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[test]
fn a_refusal_costs_the_same_however_many_holds_are_unswept() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(&format!("SET synchronous_commit = off; {REFUSED}"))
        .unwrap();
    with_expired(&mut client, "few", 400);
    with_expired(&mut client, "many", 1600);
    let refused = |call: &str, state: &str| (format!("refused($${call}$$)"), state.to_owned());
    let calls = |wallet: &str| {
        [
            refused(
                &format!("SELECT wallet.charge('{wallet}', amount => 2000)"),
                "WL001",
            ),
            refused(
                &format!("SELECT wallet.charge('{wallet}', amount => 499, user_id => 'user 1')"),
                "WL002",
            ),
            refused(
                &format!("SELECT wallet.hold('{wallet}', amount => 2000)"),
                "WL001",
            ),
            refused(
                &format!("SELECT wallet.hold('{wallet}', amount => 499, user_id => 'user 1')"),
                "WL002",
            ),
            refused(
                &format!("SELECT wallet.adjust('{wallet}', -2000, 'test')"),
                "WL001",
            ),
            (
                format!("(SELECT held FROM wallet.balances WHERE wallet = '{wallet}')::text"),
                "9.00".to_owned(),
            ),
            (
                format!(
                    "(SELECT sum(held) FROM wallet.limits_status WHERE wallet = '{wallet}')::text"
                ),
                "18.00".to_owned(),
            ),
            (
                format!(
                    "(SELECT held FROM wallet.check_limits('{wallet}', amount => 1) WHERE scope = 'balance')::text"
                ),
                "9.00".to_owned(),
            ),
        ]
    };
    for ((few, answer), (many, _)) in calls("few").into_iter().zip(calls("many")) {
        for call in [&few, &many] {
            let said: String = client
                .query_one(&format!("SELECT {call}"), &[])
                .unwrap()
                .get(0);
            assert_eq!(said, answer, "{call}");
        }
        let few_pages = pages_when_warm(&mut client, &format!("SELECT {few}"));
        let plan = explained(&mut client, &format!("SELECT {many}"));
        let most = few_pages + few_pages / 3 + 20;
        // Another test may keep dead rows for some time.
        let mut many_pages = u64::MAX;
        for _ in 0..4 {
            many_pages = many_pages.min(pages_when_warm(&mut client, &format!("SELECT {many}")));
            if many_pages <= most {
                break;
            }
            std::thread::sleep(std::time::Duration::from_secs(5));
        }
        assert!(
            many_pages <= most,
            "{many} looked at {many_pages} pages, with a quarter of the holds at {few_pages}"
        );
        let written = plan["WAL Records"].as_u64().unwrap_or(0);
        assert!(written < 60, "{many} wrote {written} records");
    }
    // None was released.
    let open: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.reservations WHERE status = 'open'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(open, 2018);
}

#[test]
fn a_call_releases_what_it_needs_and_a_sweep_one_portion() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute("SET synchronous_commit = off")
        .unwrap();
    with_expired(&mut client, "acme", 3000);
    let mut open = || -> i64 {
        let sql = "SELECT count(*) FROM wallet.reservations WHERE status = 'open'";
        client.query_one(sql, &[]).unwrap().get(0)
    };
    assert_eq!(open(), 3009);
    let mut other = database.connect();
    // 1000 minus 9 and 30 are available. One more needs a portion of the expired holds.
    other
        .batch_execute("SELECT wallet.charge('acme', amount => 962)")
        .unwrap();
    let left = open();
    assert!((2000..=2600).contains(&left), "{left} are open");
    // At most this many per call, and all in the end.
    let swept: i64 = other
        .query_one("SELECT wallet.sweep_expired(1000)", &[])
        .unwrap()
        .get(0);
    assert_eq!((swept, open()), (1, left - 1000));
    other
        .batch_execute("CALL wallet.upkeep(portion => 700)")
        .unwrap();
    assert_eq!(open(), 9);
    let events: i64 = other
        .query_one(
            "SELECT count(DISTINCT payload ->> 'hold_id') FROM wallet.events
              WHERE event = 'hold_expired' AND (payload ->> 'amount')::numeric = 0.01",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(events, 3000);
    is_verified(&mut other);
}

#[test]
fn upkeep_needs_an_administrator_and_runs_outside_transactions() {
    let database = Database::new();
    let mut client = database.connect();
    for (call, state) in [
        ("CALL wallet.upkeep(0)", "22023"),
        ("CALL wallet.upkeep(NULL)", "22023"),
        ("BEGIN; CALL wallet.upkeep()", "2D000"),
    ] {
        let error = client.batch_execute(call).unwrap_err();
        assert_eq!(state_of(&error), state, "{call}");
    }
    client.batch_execute("ROLLBACK").unwrap();
    let mut roles = Roles::new(&database);
    for (level, state) in [("billing", "42501"), ("admin", "")] {
        let role = roles.add(level);
        client
            .batch_execute(&format!("SELECT wallet.grant_access('{role}', '{level}')"))
            .unwrap();
        let called = roles.connect(&role).batch_execute("CALL wallet.upkeep()");
        let said = called.err().map_or(String::new(), |error| state_of(&error));
        assert_eq!(said, state, "{level}");
    }
}

/// The figures of a wallet that holds influence.
fn figures(client: &mut Client) -> BTreeMap<String, String> {
    let sql = "
        SELECT 'balance', concat_ws(' ', balance, held, available, scoped) FROM wallet.balances
         UNION ALL
        SELECT concat_ws(' ', 'limit', scope, subject), concat_ws(' ', used, held, remaining, percent)
          FROM wallet.limits_status
         UNION ALL
        SELECT concat_ws(' ', 'check', c.scope, c.subject, m.model, a.amount),
               concat_ws(' ', c.allowed, c.used, c.held, c.remaining)
          FROM (VALUES ('m-1'), ('other')) m(model), (VALUES (1), (40), (94), (96), (101)) a(amount)
         CROSS JOIN LATERAL wallet.check_limits('acme', amount => a.amount, user_id => 'user 1', model => m.model) c
         UNION ALL
        SELECT 'grant ' || created_at, concat_ws(' ', remaining, status) FROM wallet.grants";
    let rows = client.query(sql, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn no_figure_depends_on_how_many_expired_holds_are_released() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "SET synchronous_commit = off;
             SELECT wallet.create_wallet('acme', lanes => 2, low_balance => '{{95}}');
             SELECT wallet.fund('acme', 100);
             SELECT wallet.fund('acme', 7, method => 'grant', scope => '{{\"models\": [\"m-*\"]}}', expires_at => now() + interval '1 day');
             SELECT wallet.set_limit('acme', 40, 'month', scope => 'user');
             SELECT wallet.set_limit('acme', 95, 'rolling 1 day', scope => 'wallet');
             SELECT count(wallet.hold('acme', amount => 0.01, user_id => 'user ' || n % {USERS}, model => (ARRAY['m-1', 'other'])[1 + n % 2],
                                      ttl => CASE WHEN n % 9 = 0 THEN interval '1 hour' ELSE interval '1 day' END))
               FROM generate_series(1, 1800) n;
             UPDATE wallet.reservations SET expires_at = now() WHERE expires_at > now() + interval '2 hours';"
        ))
        .unwrap();
    let before = figures(&mut client);
    // 200 holds of a cent have not expired.
    assert!(
        before["balance"].starts_with("107.00 2.00 105.00"),
        "{before:#?}"
    );
    let mut portions = 0;
    loop {
        let swept: i64 = client
            .query_one("SELECT wallet.sweep_expired(500)", &[])
            .unwrap()
            .get(0);
        assert_eq!(figures(&mut client), before, "after {portions} portions");
        if swept == 0 {
            break;
        }
        portions += 1;
    }
    assert!(portions >= 2, "{portions} portions: {before:#?}");
    // The holds had reserved too much for the threshold. The first portion announced the recovery.
    assert_eq!(
        told(&mut client),
        ["wallet_balance_low", "wallet_balance_recovered"]
    );
}

#[test]
fn headers_count_expiries_that_are_not_booked_yet() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('acme');
             SELECT wallet.fund('acme', 100);
             SELECT wallet.fund('acme', 7, method => 'grant', priority => 200, expires_at => clock_timestamp() + interval '0.3 seconds');
             SELECT wallet.set_limit('acme', 50, 'month', scope => 'user');
             SELECT wallet.charge('acme', amount => 10, user_id => 'ann', idempotency_key => 'one');
             SELECT wallet.hold('acme', amount => 5, user_id => 'ann');
             UPDATE wallet.reservations SET expires_at = now();
             SELECT pg_sleep(0.4);",
        )
        .unwrap();
    let headers: String = client
        .query_one(
            "SELECT concat_ws(' ', string_agg(h.value, ' ' ORDER BY h.name DESC),
                              (SELECT balance FROM wallet.balances), (SELECT remaining FROM wallet.limits_status))
               FROM wallet.usage_headers('acme', (SELECT entry_id FROM wallet.entries WHERE kind = 'charge')) h
              WHERE h.name IN ('X-Wallet-Balance', 'X-Limit-Remaining')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(headers, "90.00 40.00 90.00 40.00");
}

#[test]
fn a_charge_reads_only_the_grants_it_needs() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute("SET synchronous_commit = off")
        .unwrap();
    for (wallet, lots) in [("few", 100), ("many", 400)] {
        client
            .batch_execute(&format!(
                "SELECT wallet.create_wallet('{wallet}');
                 SELECT wallet.fund('{wallet}', 100);
                 SELECT count(wallet.fund('{wallet}', 1, method => 'grant', scope => '{{\"models\": [\"m-*\"]}}',
                                          expires_at => now() + n * interval '1 hour'))
                   FROM generate_series(1, {lots}) n;"
            ))
            .unwrap();
    }
    let charge =
        |wallet: &str| format!("SELECT wallet.charge('{wallet}', amount => 0.001, model => 'm-1')");
    // The plans of both depend on the same statistics.
    client.batch_execute("ANALYZE").unwrap();
    let few = pages_when_warm(&mut client, &charge("few"));
    let many = pages_when_warm(&mut client, &charge("many"));
    assert!(
        many <= few + 12,
        "{many} pages, with a quarter of the grants {few}"
    );
    // The grants pay in order, as many as needed.
    client
        .batch_execute("SELECT wallet.charge('many', amount => 2.5, model => 'm-1')")
        .unwrap();
    let left: Vec<String> = client
        .query(
            "SELECT remaining::text FROM wallet.grants WHERE wallet = 'many' AND scope IS NOT NULL
              ORDER BY expires_at LIMIT 4",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    // 2.5 and the charges that were measured.
    let rest = dec("0.5") - dec("0.001") * Decimal::from(ROUNDS);
    assert_eq!(left, ["0.00", "0.00", &rest.to_string(), "1.00"]);
}

/// A wallet with 1000, a user limit, and this many expired holds of 1.
fn of_one(client: &mut Client, limit: i32, expired: usize) {
    client
        .batch_execute(&format!(
            "SELECT wallet.create_wallet('acme');
             SELECT wallet.fund('acme', 1000);
             SELECT wallet.set_limit('acme', {limit}, 'month', scope => 'user', warn_at => '{{0.5}}');
             SELECT count(wallet.hold('acme', amount => 1, user_id => 'ann')) FROM generate_series(1, {expired});
             UPDATE wallet.reservations SET expires_at = now();"
        ))
        .unwrap();
}

#[test]
fn a_settlement_uses_its_own_holds_reservation_among_expired_ones() {
    // Numbers of expired holds that are summed one by one, and that are summed by the other holds.
    for expired in [100, 300] {
        let database = Database::new();
        let mut client = database.connect();
        of_one(&mut client, 1000, expired);
        client
            .batch_execute(
                "SELECT wallet.hold('acme', amount => 500, user_id => 'ann', idempotency_key => 'own');
                 SELECT wallet.settle('acme', (SELECT hold_id FROM wallet.holds WHERE amount = 500), amount => 950)",
            )
            .unwrap();
        is_verified(&mut client);
    }
}

#[test]
fn expired_holds_cause_no_limit_warning() {
    let calls = [
        "SELECT wallet.adjust('acme', -1, 'test'); SELECT wallet.charge('acme', amount => 10, user_id => 'ann')",
        "SELECT wallet.hold('acme', amount => 10, user_id => 'ann')",
        "SELECT wallet.hold('acme', amount => 3, user_id => 'ann', idempotency_key => 'own');
         SELECT wallet.settle('acme', (SELECT hold_id FROM wallet.holds WHERE amount = 3), amount => 8, over => 'debt')",
    ];
    for call in calls {
        let database = Database::new();
        let mut client = database.connect();
        of_one(&mut client, 100, 45);
        client.batch_execute(call).unwrap();
        let told = client
            .query("SELECT FROM wallet.events WHERE event LIKE 'limit_%'", &[])
            .unwrap();
        assert!(told.is_empty(), "{call}");
    }
}

#[test]
fn an_expired_hold_that_is_locked_is_not_available_yet() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('acme', low_balance => '{975}');
             SELECT wallet.fund('acme', 1000);
             SELECT wallet.set_limit('acme', 100, 'month', scope => 'user');
             SELECT wallet.hold('acme', amount => 10, user_id => 'ann');
             SELECT wallet.hold('acme', amount => 60, user_id => 'ann');
             UPDATE wallet.reservations SET expires_at = now() - interval '1 second' / amount;",
        )
        .unwrap();
    let mut other = database.connect();
    other
        .batch_execute("BEGIN; SELECT FROM wallet.reservations WHERE amount = 60 FOR UPDATE")
        .unwrap();
    let held: String = client
        .query_one(
            "SELECT amount::text FROM wallet.hold('acme', amount => 90, user_id => 'ann', allow_partial => true)",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(held, "40.00");
    other.batch_execute("ROLLBACK").unwrap();
    assert_eq!(told(&mut client), ["wallet_balance_low"]);
    is_verified(&mut client);
}

#[test]
fn views_expire_holds_by_the_time_of_the_statement() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('acme');
             SELECT wallet.fund('acme', 100);
             SELECT wallet.set_limit('acme', 50, 'month', scope => 'user');
             SELECT wallet.hold('acme', amount => 7, user_id => 'ann', ttl => '1 second')",
        )
        .unwrap();
    let row = client
        .query_one(
            "WITH waited AS MATERIALIZED (SELECT pg_sleep(1.2))
             SELECT (SELECT b.held FROM wallet.balances b)::text, (SELECT l.held FROM wallet.limits_status l)::text,
                    (SELECT sum(h.held) FROM wallet.holds h)::text
               FROM waited",
            &[],
        )
        .unwrap();
    let held: Vec<String> = (0..3).map(|column| row.get(column)).collect();
    assert_eq!(held, ["7.00", "7.00", "7.00"]);
}
