//! One wallet with nearly all entries beside many small ones, and statistics that know only the small ones: what is read
//! of the large one must not be planned as if it were one of them.

use postgres::Client;
use wallet_tests::{Database, state_of};

/// Entries of the large wallet.
const ENTRIES: u64 = 4000;
/// Users, each with a window of the limit.
const USERS: u64 = 32;

/// A large wallet whose users all have a limit, beside small ones. What is known of the tables is from before it was there.
fn skewed(database: &Database) -> Client {
    let mut client = database.connect();
    client
        .batch_execute(&format!(
            "SET synchronous_commit = off;
             SELECT count(wallet.set_price('m', meter, price, per => 1000000, effective_from => '2020-01-01Z'))
               FROM (VALUES ('input_tokens', 2.5), ('cache_read_tokens', 0.25), ('output_tokens', 10)) AS p (meter, price);
             SELECT count(wallet.set_price('m', meter, price, per => 1000000, service_tier => 'batch', effective_from => '2020-01-01Z'))
               FROM (VALUES ('input_tokens', 1.25), ('cache_read_tokens', 0.25), ('output_tokens', 5)) AS p (meter, price);
             SELECT count(wallet.create_wallet('small ' || n)) FROM generate_series(1, 400) n;
             SELECT count(wallet.fund('small ' || n, 10)) FROM generate_series(1, 400) n;
             SELECT count(wallet.charge('small ' || n, amount => 1, user_id => 'ann')) FROM generate_series(1, 400) n, generate_series(1, 3);
             ANALYZE;
             SELECT wallet.create_wallet('large', lanes => 2);
             SELECT wallet.fund('large', 1000000);
             SELECT wallet.set_limit('large', 100000, 'month', scope => 'user');
             SELECT count(*) FROM wallet.charge_batch('large', (
                 SELECT jsonb_agg(jsonb_build_object(
                            'usage', jsonb_build_object('model', 'm', 'input_tokens', 1000 + n, 'cached_tokens', 100, 'output_tokens', n % 90),
                            'user_id', 'user ' || n % {USERS}, 'team', 'team ' || n % 5))
                   FROM generate_series(1, {ENTRIES}) n));
             SELECT count(wallet.refund('large', e.entry_id, 0.0001, 'test'))
               FROM (SELECT entry_id FROM wallet.entries WHERE wallet = 'large' AND kind = 'charge' ORDER BY entry_id LIMIT 40) e;"
        ))
        .unwrap();
    client
}

/// Pages that a query looks at, found in memory or not.
fn pages(client: &mut Client, sql: &str) -> u64 {
    let sql = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING off, FORMAT json) {sql}");
    let plan: serde_json::Value = client.query_one(&sql, &[]).expect(&sql).get(0);
    let pages = |name: &str| plan[0]["Plan"][name].as_u64().unwrap_or(0);
    pages("Shared Hit Blocks") + pages("Shared Read Blocks")
}

#[test]
fn no_report_is_planned_for_the_average_wallet() {
    let database = Database::new();
    let mut client = skewed(&database);
    let entries = ENTRIES + 40;
    // How many pages an entry may take: rows are read in the order of an index, which stays on a page for a while.
    // One that is looked up by its id alone takes four.
    for (report, most) in [
        ("wallet.verify('large')", 1),
        ("wallet.savings('large')", 1),
        ("wallet.savings('large', models => '{m}')", 1),
        ("wallet.reprice('large')", 1),
        ("wallet.focus_csv(NULL, NULL, 'large')", 6),
        ("wallet.usage_by('large', 'user')", 6),
        ("wallet.usage_by('large', 'hour')", 6),
        ("wallet.statement('large')", 6),
        ("wallet.statement_html('large', now()::date)", 24),
        ("wallet.chargeback('large', now()::date)", 6),
        ("wallet.balance_at('large', now())", 1),
        ("wallet.forecast('large')", 1),
        ("wallet.report('large')", 1),
        ("wallet.journal('large')", 1),
        ("wallet.grant_payments WHERE wallet = 'large'", 1),
        ("wallet.usage_daily WHERE wallet = 'large'", 1),
        ("wallet.focus WHERE \"BillingAccountId\" = 'large'", 6),
    ] {
        let sql = format!("SELECT * FROM {report}");
        // PostgreSQL plans without the values, if it does so at all, from the sixth time on.
        for time in 1..=6 {
            let pages = pages(&mut client, &sql);
            assert!(
                pages <= most * entries,
                "{report} looked at {pages} pages for {entries} entries the {time}. time"
            );
        }
    }
}

#[test]
fn verify_recounts_every_window_and_can_be_cancelled() {
    let database = Database::new();
    let mut client = skewed(&database);
    let detail = |client: &mut Client, check: &str| -> (bool, String) {
        let row = client
            .query_one(
                "SELECT ok, detail FROM wallet.verify('large') WHERE \"check\" = $1",
                &[&check],
            )
            .unwrap();
        (row.get(0), row.get(1))
    };
    let sound = (true, format!("{USERS} windows recounted"));
    assert_eq!(detail(&mut client, "limits"), sound);
    client
        .batch_execute(
            "BEGIN; SET LOCAL session_replication_role = replica;
             UPDATE wallet.allowances SET spent = spent + 0.01 WHERE wallet_id = 'large' AND subject = 'user 7'",
        )
        .unwrap();
    let (ok, text) = detail(&mut client, "limits");
    assert!(
        !ok && text.starts_with("month limit of user user 7 has "),
        "{text}"
    );
    client
        .batch_execute("ROLLBACK; SET statement_timeout = '5ms'")
        .unwrap();
    let error = client
        .query("SELECT * FROM wallet.verify('large')", &[])
        .unwrap_err();
    assert_eq!(state_of(&error), "57014");
    client.batch_execute("RESET statement_timeout").unwrap();
    assert_eq!(detail(&mut client, "limits"), sound);
}
