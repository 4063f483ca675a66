//! Top-ups that rules request: charged once, whatever happens between two attempts, or left alone.

use std::sync::Arc;
use std::time::Duration;

use rust_decimal::Decimal;
use tokio::sync::watch;
use wallet_tests::Database;

use super::fake::Fake;
use super::ledger::{BALANCE, number, paid, run, with};
use crate::ops::Metrics;
use crate::payments::reconcile::{Outcome, Payments};
use crate::payments::topups;

/// A wallet with a saved card, whose rule has requested a top-up of 50.
async fn requested(fake: &Fake, payments: &Payments, database: &Arc<Database>, method: &str) {
    fake.set(paid("pi_1", "acme", 20, "USD"));
    payments.reconcile("pi_1").await.unwrap();
    let rule = format!(
        "SELECT wallet.set_topup_rule('acme', '{{\"threshold\": 10, \"amount\": 50, \"method\": \"{method}\"}}'); \
         SELECT wallet.charge('acme', amount => 15)"
    );
    run(database, rule).await;
}

/// Charges top-ups until the count is one, or fails. `between` runs as soon as a card was charged.
async fn pay(
    fake: &Fake,
    payments: &Payments,
    database: &Arc<Database>,
    done: &str,
    between: impl AsyncFnOnce(),
) {
    let settings = topups::Settings {
        methods: vec!["card".to_owned()],
        lease: Duration::from_secs(30),
        poll: Duration::from_millis(50),
    };
    let (stop, stopped) = watch::channel(false);
    let task = topups::run(payments.clone(), settings, Metrics::default(), stopped);
    let task = tokio::spawn(task);
    let mut between = Some(between);
    let mut is_done = false;
    for _ in 0..200 {
        if fake.books().iter().any(|one| one.topup.is_some())
            && let Some(between) = between.take()
        {
            between().await;
        }
        if number(database, done.to_owned()).await == Decimal::ONE {
            is_done = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(stop);
    task.await.unwrap();
    assert!(is_done, "{done}");
}

const SUCCEEDED: &str = "SELECT count(*)::text FROM wallet.topups WHERE status = 'succeeded'";

/// The card was charged once, and the wallet has the money.
async fn is_paid_once(fake: &Fake, payments: &Payments, database: &Arc<Database>, balance: i64) {
    let found = number(database, format!("{BALANCE}'acme'")).await;
    assert_eq!(found, Decimal::from(balance));
    let books = fake.books();
    let topups: Vec<_> = books.iter().filter(|one| one.topup.is_some()).collect();
    assert_eq!(topups.len(), 1);
    let again = payments.reconcile(&topups[0].id).await;
    assert_eq!(again, Ok(Outcome::Unchanged));
}

#[test]
fn a_topup_is_charged_once_though_the_first_answer_was_lost() {
    with(|fake, payments, database| async move {
        requested(&fake, &payments, &database, "card").await;
        pay(&fake, &payments, &database, SUCCEEDED, async || ()).await;
        is_paid_once(&fake, &payments, &database, 55).await;
    });
}

#[test]
fn a_topup_is_charged_once_though_another_customer_saved_a_card_since() {
    with(|fake, payments, database| async move {
        requested(&fake, &payments, &database, "card").await;
        let other = async || {
            let mut payment = paid("pi_2", "acme", 1, "USD");
            payment.saved.as_mut().unwrap().customer = "cus_2".to_owned();
            fake.set(payment);
            payments.reconcile("pi_2").await.unwrap();
        };
        pay(&fake, &payments, &database, SUCCEEDED, other).await;
        is_paid_once(&fake, &payments, &database, 56).await;
    });
}

#[test]
fn a_topup_that_was_charged_succeeds_though_the_card_is_gone_since() {
    with(|fake, payments, database| async move {
        requested(&fake, &payments, &database, "card").await;
        let refund = async || {
            let mut payment = paid("pi_1", "acme", 20, "USD");
            payment.returned = payment.money.amount;
            fake.set(payment);
            payments.reconcile("pi_1").await.unwrap();
        };
        pay(&fake, &payments, &database, SUCCEEDED, refund).await;
        is_paid_once(&fake, &payments, &database, 35).await;
    });
}

#[test]
fn a_topup_of_another_method_is_left_to_others() {
    with(|fake, payments, database| async move {
        requested(&fake, &payments, &database, "invoice").await;
        // walletd has looked at it, and has not finished it.
        let left = "SELECT count(*)::text FROM wallet.outbox WHERE event = 'topup_requested' \
                      AND done_at IS NULL AND claimed_at IS NULL AND last_error LIKE '%invoice%'";
        pay(&fake, &payments, &database, left, async || ()).await;
        let open = "SELECT count(*)::text FROM wallet.topups WHERE status = 'requested'";
        assert_eq!(number(&database, open.to_owned()).await, Decimal::ONE);
        assert_eq!(fake.books().len(), 1);
    });
}
