//! Every kind of event has a text with exact amounts, and no value breaks out of its line.

use serde_json::{Value, json};

use super::*;

fn told(name: &str, threshold: Option<&str>, payload: &Value) -> Text {
    of(&Event {
        name,
        wallet: "acme",
        currency: Some("EUR"),
        threshold,
        payload,
        created_at: "2026-03-01T00:00:00.000000Z",
    })
}

/// A number with all its digits, which no float has.
fn exact(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn amounts_have_all_their_digits_and_a_currency() {
    let amount = exact("12345678901234567890.123456789012");
    let limit = json!({"scope": "user", "subject": "alice", "period": "day", "metric": "amount",
        "max": exact("10.00"), "used": exact("8.000000000001"), "resets_at": "2026-03-02T00:00:00Z"});
    let tokens = json!({"scope": "wallet", "subject": "*", "period": "hour", "metric": "tokens",
        "max": 1000, "used": 1000});
    let topup = json!({"topup_id": "t", "amount": amount, "currency": "USD", "method": "card",
        "reason": "declined", "message": "no funds", "declines": 3, "rule_name": "default"});
    let hold = json!({"hold_id": "h", "amount": amount, "user_id": "alice",
        "expires_at": "2026-03-02T00:00:00Z"});
    let out = json!({"days_left": exact("2.5"), "runs_out_at": "2026-03-03T12:00:00Z",
        "daily_burn": exact("4.20")});
    let money = "12345678901234567890.123456789012";
    for (name, threshold, payload, parts) in [
        (
            "wallet_balance_low",
            Some("20"),
            &json!({}),
            vec!["Less than 20 EUR"],
        ),
        (
            "wallet_balance_recovered",
            Some("0.01"),
            &json!({}),
            vec!["0.01 EUR or more"],
        ),
        (
            "wallet_depleted",
            None,
            &json!({}),
            vec!["No money is left"],
        ),
        ("wallet_frozen", None, &json!({}), vec!["chargeback"]),
        (
            "wallet_run_out_near",
            None,
            &out,
            vec!["4.20 EUR per day", "2.5 days", "2026-03-03 12:00 UTC"],
        ),
        ("grant_expiring", None, &hold, vec![money, "EUR"]),
        ("grant_expired", None, &hold, vec![money, "EUR"]),
        (
            "limit_near",
            Some("0.8"),
            &limit,
            vec![
                "10.00 EUR (day) for user \"alice\", 8.000000000001 EUR",
                "0.8",
                "2026-03-02 00:00 UTC",
            ],
        ),
        (
            "limit_reached",
            None,
            &tokens,
            vec!["1000 tokens (hour) for the wallet, 1000 tokens"],
        ),
        ("topup_requested", None, &topup, vec![money, "USD", "card"]),
        (
            "topup_succeeded",
            None,
            &topup,
            vec![money, "USD", "credited"],
        ),
        (
            "topup_failed",
            None,
            &topup,
            vec![money, "USD", "declined", "no funds"],
        ),
        (
            "topup_failed",
            None,
            &json!({"reason": "cooldown", "retry_at": "2026-03-03T12:00:00Z"}),
            vec!["No top-up was requested: cooldown", "2026-03-03 12:00 UTC"],
        ),
        (
            "topup_rule_stopped",
            None,
            &topup,
            vec!["3 top-ups", "\"default\""],
        ),
        (
            "approval_requested",
            None,
            &hold,
            vec![money, "EUR", "alice"],
        ),
        ("hold_approved", None, &hold, vec![money, "EUR"]),
        ("hold_denied", None, &hold, vec![money, "EUR"]),
        ("hold_expired", None, &hold, vec![money, "EUR", "released"]),
        (
            "usage_unread",
            None,
            &json!({"provider": "openai", "path": "a.b"}),
            vec!["openai", "a.b"],
        ),
        (
            "something_new",
            None,
            &json!({"a": exact("0.10")}),
            vec!["something_new", "a: 0.10"],
        ),
    ] {
        let text = told(name, threshold, payload);
        assert!(text.subject.contains("acme"), "{text:?}");
        assert!(!text.lines.is_empty(), "{name}");
        let all = text.lines.join("\n");
        for part in parts {
            assert!(
                all.contains(part) || text.subject.contains(part),
                "{part}: {text:?}"
            );
        }
        assert!(!all.contains("unknown"), "{name}: {all}");
    }
}

#[test]
fn an_event_without_its_details_has_a_text_too() {
    for name in [
        "wallet_balance_low",
        "wallet_run_out_near",
        "grant_expiring",
        "limit_near",
        "limit_reached",
        "topup_requested",
        "topup_failed",
        "topup_rule_stopped",
        "approval_requested",
        "hold_expired",
        "usage_unread",
        "",
    ] {
        for payload in [json!({}), json!(null), json!([1]), json!({"amount": null})] {
            assert!(told(name, None, &payload).subject.contains("acme"));
        }
    }
}

#[test]
fn a_hostile_value_stays_in_its_line() {
    let hostile = "a\r\nBcc: x@example.com\u{202e}\u{2028}\u{0}b";
    let payload = json!({"topup_id": "t", "amount": 1, "method": hostile, "reason": hostile,
        "message": hostile, hostile: hostile});
    for name in ["topup_failed", "new"] {
        let text = of(&Event {
            name,
            wallet: hostile,
            currency: Some(hostile),
            threshold: None,
            payload: &payload,
            created_at: "",
        });
        for line in [text.subject].into_iter().chain(text.lines) {
            let is_bad = |c: char| c.is_control() || "\u{202e}\u{2028}".contains(c);
            assert!(!line.contains(is_bad), "{line:?}");
        }
    }
    assert_eq!(event::line(&"x".repeat(10_000)).chars().count(), 201);
}
