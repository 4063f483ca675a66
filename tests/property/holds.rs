//! Holds, settlements, voids, refunds and transfers compared with plain numbers. After every call
//! the wallet, its holds and its limits agree with the model, also after a rollback to a savepoint.
//! Any earlier call that is repeated returns its first result.

use postgres::{Client, GenericClient};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};
use uuid::Uuid;
use wallet_tests::{Database, Decimal, Seed, archive, audit, create, dec, fund, scale, state_of};

/// How many expired holds a hold charges.
const FEW: usize = 16;

const USERS: [&str; 2] = ["ann", "bob"];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Over {
    Charge,
    Cap,
    Debt,
}

/// The subject of a limit, which is the index of its numbers.
#[derive(Clone, Copy, Debug)]
enum Scope {
    User = 0,
    Wallet = 1,
    /// The open holds of the wallet.
    Open = 2,
}

/// The limits that count use.
const COUNTED: [Scope; 2] = [Scope::User, Scope::Wallet];

/// The limits that count holds.
const ALL: [Scope; 3] = [Scope::User, Scope::Wallet, Scope::Open];

impl Scope {
    /// The scope and the period in SQL.
    fn names(self) -> [&'static str; 2] {
        [
            ["user", "lifetime"],
            ["wallet", "lifetime"],
            ["wallet", "open"],
        ][self as usize]
    }
}

fn scope() -> impl Strategy<Value = Scope> {
    prop::sample::select(ALL.to_vec())
}

/// A step. Amounts are in cents. `which` picks an existing hold.
#[derive(Clone, Debug)]
enum Step {
    Fund(i64),
    Charge(i64, usize),
    Hold {
        cents: i64,
        user: usize,
        partial: bool,
        /// Whether it has expired by the next call.
        short: bool,
        /// Whether it is charged when it expires.
        charged: bool,
    },
    Settle {
        which: usize,
        cents: i64,
        last: bool,
        over: Over,
    },
    Void(usize),
    Refund(usize, Option<i64>),
    Transfer(i64),
    /// For each user, or for the wallet.
    SetLimit(Scope, i64),
    /// For a single request.
    SetMaxPerRequest(i64),
    SetLanes(i32),
    Sweep,
    Archive,
    Replay(usize),
    Regret(Vec<Step>),
}

fn single() -> impl Strategy<Value = Step> {
    let over = || prop::sample::select(vec![Over::Charge, Over::Charge, Over::Cap, Over::Debt]);
    prop_oneof![
        3 => (1_i64..6000).prop_map(Step::Fund),
        4 => (0_i64..3000, 0_usize..2).prop_map(|(cents, user)| Step::Charge(cents, user)),
        6 => (0_i64..3000, 0_usize..2, any::<bool>(), prop::bool::weighted(0.35), any::<bool>())
            .prop_map(|(cents, user, partial, short, charged)| Step::Hold { cents, user, partial, short, charged }),
        7 => (0_usize..4, 0_i64..3500, prop::bool::weighted(0.7), over())
            .prop_map(|(which, cents, last, over)| Step::Settle { which, cents, last, over }),
        2 => (0_usize..4).prop_map(Step::Void),
        3 => (0_usize..4, prop::option::of(1_i64..2500))
            .prop_map(|(which, cents)| Step::Refund(which, cents)),
        1 => (1_i64..2000).prop_map(Step::Transfer),
        1 => (scope(), prop_oneof![2 => 0_i64..12_000, 1 => 100_000_i64..10_000_000])
            .prop_map(|(scope, max)| Step::SetLimit(scope, max)),
        1 => prop_oneof![2 => 500_i64..3500, 1 => Just(0), 2 => Just(1_000_000)].prop_map(Step::SetMaxPerRequest),
        1 => (1_i32..5).prop_map(Step::SetLanes),
        1 => Just(Step::Archive),
        1 => Just(Step::Sweep),
        3 => (0_usize..8).prop_map(Step::Replay),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => single(),
        1 => prop::collection::vec(single(), 1..5).prop_map(Step::Regret),
    ]
}

#[derive(Clone, Debug)]
struct Hold {
    id: Uuid,
    user: usize,
    amount: i64,
    held: i64,
    settled: i64,
    /// The amount it reserves in each limit that existed.
    windows: [Option<i64>; 3],
    /// Whether it is charged when it expires.
    charged: bool,
    /// The charge that booked its amount.
    booked: Option<usize>,
    status: &'static str,
}

#[derive(Clone, Debug)]
struct Charge {
    id: Uuid,
    user: usize,
    cents: i64,
    refunded: i64,
}

/// A call that was made, to repeat it.
#[derive(Clone, Debug)]
struct Made {
    sql: String,
    answer: (Uuid, i64),
}

#[derive(Clone, Debug, Default)]
struct Model {
    balance: i64,
    debt: i64,
    other: i64,
    max: [Option<i64>; 3],
    max_per_request: Option<i64>,
    used: [i64; 2],
    holds: Vec<Hold>,
    charges: Vec<Charge>,
    made: Vec<Made>,
}

type Refused = &'static str;

impl Model {
    fn held(&self) -> i64 {
        self.holds.iter().map(|hold| hold.held).sum()
    }

    fn room(&self) -> i64 {
        self.balance - self.held()
    }

    fn used_of(&self, scope: Scope, user: usize) -> i64 {
        match scope {
            Scope::User => self.used[user],
            Scope::Wallet => self.used.iter().sum(),
            Scope::Open => 0,
        }
    }

    fn held_of(&self, scope: Scope, user: usize) -> i64 {
        self.holds
            .iter()
            .filter(|hold| match scope {
                Scope::User => hold.user == user,
                Scope::Wallet => true,
                // One that has expired does not count, charged or not.
                Scope::Open => hold.status == "open",
            })
            .filter_map(|hold| hold.windows[scope as usize])
            .sum()
    }

    fn remaining(&self, scope: Scope, user: usize) -> Option<i64> {
        let taken = self.used_of(scope, user) + self.held_of(scope, user);
        self.max[scope as usize].map(|max| (max - taken).max(0))
    }

    fn least_remaining(&self, scopes: &[Scope], user: usize) -> Option<i64> {
        scopes
            .iter()
            .filter_map(|scope| self.remaining(*scope, user))
            .min()
    }

    fn fits(&self, scopes: &[Scope], user: usize, cents: i64) -> Result<(), Refused> {
        match self.least_remaining(scopes, user) {
            Some(left) if cents > 0 && cents > left => Err("WL002"),
            _ => Ok(()),
        }
    }

    fn is_too_much_at_once(&self, cents: i64) -> bool {
        self.max_per_request.is_some_and(|max| cents > max)
    }

    /// The settlements of a hold count as one request, which may take what the hold was made for.
    fn is_too_much_for(&self, hold: &Hold, cents: i64) -> bool {
        let all = hold.settled + cents;
        cents > 0 && all > hold.amount && self.is_too_much_at_once(all)
    }

    fn fund(&mut self, cents: i64) -> i64 {
        let paid = cents.min(self.debt);
        self.debt -= paid;
        self.balance += cents - paid;
        cents
    }

    fn charge(&mut self, cents: i64, user: usize) -> Result<i64, Refused> {
        if cents > self.room() {
            return Err("WL001");
        }
        if self.is_too_much_at_once(cents) {
            return Err("WL002");
        }
        self.fits(&COUNTED, user, cents)?;
        self.balance -= cents;
        self.used[user] += cents;
        Ok(cents)
    }

    /// The amount that a hold reserves.
    fn hold(&self, cents: i64, user: usize, partial: bool) -> Result<i64, Refused> {
        let room = self.room();
        let amount = match partial {
            true => cents
                .min(room)
                .min(self.least_remaining(&ALL, user).unwrap_or(cents))
                .min(self.max_per_request.unwrap_or(cents)),
            false => cents,
        };
        if room < amount || amount == 0 && cents > 0 && room <= 0 {
            return Err("WL001");
        }
        let wanted = if amount == 0 { cents } else { amount };
        self.fits(&ALL, user, wanted)?;
        if self.is_too_much_at_once(wanted) {
            return Err("WL002");
        }
        Ok(amount)
    }

    fn settle(&mut self, place: usize, cents: i64, last: bool, over: Over) -> Result<i64, Refused> {
        let hold = self.holds[place].clone();
        if !["open", "expired"].contains(&hold.status) {
            return Err("WL008");
        }
        if let Some(charge) = hold.booked {
            return self.correct(place, charge, cents, last, over);
        }
        let cost = match over {
            Over::Cap => cents.min(hold.held),
            _ => cents,
        };
        let before = self.clone();
        let one = &mut self.holds[place];
        let freed = if last { hold.held } else { cost.min(hold.held) };
        one.held -= freed;
        let freed_windows = hold
            .windows
            .map(|window| window.map(|window| if last { window } else { cost.min(window) }));
        for (place, freed) in freed_windows.into_iter().enumerate() {
            one.windows[place] = hold.windows[place]
                .zip(freed)
                .map(|(window, freed)| window - freed);
        }
        let room = self.room();
        let too_much = |scope: &Scope| {
            let covered = freed_windows[*scope as usize].unwrap_or(0) >= cost;
            let left = self.remaining(*scope, hold.user);
            !covered && left.is_some_and(|left| cost > left)
        };
        let refused = if cost > room && over != Over::Debt {
            Some("WL001")
        } else if over == Over::Charge
            && (COUNTED.iter().any(too_much) || self.is_too_much_for(&hold, cost))
        {
            Some("WL002")
        } else {
            None
        };
        if let Some(refused) = refused {
            *self = before;
            return Err(refused);
        }
        let taken = cost.min(room);
        self.balance -= taken;
        self.debt += cost - taken;
        self.used[hold.user] += cost;
        let one = &mut self.holds[place];
        one.settled += cost;
        if last {
            one.status = "settled";
        }
        Ok(cost)
    }

    /// How many holds that have expired a new hold charges, one that is charged when it expires
    /// itself or not. A limit on open holds needs them all.
    fn most_booked(&self, charged: bool) -> usize {
        match (self.max[Scope::Open as usize], charged) {
            (Some(_), _) => usize::MAX,
            (None, true) => FEW,
            (None, false) => 0,
        }
    }

    /// Charges at most `most` holds that have expired and are to be charged.
    fn book(&mut self, most: usize) {
        let due = |hold: &Hold| hold.charged && hold.status == "expired" && hold.booked.is_none();
        let places = (0..self.holds.len()).filter(|place| due(&self.holds[*place]));
        for place in places.take(most).collect::<Vec<_>>() {
            let hold = &mut self.holds[place];
            let (user, cents) = (hold.user, hold.held);
            hold.held = 0;
            hold.settled += cents;
            hold.windows = hold.windows.map(|window| window.map(|_| 0));
            hold.booked = Some(self.charges.len());
            self.balance -= cents;
            self.used[user] += cents;
            self.charges.push(Charge {
                id: Uuid::nil(),
                user,
                cents,
                refunded: 0,
            });
        }
    }

    /// Settles a hold that was charged: the charge and the correction together are the cost.
    fn correct(
        &mut self,
        place: usize,
        charge: usize,
        cents: i64,
        last: bool,
        over: Over,
    ) -> Result<i64, Refused> {
        if !last {
            return Err("WL008");
        }
        let paid = self.charges[charge].cents - self.charges[charge].refunded;
        let user = self.holds[place].user;
        let more = if over == Over::Cap { 0 } else { cents - paid }.max(0);
        if more > self.room() && over != Over::Debt {
            return Err("WL001");
        }
        if over == Over::Charge {
            self.fits(&COUNTED, user, more)?;
            if self.is_too_much_for(&self.holds[place], more) {
                return Err("WL002");
            }
        }
        let unused = (paid - cents).max(0);
        let taken = more.min(self.room());
        self.charges[charge].refunded += unused;
        self.balance += unused - taken;
        self.debt += more - taken;
        self.used[user] += more - unused;
        self.holds[place].settled += more - unused;
        self.holds[place].status = "settled";
        Ok(more)
    }

    fn refund(&mut self, place: usize, cents: Option<i64>) -> Result<i64, Refused> {
        let charge = &mut self.charges[place];
        let rest = charge.cents - charge.refunded;
        let cents = cents.unwrap_or(rest);
        if cents > rest || cents == 0 {
            return Err("WL012");
        }
        charge.refunded += cents;
        self.balance += cents;
        self.used[charge.user] -= cents;
        Ok(cents)
    }
}

fn cents(amount: i64) -> Decimal {
    Decimal::new(amount, 2)
}

struct Run<'a> {
    wallet: &'a str,
    number: &'a std::cell::Cell<u32>,
}

impl Run<'_> {
    /// Makes the call, compares its answer, and returns the id in it. `{k}` in the text is a new
    /// key or none.
    fn call(
        &self,
        client: &mut impl GenericClient,
        model: &mut Model,
        sql: &str,
        expected: Result<i64, Refused>,
    ) -> Option<Uuid> {
        let number = self.number.get() + 1;
        self.number.set(number);
        let keyed = number.is_multiple_of(2);
        let key = if keyed {
            format!("'call {number}'")
        } else {
            "NULL".to_owned()
        };
        let sql = sql.replace("{w}", self.wallet).replace("{k}", &key);
        let mut savepoint = client.transaction().expect("BEGIN or SAVEPOINT");
        match savepoint.query_one(&sql, &[]) {
            Ok(row) => {
                savepoint.commit().expect("COMMIT or RELEASE");
                let (id, amount): (Uuid, Decimal) = (row.get(0), row.get(1));
                assert_eq!(Ok(amount), expected.map(cents), "{sql}");
                assert!(!row.get::<_, bool>(2), "{sql} is replayed");
                if keyed {
                    let answer = (id, expected.unwrap_or_default());
                    model.made.push(Made { sql, answer });
                }
                Some(id)
            }
            Err(error) => {
                savepoint.rollback().expect("ROLLBACK");
                assert_eq!(
                    Err(state_of(&error)),
                    expected.map_err(str::to_owned),
                    "{sql}: {error:?}"
                );
                None
            }
        }
    }

    fn one(&self, client: &mut impl GenericClient, model: &mut Model, step: &Step) {
        match *step {
            Step::Fund(amount) => {
                let expected = Ok(model.fund(amount));
                let sql = format!(
                    "SELECT entry_id, amount, replayed FROM wallet.fund('{{w}}', {}, idempotency_key => {{k}})",
                    cents(amount)
                );
                self.call(client, model, &sql, expected);
            }
            Step::Charge(amount, user) => {
                let expected = model.charge(amount, user);
                let sql = format!(
                    "SELECT entry_id, cost, replayed FROM wallet.charge('{{w}}', amount => {}, user_id => '{}', idempotency_key => {{k}})",
                    cents(amount),
                    USERS[user]
                );
                if let Some(id) = self.call(client, model, &sql, expected) {
                    model.charges.push(Charge {
                        id,
                        user,
                        cents: amount,
                        refunded: 0,
                    });
                }
            }
            Step::Hold {
                cents: amount,
                user,
                partial,
                short,
                charged,
            } => {
                let mut booked = model.clone();
                booked.book(booked.most_booked(charged));
                let expected = booked.hold(amount, user, partial);
                if expected.is_ok() {
                    *model = booked;
                }
                let on_expiry = if charged { "charge" } else { "release" };
                let ttl = if short { "1 microsecond" } else { "1 hour" };
                let sql = format!(
                    "SELECT hold_id, amount, replayed FROM wallet.hold('{{w}}', amount => {}, user_id => '{}', allow_partial => {partial}, ttl => '{ttl}', on_expiry => '{on_expiry}', idempotency_key => {{k}})",
                    cents(amount),
                    USERS[user]
                );
                if let Some(id) = self.call(client, model, &sql, expected) {
                    let amount = expected.unwrap_or_default();
                    let held = if short && !charged { 0 } else { amount };
                    model.holds.push(Hold {
                        id,
                        user,
                        amount,
                        held,
                        settled: 0,
                        windows: model.max.map(|max| max.map(|_| held)),
                        charged,
                        booked: None,
                        status: if short { "expired" } else { "open" },
                    });
                }
                name_charges(client, model);
            }
            Step::Settle {
                which,
                cents: amount,
                last,
                over,
            } => {
                let Some(place) = newest(model.holds.len(), which) else {
                    return;
                };
                let expected = model.settle(place, amount, last, over);
                let (id, user) = (model.holds[place].id, model.holds[place].user);
                let over = match over {
                    Over::Charge => "charge",
                    Over::Cap => "cap",
                    Over::Debt => "debt",
                };
                let sql = format!(
                    "SELECT entry_id, cost, replayed FROM wallet.settle('{{w}}', '{id}', amount => {}, final => {last}, over => '{over}', idempotency_key => {{k}})",
                    cents(amount)
                );
                if let Some(id) = self.call(client, model, &sql, expected) {
                    let cents = expected.unwrap_or_default();
                    model.charges.push(Charge {
                        id,
                        user,
                        cents,
                        refunded: 0,
                    });
                }
            }
            Step::Void(which) => {
                let Some(place) = newest(model.holds.len(), which) else {
                    return;
                };
                let hold = &mut model.holds[place];
                let id = hold.id;
                let expected = if hold.status == "open" {
                    Ok(hold.held)
                } else {
                    Err("WL008")
                };
                if expected.is_ok() {
                    hold.status = "voided";
                    hold.held = 0;
                    hold.windows = hold.windows.map(|window| window.map(|_| 0));
                }
                let sql = format!(
                    "SELECT hold_id, amount, replayed FROM wallet.void('{{w}}', '{id}', idempotency_key => {{k}})"
                );
                self.call(client, model, &sql, expected);
            }
            Step::Refund(which, amount) => {
                let Some(place) = newest(model.charges.len(), which) else {
                    return;
                };
                let id = model.charges[place].id;
                let expected = model.refund(place, amount);
                let amount = amount.map_or("NULL".to_owned(), |amount| cents(amount).to_string());
                let sql = format!(
                    "SELECT entry_id, amount, replayed FROM wallet.refund('{{w}}', '{id}', {amount}, idempotency_key => {{k}})"
                );
                self.call(client, model, &sql, expected);
            }
            Step::Transfer(amount) => {
                let expected = if amount > model.room() {
                    Err("WL001")
                } else {
                    Ok(-amount)
                };
                if expected.is_ok() {
                    model.balance -= amount;
                    model.other += amount;
                }
                let sql = format!(
                    "SELECT entry_id, amount, replayed FROM wallet.transfer('{{w}}', '{{w}}-other', {}, idempotency_key => {{k}})",
                    cents(amount)
                );
                self.call(client, model, &sql, expected);
            }
            Step::SetLimit(scope, max) => {
                let [name, period] = scope.names();
                client
                    .query_one(
                        "SELECT wallet.set_limit($1, $2, $3, scope => $4)",
                        &[&self.wallet, &cents(max), &period, &name],
                    )
                    .expect("set_limit");
                model.max[scope as usize] = Some(max);
            }
            Step::SetMaxPerRequest(max) => {
                client
                    .query_one(
                        "SELECT wallet.set_limit($1, $2, 'request')",
                        &[&self.wallet, &cents(max)],
                    )
                    .expect("set_limit");
                model.max_per_request = Some(max);
            }
            Step::SetLanes(lanes) => {
                client
                    .query_one("SELECT wallet.set_lanes($1, $2)", &[&self.wallet, &lanes])
                    .expect("set_lanes");
            }
            Step::Sweep => {
                client
                    .query_one("SELECT wallet.sweep_expired()", &[])
                    .expect("sweep_expired");
                model.book(usize::MAX);
                name_charges(client, model);
            }
            Step::Archive => {
                archive(client, self.wallet, None).expect("archive");
            }
            Step::Replay(which) => {
                let Some(place) = newest(model.made.len(), which) else {
                    return;
                };
                let made = &model.made[place];
                let row = client.query_one(&made.sql, &[]).expect("a call made again");
                let answer: (Uuid, Decimal) = (row.get(0), row.get(1));
                assert_eq!(
                    answer,
                    (made.answer.0, cents(made.answer.1)),
                    "{}",
                    made.sql
                );
                assert!(row.get::<_, bool>(2), "{} is not replayed", made.sql);
                if made.sql.contains("wallet.hold(") {
                    let charged = made.sql.contains("on_expiry => 'charge'");
                    model.book(model.most_booked(charged));
                    name_charges(client, model);
                }
            }
            Step::Regret(_) => unreachable!("not nested"),
        }
    }

    fn agree(&self, client: &mut impl GenericClient, model: &Model, step: &Step) {
        let row = client
            .query_one(
                "SELECT balance, held, available, debt, (SELECT balance FROM wallet.balances WHERE wallet = $1 || '-other')
                   FROM wallet.balances WHERE wallet = $1",
                &[&self.wallet],
            )
            .expect("balances");
        let shown: Vec<Decimal> = (0..5).map(|column| row.get(column)).collect();
        let expected = [
            model.balance,
            model.held(),
            model.room(),
            model.debt,
            model.other,
        ]
        .map(cents);
        assert_eq!(
            shown, expected,
            "balance, held, available, debt, the other's balance after {step:?}"
        );
        for hold in &model.holds {
            let row = client
                .query_one("SELECT status, amount, settled FROM wallet.holds WHERE wallet = $1 AND hold_id = $2", &[&self.wallet, &hold.id])
                .expect("holds");
            let shown: (String, Decimal, Decimal) = (row.get(0), row.get(1), row.get(2));
            assert_eq!(
                shown,
                (
                    hold.status.to_owned(),
                    cents(hold.amount),
                    cents(hold.settled)
                ),
                "{hold:?} after {step:?}"
            );
        }
        for (user, name) in USERS.iter().enumerate() {
            for scope in ALL {
                let [of, period] = scope.names();
                let rows = client
                    .query(
                        "SELECT used, held, remaining FROM wallet.check_limits($1, user_id => $2) WHERE scope = $3 AND period = $4",
                        &[&self.wallet, name, &of, &period],
                    )
                    .expect("check_limits");
                assert_eq!(rows.len(), usize::from(model.max[scope as usize].is_some()));
                if let (Some(row), Some(left)) = (rows.first(), model.remaining(scope, user)) {
                    let shown: Vec<Decimal> = (0..3).map(|column| row.get(column)).collect();
                    let (used, held) = (model.used_of(scope, user), model.held_of(scope, user));
                    assert_eq!(
                        shown,
                        [used, held, left].map(cents),
                        "used, held and remaining of {scope:?} {name} after {step:?}"
                    );
                }
            }
        }
    }

    fn steps(&self, client: &mut Client, lanes: i32, steps: &[Step]) {
        create(client, self.wallet, lanes, &[dec("20")], Decimal::ZERO);
        create(
            client,
            &format!("{}-other", self.wallet),
            1,
            &[],
            Decimal::ZERO,
        );
        let mut model = Model::default();
        model.fund(5000);
        fund(client, self.wallet, dec("50")).expect("fund");
        for step in steps {
            if let Step::Regret(steps) = step {
                let mut transaction = client.transaction().expect("BEGIN");
                let mut savepoint = transaction.savepoint("regret").expect("SAVEPOINT");
                let mut discarded = model.clone();
                for step in steps {
                    self.one(&mut savepoint, &mut discarded, step);
                }
                savepoint.rollback().expect("ROLLBACK TO");
                self.agree(&mut transaction, &model, step);
                transaction.commit().expect("COMMIT");
            } else {
                self.one(client, &mut model, step);
            }
            self.agree(client, &model, step);
        }
        audit(client, self.wallet);
        let broken: i64 = client
            .query_one(
                "SELECT count(*) FROM wallet.verify($1) WHERE NOT ok",
                &[&self.wallet],
            )
            .expect("verify")
            .get(0);
        assert_eq!(broken, 0, "checks of verify() that fail");
    }
}

/// Looks up the entries of the charges of expired holds.
fn name_charges(client: &mut impl GenericClient, model: &mut Model) {
    for hold in &model.holds {
        let Some(charge) = hold.booked.map(|place| &mut model.charges[place]) else {
            continue;
        };
        if charge.id.is_nil() {
            let sql = "SELECT expiry_entry_id FROM wallet.holds WHERE hold_id = $1";
            let row = client.query_one(sql, &[&hold.id]).expect("the charge");
            charge.id = row.get::<_, Option<Uuid>>(0).expect("a charged hold");
        }
    }
}

/// The index of one of the newest.
fn newest(count: usize, which: usize) -> Option<usize> {
    count.checked_sub(1 + which.min(count.saturating_sub(1)))
}

#[test]
fn holds_agree_with_the_model_after_every_call() {
    let seed = Seed::of("holds_agree_with_the_model_after_every_call");
    let config = Config {
        cases: scale(60) as u32,
        max_shrink_iters: 300,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.value().to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let database = Database::new();
    let (case, number) = (std::cell::Cell::new(0), std::cell::Cell::new(0));
    let strategy = (
        1_i32..5,
        prop::sample::select(vec!["auto", "spi"]),
        prop::collection::vec(step(), 1..40),
    );
    let outcome = runner.run(&strategy, |(lanes, storage, steps)| {
        case.set(case.get() + 1);
        // A failed case may leave its connection inside a transaction.
        let mut client = database.connect();
        client
            .batch_execute(&format!("SET wallet.storage = {storage}"))
            .expect("SET");
        let run = Run {
            wallet: &format!("w{}", case.get()),
            number: &number,
        };
        run.steps(&mut client, lanes, &steps);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(why, (lanes, storage, steps))) => {
            panic!("{why}\nlanes {lanes}, storage {storage}, the shortest steps:\n{steps:#?}")
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}
