//! Notifications: exactly one per crossing, after commit, none after rollback.

use postgres::fallible_iterator::FallibleIterator;
use serde_json::Value;
use wallet_tests::{
    Database, Heard, Listener, balance, charge, create, dec, expect, fund, recorded,
};

fn low(threshold: &str) -> Heard {
    ("wallet_balance_low".to_owned(), dec(threshold))
}

fn recovered(threshold: &str) -> Heard {
    ("wallet_balance_recovered".to_owned(), dec(threshold))
}

fn depleted() -> Heard {
    ("wallet_depleted".to_owned(), dec("0"))
}

#[test]
fn each_crossing_sends_one_notification_with_the_documented_payload() {
    for lanes in [1, 4] {
        let database = Database::new();
        let (mut client, mut listener) = (database.connect(), Listener::new(&database));
        create(&mut client, "acme", lanes, &[dec("20")], dec("100"));
        charge(&mut client, "acme", dec("80")).unwrap();
        assert_eq!(listener.heard(), [], "at the threshold is not below it");
        charge(&mut client, "acme", dec("0.01")).unwrap();
        let payloads = listener.payloads();
        let [payload] = &payloads[..] else {
            panic!("one notification: {payloads:?}");
        };
        let id: uuid::Uuid = client
            .query_one("SELECT id FROM wallet.events", &[])
            .unwrap()
            .get(0);
        let value: Value = serde_json::from_str(payload).unwrap();
        let expected = serde_json::json!({
            "id": id.to_string(), "event": "wallet_balance_low", "wallet": "acme", "threshold": 20
        });
        assert_eq!(value, expected, "the threshold is a JSON number");
        charge(&mut client, "acme", dec("5")).unwrap();
        assert_eq!(listener.heard(), [], "once per crossing");
    }
}

#[test]
fn notifications_are_sent_after_commit_and_never_after_rollback() {
    let database = Database::new();
    let (mut client, mut listener) = (database.connect(), Listener::new(&database));
    create(&mut client, "acme", 1, &[dec("20")], dec("100"));

    let mut transaction = client.transaction().unwrap();
    charge(&mut transaction, "acme", dec("90")).unwrap();
    assert_eq!(listener.heard(), [], "not before the commit");
    transaction.rollback().unwrap();
    assert_eq!(listener.heard(), []);
    assert_eq!(recorded(&mut client, "acme"), []);

    let mut transaction = client.transaction().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    charge(&mut savepoint, "acme", dec("90")).unwrap();
    savepoint.rollback().unwrap();
    transaction.commit().unwrap();
    assert_eq!(listener.heard(), []);
    assert_eq!(recorded(&mut client, "acme"), []);

    let mut transaction = client.transaction().unwrap();
    charge(&mut transaction, "acme", dec("90")).unwrap();
    assert_eq!(listener.heard(), []);
    transaction.commit().unwrap();
    assert_eq!(listener.heard(), [low("20")], "still armed, and heard now");
}

#[test]
fn several_crossings_of_one_call_are_sent_in_order() {
    for lanes in [1, 4] {
        let database = Database::new();
        let (mut client, mut listener) = (database.connect(), Listener::new(&database));
        create(
            &mut client,
            "acme",
            lanes,
            &[dec("20"), dec("50")],
            dec("100"),
        );
        charge(&mut client, "acme", dec("95")).unwrap();
        assert_eq!(listener.heard(), [low("50"), low("20")]);
        fund(&mut client, "acme", dec("15")).unwrap();
        assert_eq!(listener.heard(), [recovered("20")]);
        fund(&mut client, "acme", dec("100")).unwrap();
        assert_eq!(listener.heard(), [recovered("50")]);
        charge(&mut client, "acme", dec("120")).unwrap();
        assert_eq!(listener.heard(), [low("50"), low("20"), depleted()]);
        fund(&mut client, "acme", dec("50")).unwrap();
        assert_eq!(listener.heard(), [recovered("20"), recovered("50")]);
        let all = recorded(&mut client, "acme");
        assert_eq!(all.len(), 9, "{all:?}");
    }
}

#[test]
fn depletion_is_reported_at_exactly_zero() {
    let database = Database::new();
    let (mut client, mut listener) = (database.connect(), Listener::new(&database));
    create(&mut client, "acme", 4, &[], dec("10"));
    charge(&mut client, "acme", dec("9.999999999999")).unwrap();
    assert_eq!(listener.heard(), []);
    charge(&mut client, "acme", dec("0.000000000001")).unwrap();
    assert_eq!(listener.heard(), [depleted()]);
    assert_eq!(balance(&mut client, "acme"), dec("0"));
    expect(charge(&mut client, "acme", dec("0.01")), "WL001");
    assert_eq!(listener.heard(), [], "a refusal is rolled back");
}

#[test]
fn a_wallet_never_above_a_threshold_is_not_reported_low() {
    let database = Database::new();
    let (mut client, mut listener) = (database.connect(), Listener::new(&database));
    create(&mut client, "acme", 1, &[dec("50"), dec("20")], dec("30"));
    charge(&mut client, "acme", dec("5")).unwrap();
    assert_eq!(listener.heard(), [], "50 was never reached");
    charge(&mut client, "acme", dec("10")).unwrap();
    assert_eq!(listener.heard(), [low("20")], "20 was");
    fund(&mut client, "acme", dec("40")).unwrap();
    assert_eq!(listener.heard(), [recovered("20")], "50 had not been low");
    charge(&mut client, "acme", dec("6")).unwrap();
    assert_eq!(listener.heard(), [low("50")]);
}

/// With `wallet.notify = id`, listeners learn that something happened and nothing else.
#[test]
fn a_notification_may_have_the_id_alone() {
    let database = Database::new();
    let (mut client, mut listener) = (database.connect(), database.connect());
    create(&mut client, "acme", 1, &[dec("20")], dec("100"));
    listener.batch_execute("LISTEN wallet_events").unwrap();
    let mut payloads = |client: &mut postgres::Client, setting: &str| -> Vec<String> {
        client
            .batch_execute(&format!("SET wallet.notify = {setting}"))
            .unwrap();
        charge(client, "acme", dec("90")).unwrap();
        fund(client, "acme", dec("90")).unwrap();
        listener.batch_execute("SELECT 1").unwrap();
        let mut notifications = listener.notifications();
        let mut waiting = notifications.iter();
        let mut payloads = Vec::new();
        while let Some(one) = waiting.next().unwrap() {
            payloads.push(one.payload().to_owned());
        }
        payloads
    };
    assert_eq!(payloads(&mut client, "on").len(), 2);
    assert_eq!(payloads(&mut client, "true").len(), 2);
    assert_eq!(payloads(&mut client, "off"), [""; 0]);
    assert_eq!(payloads(&mut client, "false"), [""; 0]);
    let heard = payloads(&mut client, "id");
    let ids: Vec<String> = client
        .query(
            "SELECT format('{\"id\":\"%s\"}', id) FROM wallet.events ORDER BY id DESC LIMIT 2",
            &[],
        )
        .unwrap()
        .iter()
        .rev()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(heard, ids);
}
