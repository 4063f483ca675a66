//! Limits of one, two and three dimensions, compared with plain numbers. Random limits are set,
//! changed and dropped between random charges, holds and refunds. `check_limits` predicts each
//! charge, a limit that is made late has counted what was used before, and `verify` finds nothing.

use std::collections::BTreeMap;

use postgres::{Client, GenericClient};
use uuid::Uuid;
use wallet_tests::{Database, Decimal, Seed, create, fund, scale, state_of};

/// The dimensions, in the order of a request's values.
const DIMENSIONS: [&str; 4] = ["user", "team", "model", "tag:c++++"];
/// The values of each dimension. Some share a beginning, for patterns.
const VALUES: [[&str; 3]; 4] = [
    ["ann", "abe", "bob"],
    ["red", "rose", "blue"],
    ["gpt-4o", "gpt-4.1", "claude"],
    ["x y", "x\"\\", "z"],
];
const PATTERNS: [&str; 4] = ["a*", "r*", "gpt-*", "x*"];

/// The dimensions of a limit, by position.
const SCOPES: &[&[usize]] = &[
    &[0],
    &[2],
    &[0, 2],
    &[0, 1],
    &[1, 3],
    &[0, 2, 3],
    &[0, 1, 2],
];

/// A request: its value in each dimension, and the amount in cents.
#[derive(Clone, Debug)]
struct Request {
    values: [Option<&'static str>; 4],
    cents: i64,
}

#[derive(Clone, Debug)]
struct Limit {
    id: Uuid,
    dimensions: &'static [usize],
    places: Vec<&'static str>,
    metric: &'static str,
    max: i64,
    /// By the values that the window counts.
    used: BTreeMap<Vec<String>, i64>,
}

#[derive(Clone, Debug)]
struct Charge {
    id: Uuid,
    request: Request,
    refunded: i64,
}

#[derive(Default)]
struct Model {
    limits: Vec<Limit>,
    charges: Vec<Charge>,
}

/// Whether a name or a pattern covers a value. `*` is at the end of each pattern.
fn covers(named: &str, value: &str) -> bool {
    match named.strip_suffix('*') {
        Some(beginning) => value.starts_with(beginning),
        None => named == value,
    }
}

impl Limit {
    /// The values whose window counts the request; `None` if the limit does not fit it.
    fn window(&self, request: &Request) -> Option<Vec<String>> {
        let pairs = self.dimensions.iter().zip(&self.places);
        pairs
            .map(|(of, place)| {
                let value = request.values[*of]?;
                covers(place, value).then(|| if *place == "*" { value } else { *place }.to_owned())
            })
            .collect()
    }

    fn need(&self, request: &Request) -> i64 {
        match self.metric {
            "amount" => request.cents,
            _ => 1,
        }
    }

    fn same_kind(&self, other: &Limit) -> bool {
        (self.dimensions, self.metric) == (other.dimensions, other.metric)
    }

    /// Whether the other limit replaces this one, where both fit.
    fn gives_way_to(&self, other: &Limit) -> bool {
        let pairs = || self.places.iter().zip(&other.places);
        self.same_kind(other)
            && pairs().any(|(mine, theirs)| *mine == "*" && *theirs != "*")
            && pairs().all(|(mine, theirs)| {
                *mine == "*" || *theirs != "*" && covers(mine, theirs.trim_end_matches('*'))
            })
    }

    fn scope(&self) -> String {
        let names: Vec<&str> = self.dimensions.iter().map(|of| DIMENSIONS[*of]).collect();
        names.join("+")
    }

    fn subject(&self) -> String {
        match self.places.as_slice() {
            [one] => (*one).to_owned(),
            places => serde_json::json!(places).to_string(),
        }
    }
}

impl Model {
    /// The limits that count a request, each with its window.
    fn applied(&self, request: &Request) -> Vec<(usize, Vec<String>)> {
        let fits = |limit: &Limit| limit.window(request).is_some();
        let replaced = |limit: &Limit| {
            let mut others = self.limits.iter();
            others.any(|other| limit.gives_way_to(other) && fits(other))
        };
        let limits = self.limits.iter().enumerate();
        limits
            .filter(|(_, limit)| !replaced(limit))
            .filter_map(|(place, limit)| Some((place, limit.window(request)?)))
            .collect()
    }

    fn allows(&self, request: &Request) -> bool {
        self.applied(request).into_iter().all(|(place, window)| {
            let limit = &self.limits[place];
            let (used, need) = (
                limit.used.get(&window).copied().unwrap_or(0),
                limit.need(request),
            );
            need == 0 || used + need <= limit.max
        })
    }

    fn book(&mut self, id: Uuid, request: &Request) {
        for (place, window) in self.applied(request) {
            let limit = &mut self.limits[place];
            *limit.used.entry(window).or_default() += limit.need(request);
        }
        self.charges.push(Charge {
            id,
            request: request.clone(),
            refunded: 0,
        });
    }

    fn refund(&mut self, charge: usize, cents: i64) {
        let request = self.charges[charge].request.clone();
        self.charges[charge].refunded += cents;
        for (place, window) in self.applied(&request) {
            let limit = &mut self.limits[place];
            if limit.metric == "amount" {
                let used = limit.used.entry(window).or_default();
                *used = (*used - cents).max(0);
            }
        }
    }

    /// What the charges so far used of a limit, whether or not it is replaced.
    fn counted(&self, limit: &Limit) -> BTreeMap<Vec<String>, i64> {
        let mut used = BTreeMap::new();
        for charge in &self.charges {
            let Some(window) = limit.window(&charge.request) else {
                continue;
            };
            let back = if limit.metric == "amount" {
                charge.refunded
            } else {
                0
            };
            *used.entry(window).or_default() += limit.need(&charge.request) - back;
        }
        used
    }

    fn set(&mut self, mut limit: Limit) {
        let same = |other: &&mut Limit| other.same_kind(&limit) && other.places == limit.places;
        match self.limits.iter_mut().find(same) {
            Some(known) => {
                assert_eq!(known.id, limit.id, "the same limit has one id");
                known.max = limit.max;
            }
            None => {
                limit.used = self.counted(&limit);
                self.limits.push(limit);
            }
        }
    }

    /// Limits that were replaced by the dropped one count again what was used of them.
    fn drop(&mut self, place: usize) {
        let dropped = self.limits.remove(place);
        let again: Vec<usize> = (0..self.limits.len())
            .filter(|limit| self.limits[*limit].gives_way_to(&dropped))
            .collect();
        for limit in again {
            self.limits[limit].used = self.counted(&self.limits[limit]);
        }
    }
}

fn pick<T: Copy>(seed: &mut Seed, from: &[T]) -> T {
    from[usize::try_from(seed.below(from.len() as u64)).expect("an index")]
}

fn request(seed: &mut Seed) -> Request {
    let mut values = [None; 4];
    for (value, of) in values.iter_mut().zip(VALUES) {
        *value = (seed.below(6) > 0).then(|| pick(seed, &of));
    }
    Request {
        values,
        cents: i64::try_from(seed.below(500)).expect("an amount"),
    }
}

/// A limit without an id, and its scope and subject with the dimensions in another order.
fn limit(seed: &mut Seed) -> (Limit, String, String) {
    let dimensions = pick(seed, SCOPES);
    let places: Vec<&str> = dimensions
        .iter()
        .map(|of| match seed.below(5) {
            0 | 1 => "*",
            2 => PATTERNS[*of],
            _ => pick(seed, &VALUES[*of]),
        })
        .collect();
    let metric = pick(seed, &["amount", "amount", "requests"]);
    let limit = Limit {
        id: Uuid::nil(),
        dimensions,
        places,
        metric,
        max: match metric {
            "amount" => i64::try_from(seed.below(4_000)).expect("an amount"),
            _ => i64::try_from(seed.below(12)).expect("a number"),
        },
        used: BTreeMap::new(),
    };
    let mut turned = limit.clone();
    let is_turned = dimensions.len() > 1 && !dimensions.contains(&3) && seed.below(2) == 0;
    let (scope, subject) = match is_turned {
        true => {
            turned.places.reverse();
            let names: Vec<&str> = dimensions.iter().rev().map(|of| DIMENSIONS[*of]).collect();
            (names.join("+"), turned.subject())
        }
        false => (limit.scope(), limit.subject()),
    };
    let is_each = limit.places.iter().all(|place| *place == "*");
    let subject = if is_each { "*".to_owned() } else { subject };
    (limit, scope, subject)
}

fn cents(cents: i64) -> Decimal {
    Decimal::new(cents, 2)
}

/// The arguments that a request has in every call.
fn tags(request: &Request) -> Option<serde_json::Value> {
    request.values[3].map(|value| serde_json::json!({ "c++": value }))
}

/// Whether `check_limits` allows the request.
fn checked(client: &mut impl GenericClient, wallet: &str, request: &Request) -> bool {
    let [user, team, model, _] = request.values;
    client
        .query_one(
            "SELECT bool_and(allowed) FROM wallet.check_limits($1, user_id => $2, team => $3, model => $4,
                    tags => $5, amount => $6)",
            &[&wallet, &user, &team, &model, &tags(request), &cents(request.cents)],
        )
        .expect("check_limits")
        .get(0)
}

/// Charges, or holds and settles. Returns the entry, or the SQLSTATE.
fn charge(
    client: &mut impl GenericClient,
    wallet: &str,
    request: &Request,
    is_held: bool,
) -> Result<Uuid, String> {
    let [user, team, model, _] = request.values;
    let (tags, amount) = (tags(request), cents(request.cents));
    let function = if is_held {
        "hold_id FROM wallet.hold"
    } else {
        "entry_id FROM wallet.charge"
    };
    let sql = format!(
        "SELECT {function}($1, user_id => $2, team => $3, model => $4, tags => $5, amount => $6)"
    );
    let row = client.query_one(&sql, &[&wallet, &user, &team, &model, &tags, &amount]);
    let id: Uuid = row.map_err(|error| state_of(&error))?.get(0);
    if !is_held {
        return Ok(id);
    }
    let settle = "SELECT entry_id FROM wallet.settle($1, $2, amount => $3)";
    let row = client.query_one(settle, &[&wallet, &id, &amount]);
    Ok(row.expect("settle").get(0))
}

/// Every limit shows what the model counts, by its windows.
fn agree(client: &mut Client, wallet: &str, model: &Model) {
    for limit in &model.limits {
        let rows = client
            .query(
                "SELECT subject, used, scope FROM wallet.limits_status WHERE wallet = $1 AND limit_id = $2 AND used > 0",
                &[&wallet, &limit.id],
            )
            .expect("limits_status");
        let shown: BTreeMap<Vec<String>, Decimal> = rows
            .iter()
            .map(|row| {
                assert_eq!(row.get::<_, String>(2), limit.scope());
                let subject: String = row.get(0);
                let places = match limit.places.len() {
                    1 => vec![subject],
                    _ => serde_json::from_str(&subject).expect("a JSON array"),
                };
                (places, row.get(1))
            })
            .collect();
        let amount = |used: i64| match limit.metric {
            "amount" => cents(used),
            _ => Decimal::from(used),
        };
        let expected: BTreeMap<Vec<String>, Decimal> = limit
            .used
            .iter()
            .filter(|(_, used)| **used > 0)
            .map(|(window, used)| (window.clone(), amount(*used)))
            .collect();
        assert_eq!(shown, expected, "{wallet}: {limit:?}");
    }
}

fn change_limits(client: &mut Client, seed: &mut Seed, wallet: &str, model: &mut Model) {
    if seed.below(4) == 0 && !model.limits.is_empty() {
        let place = usize::try_from(seed.below(model.limits.len() as u64)).expect("an index");
        let drop = "SELECT wallet.drop_limit($1, $2)";
        let id = model.limits[place].id;
        client.execute(drop, &[&wallet, &id]).expect("drop_limit");
        model.drop(place);
        return;
    }
    let (mut limit, scope, subject) = limit(seed);
    let max = match limit.metric {
        "amount" => cents(limit.max),
        _ => Decimal::from(limit.max),
    };
    let set =
        "SELECT wallet.set_limit($1, $2, 'lifetime', scope => $3, subject => $4, metric => $5)";
    let row = client.query_one(set, &[&wallet, &max, &scope, &subject, &limit.metric]);
    limit.id = row.expect("set_limit").get(0);
    model.set(limit);
}

#[test]
fn limits_of_several_dimensions_count_and_override_as_the_model_says() {
    let mut seed = Seed::of("limits_of_several_dimensions_count_and_override_as_the_model_says");
    let database = Database::new();
    let mut client = database.connect();
    let (mut booked, mut refused) = (0, 0);
    for round in 0..scale(12) {
        let wallet = format!("w{round}");
        create(
            &mut client,
            &wallet,
            1 + (round % 3) as i32,
            &[],
            Decimal::ZERO,
        );
        fund(&mut client, &wallet, Decimal::from(100_000)).expect("fund");
        let mut model = Model::default();
        for _ in 0..60 {
            match seed.below(10) {
                0..=2 => change_limits(&mut client, &mut seed, &wallet, &mut model),
                3 if !model.charges.is_empty() => {
                    let all = model.charges.len() as u64;
                    let place = usize::try_from(seed.below(all)).expect("an index");
                    let charge = &model.charges[place];
                    let left = charge.request.cents - charge.refunded;
                    if left > 0 {
                        let part = 1 + i64::try_from(seed.below(left as u64)).expect("a part");
                        let refund = "SELECT amount FROM wallet.refund($1, $2, $3)";
                        let row = client.query_one(refund, &[&wallet, &charge.id, &cents(part)]);
                        row.expect("refund");
                        model.refund(place, part);
                    }
                }
                _ => {
                    let request = request(&mut seed);
                    let is_held = seed.below(3) == 0;
                    let expected = model.allows(&request);
                    let said = checked(&mut client, &wallet, &request);
                    assert_eq!(said, expected, "{wallet}: {request:?}, {:?}", model.limits);
                    match charge(&mut client, &wallet, &request, is_held) {
                        Ok(id) => {
                            assert!(expected, "{wallet}: {request:?} was booked");
                            model.book(id, &request);
                            booked += 1;
                        }
                        Err(state) => {
                            assert_eq!((state.as_str(), expected), ("WL002", false));
                            refused += 1;
                        }
                    }
                }
            }
            agree(&mut client, &wallet, &model);
        }
        let verify = "SELECT \"check\", detail FROM wallet.verify($1) WHERE NOT ok";
        let bad = client.query(verify, &[&wallet]).expect("verify");
        assert!(bad.is_empty(), "{wallet}: {bad:?}");
    }
    println!("{booked} booked, {refused} refused");
    assert!(
        booked > 100 && refused > 20,
        "{booked} booked, {refused} refused"
    );
}
