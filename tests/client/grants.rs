//! Grants compared with a model that burns charge by charge, and used by many connections at once.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postgres::Client;
use uuid::Uuid;
use wallet_tests::{
    Database, Decimal, Seed, audit, balance, charge, create, crowd, dec, fund, scale, state_of,
    together,
};

/// A lot of the model.
#[derive(Clone, Debug)]
struct Lot {
    id: Uuid,
    /// Priority, expiry in days (the maximum for none), paid, age.
    rank: (i32, i32, bool, usize),
    remaining: Decimal,
}

/// The expected state of the wallet, burned charge by charge.
#[derive(Default)]
struct Model {
    lots: Vec<Lot>,
    balance: Decimal,
    credit: Decimal,
    debt: Decimal,
    /// What credit paid and no lot has repaid yet: charge and amount.
    unpaid: Vec<(Uuid, Decimal)>,
    paid: BTreeMap<(Uuid, Uuid), Decimal>,
}

impl Model {
    fn burn(&mut self, mut amount: Decimal, charge: Option<Uuid>) {
        self.lots.sort_by_key(|lot| lot.rank);
        for lot in &mut self.lots {
            let part = lot.remaining.min(amount);
            if part.is_zero() {
                continue;
            }
            lot.remaining -= part;
            amount -= part;
            if let Some(charge) = charge {
                *self.paid.entry((charge, lot.id)).or_default() += part;
            }
        }
        if let (Some(charge), false) = (charge, amount.is_zero()) {
            self.unpaid.push((charge, amount));
        }
    }

    fn charge(&mut self, id: Uuid, amount: Decimal) {
        self.balance -= amount;
        self.burn(amount, Some(id));
    }

    fn grant(&mut self, id: Uuid, amount: Decimal, rank: (i32, i32, bool, usize)) {
        let paying = self.debt.min(amount);
        self.debt -= paying;
        let mut left = amount - paying;
        self.balance += left;
        // It repays used credit, the earliest first.
        while let Some((charge, open)) = self.unpaid.first_mut() {
            let part = left.min(*open);
            if part.is_zero() {
                break;
            }
            *self.paid.entry((*charge, id)).or_default() += part;
            left -= part;
            *open -= part;
            if open.is_zero() {
                self.unpaid.remove(0);
            }
        }
        self.lots.push(Lot {
            id,
            rank,
            remaining: left,
        });
    }

    /// Expires a lot.
    fn end(&mut self, id: Uuid) {
        let lot = self
            .lots
            .iter_mut()
            .find(|lot| lot.id == id)
            .expect("a lot");
        self.balance -= lot.remaining;
        lot.remaining = Decimal::ZERO;
    }

    fn reverse(&mut self, id: Uuid, amount: Decimal) {
        let taken = amount.min(self.balance.max(Decimal::ZERO));
        self.balance -= taken;
        self.debt += amount - taken;
        let lot = self
            .lots
            .iter_mut()
            .find(|lot| lot.id == id)
            .expect("a lot");
        let own = lot.remaining.min(taken);
        lot.remaining -= own;
        self.burn(taken - own, None);
    }

    fn check(&self, client: &mut Client, wallet: &str) {
        assert_eq!(balance(client, wallet), self.balance, "balance");
        let rows = client
            .query(
                "SELECT grant_id, remaining FROM wallet.grants WHERE wallet = $1",
                &[&wallet],
            )
            .unwrap();
        let found: BTreeMap<Uuid, Decimal> =
            rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        let wanted: BTreeMap<Uuid, Decimal> = self
            .lots
            .iter()
            .map(|lot| (lot.id, lot.remaining))
            .collect();
        assert_eq!(found, wanted, "what is left");
    }

    fn check_payments(&self, client: &mut Client, wallet: &str) {
        let rows = client
            .query(
                "SELECT entry_id, grant_id, amount FROM wallet.grant_payments WHERE wallet = $1",
                &[&wallet],
            )
            .unwrap();
        let mut found: BTreeMap<(Uuid, Uuid), Decimal> = BTreeMap::new();
        for row in rows {
            *found.entry((row.get(0), row.get(1))).or_default() += row.get::<_, Decimal>(2);
        }
        assert_eq!(found, self.paid, "who paid what");
    }
}

fn grant(client: &mut Client, amount: Decimal, priority: i32, days: i32, paid: bool) -> Uuid {
    client
        .query_one(
            "SELECT entry_id FROM wallet.fund('acme', $1, priority => $2, promotional => $4,
                expires_at => CASE WHEN $3 < 1000 THEN date_trunc('day', now()) + $3 * interval '1 day' END)",
            &[&amount, &priority, &days, &!paid],
        )
        .expect("fund")
        .get(0)
}

#[test]
fn deferred_allocation_equals_burning_charge_by_charge() {
    let mut seed = Seed::of("deferred_allocation_equals_burning_charge_by_charge");
    for round in 0..scale(4) {
        let database = Database::new();
        let mut client = database.connect();
        let lanes = [1, 4][round % 2];
        create(&mut client, "acme", lanes, &[dec("20")], dec("0"));
        let mut model = Model {
            credit: dec(["0", "30"][round / 2 % 2]),
            ..Model::default()
        };
        client
            .execute(
                "SELECT wallet.update_wallet('acme', credit_limit => $1)",
                &[&model.credit],
            )
            .unwrap();
        let mut funded: Vec<(Uuid, Decimal)> = Vec::new();
        for step in 0..60 {
            let kind = seed.below(20);
            match kind {
                0..=8 => {
                    let amount = seed.cents(1, 1500);
                    match charge(&mut client, "acme", amount) {
                        Ok(charged) => model.charge(charged.entry_id, amount),
                        Err(error) => {
                            assert_eq!(state_of(&error), "WL001");
                            assert!(amount > model.balance + model.credit);
                        }
                    }
                }
                9..=11 => {
                    let amount = seed.cents(100, 2000);
                    let id = fund(&mut client, "acme", amount).unwrap().entry_id;
                    model.grant(id, amount, (100, 1000, true, step));
                    funded.push((id, amount));
                }
                12..=15 => {
                    let amount = seed.cents(100, 2000);
                    let priority = 99 + seed.below(3) as i32;
                    let days = [1, 2, 1000][seed.below(3) as usize];
                    let paid = seed.below(2) == 0;
                    let id = grant(&mut client, amount, priority, days, paid);
                    model.grant(id, amount, (priority, days, paid, step));
                    funded.push((id, amount));
                }
                16 => {
                    // A lot that expires immediately, after some usage.
                    let amount = seed.cents(100, 2000);
                    let id: Uuid = client
                        .query_one(
                            "SELECT entry_id FROM wallet.fund('acme', $1,
                                expires_at => clock_timestamp() + interval '0.3 seconds')",
                            &[&amount],
                        )
                        .unwrap()
                        .get(0);
                    model.grant(id, amount, (100, 0, true, step));
                    let use_of_it = seed.cents(1, 300);
                    if let Ok(charged) = charge(&mut client, "acme", use_of_it) {
                        model.charge(charged.entry_id, use_of_it);
                    }
                    std::thread::sleep(Duration::from_millis(320));
                    model.end(id);
                }
                17 | 18 if !funded.is_empty() => {
                    let (id, _) = funded.swap_remove(seed.below(funded.len() as u64) as usize);
                    client
                        .execute("SELECT wallet.void_grant('acme', $1)", &[&id])
                        .expect("void_grant");
                    model.end(id);
                }
                _ if !funded.is_empty() => {
                    let (id, amount) = funded.swap_remove(seed.below(funded.len() as u64) as usize);
                    client
                        .execute("SELECT wallet.reverse_funding('acme', $1)", &[&id])
                        .expect("reverse_funding");
                    model.reverse(id, amount);
                }
                _ => {}
            }
            println!(
                "{step}: kind {kind} balance {} debt {}",
                model.balance, model.debt
            );
            model.check(&mut client, "acme");
        }
        // The next call books expiries.
        let last = seed.cents(1, 100);
        let id = fund(&mut client, "acme", last).unwrap().entry_id;
        model.grant(id, last, (100, 1000, true, 10_000));
        model.check(&mut client, "acme");
        model.check_payments(&mut client, "acme");
        audit(&mut client, "acme");
    }
}

/// A call that waits for a lane was begun before the grant ended, and finishes after that.
#[test]
fn a_grant_that_ends_while_a_call_waits_pays_nothing_more() {
    let calls = [
        "SELECT wallet.fund('acme', 1, expires_at => clock_timestamp() + interval '1 day')",
        "SELECT wallet.void_grant('acme', (SELECT grant_id FROM wallet.grants WHERE amount = 7))",
        "SELECT wallet.set_recurring_grant('acme', 1)",
        "SELECT wallet.adjust('acme', -1, reason => 'test')",
        "SELECT wallet.set_lanes('acme', 2)",
        "SELECT wallet.transfer('acme', 'other', 1)",
        "SELECT wallet.hold('acme', amount => 1)",
        "SELECT wallet.sweep_expired()",
        "SELECT wallet.charge('acme', amount => 1)",
    ];
    for call in calls {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", 1, &[], dec("10"));
        client
            .batch_execute(
                "SELECT wallet.create_wallet('other');
                 SELECT wallet.fund('acme', 7, expires_at => clock_timestamp() + interval '1 hour');
                 SELECT wallet.fund('acme', 100, expires_at => clock_timestamp() + interval '1.5 seconds')",
            )
            .unwrap();
        let mut transaction = client.transaction().unwrap();
        transaction
            .batch_execute("SELECT wallet.charge('acme', amount => 1)")
            .unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| database.connect().batch_execute(call));
            std::thread::sleep(Duration::from_secs(2));
            transaction.commit().unwrap();
            waiting.join().unwrap().unwrap();
        });
        let spent = client.batch_execute("SELECT wallet.charge('acme', amount => 50)");
        assert!(spent.is_err(), "{call}: the ended grant was spent");
        client
            .batch_execute("SELECT wallet.sweep_expired()")
            .unwrap();
        let expired: Decimal = client
            .query_one(
                "SELECT sum(amount) FROM wallet.entries WHERE kind = 'expiry' AND contra LIKE 'expired:%'",
                &[],
            )
            .unwrap()
            .get(0);
        // A hold or charge that waits for its lane may still use the grant that ended meanwhile.
        let own = call.contains("hold") || call.contains("charge");
        assert!(
            expired == dec("-99") || own && expired == dec("-98"),
            "{call}: {expired}"
        );
        audit(&mut client, "acme");
    }
}

/// A call closes a hold, and waits for a lane until the hold has expired. The end of the hold is due,
/// because an ended grant keeps credit for it. The hold is released once.
#[test]
fn a_hold_that_expires_while_it_is_closed_is_released_once() {
    for storage in ["auto", "spi"] {
        for close in [
            "SELECT wallet.settle('acme', h, amount => 3) FROM closing",
            "SELECT wallet.void('acme', h) FROM closing",
        ] {
            let database = Database::new();
            let mut client = database.connect();
            create(&mut client, "acme", 1, &[], dec("20"));
            client
                .batch_execute(
                    "SELECT wallet.fund('acme', 10, expires_at => clock_timestamp() + interval '1 second');
                     CREATE TABLE closing AS SELECT hold_id AS h FROM wallet.hold('acme', amount => 24, ttl => '2 seconds');
                     SELECT wallet.hold('acme', amount => 1);
                     SELECT pg_sleep(1.1); SELECT wallet.sweep_expired()",
                )
                .unwrap();
            let kept: i64 = client
                .query_one("SELECT count(*) FROM wallet.kept_credit", &[])
                .unwrap()
                .get(0);
            assert_eq!(kept, 1);
            let mut transaction = client.transaction().unwrap();
            transaction
                .batch_execute("SELECT wallet.adjust('acme', 0.5, reason => 'test')")
                .unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| {
                    let mut other = database.connect();
                    other
                        .batch_execute(&format!("SET wallet.storage = {storage}"))
                        .unwrap();
                    other.batch_execute(close)
                });
                std::thread::sleep(Duration::from_millis(1500));
                transaction.commit().unwrap();
                let closed = waiting.join().unwrap();
                assert!(
                    closed.is_ok() || close.contains("void"),
                    "{storage}, {close}: {closed:?}"
                );
            });
            let held: Decimal = client
                .query_one(
                    "SELECT held FROM wallet.balances WHERE wallet = 'acme'",
                    &[],
                )
                .unwrap()
                .get(0);
            assert_eq!(held, dec("1"), "{storage}, {close}");
            audit(&mut client, "acme");
        }
    }
}

#[test]
fn an_expiry_is_booked_once_by_concurrent_charges() {
    let _crowd = crowd();
    for lanes in [1, 8] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[], dec("100"));
        client
            .batch_execute(
                "SELECT wallet.fund('acme', 50, expires_at => clock_timestamp() + interval '0.3 seconds')",
            )
            .unwrap();
        let results = together(&database, 16, |number, client| {
            // From before the expiry until after it.
            for _ in 0..20 {
                charge(client, "acme", dec("0.10")).expect("a charge");
                std::thread::sleep(Duration::from_millis(20 + number as u64));
            }
        });
        assert_eq!(results.len(), 16);
        let rows = client
            .query(
                "SELECT amount, created_at FROM wallet.entries WHERE kind = 'expiry'",
                &[],
            )
            .unwrap();
        assert_eq!(rows.len(), 1, "once, with {lanes} lanes");
        let expired: Decimal = -rows[0].get::<_, Decimal>(0);
        let used_after: Decimal = client
            .query_one(
                "SELECT coalesce(-sum(c.amount), 0)
                   FROM wallet.entries c, wallet.entries x
                  WHERE x.kind = 'expiry' AND c.kind = 'charge' AND c.created_at > x.created_at",
                &[],
            )
            .unwrap()
            .get(0);
        let left: Decimal = client
            .query_one("SELECT sum(remaining) FROM wallet.grants", &[])
            .unwrap()
            .get(0);
        assert_eq!(
            left,
            dec("100") - used_after,
            "only use after the end took paid money"
        );
        assert_eq!(expired, dec("50") - (dec("32") - used_after));
        audit(&mut client, "acme");
    }
}

#[test]
fn a_voucher_is_redeemed_up_to_its_maximum_and_once_per_wallet() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    for wallet in 0..8 {
        create(&mut client, &format!("w{wallet}"), 1, &[], dec("0"));
    }
    client
        .batch_execute("SELECT wallet.create_voucher('CODE', 10, max_redemptions => 5)")
        .unwrap();
    // Sixteen calls, two for each wallet.
    let results = together(&database, 16, |number, client| {
        let wallet = format!("w{}", number % 8);
        client
            .execute("SELECT wallet.redeem_voucher($1, 'CODE')", &[&wallet])
            .map_err(|error| state_of(&error))
    });
    let good = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(good, 5);
    assert!(
        results
            .iter()
            .flat_map(|result| result.as_ref().err())
            .all(|code| code == "WL014")
    );
    let row = client
        .query_one(
            "SELECT sum(balance), max(balance), (SELECT redemptions FROM wallet.vouchers) FROM wallet.balances",
            &[],
        )
        .unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        (dec("50"), dec("10"), 5)
    );
}

#[test]
fn a_payment_is_credited_once_by_concurrent_calls() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 4, &[], dec("0"));
    let pending: Uuid = client
        .query_one(
            "SELECT entry_id FROM wallet.fund('acme', 10, 'bank', 'T1', status => 'pending')",
            &[],
        )
        .unwrap()
        .get(0);
    let results = together(&database, 16, |number, client| -> bool {
        let key = number.to_string();
        let row = match number % 2 {
            0 => client.query_one(
                "SELECT replayed FROM wallet.fund('acme', 5, 'card', 'C1', idempotency_key => $1)",
                &[&key],
            ),
            _ => client.query_one(
                "SELECT replayed FROM wallet.settle_funding('acme', $1, idempotency_key => $2)",
                &[&pending, &key],
            ),
        };
        row.expect("a row").get(0)
    });
    assert_eq!(results.iter().filter(|replayed| !**replayed).count(), 2);
    assert_eq!(balance(&mut client, "acme"), dec("15"));
    let taken = together(&database, 8, |_, client| -> bool {
        client
            .query_one(
                "SELECT replayed FROM wallet.reverse_funding('acme', $1)",
                &[&pending],
            )
            .expect("a row")
            .get(0)
    });
    assert_eq!(taken.iter().filter(|replayed| !**replayed).count(), 1);
    assert_eq!(balance(&mut client, "acme"), dec("5"));
    audit(&mut client, "acme");
}

#[test]
fn grant_payments_of_a_long_ledger_are_found_quickly() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("0"));
    let batches = scale(20);
    for _ in 0..batches {
        // Allocates the spend so far.
        client
            .batch_execute("SELECT wallet.fund('acme', 20, expires_at => now() + interval '1 day')")
            .unwrap();
        let batch = "SELECT count(*) FROM wallet.charge_batch('acme',
            (SELECT jsonb_agg('{\"amount\":0.01}'::jsonb) FROM generate_series(1, 2000)))";
        client.batch_execute(batch).unwrap();
    }
    let begun = Instant::now();
    let row = client
        .query_one(
            "SELECT count(DISTINCT entry_id), sum(amount), count(DISTINCT grant_id)
               FROM wallet.grant_payments WHERE wallet = 'acme'",
            &[],
        )
        .unwrap();
    let took = begun.elapsed();
    let charges = 2000 * batches as i64;
    assert_eq!(row.get::<_, i64>(0), charges);
    assert_eq!(row.get::<_, Decimal>(1), Decimal::new(charges, 2));
    assert_eq!(row.get::<_, i64>(2), batches as i64);
    println!("{charges} charges: {took:?}");
    // One sort takes a fraction of a second. Comparing each charge with each grant took minutes.
    assert!(took < Duration::from_secs(15), "{took:?}");
}

/// An expiry that was due before a payment fired a threshold, but the payment did not change the
/// version of the rules. A backend that had cached for that version that all thresholds are armed
/// then missed the recovery of the wallet.
#[test]
fn a_payment_after_an_expiry_keeps_alerts() {
    let database = Database::new();
    let (mut warm, mut other) = (database.connect(), database.connect());
    create(&mut other, "acme", 1, &[dec("3")], dec("4"));
    other
        .query_one(
            "SELECT wallet.fund('acme', 10, expires_at => clock_timestamp() + interval '4 seconds', priority => 200)",
            &[],
        )
        .unwrap();
    let hold = |client: &mut Client, amount: &str| -> Uuid {
        client
            .query_one(
                "SELECT hold_id FROM wallet.hold('acme', $1)",
                &[&dec(amount)],
            )
            .unwrap()
            .get(0)
    };
    let settle = |client: &mut Client, id: Uuid| {
        client
            .query_one("SELECT wallet.settle('acme', $1, amount => 0.1)", &[&id])
            .unwrap();
    };
    let long = hold(&mut warm, "4");
    let short = hold(&mut warm, "1");
    settle(&mut warm, short);
    let pending: Uuid = other
        .query_one(
            "SELECT entry_id FROM wallet.fund('acme', 0.2, 'bank', status => 'pending')",
            &[],
        )
        .unwrap()
        .get(0);
    std::thread::sleep(Duration::from_millis(4200));
    other
        .query_one("SELECT wallet.settle_funding('acme', $1)", &[&pending])
        .unwrap();
    charge(&mut warm, "acme", dec("0")).unwrap();
    settle(&mut warm, long);
    let events: Vec<String> = warm
        .query(
            "SELECT event FROM wallet.events WHERE event LIKE 'wallet_balance%' ORDER BY id",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(events, ["wallet_balance_low", "wallet_balance_recovered"]);
    audit(&mut warm, "acme");
}
