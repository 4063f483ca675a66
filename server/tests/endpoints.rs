//! Every endpoint, with its results compared with the database.

use serde_json::json;

use crate::support::with;

const USAGE: &str = r#"{"usage": {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 450}}"#;

#[test]
fn the_wallet_of_the_key_has_the_balance_of_the_database() {
    with(|world| {
        let answer = world.acme.get("/v1/wallet").expect(200);
        assert_eq!(answer.json["wallet"], "acme");
        assert_eq!(answer.json["balance"], "100.00");
        assert_eq!(answer.json["low_balance"], json!(["20.00"]));
        assert_eq!(answer.json["key"]["user_id"], "alice");
        assert_eq!(
            world.globex.get("/v1/wallet").expect(200).json["key"]["user_id"],
            json!(null)
        );
        assert!(answer.header("x-request-id").is_some());
    });
}

#[test]
fn a_charge_is_exact_and_has_the_headers() {
    with(|world| {
        let answer = world.acme.post("/v1/charges", USAGE).expect(201);
        assert_eq!(answer.json["cost"], "0.007");
        assert_eq!(answer.json["lines"][1]["amount"], "0.0045");
        for (name, value) in [
            ("x-usage-cost", "0.007"),
            ("x-usage-currency", "USD"),
            ("x-total-tokens", "1450"),
            ("x-model", "gpt-4o"),
            ("x-wallet-balance", "99.993"),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
        // These are the headers of the extension. A wallet without limits has no other.
        let id = answer.json["entry_id"].as_str().unwrap();
        let theirs = format!(
            "SELECT string_agg(lower(name) || '=' || value, ',') FROM wallet.usage_headers('acme', '{id}')"
        );
        let ours = [
            "x-usage-cost",
            "x-usage-currency",
            "x-total-tokens",
            "x-model",
            "x-wallet-balance",
        ];
        let ours = ours.map(|name| format!("{name}={}", answer.header(name).unwrap()));
        assert_eq!(world.value(&theirs), ours.join(","));
        let smallest = r#"{"amount": "0.000000000001", "tags": {"project": "x"}, "team": "red"}"#;
        let answer = world.acme.post("/v1/charges", smallest).expect(201);
        assert_eq!(answer.json["balance"], "99.992999999999");
        assert_eq!(
            world.value("SELECT balance FROM wallet.balances WHERE wallet = 'acme'"),
            "99.992999999999"
        );
        let stored = "SELECT concat_ws('/', user_id, team, tags) FROM wallet.entries ORDER BY entry_id DESC LIMIT 1";
        assert_eq!(world.value(stored), r#"alice/red/{"project": "x"}"#);
        world.verify();
    });
}

#[test]
fn numbers_of_a_usage_object_keep_all_their_digits() {
    with(|world| {
        let body = r#"{"usage": {"model": "gpt-4o", "input_tokens": 1, "x": 0.1000000000000000000000000000001,
                       "y": 123456789012345678901234567890}}"#;
        world.acme.post("/v1/charges", body).expect(201);
        let read = world.acme.get("/v1/transactions?kind=charge").expect(200);
        assert!(
            read.text.contains("0.1000000000000000000000000000001"),
            "{}",
            read.text
        );
        assert!(
            read.text.contains("123456789012345678901234567890"),
            "{}",
            read.text
        );
    });
}

#[test]
fn the_time_of_use_and_the_device_reach_the_ledger() {
    with(|world| {
        let body = r#"{"amount": "1", "event_at": "2026-03-01T01:00:00+02:00", "service": "chat",
                       "region": "eu", "metadata": {"job": 7}}"#;
        world.acme.post("/v1/charges", body).expect(201);
        let stored = "SELECT concat_ws('/', event_at AT TIME ZONE 'UTC', service, region, metadata) FROM wallet.entries WHERE kind = 'charge'";
        assert_eq!(
            world.value(stored),
            r#"2026-02-28 23:00:00/chat/eu/{"job": 7}"#
        );
    });
}

#[test]
fn transactions_come_in_pages_that_follow_the_link() {
    with(|world| {
        for number in 1..=5 {
            let body = format!(r#"{{"amount": "{number}", "model": "m{}"}}"#, number % 2);
            world.acme.post("/v1/charges", &body).expect(201);
        }
        let (mut path, mut amounts) = (
            "/v1/transactions?kind=charge&limit=2".to_owned(),
            Vec::new(),
        );
        loop {
            let page = world.acme.get(&path).expect(200);
            for row in page.json["data"].as_array().unwrap() {
                amounts.push(row["amount"].as_str().unwrap().to_owned());
            }
            let Some(link) = page.header("link") else {
                assert_eq!(page.json["next"], json!(null));
                break;
            };
            assert!(link.ends_with(">; rel=\"next\"") && link.contains("kind=charge"));
            link[1..link.find('>').unwrap()].clone_into(&mut path);
        }
        assert_eq!(amounts, ["-5.00", "-4.00", "-3.00", "-2.00", "-1.00"]);
        let some = world
            .acme
            .get("/v1/transactions?model=m1&user_id=alice")
            .expect(200);
        assert_eq!(some.json["data"].as_array().unwrap().len(), 3);
        let none = world.acme.get("/v1/transactions?team=red").expect(200);
        assert_eq!(none.json, json!({"data": [], "next": null}));
    });
}

#[test]
fn usage_is_summed_by_days_and_by_times() {
    with(|world| {
        for at in [
            "2026-03-01T00:00:00Z",
            "2026-03-01T23:59:59Z",
            "2026-03-02T12:00:00Z",
        ] {
            let body = format!(r#"{{"amount": "2", "event_at": "{at}", "model": "m"}}"#);
            world.acme.post("/v1/charges", &body).expect(201);
        }
        for (query, cost) in [
            ("by=day&from=2026-03-01&to=2026-03-02", "4.00"),
            ("by=model&from=2026-03-02", "2.00"),
            (
                "by=model&from=2026-03-01T12:00:00Z&to=2026-03-02T12:00:00%2B00:00",
                "2.00",
            ),
            ("by=user&from=2026-03-01&to=2026-03-02T00:00:00Z", "4.00"),
            ("by=user", "6.00"),
        ] {
            let answer = world.acme.get(&format!("/v1/usage?{query}")).expect(200);
            assert_eq!(answer.json["data"][0]["cost"], cost, "{query}");
        }
        for query in [
            "by=day&from=yesterday",
            "by=day&from=2026-03-01T12:00:00",
            "by=day&to=20260301",
        ] {
            world
                .acme
                .get(&format!("/v1/usage?{query}"))
                .problem(400, "bad_request");
        }
        world
            .acme
            .get("/v1/usage?by=mood")
            .problem(422, "invalid_parameter_value");
        world.acme.get("/v1/usage").problem(400, "bad_request");
    });
}

#[test]
fn limits_come_in_pages_of_subjects() {
    with(|world| {
        world.sql("SELECT wallet.set_limit('globex', 5, 'day', scope => 'user')");
        for user in ["a", "b:c", "d\u{e9}"] {
            let body = json!({"amount": "1", "user_id": user}).to_string();
            world.globex.post("/v1/charges", &body).expect(201);
        }
        let (mut path, mut subjects) = ("/v1/limits?limit=2".to_owned(), Vec::new());
        loop {
            let page = world.globex.get(&path).expect(200);
            for row in page.json["data"].as_array().unwrap() {
                assert_eq!(
                    (&row["used"], &row["remaining"]),
                    (&json!("1.00"), &json!("4.00"))
                );
                subjects.push(row["subject"].as_str().unwrap().to_owned());
            }
            let Some(link) = page.header("link") else {
                break;
            };
            link[1..link.find('>').unwrap()].clone_into(&mut path);
        }
        assert_eq!(subjects, ["a", "b:c", "d\u{e9}"]);
        let one = world
            .globex
            .get("/v1/limits?subject=b:c&scope=user")
            .expect(200);
        assert_eq!(one.json["data"].as_array().unwrap().len(), 1);
        assert_eq!(
            world.acme.get("/v1/limits").expect(200).json["data"],
            json!([])
        );
    });
}

#[test]
fn prices_in_force_are_those_that_charges_use() {
    with(|world| {
        world.sql(
            "SELECT wallet.set_price('gpt-4o', 'input_tokens', 9, per => 1000000, effective_from => '2023-01-01');
             SELECT wallet.set_price('gpt-4o', 'input_tokens', 99, per => 1000000, effective_from => '2999-01-01');
             SELECT wallet.set_price('old', 'requests', 1, effective_from => '2024-01-01');
             SELECT wallet.set_price('old', 'requests', NULL, effective_from => '2025-01-01');
             SELECT wallet.set_price('x', 'requests', 1, region => 'eu');
             SELECT wallet.set_price('x', 'requests', 2);
             SELECT wallet.set_price('x', 'requests', 0.5, price_list => 'gold');
             SELECT wallet.set_price('secret', 'requests', 0.1, price_list => 'silver');
             SELECT wallet.set_markup('gold', percent => 20, fixed => 0.001);
             SELECT wallet.use_price_list('globex', 'gold')",
        );
        let seen = |answer: &crate::support::Answer| -> Vec<String> {
            let rows = answer.json["data"].as_array().unwrap();
            let row = |row: &serde_json::Value| {
                let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
                format!(
                    "{} {} {} {}",
                    text("price_list"),
                    text("model"),
                    text("unit_price"),
                    row["markup"]
                )
            };
            rows.iter().map(row).collect()
        };
        let acme = world.acme.get("/v1/prices?meter=requests").expect(200);
        assert_eq!(seen(&acme), ["default x 1 false", "default x 2 false"]);
        assert_eq!(acme.json["markup"], json!(null));
        let acme = world
            .acme
            .get("/v1/prices?model=gpt-4o&meter=input_tokens")
            .expect(200);
        assert_eq!(seen(&acme), ["default gpt-4o 2.5 false"]);
        let globex = world.globex.get("/v1/prices?model=x").expect(200);
        assert_eq!(
            seen(&globex),
            ["default x 1 true", "default x 2 true", "gold x 0.5 false"]
        );
        assert_eq!(globex.json["markup"]["percent"], "20");
        assert_eq!(globex.json["markup"]["fixed"], "0.001");
        let page = world.globex.get("/v1/prices?limit=3").expect(200);
        let next = page.json["next"].as_str().unwrap().to_owned();
        let rest = world
            .globex
            .get(&format!("/v1/prices?limit=3&cursor={next}"))
            .expect(200);
        assert_eq!(seen(&page).len() + seen(&rest).len(), 5);
        assert!(page.header("link").unwrap().contains(&next));
    });
}

#[test]
fn an_estimate_says_what_the_charge_then_does() {
    with(|world| {
        world.sql("SELECT wallet.set_limit('acme', 0.01, 'day', scope => 'user')");
        let estimate = world.acme.post("/v1/estimate", USAGE).expect(200);
        assert_eq!(estimate.json["cost"], "0.007");
        assert_eq!(estimate.json["allowed"], true);
        assert_eq!(world.charges("acme"), 0);
        let charge = world.acme.post("/v1/charges", USAGE).expect(201);
        assert_eq!(charge.json["cost"], estimate.json["cost"]);
        assert_eq!(charge.json["lines"], estimate.json["lines"]);
        let estimate = world.acme.post("/v1/estimate", USAGE).expect(200);
        assert_eq!(estimate.json["allowed"], false);
        assert_eq!(estimate.json["reason"], "limit_exceeded");
        assert_eq!(estimate.json["checks"][1]["remaining"], "0.003");
        world
            .acme
            .post("/v1/charges", USAGE)
            .problem(429, "limit_exceeded");
    });
}

#[test]
fn a_hold_is_read_settled_in_parts_and_voided() {
    with(|world| {
        let body = r#"{"usage": {"model": "gpt-4o", "input_tokens": 1000, "output_tokens": 4000}, "ttl_seconds": 60}"#;
        let held = world.acme.post("/v1/holds", body).expect(201);
        assert_eq!(
            (&held.json["amount"], &held.json["status"]),
            (&json!("0.0425"), &json!("open"))
        );
        let path = format!("/v1/holds/{}", held.json["hold_id"].as_str().unwrap());
        assert_eq!(world.acme.get(&path).expect(200).json["held"], "0.0425");
        let part = r#"{"usage": {"input_tokens": 1000}, "final": false}"#;
        let part = world.acme.post(&format!("{path}/settle"), part).expect(201);
        assert_eq!(part.json["cost"], "0.0025");
        assert_eq!(part.header("x-usage-cost"), Some("0.0025"));
        assert_eq!(world.acme.get(&path).expect(200).json["status"], "open");
        let rest = r#"{"usage": {"output_tokens": 5000}, "over": "cap"}"#;
        let rest = world.acme.post(&format!("{path}/settle"), rest).expect(201);
        assert_eq!(rest.json["cost"], "0.04");
        assert_eq!(world.acme.get(&path).expect(200).json["status"], "settled");
        let held = world
            .acme
            .post("/v1/holds", r#"{"amount": "3"}"#)
            .expect(201);
        let path = format!("/v1/holds/{}", held.json["hold_id"].as_str().unwrap());
        let voided = world
            .acme
            .post(&format!("{path}/void"), r#"{"reason": "no"}"#)
            .expect(201);
        assert_eq!(
            (&voided.json["amount"], &voided.json["status"]),
            (&json!("3.00"), &json!("voided"))
        );
        assert_eq!(world.acme.get(&path).expect(200).json["reason"], "no");
        assert_eq!(
            world.acme.get("/v1/wallet").expect(200).json["held"],
            "0.00"
        );
        world.verify();
    });
}

#[test]
fn a_hold_shrinks_or_waits_for_approval_or_is_charged_when_it_ends() {
    with(|world| {
        let body =
            r#"{"amount": "500", "allow_partial": true, "ttl_seconds": 1, "on_expiry": "charge"}"#;
        let held = world.acme.post("/v1/holds", body).expect(201);
        assert_eq!(held.json["amount"], "100.00");
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let path = format!("/v1/holds/{}", held.json["hold_id"].as_str().unwrap());
        assert_eq!(world.acme.get(&path).expect(200).json["status"], "expired");
        assert_eq!(
            world.acme.get("/v1/wallet").expect(200).json["available"],
            "0.00"
        );
        world.sql("SELECT wallet.set_limit('globex', 5, 'request', mode => 'approve')");
        let waiting = world
            .globex
            .post("/v1/holds", r#"{"amount": "7"}"#)
            .expect(202);
        assert_eq!(waiting.json["status"], "waiting");
        let path = format!("/v1/holds/{}", waiting.json["hold_id"].as_str().unwrap());
        let settle = format!("{path}/settle");
        world
            .globex
            .post(&settle, r#"{"amount": "7"}"#)
            .problem(409, "hold_not_open");
        world.sql(&format!(
            "SELECT wallet.approve_hold('globex', '{}')",
            &path["/v1/holds/".len()..]
        ));
        world.globex.post(&settle, r#"{"amount": "7"}"#).expect(201);
    });
}

#[test]
fn a_replay_returns_the_first_result_and_books_nothing() {
    with(|world| {
        let first = world.acme.post_once("/v1/charges", "a", USAGE).expect(201);
        world.sql("SELECT wallet.freeze_wallet('acme', 'test')");
        let again = world.acme.post_once("/v1/charges", "a", USAGE).expect(200);
        assert_eq!(again.json["entry_id"], first.json["entry_id"]);
        assert_eq!(
            (&first.json["replayed"], &again.json["replayed"]),
            (&json!(false), &json!(true))
        );
        world.sql("SELECT wallet.unfreeze_wallet('acme')");
        let other = world
            .acme
            .post_once("/v1/charges", "a", r#"{"amount": "1"}"#);
        let other = other.problem(409, "idempotency_conflict");
        assert_eq!(other.json["sqlstate"], "WL006");
        assert!(other.json["detail"].as_str().unwrap().contains("amount"));
        let held = world
            .acme
            .post_once("/v1/holds", "h", r#"{"amount": "2"}"#)
            .expect(201);
        let again = world
            .acme
            .post_once("/v1/holds", "h", r#"{"amount": "2"}"#)
            .expect(200);
        assert_eq!(held.json["hold_id"], again.json["hold_id"]);
        let path = format!(
            "/v1/holds/{}/settle",
            held.json["hold_id"].as_str().unwrap()
        );
        world
            .acme
            .post_once(&path, "s", r#"{"amount": "1"}"#)
            .expect(201);
        world
            .acme
            .post_once(&path, "s", r#"{"amount": "1"}"#)
            .expect(200);
        world
            .acme
            .post(&path, r#"{"amount": "1"}"#)
            .problem(409, "hold_not_open");
        assert_eq!(world.charges("acme"), 2);
    });
}
