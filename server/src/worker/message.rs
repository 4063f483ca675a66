//! The bodies of requests: the event as JSON for a webhook, a message for Slack and for Teams.

use serde_json::{Value, json};

use super::texts::Text;
use crate::db::ClaimedDelivery;

/// The event as JSON, in the form that the Standard Webhooks specification recommends. Numbers of
/// the payload have all their digits.
pub fn webhook(claimed: &ClaimedDelivery, payload: &Value) -> String {
    json!({
        "type": claimed.event,
        "timestamp": claimed.created_at,
        "data": {
            "id": claimed.event_id,
            "wallet": claimed.wallet,
            "threshold": claimed.threshold,
            "payload": payload,
        },
    })
    .to_string()
}

/// A message for an incoming webhook of Slack. `text` is for notifications.
pub fn slack(text: &Text) -> String {
    let subject = escaped(&text.subject);
    let body: Vec<String> = text.lines.iter().map(|line| escaped(line)).collect();
    let section = |text: String| {
        // Verbatim: names that look like channels or links stay text.
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text, "verbatim": true}})
    };
    let mut blocks = vec![section(subject.clone())];
    if !body.is_empty() {
        blocks.push(section(shortened(&body.join("\n"))));
    }
    json!({"text": subject, "blocks": blocks}).to_string()
}

/// The most characters of a section.
const SECTION: usize = 3000;

/// The lines that fit into a section. A message is never cut inside of an escaped character.
fn shortened(text: &str) -> String {
    let mut kept = String::new();
    for line in text.lines() {
        if kept.chars().count() + line.chars().count() + 1 > SECTION {
            break;
        }
        if !kept.is_empty() {
            kept.push('\n');
        }
        kept.push_str(line);
    }
    kept
}

/// Slack's control characters as entities.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A message with an adaptive card, for a workflow of Teams. A text run has no markup, so that a
/// name cannot become a link.
pub fn teams(text: &Text) -> String {
    let block = |text: &str, weight: &str| {
        let run = json!({"type": "TextRun", "text": text, "weight": weight});
        json!({"type": "RichTextBlock", "inlines": [run]})
    };
    let mut body = vec![block(&text.subject, "Bolder")];
    body.extend(text.lines.iter().map(|line| block(line, "Default")));
    json!({
        "type": "message",
        "summary": text.subject,
        "attachments": [{
            "contentType": "application/vnd.microsoft.card.adaptive",
            "contentUrl": null,
            "content": {
                "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                "type": "AdaptiveCard",
                "version": "1.4",
                "body": body,
            },
        }],
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str) -> Text {
        Text {
            subject: format!("Wallet {name} is low"),
            lines: vec![format!("Less than 20 USD is left in {name}.")],
        }
    }

    #[test]
    fn a_name_is_neither_a_link_nor_a_mention_in_slack() {
        let message = slack(&text("<!channel> & <https://x.example|y>"));
        assert!(
            !message.contains('<') && !message.contains('>'),
            "{message}"
        );
        let json: Value = serde_json::from_str(&message).unwrap();
        let subject = "Wallet &lt;!channel&gt; &amp; &lt;https://x.example|y&gt; is low";
        assert_eq!(json["text"], subject);
        assert_eq!(json["blocks"][0]["text"]["text"], subject);
        assert_eq!(json["blocks"][1]["text"]["verbatim"], true);
    }

    #[test]
    fn a_section_of_slack_is_cut_between_lines() {
        let lines = vec!["&".repeat(200); 40];
        let subject = "s".to_owned();
        let json: Value = serde_json::from_str(&slack(&Text { subject, lines })).unwrap();
        let section = json["blocks"][1]["text"]["text"].as_str().unwrap();
        assert!(section.len() <= SECTION && section.len() > 1000);
        assert!(section.lines().all(|line| line == "&amp;".repeat(200)));
    }

    #[test]
    fn a_card_of_teams_has_no_markup() {
        let name = "[x](https://x.example) **b**";
        let json: Value = serde_json::from_str(&teams(&text(name))).unwrap();
        let card = &json["attachments"][0]["content"];
        for (block, part) in [(0, "is low"), (1, "20 USD")] {
            let block = &card["body"][block];
            assert_eq!(block["type"], "RichTextBlock");
            let run = block["inlines"][0]["text"].as_str().unwrap();
            assert!(run.contains(name) && run.contains(part));
        }
    }

    #[test]
    fn a_webhook_has_the_digits_of_the_payload() {
        let claimed = ClaimedDelivery {
            wallet: "acme".to_owned(),
            delivery_id: String::new(),
            kind: "webhook".to_owned(),
            target: crate::config::Secret::default(),
            secrets: Vec::new(),
            attempts: 0,
            event_id: "e".to_owned(),
            event: "topup_requested".to_owned(),
            threshold: Some("20.10".to_owned()),
            payload: String::new(),
            created_at: "2026-03-01T00:00:00.000000Z".to_owned(),
        };
        let payload = r#"{"amount":12345678901234567890.100000000001}"#;
        let body = webhook(&claimed, &serde_json::from_str(payload).unwrap());
        assert!(body.contains(payload), "{body}");
        assert!(body.contains(r#""threshold":"20.10""#), "{body}");
    }
}
