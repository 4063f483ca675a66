//! Texts about top-ups.

use super::{Event, Text, text};

pub fn requested(event: &Event<'_>) -> Text {
    text(
        format!("A top-up of wallet {} is requested", event.wallet()),
        [format!(
            "{} is to be paid by {}.",
            event.money("amount"),
            event.value("method")
        )],
    )
}

pub fn succeeded(event: &Event<'_>) -> Text {
    let mut lines = vec![format!(
        "{} was paid by {} and credited.",
        event.money("amount"),
        event.value("method")
    )];
    let reference = event.get("reference");
    lines.extend(reference.map(|reference| format!("Reference: {reference}.")));
    text(
        format!("A top-up of wallet {} was credited", event.wallet()),
        lines,
    )
}

pub fn failed(event: &Event<'_>) -> Text {
    let reason = event.value("reason");
    // A decline has an amount; a top-up that was not requested has none.
    let mut lines = match event.get("topup_id") {
        Some(_) => vec![format!(
            "The payment of {} by {} failed: {reason}.",
            event.money("amount"),
            event.value("method")
        )],
        None => vec![format!("No top-up was requested: {reason}.")],
    };
    let message = event.get("message");
    lines.extend(message.map(|message| format!("The payment provider says: {message}")));
    let retry = event.time("retry_at");
    lines.extend(retry.map(|time| format!("It can be requested again from {time}.")));
    text(
        format!("A top-up of wallet {} failed", event.wallet()),
        lines,
    )
}

pub fn rule_stopped(event: &Event<'_>) -> Text {
    text(
        format!("Top-ups of wallet {} have stopped", event.wallet()),
        [
            format!(
                "{} top-ups of the rule \"{}\" in a row were declined.",
                event.value("declines"),
                event.value("rule_name")
            ),
            "Check the means of payment, then set the rule again.".to_owned(),
        ],
    )
}
