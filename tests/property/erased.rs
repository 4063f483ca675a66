//! Persons are erased between random charges, refunds, holds and retries. A model of plain numbers
//! says what each of them used; the wallets stay proven, also with a digest of the beginning.

use std::collections::BTreeMap;

use postgres::Client;
use serde_json::Value;
use wallet_tests::{Charge, Database, Decimal, Seed, audit, create, dec, scale, state_of};

const WALLETS: [&str; 2] = ["one", "many"];
const PERSONS: [&str; 4] = ["ann@example.com", "bob@example.com", "eve", "7"];
/// The maximum of each person's month.
const MOST: &str = "40";

/// The use of a person under one name, by wallet and name.
type Used = BTreeMap<(usize, String), Decimal>;

struct Run {
    client: Client,
    seed: Seed,
    used: Used,
    /// The charges with their keys, so that they can be repeated and refunded.
    charges: Vec<(usize, String, Decimal, String, uuid::Uuid, bool)>,
    holds: Vec<(usize, String, uuid::Uuid)>,
    digest: Value,
}

impl Run {
    fn one_of(&mut self, count: usize) -> usize {
        self.seed.below(count as u64) as usize
    }

    fn add(&mut self, wallet: usize, name: &str, amount: Decimal) {
        *self.used.entry((wallet, name.to_owned())).or_default() += amount;
    }

    fn charge(&mut self, step: usize) {
        let (wallet, name) = (self.one_of(2), PERSONS[self.one_of(4)]);
        let (amount, key) = (self.seed.cents(1, 400), format!("c{step}"));
        let charge = Charge {
            amount,
            user: Some(name),
            key: Some(&key),
        };
        match charge.on(&mut self.client, WALLETS[wallet]) {
            Ok(done) => {
                self.add(wallet, name, amount);
                self.charges
                    .push((wallet, name.to_owned(), amount, key, done.entry_id, false));
            }
            Err(error) => assert_eq!(state_of(&error), "WL002", "{error:?}"),
        }
    }

    /// The first call again, with the identifier that it had.
    fn retry(&mut self) {
        if self.charges.is_empty() {
            return;
        }
        let place = self.one_of(self.charges.len());
        let (wallet, name, amount, key, id, _) = self.charges[place].clone();
        let charge = Charge {
            amount,
            user: Some(&name),
            key: Some(&key),
        };
        let done = charge.on(&mut self.client, WALLETS[wallet]).unwrap();
        assert!(done.replayed && done.entry_id == id);
    }

    fn refund(&mut self) {
        let open: Vec<usize> = (0..self.charges.len())
            .filter(|place| !self.charges[*place].5)
            .collect();
        if open.is_empty() {
            return;
        }
        let place = open[self.one_of(open.len())];
        let (wallet, _, amount, _, id, _) = self.charges[place].clone();
        self.client
            .query_one("SELECT wallet.refund($1, $2)", &[&WALLETS[wallet], &id])
            .unwrap();
        self.charges[place].5 = true;
        let row = self
            .client
            .query_one(
                "SELECT user_id FROM wallet.entries WHERE wallet = $1 AND entry_id = $2",
                &[&WALLETS[wallet], &id],
            )
            .unwrap();
        let name: String = row.get(0);
        self.add(wallet, &name, -amount);
    }

    fn hold(&mut self) {
        let (wallet, name) = (self.one_of(2), PERSONS[self.one_of(4)]);
        let amount = self.seed.cents(1, 300);
        let held = self.client.query_one(
            "SELECT hold_id FROM wallet.hold($1, amount => $2, user_id => $3, ttl => '1 day', tags => '{\"end_user\": \"ann@example.com\"}')",
            &[&WALLETS[wallet], &amount, &name],
        );
        match held {
            Ok(row) => self.holds.push((wallet, name.to_owned(), row.get(0))),
            Err(error) => assert_eq!(state_of(&error), "WL002", "{error:?}"),
        }
    }

    fn settle(&mut self) {
        if self.holds.is_empty() {
            return;
        }
        let place = self.one_of(self.holds.len());
        let (wallet, name, id) = self.holds.swap_remove(place);
        let amount = self.seed.cents(1, 50);
        self.client
            .query_one(
                "SELECT wallet.settle($1, $2, amount => $3)",
                &[&WALLETS[wallet], &id, &amount],
            )
            .unwrap();
        self.add(wallet, &name, amount);
    }

    /// Erases somebody in one wallet or in both.
    fn erase(&mut self) {
        let (name, place) = (PERSONS[self.one_of(4)], self.one_of(3));
        let wallet = WALLETS.get(place).copied().unwrap_or("*");
        let row = self
            .client
            .query_one(
                "SELECT pseudonym FROM wallet.erase_user($1, $2)",
                &[&name, &wallet],
            )
            .unwrap();
        let pseudonym: Option<String> = row.get(0);
        for number in (0..2).filter(|number| wallet == "*" || *number == place) {
            let old = (number, name.to_owned());
            if let Some(used) = self.used.remove(&old) {
                let pseudonym = pseudonym.clone().expect("a pseudonym");
                self.used.insert((number, pseudonym), used);
            }
            for hold in &mut self.holds {
                if (hold.0, hold.1.as_str()) == (number, name) {
                    hold.1 = pseudonym.clone().expect("a pseudonym");
                }
            }
        }
    }

    fn keep_house(&mut self) {
        let sql = match self.one_of(3) {
            0 => "SELECT wallet.roll_up(now() + interval '1 day')",
            1 => "SELECT wallet.archive('many', now(), 7)",
            _ => "SELECT wallet.archive('one', now(), 5)",
        };
        self.client.batch_execute(sql).unwrap();
    }

    fn check(&mut self) {
        for (number, wallet) in WALLETS.iter().enumerate() {
            audit(&mut self.client, wallet);
            let wrong = self
                .client
                .query(
                    "SELECT \"check\", detail FROM wallet.verify($1, $2) WHERE NOT ok",
                    &[wallet, &self.digest],
                )
                .unwrap();
            let wrong: Vec<(String, String)> =
                wrong.iter().map(|row| (row.get(0), row.get(1))).collect();
            assert!(wrong.is_empty(), "{wallet}: {wrong:?}");
            let rows = self
                .client
                .query(
                    "SELECT user_id, sum(cost - refunded) FROM wallet.usage_daily WHERE wallet = $1 GROUP BY 1",
                    &[wallet],
                )
                .unwrap();
            let reported: BTreeMap<String, Decimal> = rows
                .iter()
                .map(|row| (row.get(0), row.get(1)))
                .filter(|(_, cost): &(String, Decimal)| !cost.is_zero())
                .collect();
            let expected: BTreeMap<String, Decimal> = self
                .used
                .iter()
                .filter(|((of, _), used)| *of == number && !used.is_zero())
                .map(|((_, name), used)| (name.clone(), *used))
                .collect();
            assert_eq!(reported, expected, "{wallet}");
        }
    }
}

#[test]
fn erased_persons_keep_their_sums_and_proofs() {
    let seed = Seed::of("erased_persons_keep_their_sums_and_proofs");
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, lanes) in WALLETS.into_iter().zip([1, 3]) {
        create(&mut client, wallet, lanes, &[], dec("100000"));
        for limit in [
            format!("SELECT wallet.set_limit('{wallet}', {MOST}, 'month', 'user')"),
            format!("SELECT wallet.set_limit('{wallet}', 60, 'month', 'user', 'ann@example.com')"),
            format!("SELECT wallet.set_limit('{wallet}', 5000, 'lifetime', 'tag:end_user')"),
        ] {
            client.query_one(&limit, &[]).unwrap();
        }
    }
    let digest = client
        .query_one("SELECT wallet.digest()", &[])
        .unwrap()
        .get(0);
    let mut run = Run {
        client,
        seed,
        used: Used::new(),
        charges: Vec::new(),
        holds: Vec::new(),
        digest,
    };
    for step in 0..scale(80) {
        match run.seed.below(20) {
            0..=8 => run.charge(step),
            9..=10 => run.retry(),
            11 => run.refund(),
            12..=13 => run.hold(),
            14..=15 => run.settle(),
            16..=17 => run.erase(),
            _ => run.keep_house(),
        }
        if step % 20 == 19 {
            run.check();
        }
    }
    run.check();
}
