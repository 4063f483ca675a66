//! Headers: keys, addresses, idempotency keys, hostile values.

use crate::support::{with, with_settings};

const CHARGE: &str = r#"{"amount": "1"}"#;

#[test]
fn a_key_is_one_bearer_token_and_nothing_else() {
    with(|world| {
        let key = world.acme.key.clone().unwrap();
        let mut client = world.acme.clone();
        client.key = None;
        for (value, is_valid) in [
            (format!("Bearer {key}"), true),
            (format!("bearer {key}"), true),
            (format!("BEARER  {key}"), true),
            (format!("Basic {key}"), false),
            (key.clone(), false),
            ("Bearer".to_owned(), false),
            ("Bearer ".to_owned(), false),
            (format!("Bearer {key} {key}"), false),
            (format!("Bearer {key},"), false),
            (format!("Bearer {}", "a".repeat(5000)), false),
        ] {
            let answer = client.send("GET", "/v1/wallet", &[("authorization", &value)], None);
            match is_valid {
                true => drop(answer.expect(200)),
                false => drop(answer.problem(401, "unauthorized")),
            }
        }
        let twice = [
            ("authorization", format!("Bearer {key}")),
            (
                "authorization",
                format!("Bearer {}", world.globex.key.as_deref().unwrap()),
            ),
        ];
        let twice: Vec<(&str, &str)> = twice.iter().map(|(n, v)| (*n, v.as_str())).collect();
        client
            .send("GET", "/v1/wallet", &twice, None)
            .problem(401, "unauthorized");
        // A key in the query is not a key.
        client
            .get(&format!("/v1/wallet?key={key}"))
            .problem(401, "unauthorized");
    });
}

#[test]
fn no_cache_keeps_what_a_wallet_has() {
    with(|world| {
        let mut client = world.acme.clone();
        for _ in 0..2 {
            for path in [
                "/v1/wallet",
                "/v1/transactions",
                "/v1/holds/x",
                "/v1/prices",
            ] {
                let answer = client.get(path);
                assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
            }
            let answer = client.post("/v1/charges", CHARGE);
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            client.key = None;
        }
    });
}

#[test]
fn only_a_trusted_proxy_may_speak_for_a_client() {
    let trusting = [("WALLETD_HTTP__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]")];
    for (settings, status) in [(&[][..], 403), (&trusting[..], 201)] {
        with_settings(settings, |world| {
            let key = world.new_key("acme", ", allowed_ips => '{203.0.113.0/24}'");
            let client = world.client(&key);
            for verb in ["charges", "holds"] {
                let path = format!("/v1/{verb}");
                client.post(&path, CHARGE).problem(403, "not_permitted");
                let forwarded = [("x-forwarded-for", "203.0.113.9")];
                let answer = client.send("POST", &path, &forwarded, Some(CHARGE));
                assert_eq!(answer.status, status, "{}", answer.text);
                let forged = [("x-forwarded-for", "203.0.113.9, 198.51.100.1")];
                let answer = client.send("POST", &path, &forged, Some(CHARGE));
                answer.problem(403, "not_permitted");
            }
        });
    }
}

#[test]
fn a_key_of_a_device_needs_the_device() {
    with(|world| {
        let client = world.client(&world.new_key("acme", ", devices => '{laptop}'"));
        client
            .post("/v1/charges", CHARGE)
            .problem(403, "not_permitted");
        let other = r#"{"amount": "1", "device": "phone"}"#;
        client
            .post("/v1/charges", other)
            .problem(403, "not_permitted");
        client
            .post("/v1/charges", r#"{"amount": "1", "device": "laptop"}"#)
            .expect(201);
        let estimate = r#"{"usage": {"model": "gpt-4o", "input_tokens": 1}, "device": "phone"}"#;
        let answer = client.post("/v1/estimate", estimate).expect(200);
        assert_eq!(answer.json["reason"], "not_permitted");
    });
}

#[test]
fn an_idempotency_key_is_one_plain_value() {
    with(|world| {
        for key in ["", "caf\u{e9}"] {
            let answer = world.acme.post_once("/v1/charges", key, CHARGE);
            answer.problem(400, "bad_request");
        }
        let twice = [("idempotency-key", "a"), ("idempotency-key", "b")];
        let answer = world.acme.send("POST", "/v1/charges", &twice, Some(CHARGE));
        answer.problem(400, "bad_request");
        let odd = "'; DROP TABLE wallet.ledger; -- \"$1\" {}";
        world.acme.post_once("/v1/charges", odd, CHARGE).expect(201);
        world.acme.post_once("/v1/charges", odd, CHARGE).expect(200);
        assert_eq!(world.charges("acme"), 1);
        let long = "k".repeat(4000);
        let answer = world.acme.post_once("/v1/charges", &long, CHARGE);
        assert!([201, 422].contains(&answer.status), "{}", answer.text);
    });
}

#[test]
fn a_model_that_no_header_can_hold_is_only_in_the_body() {
    with(|world| {
        let body = r#"{"amount": "1", "model": "a\r\nset-cookie: x=1"}"#;
        let answer = world.acme.post("/v1/charges", body).expect(201);
        assert_eq!(answer.json["model"], "a\r\nset-cookie: x=1");
        assert_eq!(
            (answer.header("x-model"), answer.header("set-cookie")),
            (None, None)
        );
    });
}

#[test]
fn hostile_texts_are_stored_as_they_are() {
    with(|world| {
        for text in [
            "'; DELETE FROM wallet.wallets; --",
            "$1",
            "\\",
            "\u{202e}abc",
            "<script>",
            "%s%n",
        ] {
            let body =
                serde_json::json!({"amount": "0.1", "model": text, "team": text}).to_string();
            world.acme.post("/v1/charges", &body).expect(201);
            let newest = world.acme.get("/v1/transactions?limit=1").expect(200);
            assert_eq!(newest.json["data"][0]["model"], text);
            assert_eq!(newest.json["data"][0]["team"], text);
        }
    });
}
