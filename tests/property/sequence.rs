//! Any sequence of calls on one connection: after each call the database agrees with plain numbers.
//! proptest shrinks a failure and prints it. `PROPTEST_CASES` sets the number of sequences.

use std::collections::BTreeMap;

use postgres::Client;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use wallet_tests::{
    Charge, Database, Decimal, archive, audit, balance, create, dec, fund, limit, noon, scale,
    state_of,
};

/// A call. Amounts are in cents.
#[derive(Clone, Debug)]
enum Step {
    Fund(i64),
    Charge {
        cents: i64,
        user: usize,
        key: Option<u8>,
    },
    SetLanes(i32),
    SetLimit(i64),
    SetCredit(i64),
    Archive(Option<i64>),
    RolledBack(Box<Step>),
}

fn step() -> impl Strategy<Value = Step> {
    let simple = prop_oneof![
        2 => (1_i64..3_000).prop_map(Step::Fund),
        6 => (0_i64..2_500, 0_usize..3, prop::option::of(0_u8..6))
            .prop_map(|(cents, user, key)| Step::Charge { cents, user, key }),
        1 => (1_i32..5).prop_map(Step::SetLanes),
        1 => (0_i64..6_000).prop_map(Step::SetLimit),
        1 => (0_i64..2_000).prop_map(Step::SetCredit),
        1 => prop::option::of(1_i64..6).prop_map(Step::Archive),
    ];
    let inner = simple.boxed();
    prop_oneof![
        6 => inner.clone(),
        1 => inner.prop_map(|step| Step::RolledBack(Box::new(step))),
    ]
}

const USERS: [&str; 3] = ["ann", "bob", "cyd"];
const THRESHOLDS: [i64; 2] = [2_000, 1_000];

/// The model: plain numbers, in cents.
#[derive(Clone, Debug, Default)]
struct Model {
    balance: i64,
    credit: i64,
    spent: [i64; 3],
    max: Option<i64>,
    keys: BTreeMap<u8, (i64, usize)>,
    /// For each threshold: never reached, armed, or fired.
    armed: [Option<bool>; 2],
    events: usize,
}

impl Model {
    fn moved(&mut self) {
        for (armed, threshold) in self.armed.iter_mut().zip(THRESHOLDS) {
            match (*armed, self.balance >= threshold) {
                (None, true) => *armed = Some(true),
                (Some(false), true) => {
                    *armed = Some(true);
                    self.events += 1;
                }
                (Some(true), false) => {
                    *armed = Some(false);
                    self.events += 1;
                }
                _ => {}
            }
        }
    }

    /// Returns the SQLSTATE that must refuse the call, or takes the step.
    fn take(&mut self, step: &Step) -> Option<&'static str> {
        match *step {
            Step::Fund(cents) => self.balance += cents,
            Step::Charge { cents, user, key } => {
                if let Some(first) = key.and_then(|key| self.keys.get(&key)) {
                    return (*first != (cents, user)).then_some("WL006");
                }
                if self.balance + self.credit < cents {
                    return Some("WL001");
                }
                if self
                    .max
                    .is_some_and(|max| self.spent[user] + cents > max.max(self.spent[user]))
                {
                    return Some("WL002");
                }
                self.balance -= cents;
                self.spent[user] += cents;
                if let Some(key) = key {
                    self.keys.insert(key, (cents, user));
                }
            }
            Step::SetLanes(_) | Step::Archive(_) => {}
            Step::SetLimit(cents) => self.max = Some(cents),
            Step::SetCredit(cents) => {
                if self.balance + cents < 0 {
                    return Some("WL001");
                }
                self.credit = cents;
            }
            Step::RolledBack(_) => {}
        }
        self.moved();
        None
    }
}

fn money(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

fn run(client: &mut Client, wallet: &str, step: &Step) -> Result<(), postgres::Error> {
    match *step {
        Step::Fund(cents) => fund(client, wallet, money(cents)).map(drop),
        Step::Charge { cents, user, key } => {
            let key = key.map(|key| key.to_string());
            let charge = Charge {
                amount: money(cents),
                user: Some(USERS[user]),
                key: key.as_deref(),
            };
            charge.on(client, wallet).map(drop)
        }
        Step::SetLanes(lanes) => client
            .execute("SELECT wallet.set_lanes($1, $2)", &[&wallet, &lanes])
            .map(drop),
        Step::SetLimit(cents) => {
            limit(client, wallet, money(cents), "day", &noon());
            Ok(())
        }
        Step::SetCredit(cents) => client
            .execute(
                "SELECT wallet.update_wallet($1, credit_limit => $2)",
                &[&wallet, &money(cents)],
            )
            .map(drop),
        Step::Archive(most) => archive(client, wallet, most).map(drop),
        Step::RolledBack(ref step) => {
            client.batch_execute("BEGIN; SAVEPOINT s")?;
            let _ = run(client, wallet, step);
            client.batch_execute("ROLLBACK TO s; COMMIT")
        }
    }
}

fn agree(client: &mut Client, wallet: &str, model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(balance(client, wallet), money(model.balance));
    let events: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.events WHERE wallet = $1
                AND event IN ('wallet_balance_low', 'wallet_balance_recovered')",
            &[&wallet],
        )
        .unwrap()
        .get(0);
    prop_assert_eq!(events, model.events as i64);
    for (user, spent) in USERS.iter().zip(model.spent) {
        let rows = client
            .query(
                "SELECT used FROM wallet.check_limits($1, user_id => $2) WHERE scope = 'user'",
                &[&wallet, user],
            )
            .unwrap();
        prop_assert_eq!(rows.len(), usize::from(model.max.is_some()));
        if let Some(row) = rows.first() {
            prop_assert_eq!(row.get::<_, Decimal>(0), money(spent), "{}", user);
        }
    }
    Ok(())
}

#[test]
fn any_sequence_of_calls_agrees_with_plain_numbers() {
    let database = Database::new();
    let mut client = database.connect();
    let mut number = 0;
    let cases = scale(40) as u32;
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let client = std::cell::RefCell::new(&mut client);
    let number = std::cell::RefCell::new(&mut number);
    let result = runner.run(&prop::collection::vec(step(), 1..30), |steps| {
        let mut client = client.borrow_mut();
        let wallet = {
            let mut number = number.borrow_mut();
            **number += 1;
            format!("w{number}")
        };
        let thresholds = THRESHOLDS.map(money);
        create(&mut **client, &wallet, 1, &thresholds, dec("0"));
        let mut model = Model::default();
        for step in &steps {
            let refused = run(&mut client, &wallet, step)
                .err()
                .map(|error| state_of(&error));
            let expected = model.take(step);
            prop_assert_eq!(refused.as_deref(), expected, "{:?} in {:?}", step, model);
            agree(&mut client, &wallet, &model)?;
        }
        audit(&mut client, &wallet);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}\n{runner}");
    }
}
