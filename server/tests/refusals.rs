//! Every status, and that nothing is booked with it.

use crate::support::{with, with_settings};

#[test]
fn every_refusal_has_its_status_and_books_nothing() {
    with(|world| {
        world.sql(
            "SELECT wallet.set_limit('acme', 30, 'day', scope => 'user');
             SELECT wallet.create_wallet('frozen'); SELECT wallet.fund('frozen', 1);
             SELECT wallet.create_wallet('euro', 'EUR'); SELECT wallet.fund('euro', 1);
             SELECT wallet.create_wallet('strict'); SELECT wallet.fund('strict', 1);
             SELECT wallet.update_wallet('strict', unread_usage => 'reject')",
        );
        let frozen = world.client(&world.new_key("frozen", ""));
        world.sql("SELECT wallet.freeze_wallet('frozen', 'test')");
        let euro = world.client(&world.new_key("euro", ""));
        let models = world.client(&world.new_key("acme", ", allowed_models => '{gpt-4o-mini}'"));
        let (acme, globex) = (&world.acme, &world.globex);
        for (client, body, status, name, sqlstate) in [
            (
                globex,
                r#"{"amount": "51"}"#,
                402,
                "insufficient_funds",
                "WL001",
            ),
            (acme, r#"{"amount": "31"}"#, 429, "limit_exceeded", "WL002"),
            (
                &frozen,
                r#"{"amount": "1"}"#,
                403,
                "wallet_not_active",
                "WL004",
            ),
            (
                acme,
                r#"{"usage": {"model": "new", "input_tokens": 1}}"#,
                422,
                "price_not_found",
                "WL005",
            ),
            (
                acme,
                r#"{"usage": {"model": "gpt-4o"}}"#,
                422,
                "invalid_usage",
                "WL007",
            ),
            (
                acme,
                r#"{"amount": "1", "user_id": "bob"}"#,
                403,
                "not_permitted",
                "WL009",
            ),
            (
                &models,
                r#"{"amount": "1", "model": "o3"}"#,
                403,
                "not_permitted",
                "WL009",
            ),
            (
                acme,
                r#"{"amount": "1", "metadata": {"x": "4111 1111 1111 1111"}}"#,
                422,
                "card_data_refused",
                "WL011",
            ),
            (acme, r#"{"amount": "-1"}"#, 422, "invalid_amount", "WL012"),
            (
                acme,
                r#"{"amount": "0.0000000000001"}"#,
                422,
                "invalid_amount",
                "WL012",
            ),
            (
                acme,
                r#"{"amount": "99999999999999999999999999999999999999"}"#,
                422,
                "invalid_amount",
                "WL012",
            ),
            (
                &euro,
                r#"{"usage": {"model": "gpt-4o", "input_tokens": 1}}"#,
                422,
                "rate_not_found",
                "WL015",
            ),
            (acme, "{}", 422, "invalid_parameter_value", "22023"),
            (
                acme,
                r#"{"amount": "1", "usage": {"input_tokens": 1}}"#,
                422,
                "invalid_parameter_value",
                "22023",
            ),
            (
                acme,
                r#"{"amount": "1", "event_at": "2999-01-01T00:00:00Z"}"#,
                422,
                "invalid_parameter_value",
                "22023",
            ),
        ] {
            let answer = client.post("/v1/charges", body);
            let answer = answer.problem(status, name);
            assert_eq!(answer.json["sqlstate"], sqlstate, "{body}");
            assert!(!answer.json["hint"].as_str().unwrap().is_empty(), "{body}");
            assert!(
                !answer.json["message"].as_str().unwrap().is_empty(),
                "{body}"
            );
        }
        assert_eq!(
            world.value("SELECT count(*) FROM wallet.entries WHERE kind = 'charge'"),
            "0"
        );
        world.verify();
    });
}

#[test]
fn a_limit_says_when_to_come_back() {
    with(|world| {
        world.sql(
            "SELECT wallet.set_limit('acme', 1, 'day', time_zone => 'Pacific/Kiritimati');
             SELECT wallet.set_limit('globex', 1, 'lifetime')",
        );
        let answer = world
            .acme
            .post("/v1/charges", r#"{"amount": "2"}"#)
            .problem(429, "limit_exceeded");
        let seconds: i64 = answer.header("retry-after").unwrap().parse().unwrap();
        let until = "SELECT ceil(extract(epoch FROM (date_trunc('day', now() AT TIME ZONE 'Pacific/Kiritimati') \
                     + interval '1 day') AT TIME ZONE 'Pacific/Kiritimati' - now()))";
        let until: i64 = world.value(until).parse().unwrap();
        assert!(
            (seconds - until).abs() <= 5,
            "{seconds} seconds, not {until}"
        );
        let limit = "SELECT limit_id FROM wallet.limits_status WHERE wallet = 'acme'";
        assert_eq!(answer.json["limit_id"], world.value(limit));
        let never = world
            .globex
            .post("/v1/charges", r#"{"amount": "2"}"#)
            .problem(429, "limit_exceeded");
        assert_eq!(
            (never.header("retry-after"), never.json.get("resets_at")),
            (None, None)
        );
    });
}

#[test]
fn keys_that_are_not_valid_are_refused_alike() {
    with(|world| {
        let revoked = world.new_key("acme", "");
        let revoke = "SELECT count(wallet.revoke_key('acme', key_id)::text) FROM wallet.keys WHERE user_id IS NULL AND wallet = 'acme'";
        world.value(revoke);
        let expired = world.new_key("acme", ", expires_at => now() + interval '0.3 s'");
        std::thread::sleep(std::time::Duration::from_millis(400));
        let unknown = format!("wk_{}", "0".repeat(64));
        let mut answers = Vec::new();
        for key in [
            &revoked,
            &expired,
            &unknown,
            "x",
            "wk_'; DROP TABLE wallet.wallets; --",
        ] {
            let client = world.client(key);
            for answer in [
                client.get("/v1/wallet"),
                client.post("/v1/charges", r#"{"amount": "1"}"#),
                client.post("/v1/holds", r#"{"amount": "1"}"#),
                client.post(
                    "/v1/estimate",
                    r#"{"usage": {"model": "gpt-4o", "input_tokens": 1}}"#,
                ),
                client.get("/v1/transactions"),
                client.get("/v1/holds/01a22dca-d47a-74a6-8e58-c2f090d55aeb"),
                client.get("/v1/prices"),
                client.get("/v1/limits"),
                client.get("/v1/usage?by=day"),
            ] {
                let answer = answer.problem(401, "unauthorized");
                let challenge = answer.header("www-authenticate").unwrap().to_owned();
                answers.push((answer.text, challenge));
            }
        }
        answers.dedup();
        assert_eq!(answers.len(), 1, "{answers:?}");
        let mut nobody = world.acme.clone();
        nobody.key = None;
        let answer = nobody.get("/v1/wallet").problem(401, "unauthorized");
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"wallet\"")
        );
    });
}

#[test]
fn a_key_that_is_revoked_while_it_waits_is_refused_like_an_unknown_one() {
    with(|world| {
        let key = world.new_key("acme", ", name => 'doomed'");
        let client = world.client(&key);
        let mut session = world.block("acme");
        let waiting = std::thread::spawn(move || client.post("/v1/charges", r#"{"amount": "1"}"#));
        world.wait_for_waiting(1);
        // A revocation waits for the charges of other sessions in progress: it is of this one.
        session
            .batch_execute("SELECT wallet.revoke_key('acme', key_id) FROM wallet.keys WHERE name = 'doomed'; COMMIT")
            .unwrap();
        let answer = waiting.join().unwrap();
        answer.problem(401, "unauthorized");
        client_is_refused(world, &key);
    });
}

fn client_is_refused(world: &crate::support::World, key: &str) {
    world
        .client(key)
        .get("/v1/wallet")
        .problem(401, "unauthorized");
}

#[test]
fn paths_and_methods_that_do_not_exist_are_problems() {
    with(|world| {
        for path in [
            "/v2",
            "/v1",
            "/v1/charge",
            "/v1/holds/x/y/z",
            "/metrics",
            "/healthz",
        ] {
            world.acme.get(path).problem(404, "not_found");
        }
        for (method, path, allow) in [
            ("DELETE", "/v1/wallet", "GET"),
            ("GET", "/v1/charges", "POST"),
            (
                "PUT",
                "/v1/holds/01a22dca-d47a-74a6-8e58-c2f090d55aeb",
                "GET",
            ),
            ("HACK", "/v1/prices", "GET"),
        ] {
            let answer = world.acme.send(method, path, &[], None);
            let answer = answer.problem(405, "method_not_allowed");
            assert!(answer.header("allow").unwrap().contains(allow), "{path}");
        }
        let id = "01a22dca-d47a-74a6-8e58-c2f090d55aeb";
        world
            .acme
            .get(&format!("/v1/holds/{id}"))
            .problem(404, "not_found");
        for verb in ["settle", "void"] {
            let path = format!("/v1/holds/{id}/{verb}");
            let body = if verb == "void" {
                "{}"
            } else {
                r#"{"amount": "1"}"#
            };
            world
                .acme
                .post(&path, body)
                .problem(404, "undefined_object");
        }
        world.acme.get("/v1/holds/none").problem(400, "bad_request");
    });
}

#[test]
fn a_database_that_is_not_as_expected_is_a_problem_of_the_operator() {
    with_settings(
        &[("WALLETD_DATABASE__STATEMENT_TIMEOUT", "500ms")],
        |world| {
            world.acme.get("/v1/wallet").expect(200);
            world.sql("DROP EXTENSION wallet CASCADE");
            let answer = world.acme.get("/v1/wallet").problem(503, "unavailable");
            assert!(
                !answer.text.contains("wallet.") && !answer.text.contains("42883"),
                "{}",
                answer.text
            );
            let ready = world.ops().get("/readyz").expect(503);
            assert!(ready.text.contains("no extension"), "{}", ready.text);
            world.ops().get("/healthz").expect(200);
            let metrics = world.ops().get("/metrics").expect(200).text;
            assert!(metrics.contains("\nwallet_up 0\n"), "{metrics}");
        },
    );
}
