//! Limits hold under concurrent calls, and refuse only what would exceed them.

use wallet_tests::{
    Charge, Database, Decimal, Seed, audit, create, crowd, dec, detail, limit, noon, scale,
    state_of, together,
};

/// The first number after some words of a DETAIL.
fn number_after(text: &str, words: &str) -> Decimal {
    let rest = text
        .split_once(words)
        .unwrap_or_else(|| panic!("{words:?} is not in {text:?}"))
        .1;
    let number: String = rest
        .chars()
        .take_while(|c| c.is_ascii_digit() || *c == '.')
        .collect();
    dec(number.trim_end_matches('.'))
}

#[test]
fn a_daily_limit_holds_under_32_connections() {
    let _crowd = crowd();
    let seed = Seed::of("a_daily_limit_holds_under_32_connections");
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 16, &[], dec("100000"));
    limit(&mut client, "acme", dec("100"), "day", &noon());
    let results = together(&database, 32, |number, client| {
        let mut seed = seed.thread(number);
        let (mut spent, mut refused) = (Decimal::ZERO, Vec::new());
        for _ in 0..scale(20) {
            // None of the amounts divides 100.
            let amount = [dec("0.7"), dec("3.3"), dec("7.77"), dec("11.13")]
                [usize::try_from(seed.below(4)).unwrap()];
            let charge = Charge {
                amount,
                user: Some("alice"),
                key: None,
            };
            match charge.on(client, "acme") {
                Ok(charged) => spent += charged.cost,
                Err(error) => {
                    assert_eq!(state_of(&error), "WL002", "{error:?}");
                    let detail = detail(&error);
                    let used = number_after(detail, "maximum 100.00 per day, ");
                    assert!(used + amount > dec("100"), "needlessly refused: {detail}");
                    refused.push(amount);
                }
            }
        }
        (spent, refused)
    });
    let total: Decimal = results.iter().map(|(spent, _)| *spent).sum();
    assert!(total <= dec("100"), "{total} passed the limit");
    let least = results.iter().flat_map(|(_, refused)| refused).min();
    let least = *least.expect("somebody is refused");
    assert!(
        total + least > dec("100"),
        "{least} would fit in addition to {total}"
    );
    audit(&mut client, "acme");
}

/// The row of the window does not exist yet when all calls arrive.
#[test]
fn a_limit_holds_when_a_users_first_charges_are_concurrent() {
    let _crowd = crowd();
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, lanes) in [("one", 1), ("many", 16)] {
        create(&mut client, wallet, lanes, &[], dec("100000"));
        limit(&mut client, wallet, dec("100"), "day", &noon());
        limit(&mut client, wallet, dec("1000"), "month", "UTC");
        for round in 0..scale(8) {
            let user = format!("user {round}");
            let results = together(&database, 16, |_, client| {
                let charge = Charge {
                    amount: dec("10"),
                    user: Some(&user),
                    key: None,
                };
                charge.on(client, wallet).map_err(|error| state_of(&error))
            });
            let refused: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).collect();
            assert_eq!(refused, ["WL002"; 6], "of 16 only 10 fit");
        }
        audit(&mut client, wallet);
    }
}

/// Charges that are rolled back release what they took. Other charges wait for that.
#[test]
fn a_rolled_back_charge_releases_its_share_of_the_limit() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    create(&mut client, "acme", 4, &[], dec("1000"));
    limit(&mut client, "acme", dec("100"), "day", &noon());
    let charge = Charge {
        amount: dec("60"),
        user: Some("alice"),
        key: None,
    };
    let mut transaction = client.transaction().unwrap();
    charge.on(&mut transaction, "acme").unwrap();
    let waiting = std::thread::spawn(move || charge.on(&mut other, "acme").map(|c| c.cost));
    std::thread::sleep(std::time::Duration::from_millis(200));
    transaction.rollback().unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), dec("60"));
    let error = charge.on(&mut client, "acme").unwrap_err();
    assert_eq!(state_of(&error), "WL002");
    audit(&mut client, "acme");
}

/// For every kind of limit, 64 connections spend against a maximum of 100 with amounts that do not
/// divide it. At most 100 passes, and every refused request would have exceeded the limit.
#[test]
fn every_kind_of_limit_holds_under_64_connections() {
    let _crowd = crowd();
    let seed = Seed::of("every_kind_of_limit_holds_under_64_connections");
    let database = Database::new();
    let mut client = database.connect();
    for meter in ["input_tokens", "output_tokens", "images"] {
        wallet_tests::price(&mut client, "m", meter, dec("1"));
    }
    let kinds = [
        ("wallet", "*", "month", "amount"),
        ("wallet", "*", "rolling 5 hours", "requests"),
        ("user", "*", "day", "tokens"),
        ("user", "ann", "rolling 2 days", "amount"),
        ("team", "*", "quarter", "input_tokens"),
        ("model", "m*", "lifetime", "images"),
        ("service", "chat", "year", "requests"),
        ("tag:project", "x", "week", "output_tokens"),
        ("user", "*", "month", "points"),
        ("wallet", "*", "lifetime", "points"),
    ];
    let points = r#"SELECT wallet.set_metric('points', '{"output_tokens": 0.5, "requests": 1}')"#;
    client.batch_execute(points).expect("a weighted metric");
    for (number, (scope, subject, period, metric)) in kinds.into_iter().enumerate() {
        for lanes in [1, 16] {
            let wallet = format!("w{number}-{lanes}");
            create(&mut client, &wallet, lanes, &[], dec("1000000"));
            client
                .execute(
                    "SELECT wallet.set_limit($1, 100, $2, scope => $3, subject => $4, metric => $5)",
                    &[&wallet, &period, &scope, &subject, &metric],
                )
                .expect("set_limit");
            let results = together(&database, 64, |thread, client| {
                let mut seed = seed.thread(thread + number * 64);
                let (mut passed, mut least) = (Decimal::ZERO, None::<Decimal>);
                for _ in 0..4 {
                    let size = 3 + seed.below(9) as i64;
                    let mut usage = serde_json::json!({ "model": "m" });
                    let counted = match metric {
                        "requests" => {
                            usage["input_tokens"] = size.into();
                            1
                        }
                        "amount" | "tokens" | "input_tokens" => {
                            usage["input_tokens"] = size.into();
                            size
                        }
                        "points" => {
                            usage["output_tokens"] = (2 * size - 2).into();
                            size
                        }
                        meter => {
                            usage[meter] = size.into();
                            size
                        }
                    };
                    let counted = Decimal::from(counted);
                    let result = client.query_one(
                        "SELECT cost FROM wallet.charge($1, $2, user_id => 'ann', team => 'red',
                                                        service => 'chat', tags => '{\"project\": \"x\"}')",
                        &[&wallet, &usage],
                    );
                    match result {
                        Ok(_) => passed += counted,
                        Err(error) => {
                            assert_eq!(state_of(&error), "WL002", "{error:?}");
                            let left = number_after(detail(&error), " is held and ");
                            assert!(counted > left, "needlessly refused: {}", detail(&error));
                            least = Some(least.map_or(counted, |least| least.min(counted)));
                        }
                    }
                }
                (passed, least)
            });
            let kind = format!("{scope} {subject} {period} {metric}, {lanes} lanes");
            let total: Decimal = results.iter().map(|(passed, _)| *passed).sum();
            assert!(total <= dec("100"), "{kind}: {total} passed the limit");
            let least = results.iter().filter_map(|(_, least)| *least).min();
            let least = least.expect("somebody is refused");
            assert!(
                total + least > dec("100"),
                "{kind}: {least} would fit in addition to {total}"
            );
            let used: Decimal = client
                .query_one(
                    "SELECT used FROM wallet.limits_status WHERE wallet = $1",
                    &[&wallet],
                )
                .expect("limits_status")
                .get(0);
            assert_eq!(used, total, "{kind}");
            audit(&mut client, &wallet);
        }
    }
}

/// A limit of the whole wallet is spread over the lanes, and still holds to the cent. Each of its
/// warnings is sent once, and every refused request would have exceeded the limit.
#[test]
fn a_limit_spread_over_the_wallets_lanes_holds_to_the_cent() {
    let _crowd = crowd();
    let seed = Seed::of("a_limit_spread_over_the_wallets_lanes_holds_to_the_cent");
    let database = Database::new();
    let mut client = database.connect();
    for (wallet, storage) in [("direct", "auto"), ("spi", "spi")] {
        create(&mut client, wallet, 16, &[], dec("100000"));
        let max = Decimal::from(scale(2000));
        client
            .execute(
                "SELECT wallet.set_limit($1, $2, 'month', warn_at => '{0.5,0.8,0.9}')",
                &[&wallet, &max],
            )
            .expect("set_limit");
        let first = dec("0.01");
        wallet_tests::charge(&mut client, wallet, first).expect("charge");
        let sql = "SELECT count(*) FROM wallet.allowances WHERE wallet_id = $1 AND limit_id IS NOT NULL AND lane > 0 AND watermark > 0";
        let rows: i64 = client.query_one(sql, &[&wallet]).expect("rows").get(0);
        assert_eq!(rows, 16, "a row in each lane");
        let results = together(&database, 64, |number, client| {
            client
                .batch_execute(&format!("SET wallet.storage = {storage}"))
                .expect("SET");
            let mut seed = seed.thread(number);
            let (mut spent, mut refused, mut amount) = (Decimal::ZERO, Vec::new(), dec("3"));
            while amount >= dec("0.01") {
                let held = seed.below(4) == 0;
                let result = if held {
                    client
                        .query_one(
                            "SELECT hold_id FROM wallet.hold($1, amount => $2)",
                            &[&wallet, &amount],
                        )
                        .and_then(|row| {
                            let id: uuid::Uuid = row.get(0);
                            client.query_one(
                                "SELECT cost FROM wallet.settle($1, $2, amount => $3)",
                                &[&wallet, &id, &amount],
                            )
                        })
                        .map(|row| row.get(0))
                } else {
                    wallet_tests::charge(client, wallet, amount).map(|charged| charged.cost)
                };
                match result {
                    Ok(cost) => spent += cost,
                    Err(error) => {
                        assert_eq!(state_of(&error), "WL002", "{error:?}");
                        let detail = detail(&error);
                        let left = number_after(detail, " is held and ");
                        assert!(amount > left, "needlessly refused: {detail}");
                        refused.push(amount);
                        // Smaller and smaller amounts, until nothing fits.
                        amount = (amount / Decimal::TWO).round_dp(2);
                    }
                }
            }
            spent
        });
        let total: Decimal = results.iter().sum();
        assert_eq!(first + total, max, "all that fits is spent");
        let events: Vec<(String, Decimal)> = client
            .query(
                "SELECT event, threshold FROM wallet.events WHERE wallet = $1 ORDER BY id",
                &[&wallet],
            )
            .expect("events")
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let mut expected: Vec<(String, Decimal)> = ["0.5", "0.8", "0.9"]
            .map(|level| ("limit_near".to_owned(), dec(level)))
            .to_vec();
        expected.push(("limit_reached".to_owned(), dec("1")));
        assert_eq!(events, expected);
        let shown: (Decimal, Decimal) = client
            .query_one(
                "SELECT used, remaining FROM wallet.limits_status WHERE wallet = $1",
                &[&wallet],
            )
            .map(|row| (row.get(0), row.get(1)))
            .expect("limits_status");
        assert_eq!(shown, (max, Decimal::ZERO));
        audit(&mut client, wallet);
    }
}
