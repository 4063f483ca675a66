//! Who paid what, with refunds, compared with a model that burns charge by charge.

mod model;

use std::collections::BTreeMap;
use std::time::Duration;

use postgres::Client;
use uuid::Uuid;
use wallet_tests::{Database, Decimal, Seed, archive, audit, create, dec, scale, state_of};

use model::{Model, plain};

const MODELS: [&str; 3] = ["m1", "m2", "m3"];

fn cents(amount: i64) -> Decimal {
    Decimal::new(amount, 2)
}

fn in_cents(amount: Decimal) -> i64 {
    let cents = amount * Decimal::from(100);
    assert!(cents.is_integer(), "{amount}");
    cents.try_into().expect("cents")
}

/// The wallet and its model, which agree after each step.
struct Run {
    client: Client,
    model: Model,
    age: usize,
    /// Fundings that can be charged back.
    funded: Vec<(Uuid, i64)>,
    holds: Vec<(Uuid, i64)>,
    pages: i64,
}

impl Run {
    /// Makes a call that returns the id of an entry. `None` if there is not enough money.
    fn call(&mut self, sql: &str) -> Option<Uuid> {
        match self.client.query_one(sql, &[]) {
            Ok(row) => Some(row.get(0)),
            Err(error) => {
                assert_eq!(state_of(&error), "WL001", "{sql}: {error:?}");
                None
            }
        }
    }

    fn charge(&mut self, model: &str, amount: i64) {
        let there = self.model.room_for(model);
        let id = self.call(&format!(
            "SELECT entry_id FROM wallet.charge('acme', amount => {}, model => '{model}')",
            cents(amount)
        ));
        assert_eq!(id.is_some(), amount <= there, "{amount} of {there}");
        if let Some(id) = id {
            self.model.charge(id, model, amount);
        }
    }

    fn fund(
        &mut self,
        amount: i64,
        rank: model::Rank,
        scope: Option<&'static str>,
        ends: &str,
    ) -> Uuid {
        let scope_text = match scope {
            Some(model) => format!(", scope => '{{\"models\": [\"{model}\"]}}'"),
            None => String::new(),
        };
        let id = self
            .call(&format!(
                "SELECT entry_id FROM wallet.fund('acme', {}, priority => {}, promotional => {}, expires_at => {ends}{scope_text})",
                cents(amount), rank.0, !rank.2
            ))
            .expect("a funding");
        self.model.fund(id, amount, rank, scope);
        self.funded.push((id, amount));
        id
    }

    fn step(&mut self, seed: &mut Seed, scoped: bool) -> String {
        let age = self.age;
        let pick = |seed: &mut Seed, length: usize| seed.below(length as u64) as usize;
        match seed.below(26) {
            0..=8 => {
                let model = MODELS[pick(seed, 3)];
                let amount = 1 + seed.below(1500) as i64;
                self.charge(model, amount);
                format!("charge {amount} {model}")
            }
            9..=11 => {
                let amount = 100 + seed.below(1500) as i64;
                self.fund(amount, plain(age), None, "NULL");
                format!("fund {amount}")
            }
            12 | 13 => {
                let amount = 100 + seed.below(1500) as i64;
                let days = [1, 2, 1000][pick(seed, 3)];
                let rank = (99 + seed.below(3) as i32, days, seed.below(2) == 0, age);
                let scope = (scoped && seed.below(2) == 0).then(|| MODELS[pick(seed, 3)]);
                let ends = match days {
                    1000 => "NULL".to_owned(),
                    days => format!("date_trunc('day', now()) + {days} * interval '1 day'"),
                };
                self.fund(amount, rank, scope, &ends);
                format!("grant {amount} {rank:?} {scope:?}")
            }
            14 if scoped => {
                // A grant that expires soon, after usage that may be refunded afterwards.
                let amount = 100 + seed.below(1000) as i64;
                let scope = (seed.below(3) == 0).then(|| MODELS[pick(seed, 3)]);
                let ends = "clock_timestamp() + interval '0.3 seconds'";
                let id = self.fund(amount, (100, 0, true, age), scope, ends);
                let model = scope.unwrap_or("m1");
                let part = 1 + seed.below(amount as u64) as i64;
                self.charge(model, part);
                std::thread::sleep(Duration::from_millis(320));
                self.model.end(id);
                // Books the expiry.
                self.fund(1, plain(age), None, "NULL");
                format!("ends soon {amount}, {part} used")
            }
            15..=18 if !self.model.charges.is_empty() => {
                // Often one of the last.
                let length = self.model.charges.len();
                let back = pick(seed, length).min(pick(seed, length));
                let charge = self.model.charges[length - 1 - back].clone();
                let rest = charge.amount - charge.refunded;
                if rest == 0 {
                    return "nothing to refund".to_owned();
                }
                let amount = match seed.below(2) {
                    0 => rest,
                    _ => 1 + seed.below(rest as u64) as i64,
                };
                let sql = format!(
                    "SELECT entry_id FROM wallet.refund('acme', '{}', {})",
                    charge.id,
                    cents(amount)
                );
                let id = self.call(&sql).expect("a refund");
                self.model.refund(id, charge.id, amount, age);
                format!("refund {amount} of {charge:?}")
            }
            19 if !self.model.lots.is_empty() => {
                let lots: Vec<Uuid> = self.model.lots.iter().map(|lot| lot.id).collect();
                let id = lots[pick(seed, lots.len())];
                let lot = self.model.lot(id).clone();
                if lot.gone || lot.over {
                    return "gone".to_owned();
                }
                // Only the model of tests/simulation covers money of a voided grant that holds
                // keep.
                if lot.scope.is_none() && lot.remaining > self.model.free() {
                    return "kept by holds".to_owned();
                }
                let sql = "SELECT wallet.void_grant('acme', $1)";
                self.client.execute(sql, &[&id]).expect("void_grant");
                self.model.void(id);
                format!("void {lot:?}")
            }
            20 if !self.funded.is_empty() => {
                let (id, amount) = self.funded.swap_remove(pick(seed, self.funded.len()));
                let amount = self.model.not_given_back(id, amount);
                let sql = "SELECT entry_id FROM wallet.reverse_funding('acme', $1)";
                let row = self.client.query_one(sql, &[&id]).expect("reverse");
                let entry: Option<Uuid> = row.get(0);
                assert_eq!(entry.is_some(), amount > 0);
                self.model.reverse(entry.unwrap_or(id), id, amount);
                format!("reverse {amount}")
            }
            21 => {
                let amount = 1 + seed.below(600) as i64;
                let sql = match seed.below(4) {
                    0 => {
                        let sql = format!(
                            "SELECT entry_id FROM wallet.adjust('acme', {})",
                            cents(amount)
                        );
                        let id = self.call(&sql).expect("a correction");
                        self.model.grant(id, amount, plain(age), None);
                        return format!("adjust {amount}");
                    }
                    1 => {
                        let sql =
                            format!("SELECT wallet.transfer('other', 'acme', {})", cents(amount));
                        self.client.execute(&sql, &[]).expect("transfer");
                        let sql = "SELECT entry_id FROM wallet.entries WHERE wallet = 'acme' ORDER BY created_at DESC LIMIT 1";
                        let id = self.call(sql).expect("an entry");
                        self.model.grant(id, amount, plain(age), None);
                        return format!("transfer in {amount}");
                    }
                    2 => format!(
                        "SELECT entry_id FROM wallet.adjust('acme', -{})",
                        cents(amount)
                    ),
                    _ => format!(
                        "SELECT entry_id FROM wallet.transfer('acme', 'other', {})",
                        cents(amount)
                    ),
                };
                let there = self.model.room();
                let id = self.call(&sql);
                assert_eq!(id.is_some(), amount <= there, "{amount} of {there}");
                if let Some(id) = id {
                    if sql.contains("adjust") {
                        self.model.adjusted.push(id);
                    }
                    self.model.take_out(id, amount);
                }
                format!("out {amount}")
            }
            22 if !scoped => {
                let amount = 1 + seed.below(800) as i64;
                let there = self.model.room();
                let sql = format!("SELECT hold_id FROM wallet.hold('acme', {})", cents(amount));
                let id = self.call(&sql);
                assert_eq!(id.is_some(), amount <= there, "{amount} of {there}");
                if let Some(id) = id {
                    self.model.held += amount;
                    self.holds.push((id, amount));
                }
                format!("hold {amount}")
            }
            23 | 24 if !self.holds.is_empty() => {
                let (id, held) = self.holds.swap_remove(pick(seed, self.holds.len()));
                let amount = 1 + seed.below(3 * held as u64) as i64;
                let sql = format!(
                    "SELECT entry_id FROM wallet.settle('acme', '{id}', amount => {}, over => 'debt')",
                    cents(amount)
                );
                let entry = self.call(&sql).expect("a settlement");
                self.model.held -= held;
                self.model.settle_over(entry, amount);
                format!("settle {amount} of {held}")
            }
            _ => match seed.below(3) {
                0 => {
                    let lanes = 1 + seed.below(4) as i32;
                    let sql = "SELECT wallet.set_lanes('acme', $1)";
                    self.client.execute(sql, &[&lanes]).expect("set_lanes");
                    format!("{lanes} lanes")
                }
                1 => {
                    archive(&mut self.client, "acme", None).expect("archive");
                    "archive".to_owned()
                }
                _ => {
                    // A charge that is booked at zero and priced later.
                    self.pages += 1;
                    let sql = format!(
                        "SELECT entry_id FROM wallet.charge('acme', '{{\"model\": \"late-{}\", \"pages\": 7}}')",
                        self.pages
                    );
                    self.call(&sql).expect("a charge at zero");
                    let price = "SELECT wallet.set_price($1, 'pages', 0.5)";
                    let name = format!("late-{}", self.pages);
                    if self.model.room() < 350 {
                        return "unpriced".to_owned();
                    }
                    self.client.execute(price, &[&name]).expect("a price");
                    let sql = "SELECT entry_id FROM wallet.price_unpriced('acme')";
                    let id = self.call(sql).expect("one that was priced");
                    self.model.charge(id, "", 350);
                    "late price".to_owned()
                }
            },
        }
    }

    fn check(&mut self) {
        let sql = "SELECT balance, debt FROM wallet.balances WHERE wallet = 'acme'";
        let row = self.client.query_one(sql, &[]).unwrap();
        let shown = (in_cents(row.get(0)), in_cents(row.get(1)));
        assert_eq!(
            shown,
            (self.model.balance(), self.model.debt()),
            "balance, debt"
        );
        let sql = "SELECT grant_id, remaining FROM wallet.grants WHERE wallet = 'acme'";
        let rows = self.client.query(sql, &[]).unwrap();
        let shown: BTreeMap<Uuid, i64> = rows
            .iter()
            .map(|row| (row.get(0), in_cents(row.get(1))))
            .collect();
        let lots = self.model.lots.iter().map(|lot| (lot.id, lot.remaining));
        assert_eq!(shown, lots.collect(), "what is left");

        let sql = "SELECT entry_id, grant_id, refund_of, returned_to, amount FROM wallet.grant_payments WHERE wallet = 'acme'";
        let mut paid: BTreeMap<(Uuid, Uuid), i64> = BTreeMap::new();
        let mut returned: BTreeMap<model::Returned, i64> = BTreeMap::new();
        for row in self.client.query(sql, &[]).unwrap() {
            let (entry, grant, amount) = (row.get(0), row.get(1), in_cents(row.get(4)));
            match (row.get(2), row.get(3)) {
                (Some(charge), Some(to)) => {
                    *returned.entry((entry, grant, charge, to)).or_default() -= amount
                }
                (None, None) => *paid.entry((entry, grant)).or_default() += amount,
                both => panic!("{both:?}"),
            }
        }
        assert_eq!(paid, self.model.paid, "who paid what");
        assert_eq!(returned, self.model.returned, "what came back");

        // Independent of the model: what grants paid, minus what was returned to them, is what they
        // burned.
        for lot in &self.model.lots {
            let mine: i64 = paid
                .iter()
                .filter(|((_, id), _)| *id == lot.id)
                .map(|(_, amount)| amount)
                .sum();
            let back = returned
                .iter()
                .filter(|((_, id, _, to), _)| *id == lot.id && *to == lot.id);
            let back: i64 = back.map(|(_, amount)| amount).sum();
            assert_eq!(
                mine - back,
                lot.amount - lot.remaining - lot.taken,
                "{lot:?}"
            );
        }
        // The parts add up to the charge, except for what no grant has paid.
        for charge in &self.model.charges {
            let parts: i64 = paid
                .iter()
                .filter(|((id, _), _)| *id == charge.id)
                .map(|(_, amount)| amount)
                .sum();
            let credit = self
                .model
                .credit
                .iter()
                .filter(|(id, _)| *id == charge.id)
                .map(|(_, amount)| amount);
            let owed = self
                .model
                .owed
                .iter()
                .filter(|(id, ..)| *id == charge.id)
                .map(|(_, amount, _)| amount);
            let open: i64 = credit.chain(owed).sum();
            let cut = charge.amount - parts - open;
            assert!(
                (0..=charge.refunded).contains(&cut),
                "{charge:?}: {parts} paid, {open} open"
            );
        }
    }
}

#[test]
fn refunds_give_back_what_the_model_does_charge_by_charge() {
    let mut seed = Seed::of("refunds_give_back_what_the_model_does_charge_by_charge");
    for round in 0..scale(8) {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", [1, 4][round % 2], &[], dec("0"));
        create(&mut client, "other", 1, &[], dec("1000"));
        let credit_limit = [0, 3000][round / 2 % 2];
        client
            .execute(
                "SELECT wallet.update_wallet('acme', credit_limit => $1, unknown_price => 'unpriced')",
                &[&cents(credit_limit)],
            )
            .unwrap();
        let way = ["auto", "spi"][round % 3 % 2];
        client
            .batch_execute(&format!("SET wallet.storage = {way}"))
            .unwrap();
        let mut run = Run {
            client,
            model: Model {
                credit_limit,
                ..Model::default()
            },
            age: 0,
            funded: Vec::new(),
            holds: Vec::new(),
            pages: 0,
        };
        let scoped = round / 4 % 2 == 0;
        for step in 0..80 {
            run.age = step;
            let done = run.step(&mut seed, scoped);
            println!(
                "{round}.{step}: {done}; balance {}, owed {:?}",
                run.model.balance(),
                run.model.owed
            );
            run.check();
        }
        check_marks(&mut run.client);
        audit(&mut run.client, "acme");
        let sql = "SELECT \"check\", detail FROM wallet.verify('acme') WHERE NOT ok";
        let broken = run.client.query(sql, &[]).unwrap();
        assert!(broken.is_empty(), "{broken:?}");
    }
}

/// The usage that refunds recorded in their marks agrees with the ledger.
fn check_marks(client: &mut Client) {
    let sql = "SELECT count(*), count(*) FILTER (WHERE m.upto IS DISTINCT FROM l.used)
                 FROM wallet.grant_marks m
                CROSS JOIN LATERAL (
                      SELECT coalesce(sum(-l.amount - coalesce(b.noted, 0)), 0) AS used
                        FROM wallet.ledger_all l
                        LEFT JOIN (SELECT entry_id, sum(amount) AS noted FROM wallet.grant_burns
                                    WHERE wallet_id = 'acme' AND amount > 0 GROUP BY 1) b USING (entry_id)
                       WHERE l.wallet_id = 'acme' AND l.amount < 0 AND l.kind IN ('c', 'a', 't')
                         AND l.created_at <= m.at) l
                WHERE m.wallet_id = 'acme'";
    let row = client.query_one(sql, &[]).unwrap();
    println!("{} marks", row.get::<_, i64>(0));
    assert_eq!(row.get::<_, i64>(1), 0, "marks that are wrong");
}

/// Amounts by grant and charge.
type Parts = BTreeMap<(Uuid, Uuid), i64>;

/// Refunds of charges anywhere in a ledger do not read all of it, and return what the view says was
/// paid.
#[test]
fn refunds_find_who_paid_in_long_ledgers() {
    let mut seed = Seed::of("refunds_find_who_paid_in_long_ledgers");
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 4, &[], dec("0"));
    let batches = 6 * scale(1);
    for batch in 0..batches {
        // Allocates the spend so far.
        let sql = "SELECT wallet.fund('acme', 30, expires_at => now() + interval '1 day')";
        client.batch_execute(sql).unwrap();
        let model = if batch % 2 == 0 {
            ""
        } else {
            ", scope => '{\"models\": [\"m1\"]}'"
        };
        let sql = format!("SELECT wallet.fund('acme', 0.05, promotional => true{model})");
        client.batch_execute(&sql).unwrap();
        let sql = "SELECT count(*) FROM wallet.charge_batch('acme',
            (SELECT jsonb_agg(jsonb_build_object('amount', 0.01, 'model', 'm' || n % 3)) FROM generate_series(1, 2000) n))";
        client.batch_execute(sql).unwrap();
    }
    let paid = |client: &mut Client| {
        let sql = "SELECT coalesce(refund_of, entry_id), grant_id, amount, refund_of IS NULL
                     FROM wallet.grant_payments WHERE wallet = 'acme'";
        let (mut paid, mut returned) = (Parts::new(), Parts::new());
        for row in client.query(sql, &[]).unwrap() {
            let to = if row.get(3) { &mut paid } else { &mut returned };
            *to.entry((row.get(0), row.get(1))).or_insert(0) += in_cents(row.get(2));
        }
        (paid, returned)
    };
    let (before, _) = paid(&mut client);
    let mut charges: Vec<Uuid> = before.keys().map(|(charge, _)| *charge).collect();
    charges.dedup();
    assert_eq!(charges.len(), 2000 * batches);
    let (mut refunded, mut times) = (Vec::new(), Vec::new());
    for _ in 0..40 {
        let charge = charges.swap_remove(seed.below(charges.len() as u64) as usize);
        let begun = std::time::Instant::now();
        let sql = "SELECT wallet.refund('acme', $1)";
        client.execute(sql, &[&charge]).expect("refund");
        times.push(begun.elapsed());
        refunded.push(charge);
    }
    println!("first {:?}, last {:?}", times[0], &times[30..]);
    let (after, returned) = paid(&mut client);
    assert_eq!(before, after, "who had paid what");
    let mut wanted = before;
    wanted.retain(|(charge, _), _| refunded.contains(charge));
    for amount in wanted.values_mut() {
        *amount = -*amount;
    }
    assert_eq!(returned, wanted);
    check_marks(&mut client);
    let sql = "SELECT count(*) FROM wallet.grant_marks";
    let marks: i64 = client.query_one(sql, &[]).unwrap().get(0);
    // The number depends on how quickly the entries were booked.
    assert!(marks > 0, "no marks");
    audit(&mut client, "acme");
}
