//! A wallet with a plan beside a twin without one, whose rules are set one by one with the single
//! calls at the moments at which the wallet takes a version over. Random versions, assignments, own
//! rules and uses: balances, limits, refusals, checks, rules and events of both agree at each step.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use postgres::Client;
use wallet_tests::{Database, Seed, scale, state_of};

/// A rule that a plan or a wallet may have: its place, which is also the order in which a wallet
/// takes rules over.
type Key = usize;

/// The value of a rule: the item in a definition, and the call that sets it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    item: String,
    set: String,
}

const LIMITS: [(&str, &str, &str); 4] = [
    ("wallet", "*", "month"),
    ("user", "*", "month"),
    ("user", "ann", "month"),
    ("wallet", "*", "request"),
];
const MODELS: [(&str, &str); 2] = [("wallet", "*"), ("user", "ann")];
const GRANTS: [&str; 2] = ["first", "second"];
const TOPUPS: [&str; 2] = ["large", "small"];
const SETTINGS: [&str; 5] = [
    "price_list",
    "low_balance",
    "lanes",
    "unknown_price",
    "unread_usage",
];
const FIRST_LIMIT: Key = SETTINGS.len();
const FIRST_MODEL: Key = FIRST_LIMIT + LIMITS.len();
const FIRST_GRANT: Key = FIRST_MODEL + MODELS.len();
const FIRST_TOPUP: Key = FIRST_GRANT + GRANTS.len();
const KEYS: Key = FIRST_TOPUP + TOPUPS.len();
const PLANS: [&str; 2] = ["basic", "pro"];

/// The part of a definition in which a rule is.
fn part(key: Key) -> &'static str {
    match key {
        key if key < FIRST_LIMIT => SETTINGS[key],
        key if key < FIRST_MODEL => "limits",
        key if key < FIRST_GRANT => "model_rules",
        key if key < FIRST_TOPUP => "recurring_grants",
        _ => "topup_rules",
    }
}

fn pick<'a>(seed: &mut Seed, values: &[&'a str]) -> &'a str {
    values[seed.below(values.len() as u64) as usize]
}

/// A random value of a setting.
fn setting(seed: &mut Seed, key: Key) -> Value {
    let update = |name: &str, value: &str| {
        format!("SELECT wallet.update_wallet('{{w}}', {name} => {value})")
    };
    let (item, set) = match SETTINGS[key] {
        "price_list" => {
            let list = pick(seed, &["default", "cheap"]);
            let set = format!("SELECT wallet.use_price_list('{{w}}', '{list}')");
            (format!("\"{list}\""), set)
        }
        "low_balance" => {
            let at = seed.below(4) * 10;
            let set = update("low_balance", &format!("ARRAY[{at}, 5]"));
            (format!("[{at}, 5]"), set)
        }
        "lanes" => {
            let lanes = 1 + seed.below(3);
            (
                lanes.to_string(),
                format!("SELECT wallet.set_lanes('{{w}}', {lanes})"),
            )
        }
        "unknown_price" => {
            let rule = pick(seed, &["reject", "unpriced"]);
            (
                format!("\"{rule}\""),
                update("unknown_price", &format!("'{rule}'")),
            )
        }
        _ => {
            let rule = pick(seed, &["note", "reject"]);
            (
                format!("\"{rule}\""),
                update("unread_usage", &format!("'{rule}'")),
            )
        }
    };
    Value { item, set }
}

/// A random value of a rule.
fn value(seed: &mut Seed, key: Key) -> Value {
    let (item, set) = match key {
        key if key < FIRST_LIMIT => return setting(seed, key),
        key if key < FIRST_MODEL => {
            let (scope, subject, period) = LIMITS[key - FIRST_LIMIT];
            let (max, mode) = (5 + seed.below(60), pick(seed, &["hard", "soft"]));
            let rollover = match (period, seed.below(3)) {
                ("month", 0) => Some(seed.below(20)),
                _ => None,
            };
            let json = rollover.map_or(String::new(), |most| format!(", \"rollover_max\": {most}"));
            let sql = rollover.map_or(String::new(), |most| format!(", rollover_max => {most}"));
            (
                format!(
                    r#"{{"max": {max}, "mode": "{mode}", "scope": "{scope}", "subject": "{subject}", "period": "{period}"{json}}}"#
                ),
                // What a call leaves as it is, a plan sets.
                format!(
                    "SELECT wallet.set_limit('{{w}}', {max}, '{period}', scope => '{scope}', subject => '{subject}', mode => '{mode}', time_zone => 'UTC', paused => false{sql})"
                ),
            )
        }
        key if key < FIRST_GRANT => {
            let (scope, subject) = MODELS[key - FIRST_MODEL];
            let model = pick(seed, &["m*", "m1", "m2"]);
            (
                format!(
                    r#"{{"scope": "{scope}", "subject": "{subject}", "allowed": ["{model}"]}}"#
                ),
                format!(
                    "SELECT wallet.set_model_rules('{{w}}', '{scope}', '{subject}', ARRAY['{model}'])"
                ),
            )
        }
        key if key < FIRST_TOPUP => {
            let name = GRANTS[key - FIRST_GRANT];
            let (amount, days) = (1 + seed.below(30), 1 + seed.below(3));
            (
                format!(
                    r#"{{"name": "{name}", "amount": {amount}, "period": "month", "expires_after": "{days} days"}}"#
                ),
                format!(
                    "SELECT wallet.set_recurring_grant('{{w}}', {amount}, 'month', '{days} days', name => '{name}')"
                ),
            )
        }
        key => {
            let name = TOPUPS[key - FIRST_TOPUP];
            let (threshold, amount) = (seed.below(5) * 10, 1 + seed.below(30));
            let rule = format!(r#"{{"threshold": {threshold}, "amount": {amount}}}"#);
            (
                format!(r#"{{"name": "{name}", "rule": {rule}}}"#),
                format!("SELECT wallet.set_topup_rule('{{w}}', '{rule}', name => '{name}')"),
            )
        }
    };
    Value { item, set }
}

/// The call that drops a rule, or that gives a setting the value without a plan.
fn dropping(key: Key) -> String {
    match key {
        key if key < FIRST_LIMIT => match SETTINGS[key] {
            "price_list" => "SELECT wallet.use_price_list('{w}', 'default')",
            "low_balance" => "SELECT wallet.update_wallet('{w}', low_balance => '{}')",
            "lanes" => "SELECT wallet.set_lanes('{w}', 1)",
            "unknown_price" => "SELECT wallet.update_wallet('{w}', unknown_price => 'reject')",
            _ => "SELECT wallet.update_wallet('{w}', unread_usage => 'note')",
        }
        .to_owned(),
        key if key < FIRST_MODEL => {
            let (scope, subject, period) = LIMITS[key - FIRST_LIMIT];
            format!(
                "SELECT wallet.drop_limit('{{w}}', (SELECT limit_id FROM wallet.limits
                  WHERE wallet_id = '{{w}}' AND scope = '{scope}' AND subject = '{subject}' AND period = '{period}'))"
            )
        }
        key if key < FIRST_GRANT => {
            let (scope, subject) = MODELS[key - FIRST_MODEL];
            format!("SELECT wallet.set_model_rules('{{w}}', '{scope}', '{subject}')")
        }
        key if key < FIRST_TOPUP => {
            let name = GRANTS[key - FIRST_GRANT];
            format!("SELECT wallet.set_recurring_grant('{{w}}', 0, name => '{name}')")
        }
        key => {
            let name = TOPUPS[key - FIRST_TOPUP];
            format!("SELECT wallet.set_topup_rule('{{w}}', NULL, name => '{name}')")
        }
    }
}

type Rules = BTreeMap<Key, Value>;

/// The JSON of a plan.
fn definition(rules: &Rules) -> String {
    let mut parts: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, value) in rules {
        parts.entry(part(*key)).or_default().push(&value.item);
    }
    let parts = parts
        .iter()
        .map(|(name, items)| match SETTINGS.contains(name) {
            true => format!("\"{name}\": {}", items[0]),
            false => format!("\"{name}\": [{}]", items.join(", ")),
        });
    format!("{{{}}}", parts.collect::<Vec<_>>().join(", "))
}

/// What the test knows of both wallets.
#[derive(Clone, Default, Debug)]
struct Model {
    /// The version in force of each plan, with its number.
    plans: [(usize, Rules); 2],
    assigned: Option<usize>,
    /// The plan and the version that were taken over.
    taken: Option<(usize, usize)>,
    /// The rules that come from the plan.
    of_plan: Rules,
    own: Rules,
}

impl Model {
    fn in_force(&self) -> Option<(usize, usize)> {
        let plan = self.assigned?;
        (self.plans[plan].0 > 0).then(|| (plan, self.plans[plan].0))
    }

    fn is_due(&self) -> bool {
        self.in_force() != self.taken
    }

    /// The single calls that set the rules of the version in force.
    fn take_over(&mut self) -> Vec<String> {
        let mut wanted = match self.assigned {
            Some(plan) => self.plans[plan].1.clone(),
            None => Rules::new(),
        };
        wanted.retain(|key, _| !self.own.contains_key(key));
        let mut calls = Vec::new();
        // Part by part: what is gone, then what is new.
        for part in [
            0..FIRST_LIMIT,
            FIRST_LIMIT..FIRST_MODEL,
            FIRST_MODEL..FIRST_GRANT,
            FIRST_GRANT..FIRST_TOPUP,
            FIRST_TOPUP..KEYS,
        ] {
            for key in part.clone() {
                if self.of_plan.contains_key(&key) && !wanted.contains_key(&key) {
                    calls.push(dropping(key));
                }
            }
            for key in part {
                if let Some(value) = wanted.get(&key)
                    && self.of_plan.get(&key) != Some(value)
                {
                    calls.push(value.set.clone());
                }
            }
        }
        self.of_plan = wanted;
        self.taken = self.in_force();
        calls
    }
}

struct Pair {
    clients: [Client; 2],
    model: Model,
    story: Vec<String>,
}

/// The result of a call, without what differs between two wallets.
fn result(client: &mut Client, sql: &str) -> Result<Vec<String>, String> {
    let rows = client.query(sql, &[]);
    match rows {
        Ok(rows) => Ok(rows
            .iter()
            .map(|row| row.get::<_, Option<String>>(0).unwrap_or_default())
            .collect()),
        Err(error) => {
            let state = state_of(&error);
            let message = error.as_db_error().map(|error| error.message().to_owned());
            // Of several limits that refuse a request, the one whose window has the smallest id is
            // named.
            let message = message.filter(|_| state != "WL002").unwrap_or_default();
            Err(format!("{state} {}", message.replace("\"twin\"", "\"w\"")))
        }
    }
}

const BOTH: [&str; 2] = ["w", "twin"];

impl Pair {
    fn tell(&self, what: &str) -> String {
        format!("{what}\n{}\n{:#?}", self.story.join("\n"), self.model)
    }

    fn run(&mut self, wallet: usize, sql: &str, seed: &mut Seed) -> Result<Vec<String>, String> {
        let sql = sql.replace("{w}", BOTH[wallet]);
        self.story.push(sql.clone());
        result(&mut self.clients[seed.below(2) as usize], &sql)
    }

    /// The twin's single calls for what the other wallet takes over, and a call, in a transaction.
    fn twin(&mut self, calls: &[String], sql: &str, keep: bool) -> Result<Vec<String>, String> {
        let client = &mut self.clients[0];
        client.batch_execute("BEGIN").expect("BEGIN");
        for call in calls.iter().map(|call| call.replace("{w}", "twin")) {
            self.story.push(call.clone());
            if let Err(error) = client.batch_execute(&call) {
                panic!("{call}: {error:?}\n{}", self.story.join("\n"));
            }
        }
        let sql = sql.replace("{w}", "twin");
        self.story.push(sql.clone());
        let done = result(client, &sql);
        let end = if done.is_ok() && keep {
            "COMMIT"
        } else {
            "ROLLBACK"
        };
        client.batch_execute(end).expect(end);
        done
    }

    /// The same call on both wallets, after what is to be taken over.
    fn both(&mut self, sql: &str, seed: &mut Seed) -> bool {
        let before = self.model.clone();
        let one = self.run(0, sql, seed);
        let calls = match self.model.is_due() {
            true => self.model.take_over(),
            false => Vec::new(),
        };
        let other = self.twin(&calls, sql, true);
        assert_eq!(one, other, "{}", self.tell(sql));
        if one.is_err() {
            // The refused call has taken nothing over.
            self.model = before;
        }
        one.is_ok()
    }

    /// What a check says is what the next charge does.
    fn check(&mut self, seed: &mut Seed) {
        let (user, model) = (pick(seed, &["ann", "bob"]), pick(seed, &["m1", "m2"]));
        let amount = seed.below(30);
        let sql = format!(
            "SELECT concat_ws(' ', scope, CASE WHEN scope <> 'balance' THEN subject END, period, metric, mode, max, used, held,
                              remaining, allowed, reason)
               FROM wallet.check_limits('{{w}}', user_id => '{user}', model => '{model}', amount => {amount}) ORDER BY 1"
        );
        let one = self.run(0, &sql, seed);
        let calls = match self.model.is_due() {
            true => self.model.clone().take_over(),
            false => Vec::new(),
        };
        let other = self.twin(&calls, &sql, false);
        assert_eq!(one, other, "{}", self.tell(&sql));
    }

    /// The rows of views, when nothing is to be taken over.
    fn compare(&mut self, seed: &mut Seed) {
        if self.model.is_due() {
            return;
        }
        for sql in [
            "SELECT concat_ws(' ', balance, held, available, lanes, status) FROM wallet.balances WHERE wallet = '{w}'",
            "SELECT concat_ws(' ', scope, subject, period, metric, mode, max, used, held, remaining, paused)
               FROM wallet.limits_status WHERE wallet = '{w}' ORDER BY 1",
            "SELECT concat_ws(' ', name, amount, period, expires_after) FROM wallet.recurring_grant_list WHERE wallet = '{w}' ORDER BY 1",
            "SELECT concat_ws(' ', name, rule, refused) FROM wallet.topup_rule_list WHERE wallet = '{w}' ORDER BY 1",
            "SELECT concat_ws(' ', scope, subject, allowed, blocked) FROM wallet.model_rule_list WHERE wallet = '{w}' ORDER BY 1",
            "SELECT concat_ws(' ', price_list, low_balance, unknown_price, unread_usage, guarded, scoped) FROM wallet.wallets WHERE wallet_id = '{w}'",
            "SELECT concat_ws(' ', event, threshold, count(*)) FROM wallet.events WHERE wallet = '{w}' GROUP BY event, threshold ORDER BY 1",
            "SELECT concat_ws(' ', rule_name, amount, status) FROM wallet.topups WHERE wallet = '{w}' ORDER BY 1",
            "SELECT concat_ws(' ', kind, threshold, state) FROM wallet.thresholds WHERE wallet_id = '{w}' ORDER BY 1",
            "SELECT concat_ws(' ', kind, amount, contra) FROM wallet.entries WHERE wallet = '{w}' ORDER BY 1",
        ] {
            let one = self.run(0, sql, seed);
            let other = self.run(1, sql, seed);
            self.story.truncate(self.story.len() - 2);
            assert_eq!(one, other, "{}", self.tell(sql));
        }
    }

    fn spend(&mut self, seed: &mut Seed) {
        let (user, model) = (pick(seed, &["ann", "bob"]), pick(seed, &["m1", "m2"]));
        let amount = 1 + seed.below(20);
        let sql = match seed.below(5) {
            0 => format!(
                "SELECT cost::text FROM wallet.charge('{{w}}', '{model}', '{{\"input_tokens\": {amount}}}', user_id => '{user}')"
            ),
            1 => format!(
                "SELECT cost::text FROM wallet.charge('{{w}}', 'm9', '{{\"input_tokens\": {amount}}}', user_id => '{user}')"
            ),
            2 => format!(
                "SELECT amount::text FROM wallet.hold('{{w}}', amount => {amount}, user_id => '{user}', model => '{model}')"
            ),
            _ => format!(
                "SELECT concat_ws(' ', cost, balance) FROM wallet.charge('{{w}}', amount => {amount}, user_id => '{user}', model => '{model}')"
            ),
        };
        self.both(&sql, seed);
    }

    fn new_version(&mut self, seed: &mut Seed) {
        let plan = seed.below(2) as usize;
        let mut rules = self.model.plans[plan].1.clone();
        for key in 0..KEYS {
            match seed.below(6) {
                0 => drop(rules.insert(key, value(seed, key))),
                1 => drop(rules.remove(&key)),
                _ => {}
            }
        }
        let later = seed.below(4) == 0;
        let at = if later {
            ", clock_timestamp() + '200 ms'"
        } else {
            ""
        };
        let sql = format!(
            "SELECT wallet.set_plan('{}', '{}'{at})::text",
            PLANS[plan],
            definition(&rules)
        );
        let begun = Instant::now();
        self.run(0, &sql, seed)
            .unwrap_or_else(|error| panic!("{}", self.tell(&error)));
        if later {
            self.wait(begun, seed);
        }
        let number = self.model.plans[plan].0 + 1;
        self.model.plans[plan] = (number, rules);
    }

    /// A call before the time that was set has come, and then waits for that time.
    fn wait(&mut self, begun: Instant, seed: &mut Seed) {
        if begun.elapsed() < Duration::from_millis(60) {
            let before = (self.model.clone(), self.story.len());
            self.check(seed);
            assert!(
                begun.elapsed() < Duration::from_millis(200) || before.0.is_due(),
                "the machine is too slow for this test"
            );
        }
        std::thread::sleep(Duration::from_millis(220).saturating_sub(begun.elapsed()));
    }

    fn assign(&mut self, seed: &mut Seed) {
        let plan = match seed.below(3) {
            0 => None,
            _ => Some(seed.below(2) as usize).filter(|plan| self.model.plans[*plan].0 > 0),
        };
        let name = plan.map_or("NULL".to_owned(), |plan| format!("'{}'", PLANS[plan]));
        let begun = Instant::now();
        match seed.below(3) {
            0 => {
                // The call itself takes over what is due.
                let calls = match self.model.is_due() {
                    true => self.model.take_over(),
                    false => Vec::new(),
                };
                let sql = format!(
                    "SELECT wallet.assign_plan('{{w}}', {name}, clock_timestamp() + '200 ms')::text"
                );
                self.run(0, &sql, seed)
                    .unwrap_or_else(|error| panic!("{}", self.tell(&error)));
                self.twin(&calls, "SELECT 'assigned'", true)
                    .expect("the single calls");
                self.wait(begun, seed);
                self.model.assigned = plan;
            }
            reset => {
                let resets = reset == 1;
                let sql = format!(
                    "SELECT wallet.assign_plan('{{w}}', {name}, reset_settings => {resets})::text"
                );
                self.run(0, &sql, seed)
                    .unwrap_or_else(|error| panic!("{}", self.tell(&error)));
                if resets {
                    self.reset();
                }
                self.model.assigned = plan;
                let calls = self.model.take_over();
                self.twin(&calls, "SELECT 'assigned'", true)
                    .expect("the single calls");
            }
        }
    }

    /// Settings of the wallet's own become as if the plan had set them.
    fn reset(&mut self) {
        for key in 0..FIRST_LIMIT {
            if let Some(value) = self.model.own.remove(&key) {
                self.model.of_plan.insert(key, value);
            }
        }
    }

    /// Sets or drops a rule of the wallet's own.
    fn own(&mut self, seed: &mut Seed) {
        let key = seed.below(KEYS as u64) as usize;
        let is_own = self.model.own.contains_key(&key);
        if key >= FIRST_LIMIT && is_own && seed.below(2) == 0 {
            let sql = dropping(key).replacen("SELECT ", "SELECT 'done' FROM ", 1);
            let one = self.run(0, &sql, seed);
            assert_eq!(one, Ok(vec!["done".to_owned()]), "{}", self.tell("drop"));
            let mut calls = match self.model.is_due() {
                true => self.model.take_over(),
                false => Vec::new(),
            };
            calls.push(dropping(key));
            self.model.own.remove(&key);
            // The rule of the plan returns in the same call.
            calls.extend(self.model.take_over());
            self.twin(&calls, "SELECT 'done'", true)
                .expect("the single calls");
        } else if key >= FIRST_LIMIT
            && !is_own
            && !self.model.is_due()
            && self.model.of_plan.contains_key(&key)
            && seed.below(3) == 0
        {
            let refused = self.run(0, &dropping(key), seed);
            let refused = refused.expect_err("a rule of the plan cannot be dropped");
            assert!(refused.starts_with("22023"), "{}", self.tell(&refused));
        } else {
            let value = value(seed, key);
            let sql = value.set.replacen("SELECT ", "SELECT 'done' FROM ", 1);
            if self.both(&sql, seed) {
                self.model.of_plan.remove(&key);
                self.model.own.insert(key, value);
            }
        }
    }
}

#[test]
fn a_wallet_with_a_plan_is_a_wallet_with_the_same_rules() {
    let mut seed = Seed::of("a_wallet_with_a_plan_is_a_wallet_with_the_same_rules");
    for _ in 0..scale(6) {
        let database = Database::new();
        let mut clients = [database.connect(), database.connect()];
        clients[1]
            .batch_execute("SET wallet.storage = spi")
            .expect("spi");
        for wallet in BOTH {
            let sql =
                format!("SELECT wallet.create_wallet('{wallet}'), wallet.fund('{wallet}', 300)");
            clients[0].batch_execute(&sql).expect("a wallet");
        }
        let prices = "SELECT wallet.set_price('m1', 'input_tokens', 1), wallet.set_price('m2', 'input_tokens', 1),
                             wallet.set_price('m1', 'input_tokens', 0.5, price_list => 'cheap')";
        clients[0].batch_execute(prices).expect("prices");
        let mut pair = Pair {
            clients,
            model: Model::default(),
            story: Vec::new(),
        };
        for _ in 0..scale(120) {
            match seed.below(12) {
                0 | 1 => pair.new_version(&mut seed),
                2 => pair.assign(&mut seed),
                3 | 4 => pair.own(&mut seed),
                5 => {
                    let sql =
                        "SELECT concat_ws(' ', f.amount, f.balance) FROM wallet.fund('{w}', 20) f";
                    pair.both(sql, &mut seed);
                }
                _ => pair.spend(&mut seed),
            }
            pair.check(&mut seed);
            pair.compare(&mut seed);
        }
        for wallet in BOTH {
            let sql = "SELECT \"check\", detail FROM wallet.verify($1) WHERE NOT ok";
            let wrong = pair.clients[0].query(sql, &[&wallet]).expect("verify");
            assert!(wrong.is_empty(), "{wallet}: {wrong:?}");
        }
    }
}
