//! Batches of charges for a webhook that names the event `usage_charged`.

use std::time::Duration;

use crate::deliveries::{WAITING, wait_for};
use crate::support::{Hook, Receiver, Reply, World, with_settings};

/// Charges send no notification: only the poll finds them.
const QUICK: [(&str, &str); 2] = [
    ("WALLETD_WORKER__ALLOWED_NETWORKS", r#"["127.0.0.0/8"]"#),
    ("WALLETD_WORKER__POLL", "200ms"),
];
const SOON: Duration = Duration::from_secs(30);

fn webhook(world: &World, receiver: &Receiver) -> String {
    let url = receiver.url("/usage");
    world.value(&format!(
        "SELECT secret FROM wallet.set_destination('acme', 'webhook', '{url}', '{{usage_charged}}')"
    ))
}

fn charge(world: &World, number: usize) {
    world.sql(&format!(
        "SELECT count(wallet.charge('acme', amount => 0.01, user_id => 'ada')) FROM generate_series(1, {number})"
    ));
}

/// The ids of the charges of requests, in their order.
fn charges(hooks: &[Hook]) -> Vec<String> {
    let mut ids = Vec::new();
    for hook in hooks {
        let json = hook.json();
        assert_eq!(json["type"], "usage_charged");
        assert_eq!(json["data"]["wallet"], "acme");
        for charge in json["data"]["payload"]["charges"].as_array().unwrap() {
            assert_eq!(
                (&charge["cost"], &charge["user_id"]),
                (&"0.01".into(), &"ada".into())
            );
            ids.push(charge["entry_id"].as_str().unwrap().to_owned());
        }
    }
    ids
}

/// The ids of the charges of the ledger.
fn booked(world: &World) -> Vec<String> {
    let ids = world.value(
        "SELECT string_agg(entry_id::text, ' ' ORDER BY seq) FROM wallet.entries
          WHERE wallet = 'acme' AND kind = 'charge' AND amount = -0.01",
    );
    ids.split_whitespace().map(str::to_owned).collect()
}

const ALL_SENT: &str = "SELECT (SELECT coalesce(sum(jsonb_array_length(payload -> 'charges')), 0) FROM wallet.events WHERE event = 'usage_charged')
        = (SELECT count(*) FROM wallet.entries WHERE wallet = 'acme' AND kind = 'charge' AND amount = -0.01)";

#[test]
fn charges_arrive_in_signed_batches_in_order_and_once() {
    with_settings(&QUICK, |world| {
        let receiver = Receiver::start();
        webhook(world, &receiver);
        charge(world, 600);
        wait_for(world, ALL_SENT, "true");
        wait_for(world, WAITING, "0");
        let hooks = receiver.hooks();
        assert!(hooks.len() >= 3 && hooks.len() < 60, "{}", hooks.len());
        assert!(
            hooks
                .iter()
                .all(|hook| hook.header("webhook-signature").starts_with("v1,"))
        );
        assert_eq!(charges(&hooks), booked(world));
    });
}

#[test]
fn a_batch_that_fails_keeps_its_charges_and_its_place() {
    with_settings(&QUICK, |world| {
        let receiver = Receiver::start();
        receiver.answers(|_| Reply::status(503));
        webhook(world, &receiver);
        charge(world, 1);
        let first = receiver.wait(1, SOON)[0].id();
        charge(world, 2);
        receiver.answers(|_| Reply::status(200));
        wait_for(world, ALL_SENT, "true");
        wait_for(world, WAITING, "0");
        let hooks = receiver.hooks();
        let again = hooks.iter().rposition(|hook| hook.id() == first).unwrap();
        assert!(again > 0);
        assert_eq!(charges(&hooks[again..]), booked(world));
        // A dead batch does not hold up the next.
        receiver.answers(|_| Reply::status(410));
        charge(world, 1);
        let dead = "SELECT count(*) FROM wallet.delivery_list WHERE status = 'dead' AND event = 'usage_charged'";
        wait_for(world, dead, "1");
        receiver.answers(|_| Reply::status(200));
        charge(world, 1);
        wait_for(world, ALL_SENT, "true");
        wait_for(world, WAITING, "0");
        let last = receiver.hooks().pop().unwrap();
        assert_eq!(charges(&[last]), booked(world)[4..]);
    });
}
