//! Events, as a listener receives them and as the view shows them.

use std::time::Duration;

use postgres::fallible_iterator::FallibleIterator;
use postgres::{Client, GenericClient};
use rust_decimal::Decimal;
use serde_json::Value;

use crate::Database;

/// An event and its threshold.
pub type Heard = (String, Decimal);

/// A connection that listens.
pub struct Listener(Client);

impl Listener {
    /// Listens from now on.
    pub fn new(database: &Database) -> Listener {
        let mut client = database.connect();
        client
            .batch_execute("LISTEN wallet_events")
            .expect("LISTEN");
        Listener(client)
    }

    /// The payloads since the last call. They include everything committed before: the round trip
    /// fetches all notifications that were sent to this connection.
    pub fn payloads(&mut self) -> Vec<String> {
        self.0.batch_execute("SELECT 1").expect("a round trip");
        let mut notifications = self.0.notifications();
        let mut payloads = Vec::new();
        // Notifications reach an idle listener with a delay.
        let mut waiting = notifications.timeout_iter(Duration::from_millis(150));
        while let Some(notification) = waiting.next().expect("the connection is alive") {
            assert_eq!(notification.channel(), "wallet_events");
            payloads.push(notification.payload().to_owned());
        }
        payloads
    }

    /// The same payloads, parsed.
    pub fn heard(&mut self) -> Vec<Heard> {
        self.payloads()
            .iter()
            .map(|payload| {
                let value: Value = serde_json::from_str(payload).expect("JSON");
                let event = value["event"].as_str().expect("an event").to_owned();
                let threshold = value["threshold"].to_string();
                (event, threshold.parse().expect("a number"))
            })
            .collect()
    }
}

/// The balance events of a wallet, in order.
pub fn recorded(client: &mut impl GenericClient, wallet: &str) -> Vec<Heard> {
    client
        .query(
            "SELECT event, threshold FROM wallet.events
              WHERE wallet = $1 AND event LIKE 'wallet\\_%' AND threshold IS NOT NULL ORDER BY id",
            &[&wallet],
        )
        .expect("events")
        .iter()
        .map(|row| (row.get(0), row.get(1)))
        .collect()
}

/// Fails unless low and recovered alternate for this threshold, low first. Returns the last one.
pub fn alternating(events: &[Heard], threshold: Decimal) -> Option<&str> {
    let mut last = None;
    for (event, at) in events {
        if *at != threshold || event == "wallet_depleted" {
            continue;
        }
        let expected = match last {
            Some("wallet_balance_low") => "wallet_balance_recovered",
            _ => "wallet_balance_low",
        };
        assert_eq!(event, expected, "threshold {threshold} in {events:?}");
        last = Some(event.as_str());
    }
    last
}
