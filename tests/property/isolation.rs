//! Concurrent transactions of all isolation levels, with savepoints that are kept or rolled back:
//! random calls on the same wallets, shared keys, changing rules. Every entry is an acknowledged
//! one and vice versa. Each key has booked once and always returns that result, and no call fails
//! with an unexpected error.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use postgres::{Client, Error};
use uuid::Uuid;
use wallet_tests::{
    Database, Decimal, Seed, audit, balance, create, crowd, dec, scale, state_of, together,
};

const CONNECTIONS: usize = 8;
const WALLETS: [(&str, i32); 3] = [("one", 1), ("four", 4), ("calm", 1)];
const KEYS: u64 = 60;
const LEVELS: [&str; 4] = [
    "READ COMMITTED",
    "REPEATABLE READ",
    "REPEATABLE READ",
    "SERIALIZABLE",
];

/// The effect of a call, which is valid if its transaction commits.
enum Done {
    Booked(&'static str, Decimal, Uuid),
    Keyed(String, Uuid),
    Replayed(String, Uuid),
    Hold(&'static str, Uuid),
    Charge(&'static str, Uuid),
}

/// The committed answers that a connection received.
#[derive(Default)]
struct Told {
    booked: HashMap<(&'static str, Uuid), Decimal>,
    keyed: Vec<(String, Uuid)>,
    replayed: Vec<(String, Uuid)>,
    holds: Vec<(&'static str, Uuid)>,
    charges: Vec<(&'static str, Uuid)>,
}

impl Told {
    fn note(&mut self, done: Done) {
        match done {
            Done::Booked(wallet, amount, id) => {
                let before = self.booked.insert((wallet, id), amount);
                assert!(before.is_none(), "{id} was acknowledged twice");
            }
            Done::Keyed(name, id) => self.keyed.push((name, id)),
            Done::Replayed(name, id) => self.replayed.push((name, id)),
            Done::Hold(wallet, id) => self.holds.push((wallet, id)),
            Done::Charge(wallet, id) => self.charges.push((wallet, id)),
        }
    }
}

fn pick<T: Copy>(seed: &mut Seed, from: &[T]) -> Option<T> {
    (!from.is_empty()).then(|| from[seed.below(from.len() as u64) as usize])
}

/// A name without digits, which might look like card data.
fn letters(number: u64) -> String {
    (0..16)
        .map(|place| char::from(b'a' + (number >> (4 * place) & 15) as u8))
        .collect()
}

/// A call with one of the shared keys, each of which has one request.
fn keyed(
    client: &mut Client,
    seed: &mut Seed,
    wallet: &'static str,
    call: &str,
) -> Result<Vec<Done>, Error> {
    let number = seed.below(KEYS);
    let amount = Seed::of_value(number).cents(1, 500);
    let key = format!("key {number}");
    let name = format!("{call} {wallet} {key}");
    let sql = match call {
        "charge" => {
            "SELECT entry_id, replayed FROM wallet.charge($1, amount => $2, idempotency_key => $3, user_id => 'ann')"
        }
        "fund" => "SELECT entry_id, replayed FROM wallet.fund($1, $2, idempotency_key => $3)",
        _ => {
            "SELECT hold_id, replayed FROM wallet.hold($1, $2, idempotency_key => $3, user_id => 'ann')"
        }
    };
    let row = client.query_one(sql, &[&wallet, &amount, &key])?;
    let id: Uuid = row.get(0);
    if row.get(1) {
        return Ok(vec![Done::Replayed(name, id)]);
    }
    let did = match call {
        "charge" => Done::Booked(wallet, -amount, id),
        "fund" => Done::Booked(wallet, amount, id),
        _ => Done::Hold(wallet, id),
    };
    Ok(vec![Done::Keyed(name, id), did])
}

/// Three charges in one call, two of which can be booked at once.
fn batch(client: &mut Client, seed: &mut Seed, wallet: &'static str) -> Result<Vec<Done>, Error> {
    let amount = seed.cents(1, 100);
    let rows = client.query(
        "SELECT entry_id, sqlstate
           FROM wallet.charge_batch($1, jsonb_build_array(
                    jsonb_build_object('amount', $2::numeric),
                    jsonb_build_object('amount', $2::numeric, 'user_id', 'ann'),
                    jsonb_build_object('amount', $2::numeric, 'idempotency_key', $3::text)), on_error => 'skip')",
        &[&wallet, &amount, &letters(seed.number())],
    )?;
    let booked = rows.iter().filter_map(|row| {
        let Some(state) = row.get::<_, Option<String>>(1) else {
            return Some(Done::Booked(wallet, -amount, row.get(0)));
        };
        let known = ["WL001", "WL002", "WL004", "40001", "40P01"];
        assert!(known.contains(&&*state), "{state}");
        None
    });
    Ok(booked.collect())
}

/// Makes a random call, one that moves money or another. Returns its effects.
fn call(client: &mut Client, seed: &mut Seed, told: &Told) -> Result<Vec<Done>, Error> {
    let wallet = WALLETS[seed.below(3) as usize].0;
    let other = WALLETS[seed.below(3) as usize].0;
    let amount = seed.cents(1, 900);
    Ok(match seed.below(110) {
        0..25 => {
            let user = ["ann", "bob"][seed.below(2) as usize];
            let id = client
                .query_one(
                    "SELECT entry_id FROM wallet.charge($1, amount => $2, user_id => $3)",
                    &[&wallet, &amount, &user],
                )?
                .get(0);
            vec![Done::Booked(wallet, -amount, id), Done::Charge(wallet, id)]
        }
        25..45 => keyed(client, seed, wallet, "charge")?,
        45..52 => keyed(client, seed, wallet, "fund")?,
        52..58 => {
            let amount = amount + amount;
            let ends = seed.below(3) == 0;
            let row = client.query_one(
                "SELECT entry_id FROM wallet.fund($1, $2, expires_at => CASE WHEN $3 THEN now() + interval '1 day' END)",
                &[&wallet, &amount, &ends],
            )?;
            vec![Done::Booked(wallet, amount, row.get(0))]
        }
        58..61 => keyed(client, seed, wallet, "hold")?,
        61..65 => {
            let row = client.query_one(
                "SELECT hold_id FROM wallet.hold($1, $2, ttl => '1 second', user_id => 'bob')",
                &[&wallet, &amount],
            )?;
            vec![Done::Hold(wallet, row.get(0))]
        }
        65..75 => match pick(seed, &told.holds) {
            None => Vec::new(),
            Some((wallet, id)) => {
                let last = seed.below(3) != 0;
                let id = client
                    .query_one(
                        "SELECT entry_id FROM wallet.settle($1, $2, amount => $3, final => $4)",
                        &[&wallet, &id, &amount, &last],
                    )?
                    .get(0);
                vec![Done::Booked(wallet, -amount, id), Done::Charge(wallet, id)]
            }
        },
        75..78 => {
            if let Some((wallet, id)) = pick(seed, &told.holds) {
                client.query_one("SELECT wallet.void($1, $2)", &[&wallet, &id])?;
            }
            Vec::new()
        }
        78..84 => match pick(seed, &told.charges) {
            None => Vec::new(),
            Some((wallet, id)) => {
                let sql = "SELECT amount, entry_id FROM wallet.refund($1, $2)";
                let row = client.query_one(sql, &[&wallet, &id])?;
                vec![Done::Booked(wallet, row.get(0), row.get(1))]
            }
        },
        84..89 if wallet != other => {
            let sql = "SELECT entry_id FROM wallet.transfer($1, $2, $3)";
            let out: Uuid = client.query_one(sql, &[&wallet, &other, &amount])?.get(0);
            let sql = "SELECT related_id FROM wallet.entries WHERE wallet = $1 AND entry_id = $2";
            let into = client.query_one(sql, &[&wallet, &out])?.get(0);
            vec![
                Done::Booked(wallet, -amount, out),
                Done::Booked(other, amount, into),
            ]
        }
        89..93 => batch(client, seed, wallet)?,
        _ => {
            change(client, seed, wallet)?;
            Vec::new()
        }
    })
}

/// A call that moves no money.
fn change(client: &mut Client, seed: &mut Seed, wallet: &str) -> Result<(), Error> {
    match seed.below(17) {
        0..3 => {
            let most = 1 + seed.below(40) as i64;
            let sql = "SELECT wallet.archive($1, statement_timestamp(), $2)";
            client.query_one(sql, &[&wallet, &most])?;
        }
        3..5 if wallet != "calm" => {
            let lanes = 1 + seed.below(6) as i32;
            client.query_one("SELECT wallet.set_lanes($1, $2)", &[&wallet, &lanes])?;
        }
        5..8 => {
            let max = seed.cents(2000, 90_000);
            let period = ["day", "lifetime", "rolling 5 hours"][seed.below(3) as usize];
            let scope = ["user", "wallet"][seed.below(2) as usize];
            let sql = "SELECT wallet.set_limit($1, $2, $3, scope => $4)";
            client.query_one(sql, &[&wallet, &max, &period, &scope])?;
        }
        8..10 => {
            let sql = "SELECT wallet.update_wallet($1, low_balance => ARRAY[$2::numeric])";
            client.query_one(sql, &[&wallet, &seed.cents(0, 3000)])?;
        }
        10..11 => {
            client.query_one("SELECT wallet.freeze_wallet($1)", &[&wallet])?;
        }
        11..15 => {
            client.query_one("SELECT wallet.unfreeze_wallet($1)", &[&wallet])?;
        }
        _ => {
            let sql = "SELECT * FROM wallet.check_limits($1, user_id => 'ann', amount => 1)";
            client.query(sql, &[&wallet])?;
        }
    }
    Ok(())
}

/// Whether the transaction must be retried. Panics on errors that no call may raise.
fn is_lost(error: &Error) -> bool {
    let state = state_of(error);
    let refusals = ["WL001", "WL002", "WL004", "WL008", "WL012"];
    let races = ["40001", "40P01"].contains(&&*state);
    assert!(races || refusals.contains(&&*state), "{error:?}");
    races
}

/// Some calls in a transaction. Returns their effects if it was committed.
fn transaction(client: &mut Client, seed: &mut Seed, told: &Told) -> Vec<Done> {
    let run = |sql: &str, client: &mut Client| client.batch_execute(sql).expect(sql);
    let level = LEVELS[seed.below(4) as usize];
    run(&format!("BEGIN ISOLATION LEVEL {level}"), client);
    if seed.below(2) == 0 {
        // Takes the snapshot now, while others continue.
        run("SELECT 1", client);
        std::thread::sleep(Duration::from_millis(seed.below(8)));
    }
    let mut done = Vec::new();
    for _ in 0..1 + seed.below(4) {
        let behind = seed.below(2) == 0;
        if behind {
            run("SAVEPOINT s", client);
        }
        match call(client, seed, told) {
            Ok(_) if behind && seed.below(3) == 0 => run("ROLLBACK TO s; RELEASE s", client),
            Ok(more) => done.extend(more),
            Err(error) if is_lost(&error) || !behind => {
                run("ROLLBACK", client);
                return Vec::new();
            }
            Err(_) => run("ROLLBACK TO s", client),
        }
    }
    if seed.below(10) == 0 {
        run("ROLLBACK", client);
        return Vec::new();
    }
    match client.batch_execute("COMMIT") {
        Ok(()) => done,
        Err(error) => {
            assert!(is_lost(&error), "{error:?}");
            Vec::new()
        }
    }
}

/// Each key has made one entry, which is its answer.
fn check_keys(all: &[Told]) {
    let mut first: HashMap<&str, Uuid> = HashMap::new();
    for (name, id) in all.iter().flat_map(|told| &told.keyed) {
        let before = first.insert(name, *id);
        assert!(before.is_none(), "{name} was booked twice");
    }
    for (name, id) in all.iter().flat_map(|told| &told.replayed) {
        assert_eq!(first.get(name.as_str()), Some(id), "{name}");
    }
}

#[test]
fn each_key_books_once_under_mixed_isolation_levels() {
    let _crowd = crowd();
    let seed = Seed::of("each_key_books_once_under_mixed_isolation_levels");
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, lanes) in WALLETS {
        create(&mut client, wallet, lanes, &[dec("20")], dec("100"));
    }
    let all = together(&database, CONNECTIONS, |number, client| {
        let (mut seed, mut told) = (seed.thread(number), Told::default());
        let storage = ["auto", "auto", "spi"][number % 3];
        client
            .batch_execute(&format!(
                "SET wallet.storage = {storage}; SET deadlock_timeout = '50ms'; SET statement_timeout = '60s'"
            ))
            .expect("SET");
        for _ in 0..scale(120) {
            for done in transaction(client, &mut seed, &told) {
                told.note(done);
            }
        }
        told
    });
    check_keys(&all);
    for (wallet, _) in WALLETS {
        let told: BTreeMap<Uuid, Decimal> = all
            .iter()
            .flat_map(|told| &told.booked)
            .filter(|((of, _), _)| *of == wallet)
            .map(|((_, id), amount)| (*id, *amount))
            .collect();
        let sql = "SELECT entry_id, amount FROM wallet.entries WHERE wallet = $1
                    ORDER BY created_at OFFSET 1";
        let booked: BTreeMap<Uuid, Decimal> = client
            .query(sql, &[&wallet])
            .expect("entries")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        assert_eq!(booked, told, "{wallet}");
        let sum: Decimal = told.values().sum();
        assert_eq!(balance(&mut client, wallet), dec("100") + sum, "{wallet}");
        audit(&mut client, wallet);
        let sql = "SELECT format('%s: %s', \"check\", detail) FROM wallet.verify($1) WHERE NOT ok";
        let wrong: Vec<String> = client
            .query(sql, &[&wallet])
            .expect("verify")
            .iter()
            .map(|row| row.get(0))
            .collect();
        assert!(wrong.is_empty(), "{wallet}: {wrong:?}");
    }
}
