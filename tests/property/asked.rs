//! `check_limits` agrees with `charge` and `hold`. For random wallets (grants due and expired, expired holds,
//! members, keys, scoped credit, limits of all kinds, top-up rules) the first says `allowed`
//! exactly if the second, made at once in the same snapshot, is booked. The first reason that it
//! gives is the SQLSTATE of the refusal.

use postgres::{Client, GenericClient, IsolationLevel};
use wallet_tests::{Database, Seed, scale, state_of};

const USERS: [&str; 3] = ["ann", "bob", "cleo"];
const MODELS: [&str; 3] = ["cheap", "dear", "unknown"];

/// The SQLSTATE of a reason.
pub fn state(reason: &str) -> &'static str {
    match reason {
        "insufficient_funds" => "WL001",
        "limit_exceeded" => "WL002",
        "wallet_not_active" => "WL004",
        "not_permitted" => "WL009",
        // These four are reasons of choose_model alone.
        "no_price" => "WL005",
        "invalid_usage" => "WL007",
        "invalid_amount" => "WL012",
        "no_rate" => "WL015",
        other => panic!("{other} is no reason"),
    }
}

pub fn pick<'a>(seed: &mut Seed, from: &[&'a str]) -> &'a str {
    from[seed.below(from.len() as u64) as usize]
}

pub fn one_in(seed: &mut Seed, n: u64) -> bool {
    seed.below(n) == 0
}

pub fn prices(client: &mut Client) {
    client
        .batch_execute(
            r#"SELECT wallet.set_metric('asked_points', '{"input_tokens": 0.7, "requests": 100}')"#,
        )
        .expect("a weighted metric");
    for (model, price, region, tier) in [
        ("cheap", "1", "NULL", "NULL"),
        ("cheap", "1.1", "'eu'", "NULL"),
        ("cheap", "0.5", "NULL", "'flex'"),
        ("dear", "7", "NULL", "NULL"),
    ] {
        let sql = format!(
            "SELECT wallet.set_price('{model}', 'input_tokens', {price}, per => 1000, region => {region},
                                     service_tier => {tier}, effective_from => '2020-01-01')"
        );
        client.batch_execute(&sql).expect("a price");
    }
}

/// Creates a wallet in a random state. Returns the secrets of its keys.
pub fn wallet(client: &mut Client, seed: &mut Seed, name: &str) -> Vec<String> {
    let mut calls = vec![format!("SELECT wallet.create_wallet('{name}')")];
    let lanes = 1 + seed.below(4);
    if lanes > 1 {
        calls.push(format!("SELECT wallet.set_lanes('{name}', {lanes})"));
    }
    if one_in(seed, 3) {
        calls.push(format!(
            "SELECT wallet.update_wallet('{name}', credit_limit => {})",
            seed.below(5)
        ));
    }
    if one_in(seed, 4) {
        calls.push(format!(
            "SELECT wallet.set_topup_rule('{name}', '{{\"threshold\": 5, \"amount\": 20, \"method\": \"card\"}}')"
        ));
    }
    for _ in 0..seed.below(4) {
        let amount = 1 + seed.below(8);
        let ends = match seed.below(4) {
            0 => "now() + interval '30 milliseconds'",
            1 => "now() + interval '1 hour'",
            _ => "NULL",
        };
        let scope = match seed.below(4) {
            0 => "'{\"models\": [\"dear\"]}'",
            1 => "'{\"services\": [\"chat\"]}'",
            _ => "NULL",
        };
        let priority = 99 + seed.below(3);
        calls.push(format!(
            "SELECT wallet.fund('{name}', {amount}, expires_at => {ends}, scope => {scope}, priority => {priority})"
        ));
    }
    if one_in(seed, 3) {
        let rollover = ["NULL", "0", "2"][seed.below(3) as usize];
        calls.push(format!(
            "SELECT wallet.set_recurring_grant('{name}', {}, period => 'month', rollover_max => {rollover},
                                               expires_after => interval '1 month')",
            1 + seed.below(6)
        ));
    }
    for _ in 0..seed.below(4) {
        let (scope, subject) = match seed.below(9) {
            0 => ("wallet", "*"),
            5 => (
                "user+model",
                pick(
                    seed,
                    &[
                        "*",
                        "[\"ann\", \"*\"]",
                        "[\"*\", \"dear\"]",
                        "[\"a*\", \"d*\"]",
                    ],
                ),
            ),
            6 => ("key+model", "*"),
            7 => (
                "model+team+service",
                pick(seed, &["*", "[\"cheap\", \"*\", \"chat\"]"]),
            ),
            8 => ("tag:job+tag:none", "*"),
            1 => ("user", pick(seed, &["*", "ann"])),
            2 => ("team", pick(seed, &["*", "sales"])),
            3 => ("model", pick(seed, &["*", "dear"])),
            _ => ("tag:job", "*"),
        };
        let period = pick(
            seed,
            &[
                "hour",
                "day",
                "month",
                "lifetime",
                "rolling 5 hours",
                "request",
                "open",
            ],
        );
        let metric = pick(
            seed,
            &[
                "amount",
                "requests",
                "tokens",
                "input_tokens",
                "asked_points",
            ],
        );
        let max = match metric {
            "amount" => seed.below(6),
            "requests" => seed.below(3),
            _ => seed.below(4000),
        };
        let mode = pick(seed, &["hard", "hard", "soft", "approve"]);
        let windows = match period {
            "hour" if one_in(seed, 2) => format!(", rollover_max => {max}"),
            "day" | "month" if one_in(seed, 2) => {
                format!(", rollover_max => {max}, anchor_time => '05:30'")
            }
            _ => String::new(),
        };
        calls.push(format!(
            "SELECT wallet.set_limit('{name}', {max}, '{period}', scope => '{scope}', subject => '{subject}',
                                     metric => '{metric}', mode => '{mode}'{windows})"
        ));
    }
    if one_in(seed, 3) {
        calls.push(format!(
            "SELECT wallet.set_member('{name}', 'ann', role => '{}', team => 'sales')",
            pick(seed, &["member", "viewer", "owner"])
        ));
    }
    if one_in(seed, 5) {
        calls.push(format!(
            "SELECT wallet.update_wallet('{name}', members_only => true)"
        ));
    }
    if one_in(seed, 4) {
        calls.push(format!(
            "SELECT wallet.set_model_rules('{name}', blocked => '{{dear}}', scope => 'user', subject => 'bob')"
        ));
    }
    for call in calls {
        // Calls that the current state does not allow are skipped.
        let _ = client.batch_execute(&call);
    }
    let mut secrets = vec!["wk_none".to_owned()];
    if one_in(seed, 3) {
        let owner = ["NULL", "'ann'"][seed.below(2) as usize];
        let sql = format!("SELECT secret FROM wallet.create_key('{name}', {owner}, 'k')");
        if let Ok(row) = client.query_one(&sql, &[]) {
            secrets.push(row.get(0));
        }
    }
    for _ in 0..seed.below(4) {
        let ttl = pick(seed, &["1 hour", "30 milliseconds", "45 milliseconds"]);
        let _ = client.batch_execute(&format!(
            "SELECT wallet.hold('{name}', amount => {}, user_id => '{}', model => '{}', ttl => '{ttl}', on_expiry => '{}')",
            1 + seed.below(4),
            pick(seed, &USERS),
            pick(seed, &MODELS),
            pick(seed, &["release", "charge"])
        ));
    }
    if one_in(seed, 8) {
        let call = pick(seed, &["freeze_wallet", "close_wallet"]);
        let _ = client.batch_execute(&format!("SELECT wallet.{call}('{name}', 'for a while')"));
    }
    if one_in(seed, 3) {
        // A turn of the recurring grant is due.
        client
            .batch_execute(&format!(
                "UPDATE wallet.recurring_grants SET next_at = now() - interval '1 minute' WHERE wallet_id = '{name}';
                 UPDATE wallet.wallets SET grants_due = least(grants_due, now() - interval '1 minute')
                  WHERE wallet_id = '{name}' AND grants_due IS NOT NULL"
            ))
            .expect("a turn that is due");
    }
    secrets
}

/// The arguments about who asks, and for what.
pub fn who(seed: &mut Seed, secrets: &[String]) -> Vec<String> {
    let mut arguments = Vec::new();
    if seed.below(3) < 2 {
        arguments.push(format!("user_id => '{}'", pick(seed, &USERS)));
    }
    if one_in(seed, 4) {
        arguments.push("team => 'sales'".to_owned());
    }
    if one_in(seed, 4) {
        arguments.push("service => 'chat'".to_owned());
    }
    if one_in(seed, 4) {
        arguments.push("tags => '{\"job\": \"night\"}'".to_owned());
    }
    if one_in(seed, 3) {
        let secret = &secrets[seed.below(secrets.len() as u64) as usize];
        arguments.push(format!("key => '{secret}'"));
    }
    arguments
}

/// The arguments that both calls accept.
fn request(seed: &mut Seed, secrets: &[String]) -> String {
    let mut arguments = who(seed, secrets);
    let model = pick(seed, &MODELS);
    match seed.below(3) {
        0 => {
            arguments.push(format!("amount => {}", seed.cents(0, 900)));
            arguments.push(format!("model => '{model}'"));
        }
        _ => {
            let tokens = seed.below(5000);
            arguments.push(format!(
                "usage => '{{\"model\": \"{model}\", \"input_tokens\": {tokens}}}'"
            ));
            if one_in(seed, 4) {
                arguments.push("region => 'eu'".to_owned());
            }
            if one_in(seed, 4) {
                arguments.push("service_tier => 'flex'".to_owned());
            }
        }
    }
    arguments.join(", ")
}

/// The outcome of a call.
#[derive(Debug, PartialEq)]
enum Outcome {
    Refused(String),
    /// Booked, or held.
    Done,
    /// Held, waiting for approval.
    Waits,
}

/// The prediction of `check_limits` for a charge or a hold.
fn asked(client: &mut impl GenericClient, name: &str, arguments: &str, for_hold: bool) -> Outcome {
    let sql = format!(
        "SELECT allowed, reason FROM wallet.check_limits('{name}', {arguments}, for_hold => {for_hold})"
    );
    let rows = match client.query(&sql, &[]) {
        Ok(rows) => rows,
        Err(error) => return Outcome::Refused(state_of(&error)),
    };
    let refusing = rows.iter().find(|row| {
        // A soft limit allows the request and reports that it is exceeded.
        !row.get::<_, bool>(0)
    });
    let waits = |row: &postgres::Row| row.get::<_, Option<&str>>(1) == Some("approval_required");
    match refusing {
        Some(row) => Outcome::Refused(state(row.get(1)).to_owned()),
        None if rows.iter().any(waits) => Outcome::Waits,
        None => Outcome::Done,
    }
}

#[test]
fn check_limits_predicts_charges_and_holds() {
    let mut seed = Seed::of("check_limits_predicts_charges_and_holds");
    let database = Database::new();
    let mut client = database.connect();
    prices(&mut client);
    let (mut booked, mut waiting) = (0, 0);
    let mut refused = std::collections::BTreeMap::new();
    for round in 0..2000 {
        // Few seeds have no hold that waits for long.
        if round >= scale(120) && waiting > 0 {
            break;
        }
        let name = format!("w{round}");
        let secrets = wallet(&mut client, &mut seed, &name);
        std::thread::sleep(std::time::Duration::from_millis(50));
        for _ in 0..6 {
            let arguments = request(&mut seed, &secrets);
            let (repeatable, for_hold) = (one_in(&mut seed, 2), one_in(&mut seed, 2));
            let mut transaction = client
                .build_transaction()
                .isolation_level(match repeatable {
                    true => IsolationLevel::RepeatableRead,
                    false => IsolationLevel::ReadCommitted,
                })
                .start()
                .expect("a transaction");
            let said = {
                let mut inner = transaction.savepoint("asked").expect("a savepoint");
                let said = asked(&mut inner, &name, &arguments, for_hold);
                inner.rollback().expect("rolled back");
                said
            };
            let mut inner = transaction.savepoint("done").expect("a savepoint");
            let call = ["charge", "hold"][usize::from(for_hold)];
            let call = format!(
                "SELECT to_jsonb(c) ->> 'status' FROM wallet.{call}('{name}', {arguments}) c"
            );
            let happened = match inner.query_one(&call, &[]) {
                Err(error) => Outcome::Refused(state_of(&error)),
                Ok(row) if row.get::<_, Option<&str>>(0) == Some("waiting") => Outcome::Waits,
                Ok(_) => Outcome::Done,
            };
            match &happened {
                Outcome::Refused(_) => inner.rollback().expect("rolled back"),
                _ => inner.commit().expect("released"),
            }
            let keep = one_in(&mut seed, 2);
            match keep {
                true => transaction.commit().expect("committed"),
                false => transaction.rollback().expect("rolled back"),
            }
            assert_eq!(said, happened, "{call}");
            match happened {
                Outcome::Done => booked += 1,
                Outcome::Waits => waiting += 1,
                Outcome::Refused(state) => *refused.entry(state).or_insert(0) += 1,
            }
        }
        let bad = client
            .query(
                "SELECT \"check\", detail FROM wallet.verify($1) WHERE NOT ok",
                &[&name],
            )
            .expect("verify");
        assert!(bad.is_empty(), "{name}: {bad:?}");
    }
    println!("{booked} booked, {waiting} waiting, refused {refused:?}");
    for state in ["WL001", "WL002", "WL004", "WL005", "WL009"] {
        assert!(refused.contains_key(state), "no case of {state}");
    }
    assert!(booked > 0 && waiting > 0);
}
