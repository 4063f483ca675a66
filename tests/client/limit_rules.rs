//! Every kind of limit refuses exactly what would exceed it, `check_limits` agrees with `charge`,
//! and windows are those of PostgreSQL's calendar.

use postgres::{Client, GenericClient};
use serde_json::{Value, json};
use wallet_tests::{Database, Decimal, Seed, audit, create, dec, price, scale, state_of};

const SCOPES: &[(&str, &str)] = &[
    ("wallet", "*"),
    ("user", "*"),
    ("user", "ann"),
    ("team", "*"),
    ("team", "red"),
    ("model", "*"),
    ("model", "lim-*"),
    ("service", "*"),
    ("tag:project", "*"),
    ("tag:project", "moon"),
    ("key", "*"),
    ("user+model", "*"),
    ("user+model", "[\"ann\", \"*\"]"),
    ("model+user", "[\"lim-*\", \"*\"]"),
    ("team+service+tag:project", "*"),
    ("team+service+tag:project", "[\"red\", \"chat\", \"m*\"]"),
];
const PERIODS: &[&str] = &[
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
    "lifetime",
    "rolling 5 hours",
];
const METRICS: &[&str] = &[
    "amount",
    "requests",
    "tokens",
    "input_tokens",
    "output_tokens",
    "images",
    "lim_points",
];

/// The arguments of a request, for `charge` and `check_limits`.
#[derive(Clone, Debug, Default)]
struct Request {
    usage: Option<Value>,
    amount: Option<Decimal>,
    user: Option<&'static str>,
    team: Option<&'static str>,
    service: Option<&'static str>,
    tags: Option<Value>,
    key: Option<String>,
}

impl Request {
    fn charge(
        &self,
        client: &mut impl GenericClient,
        wallet: &str,
    ) -> Result<Decimal, postgres::Error> {
        client
            .query_one(
                "SELECT cost FROM wallet.charge($1, usage => $2, amount => $3, user_id => $4,
                        team => $5, service => $6, tags => $7, key => $8)",
                &[
                    &wallet,
                    &self.usage,
                    &self.amount,
                    &self.user,
                    &self.team,
                    &self.service,
                    &self.tags,
                    &self.key,
                ],
            )
            .map(|row| row.get(0))
    }

    /// Whether everything allows it, and the reasons against it.
    fn check(&self, client: &mut impl GenericClient, wallet: &str) -> (bool, Vec<String>) {
        let rows = client
            .query(
                "SELECT allowed, reason FROM wallet.check_limits($1, user_id => $2, team => $3,
                        service => $4, tags => $5, amount => coalesce($6::numeric, 0), usage => $7, key => $8)",
                &[
                    &wallet,
                    &self.user,
                    &self.team,
                    &self.service,
                    &self.tags,
                    &self.amount,
                    &self.usage,
                    &self.key,
                ],
            )
            .unwrap();
        let allowed = rows.iter().all(|row| row.get(0));
        (allowed, rows.iter().filter_map(|row| row.get(1)).collect())
    }
}

fn setup(client: &mut Client) {
    price(client, "lim-text", "input_tokens", dec("0.001"));
    price(client, "lim-text", "output_tokens", dec("0.002"));
    price(client, "lim-draw", "images", dec("0.5"));
    client
        .batch_execute(
            r#"SELECT wallet.set_metric('lim_points', '{"input_tokens": 0.1, "images": 0.8, "requests": 0.2}')"#,
        )
        .unwrap();
}

/// A request that uses two of the metric in every scope.
fn two_of(metric: &str) -> Request {
    let usage = match metric {
        "tokens" | "input_tokens" => json!({"model": "lim-text", "input_tokens": 2}),
        "output_tokens" => json!({"model": "lim-text", "output_tokens": 2}),
        "images" => json!({"model": "lim-draw", "images": 2}),
        "requests" => json!({"model": "lim-text", "input_tokens": 1}),
        "lim_points" => json!({"model": "lim-text", "input_tokens": 18}),
        _ => json!({"model": "lim-draw", "images": 4}),
    };
    Request {
        usage: Some(usage),
        amount: None,
        user: Some("ann"),
        team: Some("red"),
        service: Some("chat"),
        tags: Some(json!({"project": "moon"})),
        key: None,
    }
}

/// Each scope × period × metric: the maximum is 5, so a request of 2 passes twice. The third is
/// refused and leaves the limit unchanged.
#[test]
fn every_scope_period_and_metric_refuses_only_the_excess() {
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    for (number, (scope, subject)) in SCOPES.iter().enumerate() {
        for period in PERIODS {
            for metric in METRICS {
                let mut work = client.transaction().unwrap();
                let wallet = format!("w{number}");
                work.batch_execute(&format!(
                    "SELECT wallet.create_wallet('{wallet}'), wallet.fund('{wallet}', 1000)"
                ))
                .unwrap();
                let (max, passes) = match *metric {
                    "requests" => (dec("3"), 3),
                    _ => (dec("5"), 2),
                };
                work.execute(
                    "SELECT wallet.set_limit($1, $2, $3, scope => $4, subject => $5, metric => $6)",
                    &[&wallet, &max, period, scope, subject, metric],
                )
                .unwrap();
                let mut request = two_of(metric);
                if *scope == "key" {
                    let sql = "SELECT secret FROM wallet.create_key($1, 'ann', 'laptop')";
                    request.key = work.query_one(sql, &[&wallet]).unwrap().get(0);
                }
                for pass in 0..passes {
                    request.charge(&mut work, &wallet).unwrap_or_else(|error| {
                        panic!("{scope} {subject} {period} {metric}, pass {pass}: {error:?}")
                    });
                }
                let (allowed, _) = request.check(&mut work, &wallet);
                assert!(!allowed, "{scope} {subject} {period} {metric}");
                let mut inner = work.savepoint("refused").unwrap();
                let error = request.charge(&mut inner, &wallet).unwrap_err();
                assert_eq!(
                    state_of(&error),
                    "WL002",
                    "{scope} {subject} {period} {metric}"
                );
                inner.rollback().unwrap();
                let used: Decimal = work
                    .query_one(
                        "SELECT used FROM wallet.limits_status WHERE wallet = $1",
                        &[&wallet],
                    )
                    .unwrap()
                    .get(0);
                let one: i64 = if *metric == "requests" { 1 } else { 2 };
                assert_eq!(
                    used,
                    Decimal::from(one * passes),
                    "{scope} {subject} {period} {metric}"
                );
                // Another user is not affected, unless the limit applies to all.
                let other = Request {
                    usage: Some(json!({"model": "other", "input_tokens": 0})),
                    user: Some("ben"),
                    team: Some("blue"),
                    service: Some("mail"),
                    tags: Some(json!({"project": "sun"})),
                    ..Request::default()
                };
                if *scope != "wallet" {
                    let (allowed, reasons) = Request {
                        usage: None,
                        amount: Some(dec("4")),
                        ..other
                    }
                    .check(&mut work, &wallet);
                    assert!(allowed, "{scope} {subject} {period} {metric}: {reasons:?}");
                }
                work.rollback().unwrap();
            }
        }
    }
}

/// Random limits and random requests: `check_limits` always agrees with `charge` in the same
/// transaction.
#[test]
fn check_limits_agrees_with_charge() {
    let mut seed = Seed::of("check_limits_agrees_with_charge");
    let database = Database::new();
    let mut client = database.connect();
    setup(&mut client);
    let (mut charged, mut refused) = (0, 0);
    for round in 0..scale(30) {
        let wallet = format!("w{round}");
        let lanes = if seed.below(3) == 0 { 8 } else { 1 };
        create(&mut client, &wallet, lanes, &[], seed.cents(100, 20_000));
        let mut pick = |all: usize| usize::try_from(seed.below(all as u64)).unwrap();
        for _ in 0..5 {
            let (scope, subject) = SCOPES[pick(SCOPES.len())];
            let max = Decimal::from(pick(60) as i64);
            let mode = ["hard", "hard", "hard", "soft"][pick(4)];
            client
                .execute(
                    "SELECT wallet.set_limit($1, $2, $3, scope => $4, subject => $5, metric => $6, mode => $7)",
                    &[&wallet, &max, &PERIODS[pick(PERIODS.len())], &scope, &subject,
                      &METRICS[pick(METRICS.len())], &mode],
                )
                .unwrap();
        }
        for _ in 0..40 {
            let user = [None, Some("ann"), Some("ben")][pick(3)];
            let mut request = Request {
                user,
                team: [None, Some("red"), Some("blue")][pick(3)],
                service: [None, Some("chat")][pick(2)],
                tags: [
                    None,
                    Some(json!({"project": "moon"})),
                    Some(json!({"project": "3"})),
                ][pick(3)]
                .clone(),
                ..Request::default()
            };
            match pick(4) {
                0 => request.amount = Some(Decimal::new(pick(900) as i64, 2)),
                1 => request.usage = Some(json!({"model": "lim-draw", "images": pick(6)})),
                _ => {
                    request.usage = Some(json!({"model": "lim-text",
                        "input_tokens": pick(12), "output_tokens": pick(6)}));
                }
            }
            let mut work = client.transaction().unwrap();
            let (allowed, reasons) = request.check(&mut work, &wallet);
            match request.charge(&mut work, &wallet) {
                Ok(_) => {
                    assert!(allowed, "{request:?} was charged: {reasons:?}");
                    charged += 1;
                    work.commit().unwrap();
                }
                Err(error) => {
                    assert!(!allowed, "{request:?}: {error:?}");
                    let expected = match state_of(&error).as_str() {
                        "WL001" => "insufficient_funds",
                        "WL002" => "limit_exceeded",
                        other => panic!("{other}: {error:?}"),
                    };
                    assert!(
                        reasons.iter().any(|reason| reason == expected),
                        "{reasons:?}: {error:?}"
                    );
                    refused += 1;
                    work.rollback().unwrap();
                }
            }
        }
        audit(&mut client, &wallet);
    }
    assert!(
        charged > 50 && refused > 50,
        "{charged} charged, {refused} refused"
    );
}

/// The end of every window is the one of PostgreSQL's calendar, in many zones and at their clock
/// changes.
#[test]
fn windows_agree_with_date_trunc() {
    let mut seed = Seed::of("windows_agree_with_date_trunc");
    let database = Database::new();
    let mut client = database.connect();
    let zones = [
        "UTC",
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",
        "Asia/Kolkata",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Casablanca",
        "America/Sao_Paulo",
    ];
    for zone in zones {
        client
            .batch_execute(&format!("SET TimeZone = '{zone}'"))
            .unwrap();
        for period in ["minute", "hour", "day", "week", "month", "quarter", "year"] {
            for _ in 0..scale(40) {
                // Between 2000 and 2037, every other time near a clock change.
                let second = 946_684_800 + i64::try_from(seed.below(1_190_000_000)).unwrap();
                let row = client
                    .query_one(
                        "WITH t AS (SELECT to_timestamp($1::bigint) AS at),
                              s AS (SELECT at, date_trunc($2, at, $3) AS start FROM t)
                         SELECT CASE WHEN $2 IN ('minute', 'hour') THEN start + ('1 ' || $2)::interval
                                     ELSE (((start AT TIME ZONE $3)::date
                                            + CASE $2 WHEN 'quarter' THEN interval '3 months'
                                                      ELSE ('1 ' || $2)::interval END) AT TIME ZONE $3)
                                END,
                                wallet.period_end($2, NULL, $3, at), at
                           FROM s",
                        &[&second, &period, &zone],
                    )
                    .unwrap();
                let (expected, ours): (std::time::SystemTime, std::time::SystemTime) =
                    (row.get(0), row.get(1));
                assert_eq!(ours, expected, "{period} in {zone} of {second}");
            }
        }
    }
}
