//! All kinds of limits on one wallet, with 16 connections that charge, hold, settle, void, let holds
//! expire and decide on approvals. No hard limit is exceeded at any time, and at the end each window
//! has what the ledger and a plain model say.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use postgres::Client;
use wallet_tests::{Database, Decimal, Seed, create, crowd, dec, price, scale, state_of, together};

const USERS: [&str; 4] = ["u0", "u1", "u2", "u3"];
const TEAMS: [&str; 2] = ["t0", "t1"];
const MODELS: [&str; 2] = ["m0", "m1"];

/// A limit: the arguments of `set_limit`, its maximum, and how the model counts it.
struct Kind {
    sql: &'static str,
    max: i64,
    /// The subject whose window counts a use; `None` if the limit does not apply.
    subject: fn(&Use) -> Option<String>,
    /// The quantity that the limit counts of a use.
    quantity: fn(&Use) -> Decimal,
    is_hard: bool,
}

/// A use, from the ledger. The models cost 0.001 a token.
struct Use {
    user: String,
    team: String,
    model: String,
    amount: Decimal,
}

impl Use {
    fn tokens(&self) -> Decimal {
        self.amount * dec("1000")
    }

    fn pair(&self) -> String {
        format!("[\"{}\",\"{}\"]", self.user, self.model)
    }
}

/// The limits that count use.
const KINDS: &[Kind] = &[
    Kind {
        sql: "'lifetime'",
        max: 90,
        subject: |_| Some("*".to_owned()),
        quantity: |one| one.amount,
        is_hard: true,
    },
    Kind {
        sql: "'lifetime', scope => 'user'",
        max: 25,
        // The limit of u1 replaces it.
        subject: |one| (one.user != "u1").then(|| one.user.clone()),
        quantity: |one| one.amount,
        is_hard: true,
    },
    Kind {
        sql: "'lifetime', scope => 'user', subject => 'u1', mode => 'approve'",
        max: 10,
        subject: |one| (one.user == "u1").then(|| one.user.clone()),
        quantity: |one| one.amount,
        is_hard: false,
    },
    Kind {
        sql: "'lifetime', scope => 'model+user', metric => 'tokens'",
        max: 14_000,
        subject: |one| Some(one.pair()),
        quantity: Use::tokens,
        is_hard: true,
    },
    Kind {
        sql: "'lifetime', scope => 'user+model', subject => '[\"u0\", \"m*\"]'",
        max: 20,
        subject: |one| (one.user == "u0").then(|| "[\"u0\",\"m*\"]".to_owned()),
        quantity: |one| one.amount,
        is_hard: true,
    },
    Kind {
        sql: "'lifetime', scope => 'team+user+model', subject => '[\"t0\", \"*\", \"m0\"]', metric => 'requests'",
        max: 15,
        subject: |one| {
            (one.team == "t0" && one.model == "m0")
                .then(|| format!("[\"{}\",\"t0\",\"m0\"]", one.user))
        },
        quantity: |_| Decimal::ONE,
        is_hard: true,
    },
    Kind {
        sql: "'lifetime', scope => 'team', metric => 'work', mode => 'soft'",
        max: 1000,
        subject: |one| Some(one.team.clone()),
        quantity: |one| one.tokens() * dec("2") + dec("5"),
        is_hard: false,
    },
    Kind {
        sql: "'day', metric => 'input_tokens', anchor_time => '05:30', rollover_max => 80000",
        max: 80_000,
        subject: |_| Some("*".to_owned()),
        quantity: Use::tokens,
        is_hard: true,
    },
];

/// The limits on open holds and on single requests: arguments and maximum.
const OTHERS: [(&str, &str); 3] = [
    ("'open', metric => 'requests'", "7"),
    ("'open', scope => 'user'", "2.5"),
    ("'request'", "1.5"),
];

fn prepare(client: &mut Client, lanes: i32) -> Vec<uuid::Uuid> {
    create(client, "acme", lanes, &[], dec("1000"));
    for model in MODELS {
        price(client, model, "input_tokens", dec("0.001"));
    }
    let sql = "SELECT wallet.set_metric('work', '{\"input_tokens\": 2, \"requests\": 5}')";
    client.execute(sql, &[]).expect("set_metric");
    for (arguments, max) in OTHERS {
        let sql = format!("SELECT wallet.set_limit('acme', {max}, {arguments})");
        client.execute(&sql, &[]).expect("set_limit");
    }
    let limits = KINDS.iter().map(|kind| {
        let sql = format!(
            "SELECT wallet.set_limit('acme', {}, {})",
            kind.max, kind.sql
        );
        client.query_one(&sql, &[]).expect(kind.sql).get(0)
    });
    limits.collect()
}

/// One random use: a charge, or a hold and its end. A refusal by a limit is one of the outcomes.
fn act(client: &mut Client, seed: &mut Seed) {
    let pick =
        |seed: &mut Seed, from: &[&'static str]| from[seed.below(from.len() as u64) as usize];
    let (user, team, model) = (pick(seed, &USERS), pick(seed, &TEAMS), pick(seed, &MODELS));
    let tokens = 1 + seed.below(1700);
    let usage = |tokens: u64| format!("'{{\"model\": \"{model}\", \"input_tokens\": {tokens}}}'");
    if seed.below(2) == 0 {
        let sql = format!(
            "SELECT wallet.charge('acme', {}, user_id => '{user}', team => '{team}')",
            usage(tokens)
        );
        if let Err(error) = client.execute(&sql, &[]) {
            assert_eq!(state_of(&error), "WL002", "{error:?}");
        }
        return;
    }
    let on_expiry = pick(seed, &["release", "charge"]);
    let sql = format!(
        "SELECT hold_id, status FROM wallet.hold('acme', usage => {}, user_id => '{user}', team => '{team}',
                ttl => '400 ms', on_expiry => '{on_expiry}')",
        usage(tokens)
    );
    let row = match client.query_one(&sql, &[]) {
        Ok(row) => row,
        Err(error) => return assert_eq!(state_of(&error), "WL002", "{error:?}"),
    };
    let (hold, status): (uuid::Uuid, String) = (row.get(0), row.get(1));
    if status == "waiting" {
        assert_eq!(user, "u1", "only this user needs approval");
        let call = pick(seed, &["approve_hold", "approve_hold", "deny_hold"]);
        let sql = format!("SELECT status FROM wallet.{call}('acme', $1)");
        match client.query_one(&sql, &[&hold]) {
            Ok(row) if row.get::<_, &str>(0) == "voided" => return,
            Ok(_) => {}
            // It has expired meanwhile.
            Err(error) => return assert_eq!(state_of(&error), "WL008", "{error:?}"),
        }
    }
    let call = match seed.below(6) {
        // Dies.
        0 => return,
        1 => format!("SELECT wallet.void('acme', '{hold}')"),
        _ => format!(
            "SELECT wallet.settle('acme', '{hold}', usage => {})",
            usage(1 + seed.below(tokens))
        ),
    };
    if let Err(error) = client.execute(&call, &[]) {
        // It has expired meanwhile, and others have used what it reserved.
        assert!(
            ["WL002", "WL008"].contains(&state_of(&error).as_str()),
            "{error:?}"
        );
    }
}

/// Watches that no limit is exceeded until `done`.
fn watch(client: &mut Client, done: &AtomicBool) -> usize {
    let mut looks = 0;
    while !done.load(Ordering::SeqCst) {
        let sql = "SELECT scope, subject, period, used, held, max FROM wallet.limits_status
                    WHERE mode = 'hard' AND used + held > max";
        let over = client.query(sql, &[]).expect("limits_status");
        let over: Vec<_> = over
            .iter()
            .map(|row| {
                let names: [String; 3] = [row.get(0), row.get(1), row.get(2)];
                let numbers: [Decimal; 3] = [row.get(3), row.get(4), row.get(5)];
                (names, numbers)
            })
            .collect();
        assert!(over.is_empty(), "{over:?}");
        looks += 1;
    }
    looks
}

/// Ends the watch when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// The uses in the ledger. A charge of an expired hold has what the hold reserved.
fn uses(client: &mut Client) -> Vec<Use> {
    let sql = "SELECT user_id, team, model, -amount FROM wallet.entries WHERE wallet = 'acme' AND kind = 'charge'";
    let rows = client.query(sql, &[]).expect("entries");
    let uses = rows.iter().map(|row| Use {
        user: row.get(0),
        team: row.get(1),
        model: row.get(2),
        amount: row.get(3),
    });
    uses.collect()
}

fn compare(client: &mut Client, limits: &[uuid::Uuid]) {
    let uses = uses(client);
    for (kind, limit) in KINDS.iter().zip(limits) {
        let mut expected: BTreeMap<String, Decimal> = BTreeMap::new();
        for one in &uses {
            if let Some(subject) = (kind.subject)(one) {
                *expected.entry(subject).or_default() += (kind.quantity)(one);
            }
        }
        let sql =
            "SELECT subject, used, held FROM wallet.limits_status WHERE limit_id = $1 AND used > 0";
        let rows = client.query(sql, &[limit]).expect("limits_status");
        let counted = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(expected, counted, "{}", kind.sql);
        for (subject, used) in expected {
            let is_over = used > Decimal::from(kind.max);
            assert!(!kind.is_hard || !is_over, "{} {subject}: {used}", kind.sql);
        }
    }
}

#[test]
fn sixteen_connections_never_exceed_any_kind_of_limit() {
    let _turn = crowd();
    let seed = Seed::of("sixteen_connections_never_exceed_any_kind_of_limit");
    for lanes in [1, 4] {
        let database = Database::new();
        let mut client = database.connect();
        let limits = prepare(&mut client, lanes);
        let done = AtomicBool::new(false);
        let looks = std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&mut database.connect(), &done));
            // Set also if an assertion fails, or the watch would not end.
            let end = End(&done);
            together(&database, 16, |number, client| {
                let mut seed = seed.thread(number + 100 * lanes as usize);
                for _ in 0..scale(40) {
                    act(client, &mut seed);
                }
            });
            drop(end);
            watching.join().expect("no limit is exceeded")
        });
        assert!(looks > 3, "{looks} looks");
        std::thread::sleep(std::time::Duration::from_millis(450));
        client
            .execute("SELECT count(*) FROM wallet.maintain()", &[])
            .expect("maintain");
        compare(&mut client, &limits);
        let sql = "SELECT count(*) FROM wallet.limits_status WHERE held <> 0";
        let held: i64 = client.query_one(sql, &[]).expect("limits_status").get(0);
        assert_eq!(held, 0, "nothing is held at the end");
        let sql = "SELECT count(*) FILTER (WHERE NOT ok) FROM wallet.verify('acme')";
        let broken: i64 = client.query_one(sql, &[]).expect("verify").get(0);
        assert_eq!(broken, 0, "verify");
        let requests: i64 = client
            .query_one(
                "SELECT count(*) FROM wallet.entries WHERE kind = 'charge'",
                &[],
            )
            .expect("entries")
            .get(0);
        println!("{lanes} lanes: {requests} uses, {looks} looks");
        assert!(requests > 30, "{requests} uses");
    }
}
