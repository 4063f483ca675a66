//! The texts that people read, one function per kind of event. Chat messages and e-mails have the
//! same ones.

mod event;
mod holds;
mod limits;
mod money;
mod topups;

pub use event::{Event, line};

/// A text for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// One line.
    pub subject: String,
    /// Sentences, one per line.
    pub lines: Vec<String>,
}

fn text(subject: String, lines: impl IntoIterator<Item = String>) -> Text {
    let lines = lines.into_iter().collect();
    Text { subject, lines }
}

/// The text of an event.
pub fn of(event: &Event<'_>) -> Text {
    let write = match event.name {
        "wallet_balance_low" => money::balance_low,
        "wallet_balance_recovered" => money::balance_recovered,
        "wallet_depleted" => money::depleted,
        "wallet_run_out_near" => money::run_out_near,
        "wallet_frozen" => money::frozen,
        "grant_expiring" => money::grant_expiring,
        "grant_expired" => money::grant_expired,
        "limit_near" => limits::near,
        "limit_reached" => limits::reached,
        "usage_unread" => limits::usage_unread,
        "topup_requested" => topups::requested,
        "topup_succeeded" => topups::succeeded,
        "topup_failed" => topups::failed,
        "topup_rule_stopped" => topups::rule_stopped,
        "approval_requested" => holds::approval_requested,
        "hold_approved" => holds::approved,
        "hold_denied" => holds::denied,
        "hold_expired" => holds::expired,
        _ => other,
    };
    let mut text = write(event);
    // A message may arrive hours later.
    text.lines.push(format!("Time: {}.", event.happened()));
    text
}

/// An event that this version has no text for: its name and its details.
fn other(event: &Event<'_>) -> Text {
    let keys = event.payload.as_object().map(serde_json::Map::keys);
    let details = keys.into_iter().flatten();
    text(
        format!("{} of wallet {}", line(event.name), event.wallet()),
        details.map(|key| format!("{}: {}", line(key), event.value(key))),
    )
}

#[cfg(test)]
mod tests;
