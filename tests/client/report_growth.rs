//! What reports and upkeep read grows only with what they report on. The tests count pages, so that
//! the speed of the machine does not matter.

use postgres::Client;
use wallet_tests::{Database, pages, state_of};

use crate::skew::{forget_statistics, least_pages, leave_statistics_alone};

const PRICES: &str = "SET synchronous_commit = off;
    SELECT count(wallet.set_price('m', meter, 2.5, per => 1000000, effective_from => '2020-01-01Z'))
      FROM unnest('{input_tokens,output_tokens}'::text[]) meter;";

/// Wallets with six entries each, some of which have an alert for when their money runs out.
fn wallets(database: &Database, number: u32) -> Client {
    let mut client = database.connect();
    leave_statistics_alone(&mut client);
    client
        .batch_execute(&format!(
            "{PRICES}
             SELECT count(wallet.create_wallet('w' || n)) FROM generate_series(1, {number}) n;
             SELECT count(wallet.fund('w' || n, 10)) FROM generate_series(1, {number}) n;
             SELECT count(wallet.set_run_out_alert('w' || n, 9)) FROM generate_series(1, {number}) n;
             SELECT count(wallet.charge('w' || n, '{{\"model\":\"m\",\"input_tokens\":300000,\"output_tokens\":50}}',
                                        user_id => 'ann', event_at => now() - k * interval '1 day'))
               FROM generate_series(1, 5) k, generate_series(1, {number}) n;"
        ))
        .unwrap();
    client
}

/// The pages that the statement reads with 500 wallets and with 2,000, in a session without cached
/// plans. The statement is rolled back.
fn for_each_number(sql: &str, prepare: impl Fn(&mut Client)) -> [u64; 2] {
    [500, 2000].map(|number| {
        let database = Database::new();
        prepare(&mut wallets(&database, number));
        let mut client = database.connect();
        client.batch_execute("BEGIN").unwrap();
        pages(&mut client, sql)
    })
}

fn grows_with_the_wallets(sql: &str, most_of_each: u64, prepare: impl Fn(&mut Client)) {
    let [few, many] = for_each_number(sql, prepare);
    assert!(
        2 * many <= 9 * few && many <= 2000 * most_of_each,
        "{sql} looked at {few} pages for 500 wallets, at {many} for 2,000"
    );
}

const A_DAY: &str =
    "SELECT * FROM wallet.usage_daily WHERE day = (now() AT TIME ZONE 'UTC')::date - 3";
const ROLL_UP: &str = "SELECT wallet.roll_up(now())";
const RUN_OUTS: &str = "SELECT wallet.announce_run_outs()";

#[test]
fn the_usage_of_a_day_reads_in_proportion_to_the_wallets() {
    grows_with_the_wallets(A_DAY, 40, forget_statistics);
    grows_with_the_wallets(A_DAY, 40, |client| client.batch_execute("ANALYZE").unwrap());
    grows_with_the_wallets(A_DAY, 40, |client| {
        client.batch_execute(ROLL_UP).unwrap();
        forget_statistics(client);
    });
}

#[test]
fn a_roll_up_reads_in_proportion_to_the_wallets() {
    grows_with_the_wallets(ROLL_UP, 150, forget_statistics);
    grows_with_the_wallets(ROLL_UP, 150, |client| {
        client.batch_execute("ANALYZE").unwrap()
    });
}

#[test]
fn announcing_run_outs_reads_in_proportion_to_the_wallets() {
    for days in [1, 9] {
        let ask = format!("UPDATE wallet.run_out_alerts SET days = {days}");
        let forgotten = |client: &mut Client| {
            client.batch_execute(&ask).unwrap();
            forget_statistics(client);
        };
        grows_with_the_wallets(RUN_OUTS, 150, forgotten);
        grows_with_the_wallets(RUN_OUTS, 150, |client| {
            client.batch_execute(&ask).unwrap();
            client.batch_execute(ROLL_UP).unwrap();
            client.batch_execute("ANALYZE").unwrap();
        });
    }
}

fn number(client: &mut Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).expect(sql).get(0)
}

/// A caller that commits between portions holds only the locks of one portion.
#[test]
fn upkeep_is_done_in_portions() {
    let database = Database::new();
    let mut client = wallets(&database, 7);
    let locked = "SELECT count(*) FROM wallet.rollup_states";
    let mut rolled = Vec::new();
    loop {
        match number(
            &mut client,
            "SELECT wallet.roll_up(now(), max_wallets => 3)",
        ) {
            0 => break,
            some => rolled.push((some, number(&mut client, locked))),
        }
    }
    assert_eq!(rolled, [(3, 3), (3, 6), (1, 7)]);
    let behind = "SELECT sum(entries)::bigint FROM wallet.rolled_wallets";
    assert_eq!(number(&mut client, behind), 0);
    let told = ["NULL", "'w3'", "'w6'"].map(|after| {
        number(
            &mut client,
            &format!("SELECT wallet.announce_run_outs({after}, 3)"),
        )
    });
    assert_eq!(told, [3, 3, 1]);
    assert_eq!(number(&mut client, RUN_OUTS), 0);
    for refused in [
        "roll_up(max_wallets => 0)",
        "announce_run_outs(max_wallets => -1)",
    ] {
        let error = client
            .query(&format!("SELECT wallet.{refused}"), &[])
            .unwrap_err();
        assert_eq!(state_of(&error), "22023");
        let error = error.as_db_error().unwrap();
        assert_eq!(error.message(), "max_wallets is out of range");
        assert!(error.detail().is_some() && error.hint().is_some());
    }
}

/// A wallet with this many charges of today.
fn large(database: &Database, entries: u32) -> Client {
    let mut client = database.connect();
    leave_statistics_alone(&mut client);
    client
        .batch_execute(&format!(
            "{PRICES}
             SELECT wallet.create_wallet('large', lanes => 2);
             SELECT wallet.fund('large', 1000000);
             SELECT count(*)
               FROM generate_series(1, {entries} / 4000) b
              CROSS JOIN LATERAL wallet.charge_batch('large', (
                    SELECT jsonb_agg(jsonb_build_object('usage', jsonb_build_object('model', 'm', 'input_tokens', 1000 + n, 'output_tokens', n % 90),
                                                        'user_id', 'user ' || n % 32, 'team', 'team ' || n % 5,
                                                        'event_at', now() - n % 20 * interval '1 day'))
                      FROM generate_series(1, 4000) n WHERE b > 0))"
        ))
        .unwrap();
    client
}

/// Entries that are rolled up are not read, however late they were booked.
#[test]
fn rolled_up_entries_are_not_read_again() {
    let later = "SELECT * FROM wallet.statement('large', (SELECT max(last_at) + interval '1 microsecond' FROM wallet.rollup_chunks))";
    let read = [4000, 16000].map(|entries| {
        let database = Database::new();
        let mut client = large(&database, entries);
        client.batch_execute(ROLL_UP).unwrap();
        forget_statistics(&mut client);
        let mut client = database.connect();
        [
            later,
            "SELECT wallet.balance_at('large', now())",
            "SELECT * FROM wallet.usage_by('large', 'user')",
            "SELECT * FROM wallet.forecast('large')",
            "SELECT * FROM wallet.usage_daily WHERE wallet = 'large'",
        ]
        .map(|sql| (sql, least_pages(&mut client, sql)))
    });
    for ((sql, few), (_, many)) in read[0].iter().zip(read[1]) {
        assert!(
            many <= few + 20 && many < 1000,
            "{sql} looked at {few} pages after 4,000 entries, at {many} after 16,000"
        );
    }
}

/// The floor is above everything that was rolled up, even while a transaction without bookings is
/// open. It is below the bookings of an open transaction.
#[test]
fn only_open_transactions_with_bookings_hold_the_floor_down() {
    let database = Database::new();
    let mut client = large(&database, 4000);
    client
        .batch_execute("SELECT wallet.create_wallet('other', credit_limit => 100)")
        .unwrap();
    let (mut idle, mut late) = (database.connect(), database.connect());
    let above = "SELECT (SELECT floor_id FROM wallet.rollup_states WHERE wallet_id = 'large')
                        > (SELECT max(entry_id::text)::uuid FROM wallet.ledger WHERE wallet_id = 'large')";
    idle.batch_execute("BEGIN; SELECT count(*) FROM wallet.prices")
        .unwrap();
    client.batch_execute(ROLL_UP).unwrap();
    assert!(client.query_one(above, &[]).unwrap().get::<_, bool>(0));
    late.batch_execute("BEGIN; SELECT wallet.charge('other', amount => 1)")
        .unwrap();
    client
        .batch_execute("SELECT wallet.charge('large', amount => 1)")
        .unwrap();
    client.batch_execute(ROLL_UP).unwrap();
    assert!(!client.query_one(above, &[]).unwrap().get::<_, bool>(0));
    late.batch_execute("SELECT wallet.charge('large', amount => 2); COMMIT")
        .unwrap();
    let used = "SELECT (sum(cost) FILTER (WHERE model IS NULL) * 100)::bigint FROM wallet.usage_daily WHERE wallet = 'large'";
    assert_eq!(number(&mut client, used), 300);
}

/// Entries that are not rolled up are read once, and each page once.
#[test]
fn a_ledger_is_read_once() {
    let database = Database::new();
    let mut client = large(&database, 16000);
    let there = number(
        &mut client,
        "SELECT (pg_relation_size('wallet.ledger') + pg_relation_size('wallet.ledger_pkey')) / current_setting('block_size')::bigint",
    );
    let there = u64::try_from(there).unwrap();
    for state in ["none", "all"] {
        match state {
            "none" => forget_statistics(&mut client),
            _ => client.batch_execute("ANALYZE").unwrap(),
        }
        let mut client = database.connect();
        for report in [
            "wallet.forecast('large')",
            "wallet.statement_html('large', now()::date)",
            "wallet.statement('large')",
            "wallet.balance_at('large', now())",
            "wallet.usage_by('large', 'team')",
        ] {
            let sql = format!("SELECT * FROM {report}");
            let pages = least_pages(&mut client, &sql);
            assert!(
                pages <= there + there / 4 + 150,
                "{report} looked at {pages} pages of {there}; known is {state}"
            );
        }
    }
}
