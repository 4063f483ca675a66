//! Several top-up rules of one wallet against a model that looks at all of them after every call:
//! which rule requests how much, and when.

use postgres::Client;
use rust_decimal::Decimal;
use uuid::Uuid;
use wallet_tests::{Database, Seed, audit, scale, state_of};

/// How far the balance may go below zero, in cents.
const CREDIT: i64 = 5_000;

/// A rule in plain numbers, in cents.
#[derive(Clone, Copy, Debug)]
struct Rule {
    name: &'static str,
    threshold: i64,
    /// The amount whose multiples are requested, or the balance to reach.
    size: Result<i64, i64>,
    max_count: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    rule: String,
    amount: i64,
    status: &'static str,
}

#[derive(Default)]
struct Model {
    available: i64,
    rules: Vec<Rule>,
    requests: Vec<Request>,
    covered: usize,
}

impl Model {
    /// Looks at every rule, the highest threshold first. What is on its way counts as if it were
    /// there.
    fn look(&mut self) {
        self.rules
            .sort_by_key(|rule| (std::cmp::Reverse(rule.threshold), rule.name));
        for rule in self.rules.clone() {
            let of_rule = |request: &&Request| request.rule == rule.name;
            let mut own = self.requests.iter().filter(of_rule);
            if self.available >= rule.threshold || own.any(|one| one.status == "requested") {
                continue;
            }
            let open = self.requests.iter().filter(|one| one.status == "requested");
            let reach = self.available + open.map(|one| one.amount).sum::<i64>();
            if reach >= rule.threshold {
                self.covered += 1;
                continue;
            }
            let counted = self.requests.iter().filter(of_rule);
            let counted = counted.filter(|one| one.status != "failed").count();
            if rule.max_count.is_some_and(|max| counted >= max) {
                continue;
            }
            let amount = match rule.size {
                Ok(amount) => {
                    let mut times = 1;
                    while reach + times * amount < rule.threshold {
                        times += 1;
                    }
                    times * amount
                }
                Err(target) => target - reach,
            };
            self.requests.push(Request {
                rule: rule.name.to_owned(),
                amount,
                status: "requested",
            });
        }
    }
}

fn decimal(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

struct Story {
    client: Client,
    model: Model,
}

impl Story {
    fn run(&mut self, sql: &str, amount: i64) -> Result<u64, postgres::Error> {
        self.client.execute(sql, &[&decimal(amount)])
    }

    fn spend(&mut self, seed: &mut Seed) {
        let sql = match seed.below(4) {
            0 => "SELECT wallet.hold('w', amount => $1)",
            _ => "SELECT wallet.charge('w', amount => $1)",
        };
        let amount = match seed.below(4) {
            0 => seed.below(8_000),
            _ => seed.below(900),
        };
        let amount = amount as i64 + 1;
        match self.run(sql, amount) {
            Ok(_) => {
                self.model.available -= amount;
                self.model.look();
            }
            Err(error) => {
                assert_eq!(state_of(&error), "WL001", "{error:?}");
                assert!(amount > self.model.available + CREDIT);
            }
        }
    }

    fn fund(&mut self, seed: &mut Seed) {
        let amount = seed.below(4_000) as i64 + 1;
        self.run("SELECT wallet.fund('w', $1)", amount)
            .expect("fund");
        self.model.available += amount;
        self.model.look();
    }

    fn set(&mut self, seed: &mut Seed) {
        let name = ["a", "b", "c", "d"][seed.below(4) as usize];
        let mut rules = self.model.rules.clone();
        rules.retain(|rule| rule.name != name);
        self.model.rules = rules;
        let sql = "SELECT wallet.set_topup_rule('w', $1::text::jsonb, name => $2)";
        if seed.below(4) == 0 {
            let none: Option<String> = None;
            self.client.execute(sql, &[&none, &name]).expect("drop");
        } else {
            let threshold = [0, 1_000, 1_000, 3_000, 6_000][seed.below(5) as usize];
            let size = match seed.below(3) {
                0 => Err(threshold + 1 + seed.below(5_000) as i64),
                _ => Ok(1 + seed.below(6_000) as i64),
            };
            let max_count = (seed.below(3) == 0).then(|| 1 + seed.below(6) as usize);
            let mut json = format!(
                r#"{{"threshold": {}, "back_off": 0, "max_declines": 1000000, "period": "lifetime""#,
                decimal(threshold)
            );
            json += &match size {
                Ok(amount) => format!(r#", "amount": {}"#, decimal(amount)),
                Err(target) => format!(r#", "target_balance": {}"#, decimal(target)),
            };
            if let Some(max) = max_count {
                json += &format!(r#", "max_count": {max}"#);
            }
            json.push('}');
            self.client.execute(sql, &[&json, &name]).expect("set");
            self.model.rules.push(Rule {
                name,
                threshold,
                size,
                max_count,
            });
        }
        self.model.look();
    }

    /// Ends an open top-up: paid or declined.
    fn end(&mut self, seed: &mut Seed) {
        let open = "SELECT topup_id, rule_name FROM wallet.topups
                     WHERE wallet = 'w' AND status = 'requested' ORDER BY rule_name";
        let open = self.client.query(open, &[]).expect("topups");
        if open.is_empty() {
            return;
        }
        let row = &open[seed.below(open.len() as u64) as usize];
        let (id, name): (Uuid, String) = (row.get(0), row.get(1));
        let is_paid = seed.below(2) == 0;
        let sql = match is_paid {
            true => "SELECT wallet.complete_topup('w', $1)",
            false => "SELECT wallet.fail_topup('w', $1)",
        };
        self.client
            .execute(sql, &[&id])
            .expect("the end of a top-up");
        let mut requests = self.model.requests.iter_mut();
        let request = requests
            .find(|one| one.rule == name && one.status == "requested")
            .expect("an open top-up in the model");
        request.status = if is_paid { "succeeded" } else { "failed" };
        if is_paid {
            self.model.available += request.amount;
            self.model.look();
        }
    }

    fn check(&mut self, last: &str) {
        let sql = "SELECT rule_name, (amount * 100)::bigint, status FROM wallet.topups
                    WHERE wallet = 'w' ORDER BY topup_id";
        let rows = self.client.query(sql, &[]).expect("topups");
        let got: Vec<(String, i64, String)> = rows
            .iter()
            .map(|row| (row.get(0), row.get(1), row.get(2)))
            .collect();
        let wanted = self.model.requests.iter();
        let wanted: Vec<(String, i64, String)> = wanted
            .map(|one| (one.rule.clone(), one.amount, one.status.to_owned()))
            .collect();
        assert_eq!(
            got, wanted,
            "after {last}: available {}, rules {:?}",
            self.model.available, self.model.rules
        );
        let sql = "SELECT (available * 100)::bigint FROM wallet.balances WHERE wallet = 'w'";
        let available: i64 = self.client.query_one(sql, &[]).expect("balances").get(0);
        assert_eq!(available, self.model.available);
    }
}

#[test]
fn several_rules_request_what_a_model_says() {
    let mut seed = Seed::of("several_rules_request_what_a_model_says");
    let (mut requests, mut covered) = (0, 0);
    for lanes in [1, 4] {
        let database = Database::new();
        let mut client = database.connect();
        let sql = "SELECT wallet.create_wallet('w', lanes => $1, credit_limit => 50, low_balance => '{15}')";
        client.execute(sql, &[&lanes]).expect("create_wallet");
        let mut story = Story {
            client,
            model: Model::default(),
        };
        for _ in 0..scale(600) {
            let last = match seed.below(20) {
                0..=11 => {
                    story.spend(&mut seed);
                    "spend"
                }
                12 | 13 => {
                    story.fund(&mut seed);
                    "fund"
                }
                14 | 15 => {
                    story.set(&mut seed);
                    "set"
                }
                _ => {
                    story.end(&mut seed);
                    "end"
                }
            };
            story.check(last);
        }
        audit(&mut database.connect(), "w");
        requests += story.model.requests.len();
        covered += story.model.covered;
    }
    assert!(requests > 40 && covered > 20, "{requests} and {covered}");
}
