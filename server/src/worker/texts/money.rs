//! Texts about the balance and grants.

use super::{Event, Text, text};

pub fn balance_low(event: &Event<'_>) -> Text {
    text(
        format!("Wallet {} is low", event.wallet()),
        [format!(
            "Less than {} is available.",
            event.threshold_money()
        )],
    )
}

pub fn balance_recovered(event: &Event<'_>) -> Text {
    text(
        format!("Wallet {} has recovered", event.wallet()),
        [format!(
            "{} or more is available again.",
            event.threshold_money()
        )],
    )
}

pub fn depleted(event: &Event<'_>) -> Text {
    let why = "No money is left to spend, or a charge was refused because less was left than it \
               asked for.";
    text(
        format!("Wallet {} is depleted", event.wallet()),
        [why.to_owned()],
    )
}

pub fn run_out_near(event: &Event<'_>) -> Text {
    let mut lines = vec![format!(
        "At {} per day, the money lasts {} days.",
        event.money("daily_burn"),
        event.value("days_left")
    )];
    lines.extend(
        event
            .time("runs_out_at")
            .map(|time| format!("It runs out at about {time}.")),
    );
    text(format!("Wallet {} runs out soon", event.wallet()), lines)
}

pub fn frozen(event: &Event<'_>) -> Text {
    text(
        format!("Wallet {} is frozen", event.wallet()),
        ["A chargeback froze it. No charge is accepted until it is active again.".to_owned()],
    )
}

pub fn grant_expiring(event: &Event<'_>) -> Text {
    let until = event
        .time("expires_at")
        .unwrap_or_else(|| "an unknown time".to_owned());
    text(
        format!("A grant of wallet {} expires soon", event.wallet()),
        [format!(
            "{} of it can be spent until {until}.",
            event.money("amount")
        )],
    )
}

pub fn grant_expired(event: &Event<'_>) -> Text {
    text(
        format!("A grant of wallet {} has expired", event.wallet()),
        [format!("{} of it was left.", event.money("amount"))],
    )
}
