//! Paying, spending and reversing payments in any order gains nothing: the balance plus the usage
//! is what remains paid, plus the bonus on it.

use postgres::Client;
use rust_decimal::{Decimal, RoundingStrategy};
use uuid::Uuid;
use wallet_tests::{Database, Seed, audit, scale, state_of};

/// A payment as plain numbers.
struct Payment {
    id: Uuid,
    /// What is left of it, and the bonus in per cent.
    left: Decimal,
    percent: Decimal,
    bonus: Option<Uuid>,
}

impl Payment {
    /// The bonus on what is left.
    fn bonus(&self) -> Decimal {
        share(self.left, self.percent)
    }
}

fn share(amount: Decimal, percent: Decimal) -> Decimal {
    let exact = amount * percent / Decimal::ONE_HUNDRED;
    exact.round_dp_with_strategy(12, RoundingStrategy::MidpointNearestEven)
}

const TIERS: &[(i64, &str)] = &[(0, "0"), (20, "3.333333"), (50, "5"), (80, "12.5")];

fn percent_of(amount: Decimal) -> Decimal {
    let reached = TIERS
        .iter()
        .rfind(|(from, _)| amount >= Decimal::from(*from));
    reached.map_or(Decimal::ZERO, |(_, percent)| {
        percent.parse().expect("a percentage")
    })
}

/// An amount with a random number of digits, below a bound.
fn amount(seed: &mut Seed, below: u64) -> Decimal {
    let whole = seed.below(below * 1_000_000) as i64;
    let fine = match seed.below(3) {
        0 => seed.below(1_000_000) as i64,
        _ => 0,
    };
    Decimal::new(whole + 1, 6) + Decimal::new(fine, 12)
}

struct Story {
    client: Client,
    payments: Vec<Payment>,
    used: Decimal,
    debts_seen: usize,
}

impl Story {
    fn fund(&mut self, seed: &mut Seed) {
        let amount = amount(seed, 120);
        let status = ["settled", "pending"][seed.below(2) as usize];
        let row = self
            .client
            .query_one(
                "SELECT entry_id, bonus, bonus_entry_id, balance FROM wallet.fund('w', $1, status => $2)",
                &[&amount, &status],
            )
            .expect("fund");
        let id: Uuid = row.get(0);
        let row = match status {
            "settled" => row,
            _ => self
                .client
                .query_one(
                    "SELECT entry_id, bonus, bonus_entry_id, balance FROM wallet.settle_funding('w', $1)",
                    &[&id],
                )
                .expect("settle_funding"),
        };
        let percent = percent_of(amount);
        let bonus = share(amount, percent);
        let expected = (!bonus.is_zero()).then_some(bonus);
        assert_eq!(row.get::<_, Option<Decimal>>(1), expected, "of {amount}");
        assert_eq!(row.get::<_, Decimal>(3), self.balance().0);
        self.payments.push(Payment {
            id,
            left: amount,
            percent,
            bonus: row.get(2),
        });
    }

    fn balance(&mut self) -> (Decimal, Decimal) {
        let sql = "SELECT balance, debt FROM wallet.balances WHERE wallet = 'w'";
        let row = self.client.query_one(sql, &[]).expect("balances");
        (row.get(0), row.get(1))
    }

    fn charge(&mut self, seed: &mut Seed) {
        let amount = match seed.below(3) {
            // The whole balance.
            0 => self.balance().0,
            _ => amount(seed, 40),
        };
        let charged = self.client.execute(
            "SELECT FROM wallet.charge('w', amount => $1) WHERE $1 > 0",
            &[&amount],
        );
        match charged {
            Ok(_) => self.used += amount.max(Decimal::ZERO),
            Err(error) => assert_eq!(state_of(&error), "WL001"),
        }
    }

    fn refund(&mut self, seed: &mut Seed) {
        let charges = self
            .client
            .query(
                "SELECT e.entry_id, -e.amount - coalesce((SELECT sum(r.amount) FROM wallet.entries r
                                                           WHERE r.wallet = 'w' AND r.kind = 'refund' AND r.related_id = e.entry_id), 0)
                   FROM wallet.entries e WHERE e.wallet = 'w' AND e.kind = 'charge'",
                &[],
            )
            .expect("charges");
        let open = charges
            .iter()
            .map(|row| (row.get::<_, Uuid>(0), row.get::<_, Decimal>(1)));
        let open: Vec<_> = open.filter(|(_, left)| !left.is_zero()).collect();
        if open.is_empty() {
            return;
        }
        let (charge, left) = open[seed.below(open.len() as u64) as usize];
        self.client
            .execute("SELECT FROM wallet.refund('w', $1)", &[&charge])
            .expect("refund");
        self.used -= left;
    }

    /// Reverses a part of a payment, or the rest.
    fn reverse(&mut self, payment: usize, amount: Option<Decimal>) {
        let payment = &mut self.payments[payment];
        let part = amount.unwrap_or(payment.left).min(payment.left);
        if part.is_zero() {
            return;
        }
        let before = payment.bonus();
        payment.left -= part;
        let goes = before - payment.bonus();
        let (id, after) = (payment.id, payment.bonus());
        let row = self
            .client
            .query_one(
                "SELECT amount, bonus, balance FROM wallet.reverse_funding('w', $1, amount => $2)",
                &[&id, &amount.map(|_| part)],
            )
            .expect("reverse_funding");
        assert_eq!(row.get::<_, Decimal>(0), part);
        let bonus: Option<Decimal> = row.get(1);
        assert_eq!(bonus.unwrap_or_default(), goes);
        assert_eq!(row.get::<_, Decimal>(2), self.balance().0);
        let row = self
            .client
            .query_one(
                "SELECT coalesce(bonus - bonus_reversed, 0) FROM wallet.fundings WHERE entry_id = $1",
                &[&id],
            )
            .expect("fundings");
        assert_eq!(row.get::<_, Decimal>(0), after);
    }

    /// Checks that the balance plus the usage is what remains paid, plus the bonus on it.
    fn check(&mut self) {
        let (balance, debt) = self.balance();
        self.debts_seen += usize::from(!debt.is_zero());
        let paid: Decimal = self.payments.iter().map(|one| one.left + one.bonus()).sum();
        assert_eq!(balance - debt + self.used, paid);
    }
}

fn begin(lanes: i32) -> (Database, Story) {
    let database = Database::new();
    let mut client = database.connect();
    let tiers: Vec<String> = TIERS
        .iter()
        .map(|(from, percent)| format!("{{\"from\": {from}, \"percent\": {percent}}}"))
        .collect();
    let sql = format!(
        "SELECT wallet.create_wallet('w', lanes => {lanes}), wallet.set_bonus('*', '[{}]')",
        tiers.join(", ")
    );
    client.batch_execute(&sql).expect("a wallet");
    let story = Story {
        client,
        payments: Vec::new(),
        used: Decimal::ZERO,
        debts_seen: 0,
    };
    (database, story)
}

#[test]
fn reversing_payments_gains_nothing() {
    let mut seed = Seed::of("reversing_payments_gains_nothing");
    let (mut with_bonus, mut debts) = (0, 0);
    for lanes in [1, 4] {
        let (database, mut story) = begin(lanes);
        for _ in 0..scale(150) {
            match seed.below(8) {
                0..=2 => story.fund(&mut seed),
                3 | 4 => story.charge(&mut seed),
                5 => story.refund(&mut seed),
                _ if !story.payments.is_empty() => {
                    let payment = seed.below(story.payments.len() as u64) as usize;
                    let part = (seed.below(3) > 0).then(|| amount(&mut seed, 60));
                    story.reverse(payment, part);
                }
                _ => {}
            }
            story.check();
        }
        audit(&mut database.connect(), "w");
        // Then reverse everything: the usage is owed, to the last digit.
        for payment in 0..story.payments.len() {
            story.reverse(payment, None);
        }
        story.check();
        let (balance, debt) = story.balance();
        assert_eq!(debt - balance, story.used);
        audit(&mut database.connect(), "w");
        with_bonus += story
            .payments
            .iter()
            .filter(|one| one.bonus.is_some())
            .count();
        debts += story.debts_seen;
    }
    assert!(with_bonus > 10 && debts > 10, "{with_bonus} and {debts}");
}

/// The same with bonuses that are voided or expire: nothing is gained, and nothing is owed that was
/// never used.
#[test]
fn an_ended_bonus_is_neither_gained_nor_owed() {
    let mut seed = Seed::of("an_ended_bonus_is_neither_gained_nor_owed");
    let (database, mut story) = begin(1);
    let mut gone = Decimal::ZERO;
    for number in 0..1000 {
        // Few seeds have no bonus to void for long.
        if number >= scale(40) && !gone.is_zero() {
            break;
        }
        story.fund(&mut seed);
        let last = story.payments.len() - 1;
        if seed.below(2) == 0 {
            story.charge(&mut seed);
        }
        if let Some(bonus) = story.payments[last].bonus.filter(|_| seed.below(2) == 0) {
            let row = story
                .client
                .query_one("SELECT amount FROM wallet.void_grant('w', $1)", &[&bonus]);
            gone += row.expect("void_grant").get::<_, Decimal>(0);
        }
        if seed.below(3) == 0 {
            story.charge(&mut seed);
        }
        let payment = &story.payments[last];
        let all = payment.left + payment.bonus();
        story
            .client
            .execute(
                "SELECT FROM wallet.reverse_funding('w', $1)",
                &[&story.payments[last].id],
            )
            .expect("reverse_funding");
        story.payments[last].left = Decimal::ZERO;
        let (balance, debt) = story.balance();
        assert_eq!(debt - balance, story.used, "cycle {number} with {all}");
    }
    audit(&mut database.connect(), "w");
    assert!(!gone.is_zero());
}
