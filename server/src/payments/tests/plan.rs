//! Tests of the plan: random histories of a payment, looked at at random moments.

use super::*;
use crate::payments::provider::Money;

/// A ledger as `wallet` keeps it, as far as a plan sees it.
#[derive(Default)]
struct Ledger {
    books: Books,
    keys: std::collections::HashSet<String>,
    number: usize,
}

impl Ledger {
    fn credit(&mut self, payment: &Payment, amount: Decimal, reference: &str, status: &str) {
        let open = |one: &Funding| one.reference == reference && one.status != "failed";
        assert!(!self.books.fundings.iter().any(open), "{reference} twice");
        self.number += 1;
        self.books.fundings.push(Funding {
            entry_id: self.number.to_string(),
            status: status.to_owned(),
            amount,
            currency: payment.money.currency.clone(),
            reversed: Decimal::ZERO,
            reference: reference.to_owned(),
        });
    }

    fn of(&mut self, entry_id: &str) -> &mut Funding {
        let found = self.books.fundings.iter_mut();
        found
            .into_iter()
            .find(|one| one.entry_id == entry_id)
            .unwrap()
    }

    fn new_key(&mut self, key: &str) {
        assert!(self.keys.insert(key.to_owned()), "{key} twice");
    }

    fn book(&mut self, payment: &Payment, step: Step) {
        match step {
            Step::Fund { is_pending, key } => {
                self.new_key(&key);
                let status = if is_pending { "pending" } else { "settled" };
                self.credit(payment, payment.money.amount, &payment.id, status);
            }
            Step::Settle(id) => self.of(&id).status = "settled".to_owned(),
            Step::Fail(id, _) => self.of(&id).status = "failed".to_owned(),
            Step::CompleteTopup => {
                self.books.topup.as_mut().unwrap().status = "succeeded".to_owned();
                self.credit(payment, payment.money.amount, &payment.id, "settled");
            }
            Step::FailTopup(_) => {
                let topup = self.books.topup.as_mut().unwrap();
                assert_eq!(topup.status, "requested");
                topup.status = "failed".to_owned();
            }
            Step::Take {
                entry_id,
                amount,
                key,
            } => {
                self.new_key(&key);
                let funding = self.of(&entry_id);
                assert!(amount > Decimal::ZERO);
                funding.reversed += amount;
                assert!(funding.reversed <= funding.amount);
                if funding.reversed == funding.amount {
                    funding.status = "reversed".to_owned();
                }
            }
            Step::Restore { amount, reference } => {
                self.new_key(&reference);
                self.credit(payment, amount, &reference, "settled");
            }
        }
    }

    fn follow(&mut self, payment: &Payment) -> usize {
        for round in 0..6 {
            let steps = plan(payment, &self.books).unwrap();
            if steps.is_empty() {
                return round;
            }
            for step in steps {
                self.book(payment, step);
            }
        }
        panic!("it does not end");
    }

    fn balance(&self) -> Decimal {
        let credited = self.books.fundings.iter();
        let credited =
            credited.filter(|one| ["settled", "reversed"].contains(&one.status.as_str()));
        credited.map(|one| one.amount - one.reversed).sum()
    }
}

fn payment(topup: bool) -> Payment {
    Payment {
        id: "pi_1".to_owned(),
        wallet: Some("acme".to_owned()),
        topup: topup.then(|| "t".to_owned()),
        stage: Stage::Open,
        money: Money {
            amount: Decimal::new(10_000, 2),
            currency: "USD".to_owned(),
        },
        returned: Decimal::ZERO,
        saved: None,
    }
}

fn ledger(topup: bool) -> Ledger {
    let mut ledger = Ledger::default();
    ledger.books.topup = topup.then(|| Topup {
        status: "requested".to_owned(),
        amount: Decimal::from(100),
        currency: "USD".to_owned(),
    });
    ledger
}

#[test]
fn the_ledger_ends_with_what_the_provider_has_whenever_it_looked() {
    for seed in 0..3000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_topup = random.bool();
        let (mut payment, mut ledger) = (payment(is_topup), ledger(is_topup));
        for _ in 0..random.usize(0..4) {
            payment.stage = match random.u8(0..3) {
                0 => Stage::Open,
                1 => Stage::Pending,
                _ => Stage::Failed("card_declined".to_owned()),
            };
            if random.bool() {
                ledger.follow(&payment);
            }
        }
        let arrives = random.u8(0..5) > 0;
        if arrives {
            payment.stage = Stage::Paid;
            if !is_topup && random.u8(0..4) == 0 {
                payment.money.amount = Decimal::new(9_999, 2);
            }
            // Refunds and disputes come and go, each in part.
            for _ in 0..random.usize(0..8) {
                let most = 10_000;
                payment.returned = Decimal::new(random.i64(0..=most), 2).min(payment.money.amount);
                for _ in 0..random.usize(0..3) {
                    ledger.follow(&payment);
                }
            }
        }
        ledger.follow(&payment);
        assert_eq!(ledger.follow(&payment), 0, "seed {seed}");
        let expected = match payment.stage {
            Stage::Paid => payment.money.amount - payment.returned,
            _ => Decimal::ZERO,
        };
        assert_eq!(ledger.balance(), expected, "seed {seed}: {payment:?}");
        let pending = ledger
            .books
            .fundings
            .iter()
            .any(|one| one.status == "pending");
        assert!(
            !pending || !matches!(payment.stage, Stage::Paid | Stage::Failed(_)),
            "seed {seed}"
        );
    }
}

#[test]
fn a_refund_that_is_seen_before_the_completion_is_credited_and_taken_back() {
    let (mut payment, mut ledger) = (payment(false), ledger(false));
    payment.stage = Stage::Paid;
    payment.returned = Decimal::from(30);
    ledger.follow(&payment);
    assert_eq!(ledger.balance(), Decimal::from(70));
    assert_eq!(ledger.books.fundings.len(), 1);
}

#[test]
fn a_dispute_of_more_than_was_paid_takes_what_was_paid() {
    let (mut payment, mut ledger) = (payment(false), ledger(false));
    payment.stage = Stage::Paid;
    payment.returned = Decimal::from(103);
    ledger.follow(&payment);
    assert_eq!(ledger.balance(), Decimal::ZERO);
}

#[test]
fn a_payment_that_does_not_fit_its_topup_or_its_funding_is_refused() {
    let (mut payment, mut ledger) = (payment(true), ledger(true));
    payment.stage = Stage::Paid;
    payment.money.amount = Decimal::from(99);
    assert_eq!(plan(&payment, &ledger.books), Err(Mismatch::Topup));
    payment.money = Money {
        amount: Decimal::from(100),
        currency: "EUR".to_owned(),
    };
    assert_eq!(plan(&payment, &ledger.books), Err(Mismatch::Topup));
    ledger.books.topup = None;
    assert_eq!(plan(&payment, &ledger.books), Err(Mismatch::NoTopup));
    payment.topup = None;
    ledger.follow(&payment);
    payment.money.amount = Decimal::from(101);
    assert_eq!(plan(&payment, &ledger.books), Err(Mismatch::Amount));
}
