//! One wallet with nearly all entries among many small ones. Queries on the large wallet must not
//! be planned as if it were small, whatever the statistics say.

use postgres::Client;
use wallet_tests::{Database, pages, state_of};

/// Entries of the large wallet.
const ENTRIES: u64 = 4000;
/// Users, each with a window of the limit.
const USERS: u64 = 32;

/// A large wallet whose users all have a limit, among small wallets. The statistics are from before
/// it existed.
fn skewed(database: &Database) -> Client {
    let mut client = database.connect();
    leave_statistics_alone(&mut client);
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

/// From here on the test alone decides about the statistics of the tables.
pub fn leave_statistics_alone(client: &mut Client) {
    client
        .batch_execute(
            "DO $$
             DECLARE name text;
             BEGIN
                 FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'wallet'::regnamespace AND relkind = 'r' LOOP
                     EXECUTE format('ALTER TABLE wallet.%I SET (autovacuum_enabled = off, toast.autovacuum_enabled = off)', name);
                 END LOOP;
             END $$",
        )
        .unwrap();
}

/// Deletes the statistics of the tables.
pub fn forget_statistics(client: &mut Client) {
    client
        .batch_execute(
            "DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'wallet'::regnamespace)",
        )
        .unwrap();
}

/// The pages of a statement, the least of three runs: concurrent tests that create databases
/// invalidate the catalog caches of a session, and reloading them reads thousands of pages.
pub fn least_pages(client: &mut Client, sql: &str) -> u64 {
    (0..3).map(|_| pages(client, sql)).min().unwrap_or_default()
}

/// Reports of a wallet, and how many pages per entry each may read. Rows are read in index order,
/// which stays on a page for a while. A row that is looked up by its id takes four pages.
const REPORTS: &[(&str, u64)] = &[
    ("wallet.verify('large')", 1),
    ("wallet.savings('large')", 1),
    ("wallet.savings('large', models => '{m}')", 1),
    ("wallet.reprice('large')", 1),
    ("wallet.focus_csv(NULL, NULL, 'large')", 6),
    ("wallet.usage_by('large', 'user')", 1),
    ("wallet.usage_by('large', 'hour')", 1),
    ("wallet.statement('large')", 1),
    ("wallet.statement_html('large', now()::date)", 1),
    ("wallet.chargeback('large', now()::date)", 6),
    ("wallet.balance_at('large', now())", 1),
    ("wallet.forecast('large')", 1),
    // Its limits read the most.
    ("wallet.report('large')", 2),
    ("wallet.journal('large')", 1),
    ("wallet.grant_payments WHERE wallet = 'large'", 1),
    ("wallet.usage_daily WHERE wallet = 'large'", 1),
    ("wallet.focus WHERE \"BillingAccountId\" = 'large'", 6),
];

fn none_is_dear(client: &mut Client, known: &str, times: u32) {
    let entries = ENTRIES + 40;
    for (report, most) in REPORTS {
        let sql = format!("SELECT * FROM {report}");
        for time in 1..=times {
            let first = pages(client, &sql);
            let pages = match first <= most * entries {
                true => first,
                false => least_pages(client, &sql),
            };
            assert!(
                pages <= most * entries,
                "{report} looked at {pages} pages for {entries} entries the {time}. time; known is {known}"
            );
        }
    }
}

#[test]
fn no_report_is_planned_for_the_average_wallet() {
    let database = Database::new();
    let mut client = skewed(&database);
    // From the sixth execution on PostgreSQL may use a generic plan.
    none_is_dear(&mut client, "what there was before", 6);
    for table in ["ledger", "wallets", "allowances", "limits"] {
        // A session without cached plans.
        let mut client = database.connect();
        client
            .batch_execute(&format!("BEGIN; ANALYZE wallet.{table}"))
            .unwrap();
        none_is_dear(&mut client, table, 1);
        client.batch_execute("ROLLBACK").unwrap();
    }
    client.batch_execute("ANALYZE").unwrap();
    none_is_dear(&mut database.connect(), "everything", 1);
    forget_statistics(&mut client);
    none_is_dear(&mut database.connect(), "nothing", 1);
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
