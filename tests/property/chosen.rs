//! `choose_model` agrees with `charge`, and with `for_hold` it agrees with `hold`. For random
//! wallets, rules, limits, usage objects and candidates, a candidate is `allowed` exactly if a call
//! with that model is booked, at the cost that the row names. The reason is the SQLSTATE of the
//! refusal, or says that the hold waits.

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
            pick(seed, &["day", "lifetime", "open", "request"]),
        );
        let max = seed.below(8);
        let mode = pick(seed, &["hard", "hard", "soft", "approve"]);
        calls.push(format!(
            "set_limit('{{w}}', {max}, '{period}', scope => '{scope}', mode => '{mode}')"
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

/// The cost of a charge or hold and its status, or the SQLSTATE of its refusal; and the least money
/// that check_limits says is left.
type Predicted = (Result<String, String>, Result<String, String>);

/// The call that choose_model is asked about.
#[derive(Clone, Copy)]
struct Call {
    is_hold: bool,
}

impl Call {
    /// The cost and the status that the call returns.
    fn sql(self, arguments: &str) -> String {
        match self.is_hold {
            true => format!("SELECT amount || ' ' || status FROM wallet.hold({arguments})"),
            false => format!("SELECT cost || ' open' FROM wallet.charge({arguments})"),
        }
    }

    /// The least money that the rows of check_limits leave that can refuse the call.
    fn least(self, arguments: &str) -> String {
        let (refusing, for_hold) = match self.is_hold {
            true => ("mode = 'hard'", ", for_hold => true"),
            false => ("mode <> 'soft' AND period IS DISTINCT FROM 'open'", ""),
        };
        format!(
            "SELECT min(remaining) FILTER (WHERE metric = 'amount' AND {refusing})::text
               FROM wallet.check_limits({arguments}{for_hold})"
        )
    }
}

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

/// The rows that calls and check_limits predict. Each call is rolled back.
fn expected(
    transaction: &mut Transaction<'_>,
    models: &[&str],
    call: Call,
    arguments: impl Fn(&str) -> String,
) -> Vec<Predicted> {
    let each = models.iter().map(|model| {
        let arguments = arguments(model);
        let happened = one(transaction, &call.sql(&arguments));
        (happened, one(transaction, &call.least(&arguments)))
    });
    each.collect()
}

/// The arguments about who asks. Few have a key that nobody was given.
fn asking(seed: &mut Seed, name: &str, secrets: &[String], call: Call) -> String {
    let mut arguments = who(seed, secrets);
    if !one_in(seed, 5) {
        arguments.retain(|argument| !argument.contains("wk_none"));
    }
    // A hold has no reported cost yet.
    if !call.is_hold && one_in(seed, 6) {
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
    let is = |status: &str| {
        let mut calls = expected.iter().map(|(call, _)| call.as_deref());
        calls.position(|call| call.is_ok_and(|call| call.ends_with(status)))
    };
    let first = is(" open").or_else(|| is(" waiting"));
    for (place, (choice, (happened, least))) in choices.iter().zip(expected).enumerate() {
        let (cost, refusal) = match happened {
            Ok(call) => {
                let (cost, status) = call.split_once(' ').expect("a cost and a status");
                (
                    Some(cost),
                    (status == "waiting").then_some("approval_required"),
                )
            }
            Err(state) => (None, Some(&**state)),
        };
        let said = match choice.reason.as_deref() {
            Some("approval_required") => Some("approval_required"),
            reason => reason.map(state),
        };
        assert_eq!(
            choice.allowed,
            happened.is_ok(),
            "{asked}: {choice:?}: {happened:?}"
        );
        assert_eq!(said, refusal, "{asked}: {choice:?}: {happened:?}");
        assert_eq!(choice.chosen, first == Some(place), "{asked}: {choices:?}");
        match (&choice.cost, cost) {
            (said, Some(cost)) => assert_eq!(said.as_deref(), Some(cost), "{asked}"),
            (None, _) => assert_eq!(choice.remaining, None, "{asked}"),
            (Some(_), None) => {}
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
const OUTCOMES: [&str; 11] = [
    "allowed",
    "approval_required",
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
fn choose_model_predicts_the_call_with_each_model() {
    let mut seed = Seed::of("choose_model_predicts_the_call_with_each_model");
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
            let call = Call {
                is_hold: one_in(&mut seed, 2),
            };
            let who = asking(&mut seed, &name, &secrets, call);
            let (list, for_hold) = (models.join(","), call.is_hold);
            let asked = format!(
                "{who}, {}, models => '{{{list}}}', for_hold => {for_hold}",
                usage.asked()
            );
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
            let happened = expected(&mut transaction, &models, call, |model| {
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
