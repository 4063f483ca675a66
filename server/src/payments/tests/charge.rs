//! Requests to Stripe: before and after an attempt to charge a top-up, and for a page to pay on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use rust_decimal::Decimal;

use crate::config::{Secret, Stripe as Settings};
use crate::payments::provider::*;
use crate::payments::stripe::Stripe;

/// Answers every request as the function says, and keeps the requests.
fn stripe(
    answer: impl Fn(&str) -> (u16, &'static str) + Send + 'static,
) -> (Stripe, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let api = format!("http://{}", listener.local_addr().unwrap());
    let requests: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&requests);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut reader = BufReader::new(stream);
            let (mut first, mut length) = (String::new(), 0);
            reader.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(text) = line.strip_prefix("content-length: ") {
                    length = text.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let request = first.rsplit_once(' ').unwrap().0.to_owned();
            let body = String::from_utf8(body).unwrap();
            let request = [request, body].join(" ").trim_end().to_owned();
            let (status, json) = answer(&request);
            seen.lock().unwrap().push(request);
            let text = format!(
                "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{json}",
                json.len()
            );
            reader.get_mut().write_all(text.as_bytes()).unwrap();
        }
    });
    let settings = Settings {
        secret_key: Secret::new("sk_test_1".to_owned()),
        ledger: "eu".to_owned(),
        api,
        ..Settings::default()
    };
    (Stripe::new(&settings).unwrap(), requests)
}

fn charge(earlier: &[&str], has_card: bool) -> SavedCharge {
    SavedCharge {
        wallet: "acme".to_owned(),
        topup: "t1".to_owned(),
        money: Money {
            amount: Decimal::from(50),
            currency: "USD".to_owned(),
        },
        saved: has_card.then(|| Saved {
            customer: "cus_2".to_owned(),
            payment_method: "pm_2".to_owned(),
        }),
        earlier: earlier.iter().map(|one| (*one).to_owned()).collect(),
    }
}

fn run(stripe: &Stripe, request: &SavedCharge) -> Result<String, ProviderError> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(stripe.charge_saved(request))
}

const NONE: &str = r#"{"data": [], "has_more": false}"#;
const TAKEN: &str = r#"{"error": {"type": "idempotency_error"}}"#;

#[test]
fn an_earlier_payment_of_any_customer_is_found_and_nothing_is_charged() {
    let (stripe, requests) = stripe(|request| match request.contains("cus_1") {
        true => (
            200,
            r#"{"data": [{"id": "pi_0", "metadata": {"walletd_topup": "t0"}},
                {"id": "pi_1", "status": "succeeded", "metadata": {"walletd_topup": "t1"}}]}"#,
        ),
        false => (200, NONE),
    });
    for has_card in [true, false] {
        let found = run(&stripe, &charge(&["cus_2", "cus_1"], has_card));
        assert_eq!(found, Ok("pi_1".to_owned()));
    }
    let requests = requests.lock().unwrap().clone();
    assert!(
        requests.iter().all(|one| one.starts_with("GET ")),
        "{requests:?}"
    );
}

#[test]
fn a_key_that_was_used_with_another_card_is_not_a_decline() {
    let (stripe, _) = stripe(|request| match request {
        request if request.starts_with("POST") => (400, TAKEN),
        request if request.contains("customers") => (200, r#"{"id": "cus_2"}"#),
        _ => (200, NONE),
    });
    let failed = run(&stripe, &charge(&["cus_2"], true));
    assert!(
        matches!(failed, Err(ProviderError::Unknown(_))),
        "{failed:?}"
    );
}

#[test]
fn without_a_card_and_an_earlier_payment_the_topup_is_declined() {
    let (stripe, _) = stripe(|_| (200, NONE));
    let failed = run(&stripe, &charge(&["cus_1"], false));
    let code = "no_saved_payment_method".to_owned();
    assert_eq!(failed, Err(ProviderError::Declined(code)));
}

#[test]
fn a_customer_of_another_account_was_not_charged_here() {
    let missing = r#"{"error": {"type": "invalid_request_error", "code": "resource_missing"}}"#;
    let (stripe, requests) = stripe(move |request| match request {
        request if request.starts_with("POST") => (200, r#"{"id": "pi_9", "status": "succeeded"}"#),
        request if request.contains("customer=cus_1") => (400, missing),
        request if request.contains("customers") => (200, r#"{"id": "cus_2"}"#),
        _ => (200, NONE),
    });
    let charged = run(&stripe, &charge(&["cus_1"], true));
    assert_eq!(charged, Ok("pi_9".to_owned()));
    let last = requests.lock().unwrap().pop().unwrap();
    for part in [
        "walletd_ledger%5D=eu",
        "walletd_topup%5D=t1",
        "customer=cus_2",
    ] {
        assert!(last.contains(part), "{part} in {last}");
    }
}

#[test]
fn a_payment_that_waits_for_the_customer_is_cancelled_also_when_it_is_found_again() {
    const WAITS: &str = r#"{"id": "pi_1", "status": "requires_action"}"#;
    const LISTED: &str = r#"{"data": [{"id": "pi_1", "status": "requires_action",
        "metadata": {"walletd_topup": "t1"}}]}"#;
    for earlier in [&[][..], &["cus_2"]] {
        for (status, is_declined) in [(200, true), (400, false)] {
            let (stripe, requests) = stripe(move |request| match request {
                request if request.contains("/cancel") => (status, r#"{"error": {}}"#),
                request if request.starts_with("POST") => (200, WAITS),
                request if request.contains("customers") => (200, r#"{"id": "cus_2"}"#),
                _ => (200, LISTED),
            });
            let failed = run(&stripe, &charge(earlier, true));
            // If it cannot be cancelled, it may have been confirmed.
            match failed {
                Err(ProviderError::Declined(code)) if is_declined => {
                    assert_eq!(code, "authentication_required");
                }
                Err(ProviderError::Unknown(_)) if !is_declined => {}
                other => panic!("{other:?}"),
            }
            let last = requests.lock().unwrap().pop().unwrap();
            assert_eq!(last, "POST /v1/payment_intents/pi_1/cancel");
        }
    }
}

#[test]
fn a_customer_who_was_deleted_pays_as_a_new_one() {
    const MISSING: &str = r#"{"error": {"code": "resource_missing"}}"#;
    let (stripe, requests) = stripe(|request| match request.contains("customer=cus_1") {
        true => (400, MISSING),
        false => (200, r#"{"id": "cs_1", "url": "https://pay.example.com/1"}"#),
    });
    let request = CheckoutRequest {
        wallet: "acme".to_owned(),
        money: Money {
            amount: Decimal::from(25),
            currency: "USD".to_owned(),
        },
        idempotency_key: "k".to_owned(),
        email: None,
        is_saved: true,
        customer: Some("cus_1".to_owned()),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let begun = runtime.block_on(stripe.create_checkout(&request)).unwrap();
    assert_eq!(begun.id, "cs_1");
    let requests = requests.lock().unwrap().clone();
    assert_eq!(requests.len(), 2);
    assert!(
        requests[1].contains("customer_creation=always"),
        "{requests:?}"
    );
    // Both names of the ledger, that of the page and that of the payment.
    assert_eq!(requests[1].matches("walletd_ledger%5D=eu").count(), 2);
}
