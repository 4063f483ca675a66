//! Default limits beside the limits of wallets. A model of plain numbers says which limits apply,
//! what each has counted, and whether a charge, a hold or a settlement is booked. Two sessions take
//! turns, one of which reads without the executor, so a stale cache shows at once.

use std::collections::BTreeMap;

use postgres::Client;
use uuid::Uuid;
use wallet_tests::{Database, Decimal, Seed, expect, scale, state_of};

const WALLETS: [&str; 3] = ["one", "two", "three"];
const USERS: [&str; 2] = ["ann", "bot"];
/// Scope, subject and period of the limits that the test sets.
const KEYS: [(&str, &str, &str); 6] = [
    ("wallet", "*", "lifetime"),
    ("wallet", "*", "year"),
    ("user", "*", "lifetime"),
    ("user", "ann", "lifetime"),
    ("user", "bot", "lifetime"),
    ("user", "*", "month"),
];

/// What the model knows of a limit, default or not.
#[derive(Clone, Debug)]
struct Rule {
    id: Uuid,
    max: Decimal,
    paused: bool,
    soft: bool,
    /// The number of the first call that a default counts. Zero for a wallet's limit.
    since: usize,
    /// The amounts counted, by wallet and subject.
    used: BTreeMap<(usize, String), Decimal>,
}

/// Amounts that count at the number of a call: a charge, or a settlement at its hold.
#[derive(Clone, Debug)]
struct Use {
    at: usize,
    wallet: usize,
    user: usize,
    amount: Decimal,
}

#[derive(Default, Debug)]
struct Model {
    now: usize,
    defaults: BTreeMap<usize, Rule>,
    own: BTreeMap<(usize, usize), Rule>,
    uses: Vec<Use>,
}

fn subject(key: usize, user: usize) -> Option<String> {
    match KEYS[key] {
        ("wallet", ..) => Some("*".to_owned()),
        (_, "*", _) => Some(USERS[user].to_owned()),
        (_, name, _) => (name == USERS[user]).then(|| name.to_owned()),
    }
}

/// True if a limit with the first key overrides one with the second for the user.
fn overrides(named: usize, each: usize, user: usize) -> bool {
    let ((scope, name, period), (other, every, its)) = (KEYS[named], KEYS[each]);
    scope == other && period == its && scope == "user" && every == "*" && name == USERS[user]
}

impl Model {
    fn rule(&mut self, owner: Option<usize>, key: usize) -> Option<&mut Rule> {
        match owner {
            Some(wallet) => self.own.get_mut(&(wallet, key)),
            None => self.defaults.get_mut(&key),
        }
    }

    /// The limits that apply to a use at that time: the owner and the key.
    fn applying(&self, wallet: usize, user: usize, at: usize) -> Vec<(Option<usize>, usize)> {
        let mut there = Vec::new();
        for key in 0..KEYS.len() {
            match (self.own.get(&(wallet, key)), self.defaults.get(&key)) {
                (Some(own), _) if own.paused => {}
                (Some(_), _) => there.push((Some(wallet), key)),
                (None, Some(default)) if !default.paused && default.since <= at => {
                    there.push((None, key));
                }
                _ => {}
            }
        }
        let all = there.clone();
        there.retain(|(_, key)| {
            subject(*key, user).is_some()
                && !all.iter().any(|(_, other)| overrides(*other, *key, user))
        });
        there
    }

    /// True if no hard limit refuses the amount. `covered` was reserved before.
    fn allows(&mut self, wallet: usize, user: usize, at: usize, amount: Decimal) -> bool {
        let mut applying = self.applying(wallet, user, at).into_iter();
        amount.is_zero()
            || applying.all(|(owner, key)| {
                let subject = subject(key, user).expect("a subject");
                let rule = self.rule(owner, key).expect("a rule");
                let used = rule
                    .used
                    .get(&(wallet, subject))
                    .copied()
                    .unwrap_or_default();
                rule.soft || used + amount <= rule.max
            })
    }

    fn count(&mut self, wallet: usize, user: usize, at: usize, amount: Decimal) {
        for (owner, key) in self.applying(wallet, user, at) {
            let subject = subject(key, user).expect("a subject");
            let rule = self.rule(owner, key).expect("a rule");
            *rule.used.entry((wallet, subject)).or_default() += amount;
        }
    }

    fn book(&mut self, wallet: usize, user: usize, at: usize, amount: Decimal) {
        self.count(wallet, user, at, amount);
        self.uses.push(Use {
            at,
            wallet,
            user,
            amount,
        });
    }

    /// Counts in a wallet what was used since the limit began to count.
    fn recount(&mut self, owner: Option<usize>, key: usize, wallet: usize) {
        let uses = self.uses.clone();
        let rule = self.rule(owner, key).expect("a rule");
        rule.used.retain(|(of, _), _| *of != wallet);
        for one in uses {
            if one.wallet == wallet
                && one.at >= rule.since
                && let Some(subject) = subject(key, one.user)
            {
                *rule.used.entry((wallet, subject)).or_default() += one.amount;
            }
        }
    }

    fn set(&mut self, owner: Option<usize>, key: usize, new: Rule) {
        let now = self.now;
        let since = owner.map_or(now, |_| 0);
        let mut pauses = false;
        match self.rule(owner, key) {
            Some(rule) => {
                pauses = !rule.paused && new.paused;
                assert_eq!(rule.id, new.id, "a change keeps the id");
                let resumed = rule.paused && !new.paused;
                (rule.max, rule.paused, rule.soft) = (new.max, new.paused, new.soft);
                if resumed {
                    rule.since = since;
                    rule.used.clear();
                } else if !pauses {
                    return;
                }
            }
            None => {
                let rule = Rule { since, ..new };
                match owner {
                    Some(wallet) => drop(self.own.insert((wallet, key), rule)),
                    None => drop(self.defaults.insert(key, rule)),
                }
            }
        }
        if let Some(wallet) = owner {
            match pauses {
                true => self.count_replaced(wallet, key, false),
                false if !self.own[&(wallet, key)].paused => self.recount(owner, key, wallet),
                false => {}
            }
        }
    }

    fn remove(&mut self, owner: Option<usize>, key: usize) {
        let Some(wallet) = owner else {
            self.defaults.remove(&key);
            return;
        };
        self.own.remove(&(wallet, key));
        self.count_replaced(wallet, key, true);
    }

    /// Counts the limits again that a limit of the wallet replaced until it was paused or dropped.
    fn count_replaced(&mut self, wallet: usize, key: usize, is_dropped: bool) {
        for other in 0..KEYS.len() {
            let replaced = (0..USERS.len()).any(|user| overrides(key, other, user));
            match (self.own.get(&(wallet, other)), self.defaults.get(&other)) {
                (Some(own), _) if replaced && !own.paused => {
                    self.recount(Some(wallet), other, wallet);
                }
                (None, Some(default))
                    if (replaced || is_dropped && other == key) && !default.paused =>
                {
                    self.recount(None, other, wallet);
                }
                _ => {}
            }
        }
    }

    /// The limits that apply to a user in a wallet: scope and period, maximum and usage.
    fn asked(&mut self, wallet: usize, user: usize) -> Vec<(String, Decimal, Decimal)> {
        let applying = self.applying(wallet, user, self.now);
        let mut rows: Vec<_> = applying
            .into_iter()
            .map(|(owner, key)| {
                let subject = subject(key, user).expect("a subject");
                let rule = self.rule(owner, key).expect("a rule");
                let used = rule.used.get(&(wallet, subject)).copied();
                let name = format!("{} {}", KEYS[key].0, KEYS[key].2);
                (name, rule.max, used.unwrap_or_default())
            })
            .collect();
        rows.sort();
        rows
    }
}

fn asked(client: &mut Client, wallet: usize, user: usize) -> Vec<(String, Decimal, Decimal)> {
    let sql = "SELECT scope || ' ' || period, max, used + held FROM wallet.check_limits($1, user_id => $2)
                WHERE scope <> 'balance'";
    let rows = client.query(sql, &[&WALLETS[wallet], &USERS[user]]);
    let rows = rows.expect("check_limits");
    let mut rows: Vec<_> = rows
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    rows.sort();
    rows
}

/// The view has one row per limit and subject, and the same usage.
fn check_view(client: &mut Client, model: &Model, wallet: usize) {
    let sql = "SELECT limit_id, subject, used + held, is_default, paused FROM wallet.limits_status WHERE wallet = $1";
    let rows = client.query(sql, &[&WALLETS[wallet]]).expect(sql);
    let mut shown: BTreeMap<Uuid, (bool, bool)> = BTreeMap::new();
    for row in &rows {
        let (id, subject): (Uuid, String) = (row.get(0), row.get(1));
        let (used, is_default, paused): (Decimal, bool, bool) =
            (row.get(2), row.get(3), row.get(4));
        shown.insert(id, (is_default, paused));
        let mut rules = model.own.values().chain(model.defaults.values());
        let rule = rules
            .find(|rule| rule.id == id)
            .expect("a limit that is there");
        let expected = rule.used.get(&(wallet, subject.clone())).copied();
        if !paused {
            assert_eq!(used, expected.unwrap_or_default(), "{subject} {rule:?}");
        }
    }
    let mut expected = BTreeMap::new();
    for key in 0..KEYS.len() {
        match (model.own.get(&(wallet, key)), model.defaults.get(&key)) {
            (Some(own), _) => expected.insert(own.id, (false, own.paused)),
            (None, Some(default)) => expected.insert(default.id, (true, default.paused)),
            _ => None,
        };
    }
    assert_eq!(shown, expected);
}

fn cents(seed: &mut Seed, most: u64) -> Decimal {
    Decimal::new(seed.below(most) as i64, 2)
}

fn set(client: &mut Client, seed: &mut Seed, model: &mut Model, owner: Option<usize>, key: usize) {
    let (scope, subject, period) = KEYS[key];
    let (max, soft) = (cents(seed, 5000), seed.below(5) == 0);
    let paused = seed.below(4) == 0;
    let sql =
        "SELECT wallet.set_limit($1, $2, $3, scope => $4, subject => $5, mode => $6, paused => $7)";
    let wallet = owner.map_or("*", |wallet| WALLETS[wallet]);
    let mode = ["hard", "soft"][usize::from(soft)];
    let row = client.query_one(
        sql,
        &[&wallet, &max, &period, &scope, &subject, &mode, &paused],
    );
    let id = row.expect(sql).get(0);
    let rule = Rule {
        id,
        max,
        paused,
        soft,
        since: 0,
        used: BTreeMap::new(),
    };
    model.set(owner, key, rule);
}

fn raise_or_drop(client: &mut Client, seed: &mut Seed, model: &mut Model) {
    let owner = (seed.below(2) == 0).then(|| seed.below(3) as usize);
    let key = seed.below(KEYS.len() as u64) as usize;
    let wallet = owner.map_or("*", |wallet| WALLETS[wallet]);
    let Some(rule) = model.rule(owner, key) else {
        return;
    };
    if seed.below(2) == 0 {
        let by = cents(seed, 1000) + Decimal::new(1, 2);
        rule.max += by;
        let raised = client.query_one(
            "SELECT wallet.raise_limit($1, $2, $3)",
            &[&wallet, &rule.id, &by],
        );
        assert_eq!(raised.expect("raise_limit").get::<_, Decimal>(0), rule.max);
        return;
    }
    let dropped = client.execute("SELECT wallet.drop_limit($1, $2)", &[&wallet, &rule.id]);
    dropped.expect("drop_limit");
    model.remove(owner, key);
}

fn charge(client: &mut Client, seed: &mut Seed, model: &mut Model) {
    let (wallet, user) = (seed.below(3) as usize, seed.below(2) as usize);
    let amount = cents(seed, 900);
    let allowed = model.allows(wallet, user, model.now, amount);
    if seed.below(3) > 0 {
        let sql = "SELECT cost FROM wallet.charge($1, amount => $2, user_id => $3)";
        match client.query_one(sql, &[&WALLETS[wallet], &amount, &USERS[user]]) {
            Ok(_) => assert!(allowed, "{wallet} {user} {amount} {model:?}"),
            Err(error) => {
                assert_eq!(state_of(&error), "WL002", "{error:?}");
                assert!(!allowed, "{wallet} {user} {amount} {error:?} {model:?}");
            }
        }
        if allowed {
            model.book(wallet, user, model.now, amount);
        }
        return;
    }
    let amount = amount + Decimal::new(1, 2);
    let allowed = model.allows(wallet, user, model.now, amount);
    let sql = "SELECT hold_id FROM wallet.hold($1, amount => $2, user_id => $3)";
    let held = client.query_one(sql, &[&WALLETS[wallet], &amount, &USERS[user]]);
    if !allowed {
        expect(held, "WL002");
        return;
    }
    let hold: Uuid = held.expect("a hold").get(0);
    let at = model.now;
    // A change of the default limits between a hold and its settlement.
    if seed.below(2) == 0 {
        model.count(wallet, user, at, amount);
        model.now += 1;
        let key = seed.below(KEYS.len() as u64) as usize;
        let resumes = model.defaults.get(&key).is_some_and(|rule| rule.paused);
        if resumes || !model.defaults.contains_key(&key) {
            set(client, seed, model, None, key);
        }
        model.count(wallet, user, at, -amount);
    }
    let cost = (amount * Decimal::new(seed.below(101) as i64, 2)).round_dp(2);
    let sql = "SELECT cost FROM wallet.settle($1, $2, amount => $3)";
    client
        .query_one(sql, &[&WALLETS[wallet], &hold, &cost])
        .expect("a settlement");
    model.book(wallet, user, at, cost);
}

#[test]
fn default_limits_agree_with_plain_numbers() {
    let mut seed = Seed::of("default_limits_agree_with_plain_numbers");
    for _ in 0..scale(6) {
        let database = Database::new();
        let mut clients = [database.connect(), database.connect()];
        clients[1]
            .batch_execute("SET wallet.storage = spi")
            .expect("spi");
        for (wallet, lanes) in WALLETS.iter().zip([1, 1, 3]) {
            let sql = format!(
                "SELECT wallet.create_wallet('{wallet}', lanes => {lanes}), wallet.fund('{wallet}', 100000)"
            );
            clients[0].batch_execute(&sql).expect("a wallet");
        }
        let mut model = Model::default();
        for _ in 0..scale(150) {
            model.now += 1;
            let client = &mut clients[seed.below(2) as usize];
            match seed.below(12) {
                0 | 1 => {
                    let key = seed.below(KEYS.len() as u64) as usize;
                    set(client, &mut seed, &mut model, None, key);
                }
                2 => {
                    let (owner, key) = (seed.below(3) as usize, seed.below(6) as usize);
                    set(client, &mut seed, &mut model, Some(owner), key);
                }
                3 => raise_or_drop(client, &mut seed, &mut model),
                4 => drop(
                    client
                        .execute("SELECT wallet.prune_windows()", &[])
                        .expect("prune"),
                ),
                _ => charge(client, &mut seed, &mut model),
            }
            let client = &mut clients[seed.below(2) as usize];
            let (wallet, user) = (seed.below(3) as usize, seed.below(2) as usize);
            let expected = model.asked(wallet, user);
            assert_eq!(
                asked(client, wallet, user),
                expected,
                "{wallet} {user} {model:?}"
            );
            check_view(client, &model, wallet);
        }
        for wallet in WALLETS {
            let sql = "SELECT \"check\", detail FROM wallet.verify($1) WHERE NOT ok";
            let wrong = clients[0].query(sql, &[&wallet]).expect("verify");
            assert!(wrong.is_empty(), "{wallet}: {wrong:?}");
        }
    }
}
