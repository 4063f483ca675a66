//! Top-ups while many connections spend: at most one is open, and a low wallet always gets another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::Client;
use uuid::Uuid;
use wallet_tests::{
    Database, Decimal, Seed, audit, charge, create, crowd, dec, fund, scale, state_of, together,
};

const RULE: &str =
    r#"{"threshold":20,"amount":30,"back_off":0.02,"cooldown":0.01,"max_declines":100000}"#;

fn open(client: &mut Client) -> Option<Uuid> {
    let sql = "SELECT topup_id FROM wallet.topups WHERE wallet = 'acme' AND status = 'requested'";
    client.query_opt(sql, &[]).unwrap().map(|row| row.get(0))
}

fn available(client: &mut Client) -> Decimal {
    let sql = "SELECT available FROM wallet.balances WHERE wallet = 'acme'";
    client.query_one(sql, &[]).unwrap().get(0)
}

/// Ends the open top-up: paid, declined, paid twice, or paid after it was reported as declined.
fn end(client: &mut Client, seed: &mut Seed) -> bool {
    let Some(id) = open(client) else {
        return false;
    };
    let reference = id.to_string();
    let complete = "SELECT wallet.complete_topup('acme', $1, $2)";
    let fail = "SELECT wallet.fail_topup('acme', $1, 'declined')";
    match seed.below(4) {
        0 => drop(client.execute(fail, &[&id]).unwrap()),
        1 => {
            client.execute(fail, &[&id]).unwrap();
            client.execute(complete, &[&id, &reference]).unwrap();
        }
        2 => {
            client.execute(complete, &[&id, &reference]).unwrap();
            client.execute(complete, &[&id, &reference]).unwrap();
        }
        _ => drop(client.execute(complete, &[&id, &reference]).unwrap()),
    }
    true
}

fn never_stuck(test: &str, lanes: i32) {
    let _crowd = crowd();
    let seed = Seed::of(test);
    let database = Database::new();
    let mut client = database.connect();
    create(
        &mut client,
        "acme",
        lanes,
        &[dec("50"), dec("20")],
        dec("60"),
    );
    client
        .execute(
            "SELECT wallet.set_topup_rule('acme', $1::text::jsonb)",
            &[&RULE],
        )
        .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, mut seed) = (database.connect(), seed.thread(1000));
            for _ in 0..scale(150) {
                if seed.below(20) == 0 {
                    fund(&mut client, "acme", seed.cents(1, 3000)).expect("fund");
                }
                end(&mut client, &mut seed);
                std::thread::sleep(Duration::from_millis(seed.below(20)));
            }
            done.store(true, Ordering::Relaxed);
        });
        together(&database, 16, |number, client| {
            let mut seed = seed.thread(number);
            while !done.load(Ordering::Relaxed) {
                if let Err(error) = charge(client, "acme", seed.cents(1, 300)) {
                    assert_eq!(state_of(&error), "WL001", "{error:?}");
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
    });
    // Whatever happened last, a low wallet always has an open top-up after the next charge.
    let mut seed = seed.thread(2000);
    for _ in 0..20 {
        if available(&mut client) < dec("0.01") {
            fund(&mut client, "acme", dec("1")).unwrap();
        }
        std::thread::sleep(Duration::from_secs(2).min(pause(&mut client)));
        charge(&mut client, "acme", dec("0.01")).unwrap();
        let (low, open) = (available(&mut client) < dec("20"), open(&mut client));
        if low {
            assert!(open.is_some(), "low without an open top-up");
        }
        if !end(&mut client, &mut seed) {
            let rest = available(&mut client) - dec("19");
            charge(&mut client, "acme", rest.max(dec("0.01"))).unwrap();
        }
    }
    let sql = "SELECT count(*) FROM wallet.topups t JOIN wallet.fundings f ON f.entry_id = t.entry_id
                WHERE t.status = 'succeeded' AND f.amount = t.amount AND f.reference = t.topup_id::text";
    let credited: i64 = client.query_one(sql, &[]).unwrap().get(0);
    let sql = "SELECT count(*) FROM wallet.topups WHERE status = 'succeeded'";
    let succeeded: i64 = client.query_one(sql, &[]).unwrap().get(0);
    assert_eq!(credited, succeeded);
    assert!(succeeded > 10, "only {succeeded} top-ups");
    audit(&mut client, "acme");
}

/// The pause after the declines so far.
fn pause(client: &mut Client) -> Duration {
    let sql = "SELECT count(*) FROM wallet.topups t WHERE status = 'failed' AND finished_at >
                      coalesce((SELECT max(finished_at) FROM wallet.topups WHERE status = 'succeeded'), '-infinity')";
    let declines: i64 = client.query_one(sql, &[]).unwrap().get(0);
    Duration::from_millis(30 + (20 << declines.min(7)))
}

#[test]
fn a_low_wallet_of_one_lane_always_gets_another_topup() {
    never_stuck("a_low_wallet_of_one_lane_always_gets_another_topup", 1);
}

#[test]
fn a_low_wallet_of_eight_lanes_always_gets_another_topup() {
    never_stuck("a_low_wallet_of_eight_lanes_always_gets_another_topup", 8);
}
