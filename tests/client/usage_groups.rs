//! `usage` compared with a model of plain numbers: every pair and triple of dimensions, several
//! wallets with zones and currencies of their own, any period, and as it was known at any time.
//! Whatever is rolled up or archived, the figures are the same.

use std::collections::BTreeMap;

use postgres::Client;
use wallet_tests::{Database, Decimal, Seed, scale};

use crate::over_time::{HOUR, move_in_time, time};

const DIMENSIONS: [&str; 14] = [
    "wallet",
    "user",
    "team",
    "model",
    "provider",
    "service",
    "region",
    "key",
    "hour",
    "day",
    "week",
    "month",
    "tag:project",
    "tag:step",
];
const WALLETS: [(&str, &str, &str, u32); 4] = [
    ("berlin", "Europe/Berlin", "USD", 1),
    ("howe", "Australia/Lord_Howe", "USD", 3),
    ("johns", "America/St_Johns", "EUR", 2),
    ("utc", "UTC", "credits", 1),
];

/// The figures of a group: requests, input tokens, output tokens, cost, refunded.
type Figures = (i64, i64, i64, Decimal, Decimal);
/// A currency and the values of the dimensions.
type Group = Vec<Option<String>>;

/// A charge or refund in plain numbers. Times are microseconds since 1970.
struct Entry {
    wallet: String,
    booked: i64,
    used: i64,
    /// The day of use in the wallet's time zone.
    day: String,
    /// By the names of the dimensions.
    values: BTreeMap<&'static str, Option<String>>,
    currency: String,
    figures: Figures,
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Asked {
    wallets: Vec<&'static str>,
    by: Vec<&'static str>,
    times: Option<(i64, i64)>,
    days: Option<(String, String)>,
    as_of: Option<i64>,
}

fn list(texts: &[&str]) -> String {
    format!(
        "ARRAY[{}]::text[]",
        texts
            .iter()
            .map(|text| format!("'{text}'"))
            .collect::<Vec<_>>()
            .join(",")
    )
}

impl Asked {
    fn arguments(&self) -> String {
        let mut arguments = format!("{}, {}", list(&self.wallets), list(&self.by));
        if let Some((from, to)) = self.times {
            arguments += &format!(", \"from\" => {}, \"to\" => {}", time(from), time(to));
        }
        if let Some((from, to)) = &self.days {
            arguments += &format!(", from_day => '{from}', to_day => '{to}'");
        }
        if let Some(at) = self.as_of {
            arguments += &format!(", as_of => {}", time(at));
        }
        arguments
    }

    /// What the extension says.
    fn said(&self, client: &mut Client) -> BTreeMap<Group, Figures> {
        let columns: String = self
            .by
            .iter()
            .map(|dimension| match *dimension {
                "user" => ", user_id".to_owned(),
                "key" => ", key_id::text".to_owned(),
                "hour" => ", extract(epoch FROM hour)::bigint::text".to_owned(),
                "day" | "week" | "month" => format!(", to_char({dimension}, 'YYYY-MM-DD')"),
                tag if tag.starts_with("tag:") => format!(", tags ->> '{}'", &tag[4..]),
                column => format!(", {column}"),
            })
            .collect();
        let sql = format!(
            "SELECT requests, input_tokens, output_tokens, cost, refunded, tokens = input_tokens + output_tokens, currency{columns}
               FROM wallet.usage({})",
            self.arguments()
        );
        let rows = client
            .query(&sql, &[])
            .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let mut said = BTreeMap::new();
        for row in rows {
            assert!(row.get::<_, bool>(5), "{sql}");
            let group: Group = (6..row.len()).map(|column| row.get(column)).collect();
            let figures = (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4));
            assert_eq!(
                said.insert(group, figures),
                None,
                "one row per group: {sql}"
            );
        }
        said
    }

    /// The same by hand.
    fn by_hand(&self, entries: &[Entry]) -> BTreeMap<Group, Figures> {
        let mut groups: BTreeMap<Group, Figures> = BTreeMap::new();
        let counts = |entry: &&Entry| {
            (self.wallets == ["*"] || self.wallets.contains(&&*entry.wallet))
                && self
                    .times
                    .is_none_or(|(from, to)| (from..to).contains(&entry.used))
                && self
                    .days
                    .as_ref()
                    .is_none_or(|(from, to)| *from <= entry.day && entry.day < *to)
                && self.as_of.is_none_or(|at| entry.booked <= at)
        };
        for entry in entries.iter().filter(counts) {
            let mut group: Group = vec![Some(entry.currency.clone())];
            group.extend(
                self.by
                    .iter()
                    .map(|dimension| entry.values[dimension].clone()),
            );
            let sums = groups.entry(group).or_default();
            let (requests, input, output, cost, refunded) = entry.figures;
            *sums = (
                sums.0 + requests,
                sums.1 + input,
                sums.2 + output,
                sums.3 + cost,
                sums.4 + refunded,
            );
        }
        groups
    }
}

fn setup(client: &mut Client) {
    client
        .batch_execute(
            "SELECT wallet.set_price(m, meter, p, effective_from => '2020-01-01Z', provider => v)
               FROM (VALUES ('m-1', 0.0000013, NULL), ('m-2', 0.01, 'openai'), ('m-1', 0.000002, 'azure')) AS model (m, p, v),
                    (VALUES ('input_tokens'), ('output_tokens'), ('cache_read_tokens')) AS meters (meter);
             CREATE TABLE secrets (wallet text, secret text);
             SELECT wallet.set_fx_rate('USD', 'EUR', 0.9, '2020-01-01Z'), wallet.set_fx_rate('USD', 'credits', 100, '2020-01-01Z')",
        )
        .unwrap();
    for (wallet, zone, currency, lanes) in WALLETS {
        client
            .batch_execute(&format!(
                "SELECT wallet.create_wallet('{wallet}', '{currency}', time_zone => '{zone}', lanes => {lanes}, credit_limit => 100000);
                 SELECT wallet.fund('{wallet}', 1000);
                 INSERT INTO secrets SELECT '{wallet}', k.secret FROM wallet.create_key('{wallet}', 'ann') k"
            ))
            .unwrap();
    }
}

/// One random charge or refund, or another entry, which does not count.
fn step(client: &mut Client, seed: &mut Seed, number: usize) {
    let (wallet, ..) = WALLETS[seed.below(4) as usize];
    let pick =
        |seed: &mut Seed, values: &[&'static str]| values[seed.below(values.len() as u64) as usize];
    let tags = pick(
        seed,
        &[
            "NULL",
            "'{\"project\":\"moon\"}'",
            "'{\"project\":\"mars\",\"step\":\"2\"}'",
            "'{\"step\":\"x\"}'",
        ],
    );
    let user = pick(seed, &["'ann'", "'ben'", "NULL"]);
    let of = format!(
        "user_id => {user}, team => {}, service => {}, region => {}, tags => {tags}, event_at => {}",
        pick(seed, &["'red'", "'blue'", "NULL"]),
        pick(seed, &["'chat'", "NULL"]),
        pick(seed, &["'eu'", "'us'", "NULL"]),
        match seed.below(3) {
            0 => format!("now() - {} * interval '1 hour'", seed.below(24 * 60)),
            1 => "now() + interval '20 hours'".to_owned(),
            _ => "NULL".to_owned(),
        },
    );
    let sql = match seed.below(12) {
        0..=6 => format!(
            "SELECT wallet.charge('{wallet}', '{{\"model\":\"{}\",\"input_tokens\":{},\"cache_read_tokens\":{},\"output_tokens\":{}}}', {of})",
            pick(seed, &["m-1", "m-2"]),
            seed.below(5000),
            seed.below(10),
            seed.below(500),
        ),
        7 => format!("SELECT wallet.charge('{wallet}', amount => 0.000000000007 * {}, {of})", 1 + seed.below(99)),
        8 | 9 => format!(
            "SELECT wallet.refund(e.wallet, e.entry_id, trunc(-e.amount / 3, 12))
               FROM (SELECT * FROM wallet.entries e WHERE e.wallet = '{wallet}' AND e.kind = 'charge' AND e.amount < -0.01
                        AND NOT EXISTS (SELECT FROM wallet.refunds r WHERE r.wallet_id = e.wallet AND r.entry_id = e.entry_id)
                      ORDER BY md5(e.entry_id::text || {number}) LIMIT 1) e"
        ),
        10 => format!(
            "SELECT wallet.charge('{wallet}', amount => 1, {of}, key => (SELECT secret FROM secrets s WHERE s.wallet = '{wallet}'))"
        )
        .replace(&format!("user_id => {user}"), "user_id => 'ann'"),
        _ => format!("SELECT wallet.fund('{wallet}', 3), wallet.adjust('{wallet}', -1)"),
    };
    client
        .batch_execute(&sql)
        .unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// The rows of the ledger, interpreted by the documented rules. PostgreSQL knows the calendar.
fn entries(client: &mut Client) -> Vec<Entry> {
    let rows = client
        .query(
            "SELECT l.wallet_id, (extract(epoch FROM l.created_at) * 1000000)::bigint, (extract(epoch FROM u.at) * 1000000)::bigint,
                    to_char(u.local, 'YYYY-MM-DD'), w.currency, l.kind::text, l.amount,
                    coalesce((SELECT sum((j ->> 'quantity')::bigint) FROM jsonb_array_elements(wallet.entry_lines(l.lines)) j
                               WHERE j ->> 'meter' IN ('input_tokens', 'cache_read_tokens')), 0)::bigint,
                    coalesce((SELECT sum((j ->> 'quantity')::bigint) FROM jsonb_array_elements(wallet.entry_lines(l.lines)) j
                               WHERE j ->> 'meter' = 'output_tokens'), 0)::bigint,
                    l.wallet_id, l.user_id, l.team, l.model, l.provider, l.service, l.region, l.key_id::text,
                    -- The beginning of the local hour, with the offset that applies to the entry.
                    extract(epoch FROM u.at - (extract(minute FROM u.local) * interval '1 minute' + extract(second FROM u.local) * interval '1 second'))::bigint::text,
                    to_char(u.local, 'YYYY-MM-DD'), to_char(date_trunc('week', u.local), 'YYYY-MM-DD'), to_char(u.local, 'YYYY-MM-01'),
                    l.tags ->> 'project', l.tags ->> 'step'
               FROM (TABLE wallet.ledger UNION ALL TABLE wallet.ledger_archive) l
               JOIN wallet.wallets w USING (wallet_id)
              CROSS JOIN LATERAL (SELECT coalesce(l.event_at, l.created_at) AS at, coalesce(l.event_at, l.created_at) AT TIME ZONE w.time_zone AS local) u
              WHERE l.kind IN ('c', 'r')",
            &[],
        )
        .unwrap();
    rows.iter()
        .map(|row| {
            let amount: Decimal = row.get(6);
            let is_charge = row.get::<_, String>(5) == "c";
            let values = DIMENSIONS.iter().enumerate();
            Entry {
                wallet: row.get(0),
                booked: row.get(1),
                used: row.get(2),
                day: row.get(3),
                currency: row.get(4),
                values: values
                    .map(|(place, dimension)| (*dimension, row.get(9 + place)))
                    .collect(),
                figures: match is_charge {
                    true => (1, row.get(7), row.get(8), -amount, Decimal::ZERO),
                    false => (0, 0, 0, Decimal::ZERO, amount),
                },
            }
        })
        .collect()
}

/// A period, often from or to a moment at which something happens, or whole days.
fn random(seed: &mut Seed, entries: &[Entry], by: &[&'static str]) -> Asked {
    let mut moment = || {
        let entry = &entries[seed.below(entries.len() as u64) as usize];
        match seed.below(6) {
            0 => entry.used,
            1 => entry.booked,
            2 => entry.booked - 1,
            3 => entry.used - entry.used.rem_euclid(24 * HOUR),
            4 => entry.booked - entry.booked.rem_euclid(24 * HOUR) - 1,
            _ => entry.used + HOUR * 7 / 3,
        }
    };
    let (a, b, as_of) = (moment(), moment(), moment());
    let mut days = [0, 1].map(|_| {
        entries[seed.below(entries.len() as u64) as usize]
            .day
            .clone()
    });
    days.sort();
    let wallets: &[&[&str]] = &[
        &["*"],
        &["berlin"],
        &["howe", "johns"],
        &["utc", "berlin", "howe"],
    ];
    let kind = seed.below(4);
    Asked {
        wallets: wallets[seed.below(4) as usize].to_vec(),
        by: by.to_vec(),
        times: (kind == 1 || kind == 2).then(|| (a.min(b), a.max(b))),
        days: (kind == 3).then(|| (days[0].clone(), days[1].clone())),
        as_of: (seed.below(2) == 0).then_some(as_of),
    }
}

/// Every dimension, pair and triple.
fn combinations() -> Vec<Vec<&'static str>> {
    let mut all = vec![vec![]];
    for (first, one) in DIMENSIONS.iter().enumerate() {
        all.push(vec![*one]);
        for (second, two) in DIMENSIONS.iter().enumerate().skip(first + 1) {
            all.push(vec![*two, *one]);
            all.extend(
                DIMENSIONS[second + 1..]
                    .iter()
                    .map(|three| vec![*one, *three, *two]),
            );
        }
    }
    all
}

fn check(client: &mut Client, seed: &mut Seed, entries: &[Entry], state: &str) {
    let mut rows = 0;
    for by in combinations() {
        // In each state a third of the triples.
        if by.len() == 3 && seed.below(3) > 0 {
            continue;
        }
        let asked = random(seed, entries, &by);
        let said = asked.said(client);
        rows += said.len();
        assert_eq!(
            said,
            asked.by_hand(entries),
            "{state}: usage({})",
            asked.arguments()
        );
    }
    assert!(rows > 500, "{state}: {rows} rows");
}

#[test]
fn usage_is_that_of_a_model_for_every_pair_and_triple_of_dimensions() {
    let mut seed = Seed::of("usage_is_that_of_a_model_for_every_pair_and_triple_of_dimensions");
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    for number in 0..scale(250) {
        step(&mut client, &mut seed, number);
    }
    for (wallet, ..) in WALLETS {
        move_in_time(&mut client, &mut seed, wallet);
    }
    let booked = entries(&mut client);
    check(&mut client, &mut seed, &booked, "without roll-ups");
    for days in [75, 40, 0] {
        let sql = format!("SELECT wallet.roll_up(now() - interval '{days} days')");
        client.batch_execute(&sql).unwrap();
        check(
            &mut client,
            &mut seed,
            &booked,
            &format!("rolled up to {days} days ago"),
        );
    }
    for (wallet, ..) in WALLETS {
        let sql = format!("SELECT * FROM wallet.archive('{wallet}', now() - interval '60 days')");
        client.batch_execute(&sql).unwrap();
    }
    check(&mut client, &mut seed, &booked, "archived");
    // Entries after the roll-up, and a guess of their ids that is wrong.
    for number in 0..scale(60) {
        step(&mut client, &mut seed, number);
    }
    let booked = entries(&mut client);
    check(&mut client, &mut seed, &booked, "booked after the roll-up");
    client
        .batch_execute("UPDATE wallet.rollup_states SET floor_id = (SELECT max(entry_id::text)::uuid FROM wallet.ledger)")
        .unwrap();
    check(&mut client, &mut seed, &booked, "a wrong guess");
}

#[test]
fn as_of_says_what_was_said_at_that_time() {
    let mut seed = Seed::of("as_of_says_what_was_said_at_that_time");
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    step(&mut client, &mut seed, 0);
    let all = combinations();
    let mut answers = Vec::new();
    for number in 0..scale(200) {
        step(&mut client, &mut seed, number);
        if seed.below(3) == 0 {
            let by = &all[seed.below(all.len() as u64) as usize];
            let mut asked = random(&mut seed, &entries(&mut client), by);
            asked.as_of = None;
            let said = asked.said(&mut client);
            let now = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
            asked.as_of = Some(client.query_one(now, &[]).unwrap().get(0));
            answers.push((asked, said));
        }
        if seed.below(20) == 0 {
            client
                .batch_execute("SELECT wallet.roll_up(now())")
                .unwrap();
        }
    }
    let check = |client: &mut Client, state: &str| {
        for (asked, said) in &answers {
            assert_eq!(
                asked.said(client),
                *said,
                "{state}: usage({})",
                asked.arguments()
            );
        }
    };
    check(&mut client, "at the end");
    client
        .batch_execute("SELECT wallet.roll_up(now())")
        .unwrap();
    check(&mut client, "rolled up");
    client.batch_execute("DELETE FROM wallet.usage_rollups; DELETE FROM wallet.rollup_chunks; DELETE FROM wallet.rollup_states").unwrap();
    check(&mut client, "without roll-ups");
}

#[test]
fn wrong_arguments_of_usage_are_refused() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute("SELECT wallet.create_wallet('acme')")
        .unwrap();
    for (arguments, state, message) in [
        ("NULL", "22023", "wallets must not be null"),
        ("'{}'", "22023", "wallets is empty"),
        ("'{NULL}'", "22023", "wallet must not be null"),
        ("'{acme,ghost}'", "WL003", "wallet \"ghost\" does not exist"),
        (
            "by => NULL",
            "22023",
            "usage is grouped by at most three dimensions",
        ),
        (
            "by => '{user,team,model,day}'",
            "22023",
            "usage is grouped by at most three dimensions",
        ),
        (
            "by => '{user,user}'",
            "22023",
            "dimension \"user\" is given twice",
        ),
        (
            "by => '{user,NULL}'",
            "22023",
            "unrecognized dimension NULL",
        ),
        (
            "by => '{colour}'",
            "22023",
            "unrecognized dimension \"colour\"",
        ),
        ("by => '{tag:}'", "22023", "unrecognized dimension \"tag:\""),
        (
            "\"from\" => '2026-02-01', \"to\" => '2026-01-01'",
            "22023",
            "\"from\" is after \"to\"",
        ),
        (
            "\"from\" => '2026-02-01', from_day => '2026-02-01'",
            "22023",
            "a moment and a day are given",
        ),
    ] {
        let error = client
            .query(&format!("SELECT * FROM wallet.usage({arguments})"), &[])
            .unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(
            (error.code().code(), error.message()),
            (state, message),
            "{arguments}"
        );
        assert!(
            error.detail().is_some() && error.hint().is_some(),
            "{arguments}"
        );
    }
    let widest = "SELECT * FROM wallet.usage(as_of => 'infinity', \"from\" => '-infinity', \"to\" => 'infinity')";
    assert_eq!(client.query(widest, &[]).unwrap().len(), 0);
}
