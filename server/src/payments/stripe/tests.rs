//! Tests of what is read from Stripe's objects.

use rust_decimal::Decimal;
use serde_json::json;

use super::*;

fn read(intent: &Value, disputes: &[Value]) -> Payment {
    payment(intent, disputes, &Amounts::new().unwrap(), "").unwrap()
}

#[test]
fn a_payment_of_another_ledger_is_not_ours() {
    let amounts = Amounts::new().unwrap();
    for (theirs, ours, wallet) in [
        (json!(null), "", Some("acme")),
        (json!("eu"), "eu", Some("acme")),
        (json!("eu"), "us", None),
        (json!("eu"), "", None),
        (json!(null), "eu", None),
    ] {
        let intent = json!({
            "id": "pi_1", "status": "succeeded", "amount": 500, "amount_received": 500, "currency": "usd",
            "metadata": {"walletd_wallet": "acme", "walletd_ledger": theirs}
        });
        let found = payment(&intent, &[], &amounts, ours).unwrap();
        assert_eq!(found.wallet.as_deref(), wallet, "{theirs} {ours}");
    }
}

#[test]
fn a_payment_intent_is_a_payment() {
    let intent = json!({
        "id": "pi_1", "status": "succeeded", "amount": 2500, "amount_received": 2500, "currency": "usd",
        "customer": "cus_1", "payment_method": "pm_1", "setup_future_usage": "off_session",
        "metadata": {"walletd_wallet": "acme"},
        "latest_charge": {"id": "ch_1", "amount_refunded": 199, "disputed": true}
    });
    let disputes = [
        json!({"amount": 1000, "status": "lost", "balance_transactions": [{"amount": -1081}]}),
        json!({"amount": 500, "status": "won", "balance_transactions": [{"amount": -541}, {"amount": 541}]}),
        json!({"amount": 700, "status": "warning_needs_response", "balance_transactions": []}),
    ];
    let found = read(&intent, &disputes);
    assert_eq!(found.returned, Decimal::new(1199, 2));
    assert_eq!(found.money.amount, Decimal::from(25));
    assert_eq!((found.stage, found.topup), (Stage::Paid, None));
    assert_eq!(found.wallet.as_deref(), Some("acme"));
    assert_eq!(found.saved.unwrap().payment_method, "pm_1");
    assert!(is_disputed(&intent));
}

#[test]
fn a_dispute_counts_while_its_money_is_withdrawn() {
    let intent = json!({
        "id": "pi_1", "status": "succeeded", "amount": 2500, "amount_received": 2500, "currency": "eur",
        "latest_charge": {"id": "ch_1", "amount_refunded": 0, "disputed": true}
    });
    // An account in dollars: the rate was another one when the money came back.
    for (movements, returned) in [
        (vec![], 0),
        (vec![-1081], 10),
        (vec![-1081, 1081], 0),
        (vec![-1081, 1070], 0),
        (vec![-1081, 1090], 0),
        (vec![1070, -1081], 0),
        (vec![-1081, 1070, -1065], 10),
    ] {
        let movements: Vec<Value> = movements
            .iter()
            .map(|amount| json!({"amount": amount}))
            .collect();
        let dispute = json!({"amount": 1000, "balance_transactions": movements});
        let found = read(&intent, std::slice::from_ref(&dispute)).returned;
        assert_eq!(found, Decimal::from(returned), "{dispute}");
    }
}

#[test]
fn the_stage_follows_from_the_status() {
    let failed = |code: &str| Stage::Failed(code.to_owned());
    let error = json!({"code": "card_declined", "decline_code": "lost_card"});
    for (status, error, action, stage) in [
        ("processing", Value::Null, "", Stage::Pending),
        (
            "requires_action",
            Value::Null,
            "use_stripe_sdk",
            Stage::Open,
        ),
        (
            "requires_action",
            Value::Null,
            "display_bank_transfer_instructions",
            Stage::Pending,
        ),
        ("requires_payment_method", Value::Null, "", Stage::Open),
        ("requires_payment_method", error, "", failed("lost_card")),
        ("canceled", Value::Null, "", failed("canceled")),
        ("requires_capture", Value::Null, "", Stage::Open),
    ] {
        let intent = json!({
            "id": "pi_1", "status": status, "amount": 500, "amount_received": 0, "currency": "jpy",
            "last_payment_error": error, "next_action": {"type": action}
        });
        let found = read(&intent, &[]);
        assert_eq!(found.stage, stage, "{status} {action}");
        assert_eq!(found.money.amount, Decimal::from(500));
        assert_eq!((found.wallet, found.saved), (None, None));
    }
}

#[test]
fn an_event_names_its_payment_and_nothing_that_is_no_id() {
    let event = |kind: &str, object: Value| {
        let body = json!({"type": kind, "data": {"object": object}}).to_string();
        super::event(body.as_bytes()).unwrap().payment
    };
    let named = |kind: &str| json!({"object": kind, "id": "x", "payment_intent": "pi_1"});
    let one = Some("pi_1".to_owned());
    assert_eq!(
        event("checkout.session.completed", named("checkout.session")),
        one
    );
    assert_eq!(event("charge.refunded", named("charge")), one);
    assert_eq!(event("refund.updated", named("refund")), one);
    assert_eq!(event("charge.dispute.closed", named("dispute")), one);
    let intent = json!({"object": "payment_intent", "id": "pi_1"});
    assert_eq!(event("payment_intent.succeeded", intent), one);
    let expanded = json!({"object": "charge", "payment_intent": {"id": "pi_1"}});
    assert_eq!(event("charge.refunded", expanded), one);
    assert_eq!(event("invoice.paid", named("invoice")), None);
    let path = json!({"object": "payment_intent", "id": "pi_1/../../customers"});
    assert_eq!(event("payment_intent.succeeded", path), None);
    for body in [
        "",
        "[]",
        "{}",
        r#"{"type": "x"}"#,
        r#"{"type": 1, "data": {"object": {}}}"#,
    ] {
        assert_eq!(
            super::event(body.as_bytes()),
            Err(EventError::NoEvent),
            "{body}"
        );
    }
}
