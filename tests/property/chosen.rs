//! `choose_model` and `charge` agree. For random wallets, rules, limits, usage objects and
//! candidates, a candidate is `allowed` exactly if a charge with that model is booked, at the cost
//! that the row names. The reason is the SQLSTATE of the refusal.

use postgres::{Client, GenericClient, IsolationLevel, Transaction};
use wallet_tests::{Database, Seed, scale, state_of};

use crate::asked::{one_in, pick, prices, state, wallet, who};

/// `foreign` is priced in a currency without a rate, `huge` costs more than an amount can be,
/// `served` has a price of one provider, and `steps` has a price for the meter `steps`.
const MODELS: [&str; 7] = [
    "cheap", "dear", "foreign", "huge", "served", "steps", "unknown",
];

fn more_prices(client: &mut Client) {
    for (model, meter, price, more) in [
        ("foreign", "input_tokens", "1", "currency => 'elsewhere'"),
        (
            "huge",
            "input_tokens",
            "1000000000000000",
            "provider => NULL",
        ),
        ("served", "input_tokens", "0.002", "provider => 'p'"),
        ("steps", "input_tokens", "0.001", "provider => NULL"),
        ("steps", "steps", "0.01", "provider => NULL"),
    ] {
        let sql = format!(
            "SELECT wallet.set_price('{model}', '{meter}', {price}, effective_from => '2020-01-01', {more})"
        );
        client.batch_execute(&sql).expect("a price");
    }
}

/// Rules on usage that cannot be priced as it is, and on models.
fn more_rules(client: &mut Client, seed: &mut Seed, name: &str) {
    let mut calls = Vec::new();
    if !one_in(seed, 3) {
        calls.push("fund('{w}', 30)".to_owned());
    }
    if one_in(seed, 2) {
        let (scope, period) = (
            pick(seed, &["model", "wallet", "user"]),
            pick(seed, &["day", "lifetime"]),
        );
        let max = seed.below(8);
        calls.push(format!(
            "set_limit('{{w}}', {max}, '{period}', scope => '{scope}')"
        ));
    }
    if one_in(seed, 3) {
        calls.push("update_wallet('{w}', unread_usage => 'reject')".to_owned());
    }
    if one_in(seed, 3) {
        let rule = pick(seed, &["unpriced", "price_of:dear", "price_of:foreign"]);
        calls.push(format!("update_wallet('{{w}}', unknown_price => '{rule}')"));
    }
    if one_in(seed, 5) {
        let rule = pick(
            seed,
            &["allowed => '{cheap,p/*,steps}'", "blocked => '{p/*}'"],
        );
        calls.push(format!("set_model_rules('{{w}}', {rule})"));
    }
    for call in calls {
        // A frozen or closed wallet does not allow them.
        let _ = client.batch_execute(&format!("SELECT wallet.{}", call.replace("{w}", name)));
    }
}

/// A usage object without its model and provider.
struct Usage {
    /// The model that the object names.
    model: Option<&'static str>,
    /// The provider that the object names.
    provider: Option<&'static str>,
    /// The other members of the object.
    rest: String,
    /// Whether it is a provider's response. A charge then names its model in an argument.
    is_response: bool,
}

impl Usage {
    fn random(seed: &mut Seed) -> Usage {
        let tokens = seed.below(5000);
        let steps = pick(seed, &["", "", ", \"steps\": 3", ", \"steps\": -1"]);
        if one_in(seed, 4) {
            let new = pick(seed, &["", ", \"new_tokens\": 7"]);
            return Usage {
                model: Some("cheap-2026"),
                provider: None,
                rest: format!(
                    "\"usage\": {{\"prompt_tokens\": {tokens}, \"completion_tokens\": 0, \"total_tokens\": {tokens}{new}}}"
                ),
                is_response: true,
            };
        }
        let cost = pick(seed, &["", ", \"cost\": 0.25"]);
        Usage {
            model: [None, Some("cheap"), Some("served")][seed.below(3) as usize],
            provider: [None, None, Some("p"), Some("q")][seed.below(4) as usize],
            rest: format!("\"input_tokens\": {tokens}{steps}{cost}"),
            is_response: false,
        }
    }

    fn object(&self, model: Option<&str>, provider: Option<&str>) -> String {
        let named = |key: &str, value: Option<&str>| {
            value.map_or(String::new(), |value| format!("\"{key}\": \"{value}\", "))
        };
        let (model, provider) = (named("model", model), named("provider", provider));
        format!("usage => '{{{model}{provider}{}}}'", self.rest)
    }

    /// The argument `usage` of choose_model.
    fn asked(&self) -> String {
        self.object(self.model, self.provider)
    }

    /// The arguments of a charge with another model. A provider serves the model that is named
    /// with it.
    fn charged(&self, model: &str) -> String {
        if self.is_response {
            return format!("{}, model => '{model}'", self.asked());
        }
        let is_served = self.model.is_none_or(|own| own == model);
        self.object(Some(model), self.provider.filter(|_| is_served))
    }
}

/// The cost of a charge, or the SQLSTATE of its refusal; and the least money that check_limits
/// says is left.
type Predicted = (Result<String, String>, Result<String, String>);

/// A row of choose_model.
#[derive(Debug, PartialEq)]
struct Choice {
    model: String,
    cost: Option<String>,
    allowed: bool,
    reason: Option<String>,
    remaining: Option<String>,
    chosen: bool,
}

fn within<T>(transaction: &mut Transaction<'_>, work: impl FnOnce(&mut Transaction<'_>) -> T) -> T {
    let mut inner = transaction.savepoint("one").expect("a savepoint");
    let result = work(&mut inner);
    inner.rollback().expect("rolled back");
    result
}

fn choose(client: &mut impl GenericClient, sql: &str) -> Result<Vec<Choice>, String> {
    let sql = format!(
        "SELECT model, cost::text, allowed, reason, remaining::text, chosen FROM wallet.choose_model({sql})"
    );
    let rows = client.query(&sql, &[]).map_err(|error| state_of(&error))?;
    Ok(rows
        .iter()
        .map(|row| Choice {
            model: row.get(0),
            cost: row.get(1),
            allowed: row.get(2),
            reason: row.get(3),
            remaining: row.get(4),
            chosen: row.get(5),
        })
        .collect())
}

/// One text, or the SQLSTATE of the refusal.
fn one(transaction: &mut Transaction<'_>, sql: &str) -> Result<String, String> {
    within(transaction, |inner| match inner.query_one(sql, &[]) {
        Ok(row) => Ok(row.get(0)),
        Err(error) => Err(state_of(&error)),
    })
}

/// The rows that charges and check_limits predict. Each charge is rolled back.
fn expected(
    transaction: &mut Transaction<'_>,
    models: &[&str],
    arguments: impl Fn(&str) -> String,
) -> Vec<Predicted> {
    let each = models.iter().map(|model| {
        let arguments = arguments(model);
        let charge = format!("SELECT cost::text FROM wallet.charge({arguments})");
        let least = format!(
            "SELECT min(remaining) FILTER (WHERE mode = 'hard' AND metric = 'amount')::text
               FROM wallet.check_limits({arguments})"
        );
        (one(transaction, &charge), one(transaction, &least))
    });
    each.collect()
}

/// The arguments about who asks. Few have a key that nobody was given.
fn asking(seed: &mut Seed, name: &str, secrets: &[String]) -> String {
    let mut arguments = who(seed, secrets);
    if !one_in(seed, 5) {
        arguments.retain(|argument| !argument.contains("wk_none"));
    }
    if one_in(seed, 6) {
        arguments.push("cost_from => 'provider'".to_owned());
    }
    if one_in(seed, 6) {
        arguments.push("service_tier => 'flex'".to_owned());
    }
    arguments.insert(0, format!("'{name}'"));
    arguments.join(", ")
}

/// Candidates in random order, without duplicates.
fn candidates(seed: &mut Seed) -> Vec<&'static str> {
    let mut models = Vec::new();
    for _ in 0..=seed.below(6) {
        let model = MODELS[seed.below(MODELS.len() as u64) as usize];
        if !models.contains(&model) {
            models.push(model);
        }
    }
    models
}

fn compare(
    asked: &str,
    choices: &[Choice],
    expected: &[Predicted],
    seen: &mut std::collections::BTreeMap<String, usize>,
) {
    let first = choices.iter().position(|choice| choice.allowed);
    for (place, (choice, (charged, least))) in choices.iter().zip(expected).enumerate() {
        let said = choice.reason.as_deref().map(state);
        assert_eq!(
            choice.allowed,
            charged.is_ok(),
            "{asked}: {choice:?}: {charged:?}"
        );
        assert_eq!(said, charged.as_ref().err().map(String::as_str), "{asked}");
        assert_eq!(choice.chosen, first == Some(place), "{asked}: {choices:?}");
        match (&choice.cost, charged) {
            (cost, Ok(charged)) => assert_eq!(cost.as_ref(), Some(charged), "{asked}"),
            (None, _) => assert_eq!(choice.remaining, None, "{asked}"),
            (Some(_), Err(_)) => {}
        }
        if choice.cost.is_some() {
            assert_eq!(choice.remaining, least.clone().ok(), "{asked}: {choice:?}");
        }
        let reason = choice.reason.as_deref().unwrap_or("allowed");
        *seen.entry(reason.to_owned()).or_default() += 1;
    }
}

/// An error that choose_model raises refuses every charge, though others may be found first.
fn no_choice_mends(asked: &str, state: &str, happened: &[Predicted]) {
    let states: Vec<_> = happened
        .iter()
        .map(|(charged, _)| charged.as_ref().err().map(String::as_str))
        .collect();
    assert!(states.iter().all(Option::is_some), "{asked}: {states:?}");
    assert!(
        states.contains(&Some(state)),
        "{asked}: {state}: {states:?}"
    );
}

/// Every outcome must occur. WL007 is raised, the others are in rows.
const OUTCOMES: [&str; 10] = [
    "allowed",
    "insufficient_funds",
    "limit_exceeded",
    "wallet_not_active",
    "not_permitted",
    "no_price",
    "no_rate",
    "invalid_usage",
    "invalid_amount",
    "WL007",
];

#[test]
fn choose_model_predicts_the_charge_with_each_model() {
    let mut seed = Seed::of("choose_model_predicts_the_charge_with_each_model");
    let database = Database::new();
    let mut client = database.connect();
    prices(&mut client);
    more_prices(&mut client);
    let mut seen = std::collections::BTreeMap::new();
    for round in 0..scale(100) {
        let name = format!("w{round}");
        let secrets = wallet(&mut client, &mut seed, &name);
        more_rules(&mut client, &mut seed, &name);
        std::thread::sleep(std::time::Duration::from_millis(50));
        for _ in 0..6 {
            let (usage, models) = (Usage::random(&mut seed), candidates(&mut seed));
            let who = asking(&mut seed, &name, &secrets);
            let list = models.join(",");
            let asked = format!("{who}, {}, models => '{{{list}}}'", usage.asked());
            let level = match one_in(&mut seed, 2) {
                true => IsolationLevel::RepeatableRead,
                false => IsolationLevel::ReadCommitted,
            };
            let mut transaction = client
                .build_transaction()
                .isolation_level(level)
                .start()
                .expect("a transaction");
            let said = within(&mut transaction, |inner| choose(inner, &asked));
            let happened = expected(&mut transaction, &models, |model| {
                format!("{who}, {}", usage.charged(model))
            });
            // The next question finds another state of the wallet.
            let spend = format!("SELECT wallet.charge('{name}', amount => 0.5)");
            match transaction.execute(&spend, &[]) {
                Ok(_) => transaction.commit().expect("committed"),
                Err(_) => transaction.rollback().expect("rolled back"),
            }
            match said {
                Ok(choices) => {
                    let named: Vec<&str> = choices.iter().map(|choice| &*choice.model).collect();
                    assert_eq!(named, models);
                    compare(&asked, &choices, &happened, &mut seen);
                }
                Err(state) => {
                    no_choice_mends(&asked, &state, &happened);
                    *seen.entry(state).or_default() += 1;
                }
            }
        }
    }
    println!("{seen:?}");
    for outcome in OUTCOMES {
        assert!(seen.contains_key(outcome), "no case of {outcome}");
    }
}
