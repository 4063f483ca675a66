//! Scoped grants compared with a model that burns charge by charge, and used by many connections at
//! once.

use std::collections::BTreeMap;

use postgres::{Client, Error};
use uuid::Uuid;
use wallet_tests::{
    Database, Decimal, Seed, audit, balance, create, crowd, dec, fund, recorded, scale, state_of,
    together,
};

const MODELS: [&str; 3] = ["m1", "m2", "m3"];

/// A lot of the model.
#[derive(Clone, Debug)]
struct Lot {
    id: Uuid,
    /// Priority, expiry in days, paid, age.
    rank: (i32, i32, bool, usize),
    /// The one model in its scope.
    scope: Option<&'static str>,
    remaining: Decimal,
    held: Decimal,
}

impl Lot {
    fn free(&self) -> Decimal {
        self.remaining - self.held
    }
}

#[derive(Clone, Debug)]
struct Hold {
    id: Uuid,
    model: &'static str,
    lane: Decimal,
    parts: Vec<(Uuid, Decimal)>,
}

impl Hold {
    fn amount(&self) -> Decimal {
        self.lane + self.parts.iter().map(|part| part.1).sum::<Decimal>()
    }
}

/// The expected state of the wallet.
#[derive(Default)]
struct Model {
    lots: Vec<Lot>,
    /// The money that every charge may use. Negative on credit.
    general: Decimal,
    held: Decimal,
    credit: Decimal,
    unpaid: Vec<(Uuid, Decimal)>,
    paid: BTreeMap<(Uuid, Uuid), Decimal>,
}

impl Model {
    fn room(&self) -> Decimal {
        self.general + self.credit - self.held
    }

    fn fits(lot: &Lot, model: &str) -> bool {
        lot.scope == Some(model)
    }

    fn available(&self, model: &str) -> Decimal {
        let own = self.lots.iter().filter(|lot| Model::fits(lot, model));
        self.room() + own.map(Lot::free).sum::<Decimal>()
    }

    fn lot(&mut self, id: Uuid) -> &mut Lot {
        let mut lots = self.lots.iter_mut();
        lots.find(|lot| lot.id == id).expect("a lot")
    }

    /// The parts of an available amount that the lots scoped to the model pay.
    fn split(&mut self, model: &str, amount: Decimal) -> Vec<(Uuid, Decimal)> {
        self.lots.sort_by_key(|lot| lot.rank);
        let (mut left, mut parts) = (amount, Vec::new());
        for lot in &self.lots {
            let there = match lot.scope {
                None => lot.remaining,
                Some(_) if Model::fits(lot, model) => lot.free(),
                Some(_) => continue,
            };
            let part = there.min(left);
            left -= part;
            if lot.scope.is_some() {
                parts.push((lot.id, part));
            }
        }
        // Money that holds reserve from the other lots cannot be used.
        let scoped: Decimal = parts.iter().map(|part| part.1).sum();
        let mut excess = amount - scoped - self.room();
        for (id, part) in &mut parts {
            if excess <= Decimal::ZERO {
                break;
            }
            let lot = self.lots.iter().find(|lot| lot.id == *id).expect("a lot");
            let more = (lot.free() - *part).min(excess);
            *part += more;
            excess -= more;
        }
        parts.retain(|part| !part.1.is_zero());
        parts
    }

    fn charge(&mut self, id: Uuid, model: &str, amount: Decimal) {
        let parts = self.split(model, amount);
        let mut left = amount;
        for (lot, part) in parts {
            self.lot(lot).remaining -= part;
            *self.paid.entry((id, lot)).or_default() += part;
            left -= part;
        }
        self.general -= left;
        for lot in self.lots.iter_mut().filter(|lot| lot.scope.is_none()) {
            let part = lot.remaining.min(left);
            if !part.is_zero() {
                lot.remaining -= part;
                left -= part;
                *self.paid.entry((id, lot.id)).or_default() += part;
            }
        }
        if !left.is_zero() {
            self.unpaid.push((id, left));
        }
    }

    fn grant(
        &mut self,
        id: Uuid,
        amount: Decimal,
        scope: Option<&'static str>,
        rank: (i32, i32, bool, usize),
    ) {
        let mut remaining = amount;
        if scope.is_none() {
            self.general += amount;
            while let Some((charge, open)) = self.unpaid.first_mut() {
                let part = remaining.min(*open);
                if part.is_zero() {
                    break;
                }
                *self.paid.entry((*charge, id)).or_default() += part;
                remaining -= part;
                *open -= part;
                if open.is_zero() {
                    self.unpaid.remove(0);
                }
            }
        }
        self.lots.push(Lot {
            id,
            rank,
            scope,
            remaining,
            held: Decimal::ZERO,
        });
    }

    fn hold(&mut self, id: Uuid, model: &'static str, amount: Decimal) -> Hold {
        let parts = self.split(model, amount);
        let scoped: Decimal = parts.iter().map(|part| part.1).sum();
        for (lot, part) in &parts {
            self.lot(*lot).held += *part;
        }
        self.held += amount - scoped;
        Hold {
            id,
            model,
            lane: amount - scoped,
            parts,
        }
    }

    fn release(&mut self, hold: &Hold) {
        self.held -= hold.lane;
        for (lot, part) in &hold.parts {
            self.lot(*lot).held -= *part;
        }
    }

    /// Whether holds would keep a part of a lot that is voided.
    fn holds_keep(&self, id: Uuid) -> bool {
        let room = (self.room() - self.credit).max(Decimal::ZERO);
        let mut lots = self.lots.iter();
        let lot = lots.find(|lot| lot.id == id).expect("a lot");
        match lot.scope {
            Some(_) => !lot.held.is_zero(),
            None => lot.remaining > room,
        }
    }

    /// Voids the part of a lot that no hold reserves.
    fn void(&mut self, id: Uuid) {
        let room = (self.room() - self.credit).max(Decimal::ZERO);
        let lot = self.lot(id);
        if lot.scope.is_some() {
            lot.remaining = lot.held;
        } else {
            let part = lot.remaining.min(room);
            lot.remaining -= part;
            self.general -= part;
        }
    }

    /// Returns the money of a charge to the lots that paid it.
    fn refund(&mut self, refund: Uuid, charge: Uuid) {
        let back: Vec<(Uuid, Decimal)> = self
            .paid
            .iter()
            .filter(|((paid, _), _)| *paid == charge)
            .map(|((_, lot), amount)| (*lot, *amount))
            .collect();
        for (id, amount) in back {
            self.paid.insert((refund, id), -amount);
            let lot = self.lot(id);
            lot.remaining += amount;
            if lot.scope.is_none() {
                self.general += amount;
            }
        }
    }

    fn check(&self, client: &mut Client) {
        let scoped = || self.lots.iter().filter(|lot| lot.scope.is_some());
        let row = client
            .query_one(
                "SELECT balance, held, available, scoped FROM wallet.balances WHERE wallet = 'acme'",
                &[],
            )
            .unwrap();
        let shown: [Decimal; 4] = [row.get(0), row.get(1), row.get(2), row.get(3)];
        let balance = self.general + scoped().map(|lot| lot.remaining).sum::<Decimal>();
        let held = self.held + scoped().map(|lot| lot.held).sum::<Decimal>();
        let free = scoped().map(Lot::free).sum::<Decimal>();
        assert_eq!(shown, [balance, held, balance - held, free]);
        let sql = "SELECT grant_id, remaining FROM wallet.grants WHERE wallet = 'acme'";
        let shown: BTreeMap<Uuid, Decimal> = client
            .query(sql, &[])
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let lots = self.lots.iter().map(|lot| (lot.id, lot.remaining));
        assert_eq!(shown, lots.collect());
        for model in MODELS {
            let sql = "SELECT remaining FROM wallet.check_limits('acme', model => $1) WHERE scope = 'balance'";
            let remaining: Decimal = client.query_one(sql, &[&model]).unwrap().get(0);
            assert_eq!(remaining, self.available(model), "{model}");
        }
    }

    fn check_payments(&self, client: &mut Client) {
        let sql =
            "SELECT entry_id, grant_id, amount FROM wallet.grant_payments WHERE wallet = 'acme'";
        let mut found: BTreeMap<(Uuid, Uuid), Decimal> = BTreeMap::new();
        for row in client.query(sql, &[]).unwrap() {
            *found.entry((row.get(0), row.get(1))).or_default() += row.get::<_, Decimal>(2);
        }
        assert_eq!(found, self.paid, "who paid what");
    }
}

fn charge(client: &mut Client, model: &str, amount: Decimal) -> Result<Uuid, Error> {
    let sql = "SELECT entry_id FROM wallet.charge('acme', amount => $1, model => $2)";
    client
        .query_one(sql, &[&amount, &model])
        .map(|row| row.get(0))
}

fn verified(client: &mut Client) {
    let sql = "SELECT \"check\", detail FROM wallet.verify('acme') WHERE NOT ok";
    let broken: Vec<(String, String)> = client
        .query(sql, &[])
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect();
    assert!(broken.is_empty(), "{broken:?}");
    audit(client, "acme");
}

fn refused(result: &Result<Uuid, Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(error) => {
            assert_eq!(state_of(error), "WL001", "{error:?}");
            true
        }
    }
}

/// Random calls with both ways to access the tables, with and without credit, on one lane and
/// several.
#[test]
fn scoped_grants_burn_like_charge_by_charge() {
    let mut seed = Seed::of("scoped_grants_burn_like_charge_by_charge");
    for round in 0..scale(4) {
        let database = Database::new();
        let mut client = database.connect();
        if round % 2 == 1 {
            client.batch_execute("SET wallet.storage = spi").unwrap();
        }
        create(
            &mut client,
            "acme",
            [1, 4][round % 2],
            &[dec("20")],
            dec("0"),
        );
        let mut model = Model {
            credit: dec(["0", "15"][round / 2 % 2]),
            ..Model::default()
        };
        let sql = "SELECT wallet.update_wallet('acme', credit_limit => $1)";
        client.execute(sql, &[&model.credit]).unwrap();
        let (mut holds, mut charges): (Vec<Hold>, Vec<Uuid>) = (Vec::new(), Vec::new());
        let mut gone: Vec<Uuid> = Vec::new();
        for step in 0..80 {
            let name = MODELS[seed.below(3) as usize];
            let kind = seed.below(20);
            println!("{step}: kind {kind} of {name}");
            match kind {
                0..=6 => {
                    let amount = seed.cents(1, 1200);
                    let there = model.available(name);
                    let result = charge(&mut client, name, amount);
                    assert_eq!(refused(&result), amount > there, "{amount} of {there}");
                    if let Ok(id) = result {
                        model.charge(id, name, amount);
                        charges.push(id);
                    }
                }
                7..=11 => {
                    let amount = seed.cents(100, 1500);
                    let scope = [None, Some("m1"), Some("m2")][seed.below(3) as usize];
                    let (priority, paid) = (99 + seed.below(3) as i32, seed.below(2) == 0);
                    let days = [1, 2, 1000][seed.below(3) as usize];
                    let id: Uuid = client
                        .query_one(
                            "SELECT entry_id FROM wallet.fund('acme', $1, priority => $2, promotional => $4,
                                expires_at => CASE WHEN $3 < 1000 THEN date_trunc('day', now()) + $3 * interval '1 day' END,
                                scope => CASE WHEN $5::text <> '' THEN jsonb_build_object('models', jsonb_build_array($5)) END)",
                            &[&amount, &priority, &days, &!paid, &scope.unwrap_or("")],
                        )
                        .expect("fund")
                        .get(0);
                    model.grant(id, amount, scope, (priority, days, paid, step));
                }
                12..=14 => {
                    let amount = seed.cents(1, 800);
                    let there = model.available(name);
                    let sql =
                        "SELECT hold_id FROM wallet.hold('acme', $1, model => $2, ttl => '1 hour')";
                    let result = client
                        .query_one(sql, &[&amount, &name])
                        .map(|row| row.get(0));
                    assert_eq!(refused(&result), amount > there, "{amount} of {there}");
                    if let Ok(id) = result {
                        holds.push(model.hold(id, name, amount));
                    }
                }
                15 | 16 if !holds.is_empty() => {
                    let place = seed.below(holds.len() as u64) as usize;
                    let hold = holds.swap_remove(place);
                    let (amount, last) = (seed.cents(1, 900), seed.below(2) == 0);
                    model.release(&hold);
                    let there = model.available(hold.model);
                    let sql =
                        "SELECT entry_id FROM wallet.settle('acme', $1, amount => $2, final => $3)";
                    let result = client
                        .query_one(sql, &[&hold.id, &amount, &last])
                        .map(|row| row.get(0));
                    assert_eq!(refused(&result), amount > there, "{amount} of {there}");
                    let left = match result {
                        Ok(id) => {
                            model.charge(id, hold.model, amount);
                            charges.push(id);
                            (hold.amount() - amount).max(Decimal::ZERO)
                        }
                        Err(_) => {
                            // The call had no effect.
                            model.held += hold.lane;
                            for (lot, part) in &hold.parts {
                                model.lot(*lot).held += *part;
                            }
                            holds.push(hold);
                            continue;
                        }
                    };
                    if !last {
                        let again = model.hold(hold.id, hold.model, left);
                        holds.push(again);
                    }
                }
                17 if !holds.is_empty() => {
                    let hold = holds.swap_remove(seed.below(holds.len() as u64) as usize);
                    let sql = "SELECT wallet.void('acme', $1)";
                    client.execute(sql, &[&hold.id]).expect("void");
                    model.release(&hold);
                }
                18 if !model.lots.is_empty() => {
                    let id = model.lots[seed.below(model.lots.len() as u64) as usize].id;
                    if gone.contains(&id) {
                        continue;
                    }
                    // Only the model of tests/simulation covers money of a voided grant that holds
                    // keep.
                    if model.holds_keep(id) {
                        continue;
                    }
                    let sql = "SELECT wallet.void_grant('acme', $1)";
                    client.execute(sql, &[&id]).expect("void_grant");
                    model.void(id);
                    gone.push(id);
                }
                19 if !charges.is_empty() && model.credit.is_zero() => {
                    let id = charges.swap_remove(seed.below(charges.len() as u64) as usize);
                    let by = model.paid.keys().filter(|(charge, _)| *charge == id);
                    // Money returned to a voided grant becomes money of no grant.
                    if by.clone().any(|(_, lot)| gone.contains(lot)) {
                        continue;
                    }
                    let sql = "SELECT entry_id FROM wallet.refund('acme', $1)";
                    let refund: Uuid = client.query_one(sql, &[&id]).expect("refund").get(0);
                    model.refund(refund, id);
                }
                _ => {
                    let lanes = 1 + seed.below(4) as i32;
                    let sql = "SELECT wallet.set_lanes('acme', $1)";
                    client.execute(sql, &[&lanes]).expect("set_lanes");
                }
            }
            model.check(&mut client);
        }
        model.check_payments(&mut client);
        verified(&mut client);
    }
}

/// Half of the threads may use all money, half of them a part of it, all at once.
#[test]
fn no_model_spends_credit_scoped_to_others() {
    let _crowd = crowd();
    let seed = Seed::of("no_model_spends_credit_scoped_to_others");
    for lanes in [1, 16] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[dec("20")], dec("60"));
        for (amount, model) in [("25", "m1"), ("15", "m*")] {
            let sql = "SELECT wallet.fund('acme', $1, promotional => true, scope => jsonb_build_object('models', jsonb_build_array($2::text)))";
            client.execute(sql, &[&dec(amount), &model]).unwrap();
        }
        let spent: Vec<(bool, Decimal)> = together(&database, 16, |number, client| {
            let (mut seed, mut spent) = (seed.thread(number), Decimal::ZERO);
            // m1 may use everything, m2 not the first grant, other models no grant.
            let name = ["m1", "other", "m2", "other"][number % 4];
            let mut most = 60;
            while most > 0 {
                let amount = seed.cents(1, most);
                let result = if number % 8 < 4 {
                    charge(client, name, amount)
                } else {
                    let hold = "SELECT hold_id FROM wallet.hold('acme', $1, model => $2)";
                    let settle = "SELECT entry_id FROM wallet.settle('acme', $1, amount => $2)";
                    client
                        .query_one(hold, &[&amount, &name])
                        .map(|row| row.get::<_, Uuid>(0))
                        .and_then(|id| client.query_one(settle, &[&id, &amount]))
                        .map(|row| row.get(0))
                };
                if refused(&result) {
                    most /= 2;
                } else {
                    spent += amount;
                }
            }
            (name == "other", spent)
        });
        let of_others: Decimal = spent.iter().filter(|one| one.0).map(|one| one.1).sum();
        assert!(of_others <= dec("60"), "{of_others}");
        // The rest is available to the models in its scope, to the cent.
        while !refused(&charge(&mut client, "other", dec("0.01"))) {}
        while !refused(&charge(&mut client, "m2", dec("0.01"))) {}
        while !refused(&charge(&mut client, "m1", dec("0.01"))) {}
        assert_eq!(balance(&mut client, "acme"), dec("0"));
        // If a settlement took the last scoped credit, the next successful call records that.
        fund(&mut client, "acme", dec("0.01")).unwrap();
        charge(&mut client, "other", dec("0.01")).unwrap();
        let sql = "SELECT scoped FROM wallet.wallets WHERE wallet_id = 'acme'";
        let scoped: bool = client.query_one(sql, &[]).unwrap().get(0);
        assert!(!scoped, "the last of it was spent");
        let lows = recorded(&mut client, "acme");
        let lows = lows.iter().filter(|event| event.0 == "wallet_balance_low");
        assert_eq!(lows.count(), 1);
        verified(&mut client);
    }
}

/// A hold that had expired, and that no call had released, kept its part of a grant when the grant
/// was voided.
#[test]
fn an_expired_hold_reserves_nothing_of_a_voided_or_reversed_grant() {
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, taken_back) in [
        (
            "voided",
            "SELECT balance, 0::numeric FROM wallet.void_grant($1, $2)",
        ),
        (
            "reversed",
            "SELECT balance, debt FROM wallet.reverse_funding($1, $2)",
        ),
    ] {
        create(&mut client, wallet, 1, &[], dec("0"));
        let scoped = "SELECT entry_id FROM wallet.fund($1, 10, scope => '{\"models\": [\"m1\"]}')";
        let grant: Uuid = client.query_one(scoped, &[&wallet]).unwrap().get(0);
        let hold = "SELECT wallet.hold($1, 4, model => 'm1', ttl => '10 milliseconds')";
        client.query_one(hold, &[&wallet]).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let row = client.query_one(taken_back, &[&wallet, &grant]).unwrap();
        let answered: (Decimal, Decimal) = (row.get(0), row.get(1));
        assert_eq!(answered, (dec("0"), dec("0")), "{wallet}");
        let sql = "SELECT status FROM wallet.grants WHERE wallet = $1 AND grant_id = $2";
        let status: String = client.query_one(sql, &[&wallet, &grant]).unwrap().get(0);
        assert_eq!(status, wallet);
        audit(&mut client, wallet);
    }
}

/// Voiding a grant again also releases what an expired hold has reserved: completely or not at all.
#[test]
fn voiding_a_grant_again_releases_an_expired_hold() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("0"));
    fund(&mut client, "acme", dec("10")).unwrap();
    let sql =
        "SELECT entry_id FROM wallet.fund('acme', 5, expires_at => now() + interval '1 hour')";
    let grant: Uuid = client.query_one(sql, &[]).unwrap().get(0);
    let take_back = "SELECT balance FROM wallet.void_grant('acme', $1)";
    client.query_one(take_back, &[&grant]).unwrap();
    let hold = "SELECT wallet.hold('acme', 4, ttl => '10 milliseconds')";
    client.query_one(hold, &[]).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    client.query_one(take_back, &[&grant]).unwrap();
    audit(&mut client, "acme");
    charge(&mut client, "m1", dec("10")).unwrap();
}
