//! What a limit carries from a window into the next one: random calls compared with a plain model,
//! and calls that open a window at the same time.

use wallet_tests::{
    Charge, Database, Decimal, Seed, create, crowd, dec, scale, sqlstate, state_of, together,
};

use postgres::Client;
use uuid::Uuid;

/// Makes all windows of a wallet older by some years, with its holds and the begin of its carries.
/// A change that changes nothing makes every session read the limits again.
const PASS: &str = "
    CREATE FUNCTION window_id(of_limit uuid, start timestamptz, subject text) RETURNS uuid LANGUAGE sql AS $$
        SELECT encode(set_byte(set_byte(substr(uuid_send(of_limit), 14) || substr(h, 4, 13),
                                        6, get_byte(h, 6) & 15 | 128), 8, get_byte(h, 8) & 63 | 128), 'hex')::uuid
          FROM sha256(uuid_send(of_limit) || int8send((extract(epoch FROM start) * 1000000)::bigint)
                      || convert_to(subject, 'UTF8')) h
    $$;
    CREATE PROCEDURE pass(of_wallet text, years int) LANGUAGE plpgsql AS $$
    DECLARE
        w record; past interval := make_interval(years => years); new_id uuid;
    BEGIN
        FOR w IN SELECT * FROM wallet.allowances WHERE wallet_id = of_wallet AND limit_id IS NOT NULL ORDER BY window_start LOOP
            new_id := window_id(w.limit_id, w.window_start - past, w.subject);
            UPDATE wallet.allowances
               SET allowance_id = new_id, window_start = window_start - past, window_end = window_end - past
             WHERE wallet_id = of_wallet AND allowance_id = w.allowance_id;
            UPDATE wallet.reservations SET window_ids = array_replace(window_ids, w.allowance_id, new_id)
             WHERE wallet_id = of_wallet;
        END LOOP;
        UPDATE wallet.reservations SET created_at = created_at - past WHERE wallet_id = of_wallet;
        UPDATE wallet.limits SET carry_from = carry_from - past WHERE wallet_id = of_wallet;
        PERFORM wallet.set_limit(wallet_id, max, period, scope, subject, mode => mode, rollover_max => rollover_max)
           FROM wallet.limits WHERE wallet_id = of_wallet;
    END $$";

/// A year in which the user used something.
#[derive(Debug)]
struct Year {
    number: i64,
    used: Decimal,
    held: Decimal,
    carried: Decimal,
    /// What the next year with usage got, the unused years before that one, and the maximum then.
    carried_on: Option<(Decimal, i64, Decimal)>,
}

/// A limit per year as one would count it by hand.
#[derive(Debug)]
struct Model {
    max: Decimal,
    most: Decimal,
    now: i64,
    years: Vec<Year>,
}

impl Model {
    /// What `left` has become after some unused years.
    fn carried_over(&self, left: Decimal, unused: i64, max: Decimal) -> Decimal {
        let mut carried = left.max(Decimal::ZERO).min(self.most);
        for _ in 0..unused {
            carried = (max + carried).min(self.most);
        }
        carried
    }

    fn carry(&self) -> Decimal {
        match self.years.last() {
            Some(year) if year.number == self.now => year.carried,
            Some(year) => {
                let left = self.max + year.carried - year.used - year.held;
                self.carried_over(left, self.now - year.number - 1, self.max)
            }
            None => self.carried_over(Decimal::ZERO, self.now, self.max),
        }
    }

    fn used(&self) -> Decimal {
        let year = self.years.last().filter(|year| year.number == self.now);
        year.map_or(Decimal::ZERO, |year| year.used + year.held)
    }

    fn allows(&self, amount: Decimal) -> bool {
        self.used() + amount <= self.max + self.carry()
    }

    fn year(&mut self) -> &mut Year {
        if self.years.last().is_none_or(|year| year.number < self.now) {
            let (carried, now, max) = (self.carry(), self.now, self.max);
            if let Some(last) = self.years.last_mut() {
                last.carried_on = Some((carried, now - last.number - 1, max));
            }
            self.years.push(Year {
                number: now,
                used: Decimal::ZERO,
                held: Decimal::ZERO,
                carried,
                carried_on: None,
            });
        }
        self.years.last_mut().unwrap()
    }

    /// Whether a settlement of a hold of `held` made in a year may book `cost`.
    fn may_settle(&self, number: i64, held: Decimal, cost: Decimal) -> bool {
        let year = self
            .years
            .iter()
            .find(|year| year.number == number)
            .unwrap();
        let left = self.max + year.carried - year.used - (year.held - held) - cost;
        let suffices = |(carried, unused, max): (Decimal, i64, Decimal)| {
            left.max(Decimal::ZERO) + max * Decimal::from(unused) >= carried
        };
        cost <= held || left >= Decimal::ZERO && year.carried_on.is_none_or(suffices)
    }

    fn settle(&mut self, number: i64, held: Decimal, cost: Decimal) {
        let year = self
            .years
            .iter_mut()
            .find(|year| year.number == number)
            .unwrap();
        year.held -= held;
        year.used += cost;
    }
}

/// The maximum and the usage that `check_limits` reports.
fn checked(client: &mut Client, amount: Decimal) -> (Decimal, Decimal, bool) {
    let row = client
        .query_one(
            "SELECT max, used + held, allowed FROM wallet.check_limits('acme', user_id => 'ann', amount => $1)
              WHERE scope = 'user'",
            &[&amount],
        )
        .unwrap();
    (row.get(0), row.get(1), row.get(2))
}

fn set_limit(client: &mut Client, model: &Model) {
    client
        .query_one(
            "SELECT wallet.set_limit('acme', $1, 'year', scope => 'user', rollover_max => $2)",
            &[&model.max, &model.most],
        )
        .unwrap();
}

#[test]
fn random_years_carry_as_in_a_plain_model() {
    let mut seed = Seed::of("random_years_carry_as_in_a_plain_model");
    for round in 0..scale(6) {
        let database = Database::new();
        let mut client = database.connect();
        client.batch_execute(PASS).unwrap();
        let lanes = [1, 4][round % 2];
        create(&mut client, "acme", lanes, &[], dec("1000000"));
        let mut model = Model {
            max: seed.cents(100, 1000),
            most: seed.cents(1, 3000),
            now: 0,
            years: Vec::new(),
        };
        set_limit(&mut client, &model);
        let mut holds: Vec<(Uuid, i64, Decimal)> = Vec::new();
        for step in 0..150 {
            let most = (model.max + model.carry() - model.used()).max(dec("0.01"));
            // Often exactly what is left, or a cent more.
            let amount = match seed.below(4) {
                0 => most,
                1 => most + dec("0.01"),
                _ => seed.cents(1, 800),
            };
            match seed.below(8) {
                0..3 => {
                    let charge = Charge {
                        amount,
                        user: Some("ann"),
                        key: None,
                    };
                    let allowed = model.allows(amount);
                    assert_eq!(
                        checked(&mut client, amount).2,
                        allowed,
                        "{step} {amount} {model:?}"
                    );
                    match charge.on(&mut client, "acme") {
                        Ok(_) => {
                            assert!(allowed, "{step} {amount} {model:?}");
                            model.year().used += amount;
                        }
                        Err(error) => {
                            assert_eq!(state_of(&error), "WL002", "{error:?}");
                            assert!(!allowed, "{step} {amount} {model:?}");
                        }
                    }
                }
                3 => {
                    let held = client.query_one(
                        "SELECT hold_id FROM wallet.hold('acme', amount => $1, user_id => 'ann', ttl => '1 day')",
                        &[&amount],
                    );
                    match held {
                        Ok(row) => {
                            assert!(model.allows(amount), "{step} {amount} {model:?}");
                            model.year().held += amount;
                            holds.push((row.get(0), model.now, amount));
                        }
                        Err(error) => {
                            assert_eq!(state_of(&error), "WL002", "{error:?}");
                            assert!(!model.allows(amount), "{step} {amount} {model:?}");
                        }
                    }
                }
                4 if !holds.is_empty() => {
                    let place = usize::try_from(seed.below(holds.len() as u64)).unwrap();
                    let (id, year, held) = holds[place];
                    let cost = match seed.below(2) {
                        0 => (held * dec("0.5")).round_dp(2),
                        _ => held + seed.cents(1, 300),
                    };
                    let settled = client.query_one(
                        "SELECT cost FROM wallet.settle('acme', $1, amount => $2)",
                        &[&id, &cost],
                    );
                    let allowed = model.may_settle(year, held, cost);
                    assert_eq!(
                        settled.is_ok(),
                        allowed,
                        "{step} {year} {held} {cost} {model:?}"
                    );
                    match settled {
                        Ok(_) => {
                            model.settle(year, held, cost);
                            holds.remove(place);
                        }
                        refused => assert_eq!(sqlstate(refused), "WL002"),
                    }
                }
                5 if seed.below(3) == 0 => {
                    model.max = seed.cents(100, 1000);
                    model.most = seed.cents(1, 3000);
                    set_limit(&mut client, &model);
                }
                _ => {
                    let years = [1, 1, 1, 2, 3, 12][usize::try_from(seed.below(6)).unwrap()];
                    client.execute("CALL pass('acme', $1)", &[&years]).unwrap();
                    model.now += i64::from(years);
                }
            }
            let (max, used, _) = checked(&mut client, Decimal::ZERO);
            assert_eq!(max, model.max + model.carry(), "{step} {model:?}");
            assert_eq!(used, model.used(), "{step} {model:?}");
        }
    }
}

#[test]
fn concurrent_calls_that_open_a_window_carry_once() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    client.batch_execute(PASS).unwrap();
    create(&mut client, "acme", 16, &[], dec("100000"));
    client
        .query_one(
            "SELECT wallet.set_limit('acme', 30, 'year', scope => 'user', rollover_max => 45)",
            &[],
        )
        .unwrap();
    let users = ["ann", "ben", "cid"];
    let mut left = Decimal::ZERO;
    for round in 0..scale(6) {
        // In every other year, less than the maximum is used.
        let wanted = [dec("1"), dec("4")][round % 2];
        let calls = [1, 5][round % 2];
        let spent = together(&database, 16, |_, client| {
            let mut spent = [Decimal::ZERO; 3];
            for _ in 0..calls {
                for (user, spent) in users.iter().zip(&mut spent) {
                    let charge = Charge {
                        amount: wanted,
                        user: Some(user),
                        key: None,
                    };
                    match charge.on(client, "acme") {
                        Ok(charged) => *spent += charged.cost,
                        Err(error) => assert_eq!(state_of(&error), "WL002", "{error:?}"),
                    }
                }
            }
            spent
        });
        let max = dec("30") + left;
        let asked = wanted * Decimal::from(16 * calls);
        // As much as fits in whole calls.
        let fits = (max / wanted).floor() * wanted;
        for (place, user) in users.iter().enumerate() {
            let total: Decimal = spent.iter().map(|spent| spent[place]).sum();
            assert_eq!(total, asked.min(fits), "{user} in round {round}");
        }
        left = (max - asked.min(fits)).min(dec("45"));
        client.execute("CALL pass('acme', 1)", &[]).unwrap();
    }
}
