//! Reads Stripe's objects: payment intents with their charge, disputes, events.

use serde_json::Value;

use super::amounts::Amounts;
use crate::payments::provider::{Event, EventError, Payment, ProviderError, Saved, Stage};

/// The name under which a payment intent has its wallet. Only walletd's own key writes it.
pub const WALLET: &str = "walletd_wallet";
/// The name under which it has its ledger, if several share the account.
pub const LEDGER: &str = "walletd_ledger";
/// The name under which it has its top-up.
pub const TOPUP: &str = "walletd_topup";

/// A text of an object.
pub fn word(object: &Value, name: &str) -> Option<String> {
    object[name].as_str().map(str::to_owned)
}

/// The id of a field that is an id or, expanded, an object.
pub fn id(object: &Value, name: &str) -> Option<String> {
    let field = &object[name];
    let id = field.as_str().or_else(|| field["id"].as_str())?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (id.bytes().all(is_plain) && (1..=255).contains(&id.len())).then(|| id.to_owned())
}

/// Whether the charge of a payment intent was ever disputed.
pub fn is_disputed(intent: &Value) -> bool {
    intent["latest_charge"]["disputed"] == true
}

/// A payment intent with its expanded charge, and the disputes about it. One of another ledger is
/// a payment of another program: wallets of two ledgers may have the same name.
pub fn payment(
    intent: &Value,
    disputes: &[Value],
    amounts: &Amounts,
    ledger: &str,
) -> Result<Payment, ProviderError> {
    let strange = |what: &str| ProviderError::TryAgain(format!("the payment intent has no {what}"));
    let currency = intent["currency"]
        .as_str()
        .ok_or_else(|| strange("currency"))?;
    let stage = stage(intent);
    // The amount that was received counts, as soon as there is one.
    let amount = match (&stage, intent["amount_received"].as_i64()) {
        (Stage::Paid, Some(received)) => received,
        _ => intent["amount"].as_i64().ok_or_else(|| strange("amount"))?,
    };
    let refunded = intent["latest_charge"]["amount_refunded"].as_i64();
    let disputed: i64 = disputes.iter().map(withdrawn).sum();
    let returned = refunded.unwrap_or(0).saturating_add(disputed);
    let money = |minor: i64| {
        let money = amounts.of_minor(minor, currency);
        money.ok_or_else(|| strange("known currency"))
    };
    let saved = match (id(intent, "customer"), id(intent, "payment_method")) {
        (Some(customer), Some(payment_method)) => Some(Saved {
            customer,
            payment_method,
        }),
        _ => None,
    };
    Ok(Payment {
        id: id(intent, "id").ok_or_else(|| strange("id"))?,
        wallet: word(&intent["metadata"], WALLET)
            .filter(|_| intent["metadata"][LEDGER].as_str().unwrap_or_default() == ledger),
        topup: word(&intent["metadata"], TOPUP),
        stage,
        money: money(amount)?,
        returned: money(returned)?.amount,
        saved: saved.filter(|_| intent["setup_future_usage"] == "off_session"),
    })
}

fn stage(intent: &Value) -> Stage {
    let failed = |fallback: &str| {
        let error = &intent["last_payment_error"];
        let code = word(error, "decline_code").or_else(|| word(error, "code"));
        Stage::Failed(code.unwrap_or_else(|| fallback.to_owned()))
    };
    // A customer who saw how to transfer money has done all that walletd can see.
    let transfers = intent["next_action"]["type"] == "display_bank_transfer_instructions";
    match intent["status"].as_str() {
        Some("succeeded") => Stage::Paid,
        Some("processing") => Stage::Pending,
        Some("requires_action") if transfers => Stage::Pending,
        Some("canceled") => failed("canceled"),
        Some("requires_payment_method") if !intent["last_payment_error"].is_null() => {
            failed("payment_failed")
        }
        _ => Stage::Open,
    }
}

/// The disputed amount, if Stripe has withdrawn it and not reinstated it. The movements of the
/// balance tell. They are in the currency of the account, and a reinstatement may have another
/// exchange rate than the withdrawal. So they are counted, and their amounts are not added.
fn withdrawn(dispute: &Value) -> i64 {
    let movements = dispute["balance_transactions"].as_array();
    let signs = movements
        .into_iter()
        .flatten()
        .filter_map(|movement| movement["amount"].as_i64())
        .map(i64::signum);
    match signs.sum::<i64>() < 0 {
        true => dispute["amount"].as_i64().unwrap_or(0),
        false => 0,
    }
}

/// An event: its kind, and the payment intent that its object is or names.
pub fn event(body: &[u8]) -> Result<Event, EventError> {
    let event: Value = serde_json::from_slice(body).map_err(|_| EventError::NoEvent)?;
    let kind = word(&event, "type").ok_or(EventError::NoEvent)?;
    let object = &event["data"]["object"];
    let payment = match object["object"].as_str().ok_or(EventError::NoEvent)? {
        "payment_intent" => id(object, "id"),
        "checkout.session" | "charge" | "refund" | "dispute" => id(object, "payment_intent"),
        _ => None,
    };
    let is_ours = ["checkout.session.", "payment_intent.", "charge.", "refund."]
        .iter()
        .any(|start| kind.starts_with(start));
    Ok(Event {
        kind,
        payment: payment.filter(|_| is_ours),
    })
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
