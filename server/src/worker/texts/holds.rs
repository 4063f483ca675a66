//! Texts about holds.

use super::{Event, Text, text};

pub fn approval_requested(event: &Event<'_>) -> Text {
    let mut lines = vec![format!("A hold of {} waits.", event.money("amount"))];
    lines.extend(details(event));
    lines.extend(event.get("max").map(|_| {
        format!(
            "It exceeds a limit of {} ({}).",
            event.counted("max"),
            event.value("period")
        )
    }));
    let until = event.time("expires_at");
    lines.extend(until.map(|time| format!("It expires at {time}.")));
    text(
        format!("Wallet {} asks for an approval", event.wallet()),
        lines,
    )
}

/// Who holds, and what for.
fn details(event: &Event<'_>) -> Vec<String> {
    let labels = [
        ("user_id", "User"),
        ("team", "Team"),
        ("model", "Model"),
        ("service", "Service"),
    ];
    let found = labels
        .into_iter()
        .filter_map(|(key, label)| Some(format!("{label}: {}.", event.get(key)?)));
    found.collect()
}

pub fn approved(event: &Event<'_>) -> Text {
    let hold = format!("The hold of {} may be used.", event.money("amount"));
    text(
        format!("A hold of wallet {} was approved", event.wallet()),
        [hold].into_iter().chain(details(event)),
    )
}

pub fn denied(event: &Event<'_>) -> Text {
    let hold = format!("The hold of {} was denied.", event.money("amount"));
    text(
        format!("A hold of wallet {} was denied", event.wallet()),
        [hold].into_iter().chain(details(event)),
    )
}

pub fn expired(event: &Event<'_>) -> Text {
    let amount = event.money("amount");
    let became = match event.get("entry_id") {
        Some(_) => format!("{amount} was charged."),
        None => format!("{amount} was released."),
    };
    text(
        format!("A hold of wallet {} has expired", event.wallet()),
        [became],
    )
}
