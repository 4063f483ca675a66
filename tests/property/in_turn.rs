//! Random calls one after the other on one connection. Every answer, balance included, and every
//! event in order agrees with the model, in transactions and after rollbacks to savepoints, too.

use postgres::{Client, GenericClient};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use wallet_tests::{
    Database, Decimal, Seed, archive, audit, balance, entries, recorded, scale, state_of,
};

use crate::model::{Answer, Model};

const USERS: [&str; 3] = ["alice", "bob", "carol"];

#[derive(Clone, Debug)]
enum Step {
    Fund(i64, Option<u8>),
    Charge(i64, usize, Option<u8>),
    SetLimit(i64),
    SetLanes(i32),
    Freeze(bool),
    /// At most this many entries.
    Archive(Option<i64>),
    /// Steps after a savepoint that is rolled back.
    Regret(Vec<Step>),
    /// Steps in one transaction that commits.
    Together(Vec<Step>),
}

fn single() -> impl Strategy<Value = Step> {
    let key = || prop_oneof![3 => Just(None), 1 => (0_u8..4).prop_map(Some)];
    let amount = || prop_oneof![4 => 0_i64..3000, 1 => Just(1000_i64), 1 => 0_i64..12_000];
    prop_oneof![
        3 => (1_i64..8000, key()).prop_map(|(amount, key)| Step::Fund(amount, key)),
        10 => (amount(), 0_usize..3, key()).prop_map(|(a, user, key)| Step::Charge(a, user, key)),
        1 => (0_i64..20_000).prop_map(Step::SetLimit),
        1 => (1_i32..6).prop_map(Step::SetLanes),
        1 => any::<bool>().prop_map(Step::Freeze),
        2 => prop::option::of(1_i64..6).prop_map(Step::Archive),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let several = || prop::collection::vec(single(), 1..5);
    prop_oneof![
        10 => single(),
        1 => several().prop_map(Step::Regret),
        1 => several().prop_map(Step::Together),
    ]
}

fn cents(amount: i64) -> Decimal {
    Decimal::new(amount, 2)
}

fn answer(result: Result<postgres::Row, postgres::Error>) -> Result<(bool, Decimal), String> {
    match result {
        Ok(row) => Ok((row.get("replayed"), row.get("balance"))),
        Err(error) => Err(state_of(&error)),
    }
}

/// Makes the call and compares its answer with the model's. In a transaction every call has its own
/// savepoint, because an error would abort the transaction.
fn one(client: &mut impl GenericClient, wallet: &str, model: &mut Model, step: &Step) {
    let mut transaction = client.transaction().expect("BEGIN or SAVEPOINT");
    let name = |key: &Option<u8>| key.map(|key| format!("key {key}"));
    let compare = |answered: Result<(bool, Decimal), String>, expected: Answer| {
        let expected = expected
            .map(|(replayed, balance)| (replayed, cents(balance)))
            .map_err(str::to_owned);
        assert_eq!(answered, expected, "{step:?}");
        expected.is_ok()
    };
    let went_through = match step {
        Step::Fund(amount, key) => {
            let result = transaction.query_one(
                "SELECT * FROM wallet.fund($1, $2, idempotency_key => $3)",
                &[&wallet, &cents(*amount), &name(key)],
            );
            compare(answer(result), model.fund(*amount, *key))
        }
        Step::Charge(amount, user, key) => {
            let result = transaction.query_one(
                "SELECT * FROM wallet.charge($1, amount => $2, user_id => $3, idempotency_key => $4)",
                &[&wallet, &cents(*amount), &USERS[*user], &name(key)],
            );
            compare(answer(result), model.charge(*amount, *user, *key))
        }
        Step::SetLimit(max) => {
            wallet_tests::limit(&mut transaction, wallet, cents(*max), "lifetime", "UTC");
            model.max = Some(*max);
            true
        }
        Step::SetLanes(lanes) => {
            let sql = "SELECT wallet.set_lanes($1, $2)";
            transaction.query_one(sql, &[&wallet, lanes]).expect(sql);
            true
        }
        Step::Freeze(frozen) => {
            let function = if *frozen { "freeze" } else { "unfreeze" };
            let sql = format!("SELECT wallet.{function}_wallet($1)");
            transaction.query_one(&sql, &[&wallet]).expect(&sql);
            model.frozen = *frozen;
            true
        }
        Step::Archive(most) => {
            archive(&mut transaction, wallet, *most).expect("archive");
            true
        }
        Step::Regret(_) | Step::Together(_) => unreachable!("not nested"),
    };
    if went_through {
        transaction.commit().expect("COMMIT or RELEASE");
    } else {
        transaction.rollback().expect("ROLLBACK");
    }
}

fn run(client: &mut Client, wallet: &str, credit: i64, lanes: i32, steps: &[Step]) {
    let low = [5000, 2000];
    client
        .query_one(
            "SELECT wallet.create_wallet($1, credit_limit => $2, low_balance => $3, lanes => $4)",
            &[&wallet, &cents(credit), &low.map(cents).as_slice(), &lanes],
        )
        .expect("create_wallet");
    let mut model = Model::new(credit, &low);
    for step in steps {
        match step {
            Step::Regret(steps) => {
                let mut transaction = client.transaction().expect("BEGIN");
                let mut savepoint = transaction.savepoint("regret").expect("SAVEPOINT");
                let mut discarded = model.clone();
                for step in steps {
                    one(&mut savepoint, wallet, &mut discarded, step);
                }
                savepoint.rollback().expect("ROLLBACK TO");
                assert_eq!(balance(&mut transaction, wallet), cents(model.balance));
                transaction.commit().expect("COMMIT");
            }
            Step::Together(steps) => {
                let mut transaction = client.transaction().expect("BEGIN");
                for step in steps {
                    one(&mut transaction, wallet, &mut model, step);
                }
                transaction.commit().expect("COMMIT");
            }
            step => one(client, wallet, &mut model, step),
        }
        assert_eq!(balance(client, wallet), cents(model.balance), "{step:?}");
        assert_eq!(entries(client, wallet), model.entries, "{step:?}");
        let events: Vec<_> = model
            .events
            .iter()
            .map(|(event, at)| (event.clone(), cents(*at)))
            .collect();
        assert_eq!(recorded(client, wallet), events, "{step:?}");
    }
    audit(client, wallet);
}

#[test]
fn every_answer_and_event_agrees_with_the_model() {
    let seed = Seed::of("every_answer_and_event_agrees_with_the_model");
    let config = Config {
        cases: scale(60) as u32,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.value().to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let database = Database::new();
    let number = std::cell::Cell::new(0);
    let strategy = (
        prop_oneof![2 => Just(0_i64), 1 => 1_i64..6000],
        1_i32..5,
        prop::sample::select(vec!["auto", "spi"]),
        prop::collection::vec(step(), 1..40),
    );
    let outcome = runner.run(&strategy, |(credit, lanes, storage, steps)| {
        number.set(number.get() + 1);
        // A failed case may leave its connection inside a transaction.
        let mut client = database.connect();
        client
            .batch_execute(&format!("SET wallet.storage = {storage}"))
            .expect("SET");
        run(
            &mut client,
            &format!("w{}", number.get()),
            credit,
            lanes,
            &steps,
        );
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (credit, lanes, storage, steps))) => {
            panic!(
                "{why}\ncredit {credit}, lanes {lanes}, storage {storage}, the shortest steps:\n{steps:#?}"
            )
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
