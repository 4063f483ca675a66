//! Payments at the boundary: who may pay, how much, and whose events are believed. The whole way
//! with a provider is in `stripe/`.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use crate::support::{Client, Visitor, output, with, with_settings};

/// Answers every request with a session, and keeps the requests.
fn provider(answer: &'static str) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = vec![0; 64 * 1024];
            let mut read = 0;
            // A header, and a body of the length that it names.
            loop {
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                if let Some((header, body)) = text.split_once("\r\n\r\n") {
                    let length = header
                        .lines()
                        .find_map(|line| line.strip_prefix("content-length: "))
                        .map_or(0, |length| length.parse().unwrap());
                    if body.len() >= length {
                        seen.lock().unwrap().push(text);
                        break;
                    }
                }
                match stream.read(&mut buffer[read..]) {
                    Ok(0) | Err(_) => break,
                    Ok(more) => read += more,
                }
            }
            let length = answer.split_once("\r\n\r\n").unwrap().1.len();
            let text = answer.replacen(
                "\r\n",
                &format!("\r\ncontent-length: {length}\r\nconnection: close\r\n"),
                1,
            );
            let _ = stream.write_all(text.as_bytes());
        }
    });
    (address, requests)
}

const SESSION: &str =
    "HTTP/1.1 200 OK\r\n\r\n{\"id\": \"cs_test_1\", \"url\": \"https://checkout.example.com/1\"}";
const CONFLICT: &str =
    "HTTP/1.1 400 Bad Request\r\n\r\n{\"error\": {\"type\": \"idempotency_error\"}}";
const BUSY: &str = "HTTP/1.1 500 Oops\r\n\r\n{}";

fn settings(api: &str) -> Vec<(&'static str, String)> {
    vec![
        (
            "WALLETD_PAYMENTS__STRIPE__SECRET_KEY",
            "sk_test_hunter2hunter2".to_owned(),
        ),
        (
            "WALLETD_PAYMENTS__STRIPE__WEBHOOK_SECRETS",
            "[\"whsec_hunter2hunter2\"]".to_owned(),
        ),
        (
            "WALLETD_PAYMENTS__STRIPE__SUCCESS_URL",
            "https://example.com/paid".to_owned(),
        ),
        (
            "WALLETD_PAYMENTS__STRIPE__CANCEL_URL",
            "https://example.com/".to_owned(),
        ),
        (
            "WALLETD_PAYMENTS__STRIPE__AMOUNTS",
            "[\"USD 5-1000\"]".to_owned(),
        ),
        ("WALLETD_PAYMENTS__STRIPE__API", api.to_owned()),
    ]
}

fn with_payments(
    answer: &'static str,
    test: impl FnOnce(&crate::support::World, &Mutex<Vec<String>>),
) {
    let (api, requests) = provider(answer);
    let settings = settings(&api);
    let given: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
    with_settings(&given, |world| {
        test(world, &requests);
        assert!(!world.walletd.log().contains("hunter2"));
    });
}

#[test]
fn without_settings_there_are_no_payments() {
    with(|world| {
        world
            .acme
            .post("/v1/top-up", r#"{"amount": "25"}"#)
            .problem(404, "not_found");
        world
            .client("wk_none")
            .post("/v1/top-up", r#"{"amount": "25"}"#)
            .problem(401, "unauthorized");
        world
            .acme
            .post("/v1/providers/stripe/events", "{}")
            .problem(404, "not_found");
    });
}

#[test]
fn a_page_is_made_for_the_wallet_of_the_key_and_books_nothing() {
    with_payments(SESSION, |world, requests| {
        let body = r#"{"amount": "25.50", "email": "a@example.com", "save_card": true}"#;
        let page = world.acme.post_once("/v1/top-up", "k", body).expect(201);
        assert_eq!(page.json["url"], "https://checkout.example.com/1");
        assert_eq!(page.json["amount"], "25.50");
        world.acme.post_once("/v1/top-up", "k", body).expect(201);
        world.globex.post_once("/v1/top-up", "k", body).expect(201);
        let requests = requests.lock().unwrap().clone();
        let request = requests
            .iter()
            .find(|one| one.starts_with("POST /v1/checkout/sessions"))
            .unwrap();
        for part in [
            "unit_amount%5D=2550",
            "currency%5D=usd",
            "%5Bmetadata%5D%5Bwalletd_wallet%5D=acme",
            "setup_future_usage%5D=off_session",
            "receipt_email%5D=a%40example.com",
            "stripe-version: ",
        ] {
            assert!(request.contains(part), "{part} in {request}");
        }
        let key = |request: &String| {
            let line = request
                .lines()
                .find(|line| line.starts_with("idempotency-key: "));
            line.unwrap().to_owned()
        };
        // The same key of another wallet is another request.
        assert_eq!(key(&requests[0]), key(&requests[1]));
        assert_ne!(key(&requests[0]), key(&requests[2]));
        assert_eq!(world.value("SELECT count(*) FROM wallet.fundings"), "2");
    });
}

#[test]
fn an_amount_or_a_member_that_may_not_pay_is_refused() {
    with_payments(SESSION, |world, requests| {
        let post = |client: &Client, body: &str| client.post("/v1/top-up", body);
        for amount in [
            "4.99",
            "1000.01",
            "-5",
            "0",
            "99999999999999999999999999999999999",
        ] {
            let body = format!("{{\"amount\": \"{amount}\"}}");
            post(&world.acme, &body).problem(422, "invalid_amount");
        }
        post(&world.acme, r#"{"amount": "5.001"}"#).problem(422, "invalid_amount");
        for body in [
            r#"{"amount": 25}"#,
            r#"{"amount": "25", "wallet": "globex"}"#,
            r#"{"amount": "25", "email": "no address"}"#,
            r#"{"amount": "25", "metadata": {"walletd_wallet": "globex"}}"#,
        ] {
            post(&world.acme, body).problem(422, "invalid_body");
        }
        let body = r#"{"amount": "25"}"#;
        for (role, status) in [
            ("owner", 201),
            ("admin", 201),
            ("billing", 201),
            ("member", 403),
            ("viewer", 403),
        ] {
            world.sql(&format!(
                "SELECT wallet.set_member('acme', 'x-{role}', '{role}')"
            ));
            let key = world.new_key("acme", &format!(", 'x-{role}'"));
            assert_eq!(post(&world.client(&key), body).status, status, "{role}");
        }
        world.sql("SELECT wallet.create_wallet('euros', 'EUR')");
        let euros = world.client(&world.new_key("euros", ""));
        post(&euros, body).problem(422, "invalid_amount");
        world.sql("SELECT wallet.close_wallet('euros')");
        let refused = post(&euros, body);
        assert!(
            refused.status == 403 || refused.status == 401,
            "{}",
            refused.text
        );
        let made = requests.lock().unwrap().len();
        assert_eq!(made, 3);
    });
}

#[test]
fn a_provider_that_refuses_or_does_not_answer_is_told() {
    with_payments(CONFLICT, |world, _| {
        let body = r#"{"amount": "25"}"#;
        world
            .acme
            .post_once("/v1/top-up", "k", body)
            .problem(409, "idempotency_conflict");
    });
    with_payments(BUSY, |world, _| {
        let answer = world.acme.post("/v1/top-up", r#"{"amount": "25"}"#);
        assert!(
            answer
                .problem(503, "unavailable")
                .header("retry-after")
                .is_some()
        );
    });
}

#[test]
fn the_page_leads_to_the_provider_and_books_nothing() {
    with_payments(SESSION, |world, requests| {
        world.sql("SELECT wallet.set_member('acme', 'olga', 'owner')");
        let person = |role: &str| {
            if role != "owner" {
                world.sql(&format!(
                    "SELECT wallet.set_member('acme', 'x-{role}', '{role}', actor => 'olga')"
                ));
            }
            let user = if role == "owner" {
                "olga".to_owned()
            } else {
                format!("x-{role}")
            };
            let key = world.new_key("acme", &format!(", '{user}', actor => 'olga'"));
            Visitor::with_key(world.walletd.http, &key)
        };
        let mut billing = person("billing");
        let form = billing.get("/top-up").expect(200).text;
        assert!(form.contains("Amount in USD, from 5 to 1000"), "{form}");
        let payment = form.split("name=\"payment\" value=\"").nth(1).unwrap();
        let payment = payment.split('"').next().unwrap().to_owned();
        let fields = |amount| {
            vec![
                ("amount", amount),
                ("email", "a@example.com"),
                ("save", "true"),
                ("payment", payment.as_str()),
            ]
        };
        // A form that is sent twice is one payment.
        for _ in 0..2 {
            let page = billing.post("/top-up", &fields("25.50")).expect(200).text;
            assert!(
                page.contains("href=\"https://checkout.example.com/1\""),
                "{page}"
            );
            assert!(page.contains("25.50 USD"), "{page}");
        }
        for wrong in ["4.99", "1000.01", "25,50", "", "-7", "1e2", "<b>"] {
            let page = billing.post("/top-up", &fields(wrong)).expect(422).text;
            assert!(
                page.contains("from 5 to 1000 USD") && !page.contains("<b>"),
                "{page}"
            );
        }
        billing
            .post(
                "/top-up",
                &[("amount", "25"), ("email", "no address"), ("payment", "p")],
            )
            .expect(422);
        // Without the token of the page.
        let forged = [
            ("amount".to_owned(), "25".to_owned()),
            ("payment".to_owned(), "p".to_owned()),
        ];
        billing.post_as("/top-up", &forged, &[]).expect(403);
        for role in ["member", "viewer"] {
            let mut visitor = person(role);
            assert!(!visitor.get("/").text.contains("/top-up"));
            visitor.get("/top-up").expect(403);
            visitor.post("/top-up", &fields("25")).expect(403);
        }
        assert!(person("owner").get("/").text.contains("/top-up"));
        let requests = requests.lock().unwrap().clone();
        let keys: Vec<&str> = requests
            .iter()
            .filter_map(|request| {
                request
                    .lines()
                    .find(|line| line.starts_with("idempotency-key: "))
            })
            .collect();
        assert_eq!(keys.len(), 2, "{requests:?}");
        assert_eq!(keys[0], keys[1]);
        assert!(
            requests[0].contains("walletd_wallet%5D=acme"),
            "{}",
            requests[0]
        );
        assert_eq!(world.value("SELECT count(*) FROM wallet.fundings"), "2");
    });
    with(|world| {
        let mut visitor = Visitor::with_key(world.walletd.http, &world.new_key("acme", ""));
        visitor.get("/top-up").expect(404);
        assert!(!visitor.get("/").text.contains("/top-up"));
    });
}

const PAID: &str = "HTTP/1.1 200 OK\r\n\r\n{\"id\": \"pi_1\", \"status\": \"succeeded\", \"amount\": 2550, \
    \"amount_received\": 2550, \"currency\": \"usd\", \"metadata\": {\"walletd_wallet\": \"acme\"}}";
const UNKNOWN: &str = "HTTP/1.1 404 Not Found\r\n\r\n{\"error\": {\"code\": \"resource_missing\"}}";

#[test]
fn a_payment_whose_event_did_not_arrive_is_booked_by_a_command() {
    let run = |world: &crate::support::World, id: &str| {
        let given: Vec<(&str, &str)> = world
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let output = output(&["reconcile", id], &given);
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(text).unwrap())
    };
    let funded = "SELECT string_agg(amount || ' ' || reference, ', ') FROM wallet.fundings \
                   WHERE wallet = 'acme' AND method = 'stripe'";
    with_payments(PAID, |world, _| {
        for outcome in ["booked", "unchanged"] {
            assert_eq!(run(world, "pi_1"), (true, format!("pi_1: {outcome}\n")));
            assert_eq!(world.value(funded), "25.50 pi_1");
        }
        let (is_right, text) = run(world, "pi_1/../../customers");
        assert!(!is_right && text.contains("other characters"), "{text}");
    });
    with_payments(UNKNOWN, |world, _| {
        assert_eq!(run(world, "pi_2"), (false, "pi_2: not_ours\n".to_owned()));
    });
    with_payments(BUSY, |world, _| {
        let (is_right, text) = run(world, "pi_1");
        assert!(
            !is_right && text.starts_with("pi_1: not booked: "),
            "{text}"
        );
        assert_eq!(world.value(funded), "");
    });
    with(|world| {
        let (is_right, text) = run(world, "pi_1");
        assert!(!is_right && text.contains("not set up"), "{text}");
    });
}

#[test]
fn an_event_needs_a_signature_and_no_key() {
    with_payments(SESSION, |world, requests| {
        let path = "/v1/providers/stripe/events";
        let body = r#"{"type": "payment_intent.succeeded", "data": {"object": {"object": "payment_intent", "id": "pi_1"}}}"#;
        let anyone = Client::new(world.walletd.http, None);
        assert_eq!(anyone.post(path, body).expect(400).text, "no_signature\n");
        let now = world.value("SELECT extract(epoch FROM now())::bigint");
        let forged = format!("t={now},v1={}", "0".repeat(64));
        let answer = anyone.send("POST", path, &[("stripe-signature", &forged)], Some(body));
        assert_eq!(answer.expect(400).text, "wrong_signature\n");
        // With a key it is no different.
        world.acme.post(path, body).expect(400);
        assert!(requests.lock().unwrap().is_empty());
        let large = format!("\"{}\"", "x".repeat(300 * 1024));
        anyone.post(path, &large).expect(413);
        anyone.get(path).problem(405, "method_not_allowed");
        let metrics = world.ops().get("/metrics").text;
        let line = r#"walletd_payment_events_total{outcome="wrong_signature"} 1"#;
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    });
}
