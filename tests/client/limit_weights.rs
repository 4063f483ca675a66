//! Weighted metrics beside a plain model: what charges, settlements and refunds count while a limit
//! is there, what a limit counts that is made afterwards, and what it counts with other weights.

use std::collections::BTreeMap;

use postgres::Client;
use wallet_tests::{Database, Decimal, Seed, audit, create, dec, price, scale};

const METERS: [&str; 5] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "images",
    "gpu_seconds",
];
/// What a metric may count in addition.
const TOTALS: [&str; 2] = ["requests", "tokens"];
const USERS: [&str; 2] = ["ann", "ben"];

/// One, in units of a weight and of a quantity.
const ONE: i128 = 1_000_000_000_000;

/// Meters and their weights or quantities, in units of 10^-12.
type Numbers = BTreeMap<&'static str, i128>;

/// An entry of the ledger as limits count it.
struct Entry {
    user: usize,
    used: Numbers,
}

/// The sum of weight times quantity, rounded up to a unit.
fn weighed(weights: &Numbers, used: &Numbers) -> i128 {
    let sum: i128 = weights
        .iter()
        .map(|(meter, weight)| weight * used.get(meter).copied().unwrap_or(0))
        .sum();
    (sum + ONE - 1) / ONE
}

fn text(units: i128) -> String {
    format!("{}.{:012}", units / ONE, units % ONE)
}

/// A JSON object of the numbers, with all their decimals.
fn object(numbers: &Numbers) -> String {
    let members = numbers.iter();
    let members = members.map(|(meter, units)| format!("\"{meter}\": {}", text(*units)));
    format!("{{{}}}", members.collect::<Vec<_>>().join(", "))
}

/// A number of 1 to `most` digits, each length as likely as the others.
fn number(seed: &mut Seed, most: u64) -> i128 {
    let digits = 1 + seed.below(most) as u32;
    1 + i128::from(seed.below(10_u64.pow(digits) - 1))
}

fn weights(seed: &mut Seed) -> Numbers {
    let mut weights = Numbers::new();
    for meter in METERS.iter().chain(&TOTALS) {
        if seed.below(2) == 0 {
            weights.insert(meter, number(seed, 15));
        }
    }
    if weights.is_empty() {
        weights.insert("images", ONE);
    }
    weights
}

/// The usage of a request, and what limits count of it apart from the request itself.
fn used(seed: &mut Seed) -> (String, Numbers) {
    let mut used = Numbers::new();
    for meter in METERS {
        if seed.below(2) == 0 {
            let quantity = match meter {
                "gpu_seconds" => number(seed, 11),
                _ => i128::from(seed.below(5000)) * ONE,
            };
            used.insert(meter, quantity);
        }
    }
    used.entry("output_tokens").or_insert(ONE);
    let numbers = object(&used).replace(".000000000000", "");
    let usage = numbers.replacen('{', "{\"model\": \"m\", ", 1);
    let of_tokens = |(meter, _): &(&&str, &i128)| meter.ends_with("_tokens");
    let tokens = used.iter().filter(of_tokens).map(|(_, units)| units).sum();
    used.insert("tokens", tokens);
    (usage, used)
}

fn set_metric(client: &mut Client, weights: &Numbers) {
    let sql = format!("SELECT wallet.set_metric('points', '{}')", object(weights));
    client.batch_execute(&sql).expect("set_metric");
}

fn set_limit(client: &mut Client, wallet: &str, period: &str) {
    let sql = format!(
        "SELECT wallet.set_limit('{wallet}', 9e15, '{period}', scope => 'user', metric => 'points')"
    );
    client.batch_execute(&sql).expect("set_limit");
}

/// The used quantity of a user in the limit of that period.
fn counted(client: &mut Client, wallet: &str, period: &str, user: usize) -> Decimal {
    let sql = "SELECT coalesce(sum(used), 0), coalesce(sum(held), 0) FROM wallet.limits_status
                WHERE wallet = $1 AND period = $2 AND subject = $3";
    let row = client
        .query_one(sql, &[&wallet, &period, &USERS[user]])
        .expect("limits_status");
    assert_eq!(row.get::<_, Decimal>(1), dec("0"), "nothing is held");
    row.get(0)
}

fn compare(client: &mut Client, wallet: &str, period: &str, entries: &[Entry], weights: &Numbers) {
    for user in 0..USERS.len() {
        let own = entries.iter().filter(|entry| entry.user == user);
        let expected: i128 = own.map(|entry| weighed(weights, &entry.used)).sum();
        assert_eq!(
            counted(client, wallet, period, user),
            dec(&text(expected)),
            "{period} {user}: {}",
            object(weights)
        );
    }
}

/// Books something for a random user, and adds what limits count of it.
fn business(client: &mut Client, seed: &mut Seed, wallet: &str, entries: &mut Vec<Entry>) {
    let user = seed.below(2) as usize;
    let name = USERS[user];
    let mut add = |mut used: Numbers, requests: i128| {
        used.insert("requests", requests * ONE);
        entries.push(Entry { user, used });
    };
    let (usage, parts) = used(seed);
    let sql = match seed.below(5) {
        0 => {
            add(Numbers::new(), 1);
            format!("SELECT wallet.charge('{wallet}', amount => 1, user_id => '{name}')")
        }
        1 => {
            // Usage may say how many requests it is.
            let usage = usage.replacen('{', "{\"requests\": 3, ", 1);
            add(parts, 3);
            format!("SELECT wallet.charge('{wallet}', '{usage}', user_id => '{name}')")
        }
        2 => {
            // A refund returns nothing but money.
            add(parts, 1);
            format!(
                "SELECT wallet.refund('{wallet}', entry_id)
                   FROM wallet.charge('{wallet}', '{usage}', user_id => '{name}')"
            )
        }
        3 => {
            // The request counts once, with the last part of the settlement.
            let (last, rest) = used(seed);
            add(parts, 0);
            add(rest, 1);
            format!(
                "SELECT wallet.settle('{wallet}', hold_id, usage => '{usage}', final => false),
                        wallet.settle('{wallet}', hold_id, usage => '{last}')
                   FROM wallet.hold('{wallet}', usage => '{usage}', user_id => '{name}')"
            )
        }
        _ => {
            add(parts, 1);
            format!("SELECT wallet.charge('{wallet}', '{usage}', user_id => '{name}')")
        }
    };
    client
        .batch_execute(&sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

#[test]
fn a_weighted_metric_counts_what_the_model_counts() {
    let mut seed = Seed::of("a_weighted_metric_counts_what_the_model_counts");
    let database = Database::new();
    let mut client = database.connect();
    for meter in METERS.iter().chain(&["requests"]) {
        price(&mut client, "m", meter, dec("0.000001"));
    }
    for round in 0..scale(12) {
        let wallet = format!("w{round}");
        let lanes = if seed.below(2) == 0 { 4 } else { 1 };
        create(&mut client, &wallet, lanes, &[], dec("1000000"));
        let (first, second) = (weights(&mut seed), weights(&mut seed));
        set_metric(&mut client, &first);
        set_limit(&mut client, &wallet, "lifetime");
        let mut entries = Vec::new();
        for _ in 0..15 {
            business(&mut client, &mut seed, &wallet, &mut entries);
        }
        compare(&mut client, &wallet, "lifetime", &entries, &first);
        set_limit(&mut client, &wallet, "rolling 5 days");
        compare(&mut client, &wallet, "rolling 5 days", &entries, &first);
        // Other weights reach the limits that are set again, and no others.
        set_metric(&mut client, &second);
        business(&mut client, &mut seed, &wallet, &mut entries);
        compare(&mut client, &wallet, "lifetime", &entries, &first);
        set_limit(&mut client, &wallet, "lifetime");
        compare(&mut client, &wallet, "lifetime", &entries, &second);
        business(&mut client, &mut seed, &wallet, &mut entries);
        compare(&mut client, &wallet, "lifetime", &entries, &second);
        compare(&mut client, &wallet, "rolling 5 days", &entries, &first);
        audit(&mut client, &wallet);
    }
}
