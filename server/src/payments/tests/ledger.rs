//! The books of the provider and of the ledger, compared by sums that are taken independently.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use wallet_tests::Database;

use super::fake::Fake;
use crate::config::{Database as Settings, Secret};
use crate::db::{Connections, PaymentLedger};
use crate::payments::provider::{Money, Payment, Saved, Stage};
use crate::payments::reconcile::{Failure, Outcome, Payments};

/// Runs a test with a database and a provider.
pub(super) fn with<F: Future<Output = ()>>(
    test: impl FnOnce(Arc<Fake>, Payments, Arc<Database>) -> F,
) {
    let database = Arc::new(Database::new());
    let setup = "SELECT wallet.create_wallet('acme'); SELECT wallet.create_wallet('yen', 'JPY')";
    database.connect().batch_execute(setup).unwrap();
    let (host, port) = (
        std::env::var("PGHOST").unwrap(),
        std::env::var("PGPORT").unwrap(),
    );
    let user = std::env::var("PGUSER").unwrap();
    let name = database.name();
    let url = format!("host={host} port={port} user={user} dbname={name}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let connections = Connections::new(&Secret::new(url), 4, &Settings::default()).unwrap();
        let timeout = Duration::from_secs(5);
        let fake = Arc::new(Fake::default());
        let payments = Payments {
            provider: fake.clone(),
            ledger: PaymentLedger::new(connections, timeout, timeout),
        };
        test(fake, payments, database.clone()).await;
    });
}

/// A query's number.
pub(super) async fn number(database: &Arc<Database>, query: String) -> Decimal {
    let database = database.clone();
    let read = move || {
        let text: String = database.connect().query_one(&query, &[]).unwrap().get(0);
        Decimal::from_str_exact(&text).unwrap()
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

pub(super) async fn run(database: &Arc<Database>, statements: String) {
    let database = database.clone();
    let run = move || database.connect().batch_execute(&statements).unwrap();
    tokio::task::spawn_blocking(run).await.unwrap();
}

pub(super) fn paid(id: &str, wallet: &str, amount: i64, currency: &str) -> Payment {
    Payment {
        id: id.to_owned(),
        wallet: Some(wallet.to_owned()),
        topup: None,
        stage: Stage::Paid,
        money: Money {
            amount: Decimal::from(amount),
            currency: currency.to_owned(),
        },
        returned: Decimal::ZERO,
        saved: Some(Saved {
            customer: "cus_1".to_owned(),
            payment_method: "pm_1".to_owned(),
        }),
    }
}

pub(super) const BALANCE: &str =
    "SELECT (balance - debt)::text FROM wallet.balances WHERE wallet = ";
const WRONG: &str =
    "SELECT count(*)::text FROM wallet.balances b, wallet.verify(b.wallet) v WHERE NOT v.ok";

#[test]
fn random_histories_seen_in_any_order_and_at_once_end_with_equal_books() {
    with(|fake, payments, database| async move {
        let seed = std::env::var("WALLET_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| fastrand::u64(..));
        eprintln!("WALLET_SEED={seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for number in 0..60 {
            let mut payment = paid(&format!("pi_{number}"), "acme", 100, "USD");
            if random.u8(0..3) == 0 {
                payment.wallet = Some("yen".to_owned());
                payment.money.currency = "JPY".to_owned();
            }
            let digits = if payment.money.currency == "JPY" {
                0
            } else {
                2
            };
            for _ in 0..random.usize(1..8) {
                payment.stage = match random.u8(0..6) {
                    0 if payment.stage != Stage::Paid || number % 2 == 0 => Stage::Open,
                    1 => Stage::Pending,
                    2 => Stage::Failed("declined".to_owned()),
                    _ => Stage::Paid,
                };
                if payment.stage == Stage::Paid {
                    break;
                }
                fake.set(payment.clone());
                payments.reconcile(&payment.id).await.unwrap();
            }
            for _ in 0..random.usize(0..6) {
                let returned = Decimal::from(random.i64(0..=100));
                let part = Decimal::new(random.i64(0..100), digits) * Decimal::new(1, 0);
                let returned = (returned + part).min(payment.money.amount);
                payment.returned = match payment.stage {
                    Stage::Paid => returned,
                    _ => Decimal::ZERO,
                };
                fake.set(payment.clone());
                // Repeats, some at the same time, and some that never come.
                let repeats = (0..random.usize(0..4)).map(|_| payments.reconcile(&payment.id));
                for outcome in futures_util::future::join_all(repeats).await {
                    outcome.unwrap();
                }
            }
            fake.set(payment);
        }
        for payment in fake.books() {
            payments.reconcile(&payment.id).await.unwrap();
            assert_eq!(
                payments.reconcile(&payment.id).await,
                Ok(Outcome::Unchanged)
            );
        }
        for wallet in ["acme", "yen"] {
            let ours = fake
                .books()
                .into_iter()
                .filter(|one| one.stage == Stage::Paid && one.wallet.as_deref() == Some(wallet));
            let theirs: Decimal = ours.map(|one| one.money.amount - one.returned).sum();
            let balance = number(&database, format!("{BALANCE}'{wallet}'")).await;
            assert_eq!(balance, theirs, "{wallet}, WALLET_SEED={seed}");
        }
        assert_eq!(number(&database, WRONG.to_owned()).await, Decimal::ZERO);
    });
}

#[test]
fn more_than_was_paid_cannot_be_taken_back_and_is_told() {
    with(|fake, payments, database| async move {
        let mut payment = paid("pi_1", "acme", 100, "USD");
        payment.returned = Decimal::from(120);
        fake.set(payment.clone());
        for _ in 0..2 {
            assert_eq!(payments.reconcile("pi_1").await, Ok(Outcome::Capped));
        }
        let balance = || number(&database, format!("{BALANCE}'acme'"));
        assert_eq!(balance().await, Decimal::ZERO);
        // A part of it comes back, but not yet a part of what was paid.
        payment.returned = Decimal::from(110);
        fake.set(payment.clone());
        assert_eq!(payments.reconcile("pi_1").await, Ok(Outcome::Capped));
        assert_eq!(balance().await, Decimal::ZERO);
        payment.returned = Decimal::from(30);
        fake.set(payment);
        assert_eq!(payments.reconcile("pi_1").await, Ok(Outcome::Booked));
        assert_eq!(balance().await, Decimal::from(70));
    });
}

#[test]
fn a_payment_of_others_and_one_for_a_wallet_that_is_gone_book_nothing() {
    with(|fake, payments, database| async move {
        let mut foreign = paid("pi_1", "acme", 5, "USD");
        foreign.wallet = None;
        fake.set(foreign);
        assert_eq!(payments.reconcile("pi_1").await, Ok(Outcome::NotOurs));
        assert_eq!(payments.reconcile("pi_unknown").await, Ok(Outcome::NotOurs));
        let sqlstate = |outcome: Result<Outcome, Failure>| match outcome {
            Err(Failure::Database(crate::db::DbError::Refused(refusal))) => refusal.sqlstate,
            other => panic!("{other:?}"),
        };
        fake.set(paid("pi_2", "nobody", 5, "USD"));
        assert_eq!(sqlstate(payments.reconcile("pi_2").await), "WL003");
        fake.set(paid("pi_3", "acme", 5, "EUR"));
        assert_eq!(sqlstate(payments.reconcile("pi_3").await), "WL015");
        run(
            &database,
            "SELECT wallet.set_fx_rate('EUR', 'USD', 1.10)".to_owned(),
        )
        .await;
        assert_eq!(payments.reconcile("pi_3").await, Ok(Outcome::Booked));
        let mut refunded = paid("pi_3", "acme", 5, "EUR");
        refunded.returned = Decimal::from(2);
        fake.set(refunded);
        assert_eq!(payments.reconcile("pi_3").await, Ok(Outcome::Booked));
        let balance = number(&database, format!("{BALANCE}'acme'")).await;
        assert_eq!(balance, Decimal::new(330, 2));
        run(&database, "SELECT wallet.close_wallet('yen')".to_owned()).await;
        fake.set(paid("pi_4", "yen", 5, "JPY"));
        assert_eq!(sqlstate(payments.reconcile("pi_4").await), "WL004");
    });
}
