//! Roll-ups change the speed of reports and never a figure, whatever is booked, when it commits and
//! in which order.

use postgres::{Client, Error};
use wallet_tests::{Database, Seed, scale, state_of};

const WALLETS: [&str; 3] = ["one", "many", "unpriced"];
const ZONES: [&str; 5] = [
    "UTC",
    "Asia/Kolkata",
    "America/St_Johns",
    "Pacific/Apia",
    "Europe/Berlin",
];

fn fill(client: &mut Client) {
    client
        .batch_execute(
            "SELECT wallet.set_price(m, meter, p, effective_from => '2020-01-01Z')
               FROM (VALUES ('m-1', 0.0000013), ('m-2', 0.01)) AS model (m, p),
                    (VALUES ('input_tokens'), ('output_tokens'), ('cache_read_tokens')) AS meters (meter);
             SELECT wallet.create_wallet('one', time_zone => 'Asia/Kolkata', credit_limit => 1000);
             SELECT wallet.create_wallet('many', lanes => 4, credit_limit => 1000);
             SELECT wallet.create_wallet('unpriced', time_zone => 'America/St_Johns', lanes => 2);
             SELECT wallet.update_wallet('unpriced', unknown_price => 'unpriced');
             SELECT wallet.set_chargeback_rule('many', 'even');
             SELECT wallet.fund(w, 100000) FROM unnest('{one,many,unpriced}'::text[]) w;",
        )
        .unwrap();
}

/// Every report of a wallet as text, without what differs from call to call.
fn reports(client: &mut Client, wallet: &str, moments: &[String]) -> Vec<String> {
    let mut queries = vec![
        "SELECT u::text FROM wallet.usage_daily u WHERE wallet = $1 ORDER BY u".to_owned(),
        "SELECT daily_burn || ' ' || coalesce(days_left, -1) || ' ' || suggested_topup || basis FROM wallet.forecast($1)".to_owned(),
        "SELECT f FROM wallet.forecast($1) f WHERE false".to_owned(),
        "SELECT r FROM wallet.report($1, 60) r OFFSET 1".to_owned(),
        "SELECT wallet.statement_html($1, current_date)".to_owned(),
        "SELECT c::text FROM wallet.chargeback($1, current_date) c".to_owned(),
        "SELECT c::text FROM wallet.chargeback($1, (current_date - 40)) c".to_owned(),
        "SELECT s::text FROM wallet.statement($1, NULL, now()) s".to_owned(),
        // Its end is the time of the query.
        "SELECT (s.line, CASE s.kind WHEN 'closing' THEN NULL ELSE s.at END, s.kind, s.description, s.amount, s.balance)::text
           FROM wallet.statement($1, date_trunc('day', now()), now() + interval '1 day') s".to_owned(),
    ];
    for dimension in [
        "user",
        "team",
        "model",
        "service",
        "region",
        "key",
        "day",
        "hour",
        "tag:project",
    ] {
        for bounds in [
            "NULL, NULL",
            "date_trunc('day', now(), zone) - interval '20 days', date_trunc('day', now(), zone)",
            "date_trunc('day', now(), zone), NULL",
            "now() - interval '30 days 3 minutes', now() - interval '1 day'",
        ] {
            queries.push(format!(
                "SELECT u::text FROM (SELECT time_zone AS zone FROM wallet.wallets WHERE wallet_id = $1) z,
                        wallet.usage_by($1, '{dimension}', {bounds}) u ORDER BY u"
            ));
        }
    }
    for pair in moments.windows(2) {
        queries.push(format!("SELECT wallet.balance_at($1, '{}')::text", pair[0]));
        queries.push(format!(
            "SELECT s::text FROM wallet.statement($1, '{}', '{}') s",
            pair[0], pair[1]
        ));
    }
    queries
        .iter()
        .map(|sql| {
            let sql =
                format!("SELECT coalesce(string_agg(x::text, E'\\n'), '') FROM ({sql}) AS q(x)");
            client
                .query_one(&sql, &[&wallet])
                .unwrap_or_else(|error| panic!("{sql}: {error:?}"))
                .get(0)
        })
        .collect()
}

/// The reports must equal those of a database without roll-ups, and the ledger's.
fn check(client: &mut Client, moments: &[String]) {
    client.batch_execute("BEGIN").unwrap();
    let with: Vec<_> = WALLETS
        .map(|wallet| reports(client, wallet, moments))
        .into();
    client
        .batch_execute(
            "DELETE FROM wallet.usage_rollups; DELETE FROM wallet.rollup_chunks; DELETE FROM wallet.rollup_states",
        )
        .unwrap();
    for (wallet, with) in WALLETS.iter().zip(with) {
        for (rolled, live) in with.iter().zip(reports(client, wallet, moments)) {
            assert_eq!(*rolled, live, "{wallet}");
        }
    }
    client.batch_execute("ROLLBACK").unwrap();
    let row = client
        .query_one(
            "SELECT bool_and(d.cost = e.cost AND d.refunded = e.refunded AND d.requests = e.requests)
               FROM (SELECT wallet, sum(cost) AS cost, sum(refunded) AS refunded, sum(requests) AS requests
                       FROM wallet.usage_daily GROUP BY 1) d
               JOIN (SELECT wallet, sum(-amount) FILTER (WHERE kind = 'charge') AS cost,
                            coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded,
                            count(*) FILTER (WHERE kind = 'charge' AND call IS DISTINCT FROM 'p') AS requests
                       FROM wallet.entries JOIN (SELECT entry_id, call FROM wallet.ledger) l USING (entry_id) GROUP BY 1) e USING (wallet)",
            &[],
        )
        .unwrap();
    assert_eq!(row.get::<_, Option<bool>>(0), Some(true), "the ledger's");
    for moment in moments {
        let row = client
            .query_one(
                "SELECT bool_and(wallet.balance_at(w, $1::text::timestamptz)
                                 = (SELECT coalesce(sum(amount), 0) FROM wallet.entries e WHERE e.wallet = w AND e.created_at <= $1::text::timestamptz)
                                 AND wallet.balance_at(w, $1::text::timestamptz) = b.own_balance)
                   FROM unnest('{one,many,unpriced}'::text[]) w
                   LEFT JOIN wallet.balances_in('USD', $1::text::timestamptz) b ON b.wallet = w",
                &[moment],
            )
            .unwrap();
        assert!(row.get::<_, bool>(0), "balances at {moment}");
    }
}

/// One random call on a wallet. It fails at once if others have locked what it needs.
fn step(client: &mut Client, seed: &mut Seed, number: usize) -> Result<(), Error> {
    let wallet = WALLETS[seed.below(3) as usize];
    let pick =
        |seed: &mut Seed, values: &[&'static str]| values[seed.below(values.len() as u64) as usize];
    match seed.below(16) {
        0..=8 => {
            let when = match seed.below(4) {
                0 => format!(
                    "now() - {} * interval '1 hour'",
                    seed.below(24 * 70)
                ),
                1 => "now() + interval '2 days'".to_owned(),
                _ => "NULL".to_owned(),
            };
            let model = match wallet {
                "unpriced" => pick(seed, &["m-1", "m-2", "late"]),
                _ => pick(seed, &["m-1", "m-2"]),
            };
            let sql = format!(
                "SELECT wallet.charge('{wallet}', '{{\"model\":\"{model}\",\"input_tokens\":{},\"cache_read_tokens\":{},\"output_tokens\":{}}}',
                        user_id => {}, team => {}, service => {}, region => {}, tags => {}, event_at => {when})",
                seed.below(5000),
                seed.below(10),
                seed.below(500),
                pick(seed, &["'ann'", "'ben'", "NULL"]),
                pick(seed, &["'red'", "'blue'", "NULL"]),
                pick(seed, &["'chat'", "NULL"]),
                pick(seed, &["'eu'", "'us'", "NULL"]),
                pick(seed, &["'{\"project\":\"moon\"}'", "NULL"]),
            );
            client.batch_execute(&sql)
        }
        9 => client.batch_execute(&format!(
            "SELECT wallet.charge('{wallet}', amount => 0.000000000007 * {}, user_id => 'ann')",
            seed.below(99)
        )),
        10 => client.batch_execute(&format!(
            "SELECT wallet.refund(e.wallet, e.entry_id, amount => -e.amount / 2)
               FROM (SELECT * FROM wallet.entries e WHERE e.wallet = '{wallet}' AND e.kind = 'charge' AND e.amount < -0.000001
                      ORDER BY md5(e.entry_id::text || {number}) LIMIT 1) e
              WHERE NOT EXISTS (SELECT FROM wallet.refunds r WHERE r.wallet_id = e.wallet AND r.entry_id = e.entry_id)"
        )),
        11 => client.batch_execute(&format!(
            "SELECT wallet.fund('{wallet}', 5, method => 'bank', reference => 'r-{number}', status => 'pending')"
        )),
        12 => client.batch_execute(&format!(
            "SELECT wallet.settle_funding(f.wallet, f.entry_id)
               FROM (SELECT * FROM wallet.fundings f WHERE f.wallet = '{wallet}' AND f.status = 'pending' LIMIT 1) f"
        )),
        13 => client.batch_execute(&format!(
            "DO $$
             DECLARE h uuid;
             BEGIN
                 SELECT hold_id INTO h FROM wallet.hold('{wallet}', amount => 3, user_id => 'ben');
                 PERFORM wallet.settle('{wallet}', h, amount => 1, final => false);
                 PERFORM wallet.settle('{wallet}', h, amount => 0.5);
             END $$"
        )),
        14 => client.batch_execute(
            "SELECT wallet.set_price('late', meter, 0.02, effective_from => '2020-01-01Z')
               FROM unnest('{input_tokens,output_tokens,cache_read_tokens}'::text[]) meter;
             SELECT wallet.price_unpriced('unpriced');
             SELECT wallet.set_price('late', meter, NULL, effective_from => '2020-01-01Z')
               FROM unnest('{input_tokens,output_tokens,cache_read_tokens}'::text[]) meter",
        ),
        _ => client.batch_execute(&format!(
            "SELECT wallet.set_lanes('{wallet}', {})",
            1 + seed.below(5)
        )),
    }
}

/// How much of the ledger is rolled up, and how many wallets have a valid floor.
fn extent(client: &mut Client) -> (i64, i64) {
    let row = client
        .query_one(
            "SELECT (SELECT coalesce(sum(seq), 0)::bigint FROM wallet.rolled_lanes),
                    count(*) FILTER (WHERE wallet.unrolled_from(wallet_id) > '00000000-0000-0000-0000-000000000000')
               FROM wallet.wallets",
            &[],
        )
        .unwrap();
    (row.get(0), row.get(1))
}

#[test]
fn reports_are_the_same_with_and_without_roll_ups() {
    let mut seed = Seed::of("reports_are_the_same_with_and_without_roll_ups");
    let database = Database::new();
    let connect = || {
        let mut client = database.connect();
        client.batch_execute("SET lock_timeout = '50ms'").unwrap();
        client
    };
    let mut client = connect();
    fill(&mut client);
    let mut others: Vec<(Client, bool)> = (0..3).map(|_| (connect(), false)).collect();
    let mut rolling = [false; 3];
    let mut moments: Vec<String> = Vec::new();
    let mut most = 0;
    for number in 0..scale(360) {
        match seed.below(12) {
            0 => {
                let before = [
                    "NULL",
                    "now()",
                    "now() - interval '0.2 seconds'",
                    "now() + interval '1 day'",
                ][seed.below(4) as usize];
                let rolled = client.batch_execute(&format!("SELECT wallet.roll_up({before})"));
                // The first roll-up of a wallet waits for another first one.
                if let Err(error) = rolled {
                    assert_eq!(state_of(&error), "55P03", "{error:?}");
                }
                most = most.max(extent(&mut client).0);
            }
            1 => {
                let now = client.query_one("SELECT now()::text", &[]).unwrap();
                moments.push(now.get(0));
                if moments.len() > 4 {
                    moments.remove(0);
                }
            }
            2 if seed.below(8) == 0 => {
                let zone = ZONES[seed.below(5) as usize];
                let wallet = WALLETS[seed.below(3) as usize];
                let sql = format!("SELECT wallet.update_wallet('{wallet}', time_zone => '{zone}')");
                // Another session may have locked a lane.
                let _ = client.batch_execute(&sql);
            }
            // Transactions, some with roll-ups, that remain open while others work.
            2..=6 => {
                let which = seed.below(3) as usize;
                let (other, is_open) = &mut others[which];
                if !*is_open {
                    let level = ["READ COMMITTED", "REPEATABLE READ"][seed.below(2) as usize];
                    other
                        .batch_execute(&format!("BEGIN ISOLATION LEVEL {level}; SELECT 1"))
                        .unwrap();
                    *is_open = true;
                }
                let done = match seed.below(6) {
                    0 => {
                        rolling[which] = true;
                        other.batch_execute("SELECT wallet.roll_up(now())")
                    }
                    1 => {
                        *is_open = false;
                        other.batch_execute("COMMIT")
                    }
                    2 => {
                        *is_open = false;
                        other.batch_execute("ROLLBACK")
                    }
                    _ => step(other, &mut seed, number),
                };
                if done.is_err() {
                    *is_open = false;
                    other.batch_execute("ROLLBACK").unwrap();
                }
            }
            _ => {
                let _ = step(&mut client, &mut seed, number);
            }
        }
        if number % 90 == 89 {
            // Roll-ups that an open transaction has locked cannot be removed for the comparison.
            for (which, (other, is_open)) in others.iter_mut().enumerate() {
                if std::mem::take(&mut rolling[which]) {
                    other.batch_execute("COMMIT").unwrap();
                    *is_open = false;
                }
            }
            check(&mut client, &moments);
            // Also under an older snapshot.
            if let Some((other, _)) = others.iter_mut().find(|(_, is_open)| !is_open) {
                other
                    .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                    .unwrap();
                let before = reports(other, "many", &moments);
                let _ = step(&mut client, &mut seed, number);
                let _ = client.batch_execute("SELECT wallet.roll_up(now())");
                assert_eq!(before, reports(other, "many", &moments));
                other.batch_execute("ROLLBACK").unwrap();
            }
        }
    }
    for (other, _) in &mut others {
        other.batch_execute("COMMIT").unwrap();
    }
    check(&mut client, &moments);
    assert!(most > 0, "something was rolled up meanwhile");
    client
        .batch_execute("SELECT wallet.roll_up(now())")
        .unwrap();
    let row = client
        .query_one(
            "SELECT sum(seq)::bigint FROM wallet.allowances
              WHERE allowance_id = '00000000-0000-0000-0000-000000000000'",
            &[],
        )
        .unwrap();
    assert_eq!(extent(&mut client), (row.get(0), 3), "all of it, and found");
    check(&mut client, &moments);
    wallet_tests::audit(&mut client, "many");
}

/// An entry whose transaction was open while its day was rolled up, and one whose id is older than
/// the floor.
#[test]
fn an_entry_that_commits_late_is_not_lost() {
    let database = Database::new();
    let (mut client, mut late) = (database.connect(), database.connect());
    fill(&mut client);
    let ask = |client: &mut Client| -> Vec<String> {
        let row = client
            .query_one(
                "SELECT (SELECT sum(cost)::text FROM wallet.usage_by('many', 'day')),
                        (SELECT balance::text FROM wallet.statement('many') ORDER BY line DESC LIMIT 1),
                        wallet.balance_at('many', now())::text,
                        (wallet.unrolled_from('many') > '00000000-0000-0000-0000-000000000000')::text",
                &[],
            )
            .unwrap();
        (0..4).map(|column| row.get(column)).collect()
    };
    late.batch_execute("BEGIN; SELECT wallet.charge('many', amount => 5)")
        .unwrap();
    client
        .batch_execute(
            "SELECT wallet.charge('many', amount => 1) FROM generate_series(1, 20);
             SELECT wallet.fund('many', 3, method => 'bank', reference => 'late', status => 'pending');
             SELECT wallet.roll_up(now())",
        )
        .unwrap();
    assert_eq!(ask(&mut client), ["20.00", "99980.00", "99980.00", "true"]);
    late.batch_execute("COMMIT").unwrap();
    assert_eq!(ask(&mut client), ["25.00", "99975.00", "99975.00", "true"]);
    client
        .batch_execute("SELECT wallet.settle_funding(wallet, entry_id) FROM wallet.fundings WHERE status = 'pending'")
        .unwrap();
    assert_eq!(ask(&mut client), ["25.00", "99978.00", "99978.00", "true"]);
    // A floor that is too high, as after the clock was set back, is detected and corrected.
    client
        .batch_execute(
            "UPDATE wallet.rollup_states SET floor_id = 'ffffffff-0000-0000-0000-000000000000'",
        )
        .unwrap();
    assert_eq!(ask(&mut client), ["25.00", "99978.00", "99978.00", "false"]);
    client
        .batch_execute("SELECT wallet.roll_up(now())")
        .unwrap();
    assert_eq!(ask(&mut client), ["25.00", "99978.00", "99978.00", "true"]);
}
