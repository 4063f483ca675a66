//! Random calls in a tree of pooled wallets, compared with a model of plain numbers: one balance,
//! and for each wallet what its limits have counted.
//!
//! After every few calls, and at the end: the payer's available money is the model's; every other
//! wallet has a balance and a sum of entries of zero; no limit of any level is above its maximum,
//! and each has counted what the model says; a refused call has changed nothing; a repeated key
//! returns the first result. At the end `verify` finds every ledger and every pair of ledgers right.

use std::collections::{BTreeMap, BTreeSet};

use postgres::{Client, Error};
use uuid::Uuid;
use wallet_tests::{Database, Seed, scale, state_of};

const USERS: [&str; 2] = ["ann", "bob"];

fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

fn cents(client: &mut Client, sql: &str) -> i64 {
    let row = client.query_one(sql, &[]).expect(sql);
    row.get::<_, Option<i64>>(0).unwrap_or(0)
}

/// What a limit has counted: used and held together.
#[derive(Clone, Default)]
struct Limit {
    max: Option<i64>,
    taken: i64,
}

#[derive(Clone)]
struct Node {
    parent: Option<usize>,
    frozen: bool,
    whole: Limit,
    users: [Limit; 2],
}

struct Hold {
    id: Uuid,
    node: usize,
    user: usize,
    /// The wallets whose limits count it, from below.
    path: Vec<usize>,
    held: i64,
    expired: bool,
    charged: bool,
}

struct Charge {
    id: Uuid,
    node: usize,
    user: usize,
    path: Vec<usize>,
    left: i64,
}

#[derive(Default)]
struct Model {
    available: i64,
    nodes: Vec<Node>,
    holds: Vec<Hold>,
    charges: Vec<Charge>,
    /// The net cost of each wallet's own use.
    cost: BTreeMap<usize, i64>,
}

impl Model {
    fn path(&self, node: usize) -> Vec<usize> {
        let mut path = vec![node];
        while let Some(parent) = self.nodes[path[path.len() - 1]].parent {
            path.push(parent);
        }
        path
    }

    /// The codes with which taking more money may be refused; empty if it fits.
    fn refusals(&self, path: &[usize], user: usize, more: i64) -> BTreeSet<&'static str> {
        let mut codes = BTreeSet::new();
        if more > self.available {
            codes.insert("WL001");
        }
        for node in path.iter().map(|node| &self.nodes[*node]) {
            for limit in [&node.whole, &node.users[user]] {
                if more > 0 && limit.max.is_some_and(|max| limit.taken + more > max) {
                    codes.insert("WL002");
                }
            }
        }
        codes
    }

    fn take(&mut self, path: &[usize], user: usize, more: i64) {
        self.available -= more;
        for node in path {
            let node = &mut self.nodes[*node];
            node.whole.taken += more;
            node.users[user].taken += more;
        }
    }

    fn is_frozen(&self, path: &[usize]) -> bool {
        path.iter().any(|node| self.nodes[*node].frozen)
    }
}

struct Run {
    client: Client,
    seed: Seed,
    model: Model,
    outcomes: BTreeMap<String, usize>,
}

impl Run {
    fn some(&mut self, most: i64) -> i64 {
        1 + self.seed.below(most.unsigned_abs()).cast_signed()
    }

    /// Compares the outcome of a call with the codes that the model expects.
    fn judge(
        &mut self,
        what: &str,
        result: Result<Vec<postgres::Row>, Error>,
        expected: &BTreeSet<&str>,
    ) -> Option<postgres::Row> {
        let name = what.split(['(', '\'']).next().unwrap_or(what).to_owned();
        match result {
            Ok(mut rows) => {
                assert!(expected.is_empty(), "{what}: expected {expected:?}");
                *self.outcomes.entry(name).or_default() += 1;
                rows.pop()
            }
            Err(error) => {
                let state = state_of(&error);
                assert!(
                    expected.contains(state.as_str()),
                    "{what}: {error:?}, expected {expected:?}"
                );
                *self.outcomes.entry(format!("{name} {state}")).or_default() += 1;
                None
            }
        }
    }

    fn charge(&mut self, step: usize) {
        let node = self.seed.below(self.model.nodes.len() as u64) as usize;
        let user = self.seed.below(2) as usize;
        let amount = self.some(900);
        let path = self.model.path(node);
        let mut expected = self.model.refusals(&path, user, amount);
        if self.model.is_frozen(&path) {
            expected.insert("WL004");
        }
        let sql = format!(
            "SELECT entry_id, replayed FROM wallet.charge('n{node}', amount => {}, user_id => '{}', idempotency_key => 'k{step}')",
            money(amount),
            USERS[user]
        );
        let result = self.client.query(&sql, &[]);
        let Some(row) = self.judge(&sql, result, &expected) else {
            return;
        };
        let id: Uuid = row.get(0);
        self.model.take(&path, user, amount);
        *self.model.cost.entry(node).or_default() += amount;
        self.model.charges.push(Charge {
            id,
            node,
            user,
            path,
            left: amount,
        });
        if self.seed.below(4) == 0 {
            let again = self.client.query_one(&sql, &[]).expect("a replay");
            assert_eq!((again.get::<_, Uuid>(0), again.get(1)), (id, true));
        }
    }

    fn hold(&mut self, step: usize) {
        let node = self.seed.below(self.model.nodes.len() as u64) as usize;
        let user = self.seed.below(2) as usize;
        let amount = self.some(900);
        let (expired, charged) = (self.seed.below(3) == 0, self.seed.below(3) == 0);
        let path = self.model.path(node);
        let mut expected = self.model.refusals(&path, user, amount);
        if self.model.is_frozen(&path) {
            expected.insert("WL004");
        }
        let sql = format!(
            "SELECT hold_id FROM wallet.hold('n{node}', amount => {}, user_id => '{}', ttl => '{}', on_expiry => '{}'{})",
            money(amount),
            USERS[user],
            if expired { "1 microsecond" } else { "1 hour" },
            if charged { "charge" } else { "release" },
            match self.seed.below(2) {
                0 => String::new(),
                _ => format!(", idempotency_key => 'h{step}'"),
            }
        );
        let result = self.client.query(&sql, &[]);
        let Some(row) = self.judge(&sql, result, &expected) else {
            return;
        };
        // An expired hold reserves nothing, unless it is charged.
        if !expired || charged {
            self.model.take(&path, user, amount);
        }
        if expired && charged {
            *self.model.cost.entry(node).or_default() += amount;
        }
        self.model.holds.push(Hold {
            id: row.get(0),
            node,
            user,
            path,
            held: if expired && !charged { 0 } else { amount },
            expired,
            charged,
        });
    }

    fn settle(&mut self) {
        let Some(place) = self.any(self.model.holds.len()) else {
            return;
        };
        let amount = self.some(1100);
        let is_final = self.seed.below(4) > 0;
        let hold = &self.model.holds[place];
        let (node, user, path, held) = (hold.node, hold.user, hold.path.clone(), hold.held);
        let more = amount - held;
        let expected = self.model.refusals(&path, user, more.max(0));
        if hold.expired && hold.charged && !is_final {
            // Its charge can only be corrected once. Until the charge is booked, the hold is open.
            return;
        }
        let sql = format!(
            "SELECT entry_id, cost FROM wallet.settle('n{node}', '{}', amount => {}, final => {is_final})",
            hold.id,
            money(amount)
        );
        let was_charged = hold.expired && hold.charged;
        let result = self.client.query(&sql, &[]);
        let Some(row) = self.judge(&sql, result, &expected) else {
            return;
        };
        let cost = self.model.cost.entry(node).or_default();
        *cost += amount - if was_charged { held } else { 0 };
        let rest = if is_final { 0 } else { (held - amount).max(0) };
        self.model.take(&path, user, amount + rest - held);
        if was_charged {
            self.model.holds.remove(place);
            return;
        }
        self.model.charges.push(Charge {
            id: row.get(0),
            node,
            user,
            path,
            left: amount,
        });
        if is_final {
            self.model.holds.remove(place);
        } else {
            self.model.holds[place].held = rest;
        }
    }

    fn any(&mut self, count: usize) -> Option<usize> {
        (count > 0).then(|| self.seed.below(count as u64) as usize)
    }

    fn void(&mut self) {
        let Some(place) = self.any(self.model.holds.len()) else {
            return;
        };
        let hold = &self.model.holds[place];
        let expected = BTreeSet::from_iter(hold.expired.then_some("WL008"));
        let (user, path, held) = (hold.user, hold.path.clone(), hold.held);
        let sql = format!(
            "SELECT amount FROM wallet.void('n{}', '{}')",
            hold.node, hold.id
        );
        let result = self.client.query(&sql, &[]);
        if self.judge(&sql, result, &expected).is_some() {
            self.model.take(&path, user, -held);
            self.model.holds.remove(place);
        }
    }

    fn refund(&mut self) {
        let Some(place) = self.any(self.model.charges.len()) else {
            return;
        };
        let asked = self.some(400);
        let charge = &self.model.charges[place];
        let mut expected = BTreeSet::new();
        if asked > charge.left {
            expected.insert("WL012");
        }
        let (node, user, path) = (charge.node, charge.user, charge.path.clone());
        let sql = format!(
            "SELECT amount FROM wallet.refund('n{node}', '{}', {})",
            charge.id,
            money(asked)
        );
        let result = self.client.query(&sql, &[]);
        if self.judge(&sql, result, &expected).is_some() {
            self.model.take(&path, user, -asked);
            self.model.charges[place].left -= asked;
            *self.model.cost.entry(node).or_default() -= asked;
        }
    }

    fn freeze(&mut self) {
        let node = self.seed.below(self.model.nodes.len() as u64) as usize;
        let frozen = !self.model.nodes[node].frozen && self.seed.below(3) == 0;
        let call = if frozen { "freeze" } else { "unfreeze" };
        let sql = format!("SELECT wallet.{call}_wallet('n{node}')");
        self.client.batch_execute(&sql).expect(&sql);
        self.model.nodes[node].frozen = frozen;
    }

    /// Moves a wallet, with all below it, to another place in the tree.
    fn move_wallet(&mut self) {
        let count = self.model.nodes.len() as u64;
        let node = 1 + self.seed.below(count - 1) as usize;
        let parent = self.seed.below(count) as usize;
        let mut expected = BTreeSet::new();
        if self.model.path(parent).contains(&node) {
            expected.insert("WL016");
        }
        let moves = self.model.nodes[node].parent != Some(parent);
        let open = |hold: &Hold| hold.path.contains(&node) && !hold.expired;
        if moves && self.model.holds.iter().any(open) {
            expected.insert("WL016");
        }
        // Parts of holds below that have expired and are not charged yet are in the way, too.
        let below = |hold: &Hold| {
            hold.path.contains(&node) && hold.node != node && hold.expired && hold.charged
        };
        let unclear = moves && self.model.holds.iter().any(below);
        let sql = format!("SELECT wallet.set_parent('n{node}', 'n{parent}')");
        if unclear {
            return;
        }
        let result = self.client.query(&sql, &[]);
        if self.judge(&sql, result, &expected).is_some() && moves {
            self.model.nodes[node].parent = Some(parent);
            // A late settlement would be booked in other wallets than the hold was made in.
            let stays = |hold: &Hold| !hold.path.contains(&node);
            let gone: Vec<Hold> = self
                .model
                .holds
                .extract_if(.., |hold| !stays(hold))
                .collect();
            assert!(gone.iter().all(|hold| hold.expired));
        }
    }

    fn compare(&mut self) {
        let available = "SELECT (available * 100)::bigint FROM wallet.balances WHERE wallet = 'n0'";
        assert_eq!(cents(&mut self.client, available), self.model.available);
        for node in 1..self.model.nodes.len() {
            for sql in [
                format!(
                    "SELECT (balance * 100)::bigint FROM wallet.balances WHERE wallet = 'n{node}'"
                ),
                format!(
                    "SELECT (sum(amount) * 100)::bigint FROM wallet.entries WHERE wallet = 'n{node}'"
                ),
            ] {
                assert_eq!(cents(&mut self.client, &sql), 0, "{sql}");
            }
        }
        for (number, node) in self.model.nodes.clone().into_iter().enumerate() {
            let users = USERS.iter().zip(&node.users);
            let named = users.map(|(user, limit)| ("user", *user, limit));
            for (scope, subject, limit) in named.chain([("wallet", "*", &node.whole)]) {
                let Some(max) = limit.max else { continue };
                let sql = format!(
                    "SELECT ((used + held) * 100)::bigint FROM wallet.limits_status
                      WHERE wallet = 'n{number}' AND scope = '{scope}' AND subject = '{subject}'"
                );
                let taken = cents(&mut self.client, &sql);
                assert_eq!(taken, limit.taken, "n{number} {scope} {subject}");
                assert!(
                    taken <= max,
                    "n{number} {scope} {subject}: {taken} of {max}"
                );
            }
        }
    }

    fn finish(&mut self) {
        // Expired holds are charged now, in whichever wallet the maintenance finds them first.
        self.client
            .batch_execute("SELECT wallet.maintain()")
            .expect("maintenance");
        self.compare();
        for node in 0..self.model.nodes.len() {
            let sql = format!(
                "SELECT string_agg(\"check\" || ': ' || detail, '; ') FROM wallet.verify('n{node}') WHERE NOT ok"
            );
            let row = self.client.query_one(&sql, &[]).expect(&sql);
            assert_eq!(row.get::<_, Option<String>>(0), None, "n{node}");
            let sql = format!(
                "SELECT ((cost - refunded) * 100)::bigint FROM wallet.usage_by_child('n0') WHERE child = 'n{node}'"
            );
            let cost = self.model.cost.get(&node).copied().unwrap_or(0);
            assert_eq!(cents(&mut self.client, &sql), cost, "the use of n{node}");
        }
        let sql = "SELECT ((total_cost - total_refunded) * 100)::bigint FROM wallet.usage_by_child('n0') WHERE child = 'n0'";
        let all: i64 = self.model.cost.values().sum();
        assert_eq!(cents(&mut self.client, sql), all, "the use of the tree");
    }
}

/// A tree with limits at random places.
fn planted(client: &mut Client, seed: &mut Seed) -> Model {
    let mut model = Model {
        available: 12_000,
        ..Model::default()
    };
    let lanes = [1, 4][seed.below(2) as usize];
    for number in 0..6 {
        let parent = (number > 0).then(|| seed.below(number as u64) as usize);
        let lanes = if number == 0 || seed.below(3) == 0 {
            lanes
        } else {
            1
        };
        let sql = format!("SELECT wallet.create_wallet('n{number}', lanes => {lanes})");
        client.batch_execute(&sql).expect(&sql);
        if let Some(parent) = parent {
            let sql = format!("SELECT wallet.set_parent('n{number}', 'n{parent}')");
            client.batch_execute(&sql).expect(&sql);
        }
        let mut limit = |scope: &str, subject: &str| {
            let max = 2_000 + seed.below(12_000).cast_signed();
            if seed.below(2) == 0 {
                return Limit::default();
            }
            let sql = format!(
                "SELECT wallet.set_limit('n{number}', {}, 'lifetime', scope => '{scope}', subject => '{subject}')",
                money(max)
            );
            client.batch_execute(&sql).expect(&sql);
            Limit {
                max: Some(max),
                taken: 0,
            }
        };
        let whole = limit("wallet", "*");
        let users = USERS.map(|user| limit("user", user));
        model.nodes.push(Node {
            parent,
            frozen: false,
            whole,
            users,
        });
    }
    client
        .batch_execute("SELECT wallet.fund('n0', 120, 'card')")
        .expect("money");
    model
}

/// Each of these must have been the answer at least once.
const REFUSALS: [&str; 5] = ["WL001", "WL002", "WL004", "WL008", "WL016"];

/// The turns that are added while one of the refusals is missing.
const MORE: usize = 60;

#[test]
fn a_tree_of_wallets_is_one_pool() {
    let mut seed = Seed::of("a_tree_of_wallets_is_one_pool");
    let first = seed.value();
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    // Random calls may not meet every refusal in a few turns: then there are more of them.
    let lacks = |outcomes: &BTreeMap<String, usize>, code: &str| {
        outcomes.keys().all(|name| !name.ends_with(code))
    };
    for turn in 0..scale(6) + MORE {
        if turn >= scale(6) && !REFUSALS.iter().any(|code| lacks(&outcomes, code)) {
            break;
        }
        let database = Database::new();
        let mut client = database.connect();
        if turn % 2 == 1 {
            client
                .batch_execute("SET wallet.storage = spi")
                .expect("a setting");
        }
        let model = planted(&mut client, &mut seed);
        let mut run = Run {
            client,
            seed: seed.thread(turn),
            model,
            outcomes: BTreeMap::new(),
        };
        for step in 0..120 {
            match run.seed.below(20) {
                0..6 => run.charge(step),
                6..11 => run.hold(step),
                11..15 => run.settle(),
                15 => run.void(),
                16 | 17 => run.refund(),
                18 => run.freeze(),
                _ => run.move_wallet(),
            }
            if step % 10 == 0 {
                run.compare();
            }
        }
        run.finish();
        for (name, count) in run.outcomes {
            *outcomes.entry(name).or_default() += count;
        }
    }
    println!("{outcomes:#?}");
    for code in REFUSALS {
        assert!(
            !lacks(&outcomes, code),
            "nothing was refused with {code} in {MORE} more turns, WALLET_SEED={first}"
        );
    }
}
