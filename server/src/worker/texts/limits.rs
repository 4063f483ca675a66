//! Texts about limits and about usage that nothing reads.

use super::{Event, Text, text};

pub fn near(event: &Event<'_>) -> Text {
    let mut lines = vec![used(event)];
    if let Some(threshold) = event.threshold {
        lines.push(format!(
            "The warning is given when a fraction of {threshold} is used."
        ));
    }
    lines.extend(reset(event));
    text(
        format!("A limit of wallet {} is nearly reached", event.wallet()),
        lines,
    )
}

pub fn reached(event: &Event<'_>) -> Text {
    text(
        format!("A limit of wallet {} is reached", event.wallet()),
        [used(event)].into_iter().chain(reset(event)),
    )
}

/// The limit, and how much of it is used.
fn used(event: &Event<'_>) -> String {
    let subject = match (event.get("scope").as_deref(), event.get("subject")) {
        (None | Some("wallet"), _) | (_, None) => "the wallet".to_owned(),
        (Some(scope), Some(subject)) => format!("{scope} \"{subject}\""),
    };
    format!(
        "Of the maximum of {} ({}) for {subject}, {} is used.",
        event.counted("max"),
        event.value("period"),
        event.counted("used")
    )
}

fn reset(event: &Event<'_>) -> Option<String> {
    let time = event.time("resets_at")?;
    Some(format!("The limit resets at {time}."))
}

pub fn usage_unread(event: &Event<'_>) -> Text {
    let mut lines = vec![format!(
        "A usage object of {} has a number at {} that no price reads.",
        event.value("provider"),
        event.value("path")
    )];
    lines.extend(event.get("model").map(|model| format!("Model: {model}.")));
    lines.push("The provider may bill it. The view unread_usage shows such numbers.".to_owned());
    text(
        format!("Wallet {} has usage that nothing reads", event.wallet()),
        lines,
    )
}
