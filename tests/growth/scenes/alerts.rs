//! Scenes of events and top-ups.

use crate::scene::{CONSTANT, LINEAR, Scene, call};

macro_rules! events {
    ($available:literal, $done:literal) => {
        concat!(
            "INSERT INTO wallet.outbox (wallet_id, event_id, event, created_at, available_at, claimed_at, attempts, done_at)
             SELECT 'w', growth.id(now() - '1 day'::interval, i), 'wallet_balance_low', now() - '1 day'::interval, ",
            $available,
            ", now() - '1 day'::interval, 1, ",
            $done,
            " FROM generate_series(1, {n}) i;
             INSERT INTO wallet.outbox (wallet_id, event_id, event, created_at, available_at)
             SELECT 'w', growth.id(now(), i), 'wallet_balance_low', now(), now() FROM generate_series(1, 500) i"
        )
    };
}
const EVENT: &[(&str, &str)] = &[(
    "event",
    "SELECT id::text FROM wallet.events WHERE done_at IS NULL ORDER BY id DESC LIMIT 1",
)];
const CLAIM: &str = "SELECT * FROM wallet.claim_events(1)";
const RULE: &str = r#"SELECT wallet.set_topup_rule('w', '{"threshold":1000,"amount":10,"cooldown":"0 seconds","max_declines":1000000}')"#;

/// A webhook of all wallets and one of `w`, and as many deliveries to the latter.
macro_rules! deliveries {
    ($wallet:literal, $done:literal) => {
        concat!(
            "INSERT INTO wallet.outbox (wallet_id, event_id, event, created_at, available_at)
             SELECT ", $wallet, ", growth.id(now() - '1 day'::interval, i), 'wallet_balance_low', now(), now() FROM generate_series(1, {n}) i;
             INSERT INTO wallet.deliveries (wallet_id, delivery_id, event_id, set_for, destination, created_at, available_at, delivered_at)
             SELECT ", $wallet, ", gen_random_uuid(), growth.id(now() - '1 day'::interval, i), '*', 'default', now(), now(), ", $done, "
               FROM generate_series(1, {n}) i"
        )
    };
}
const HOOK: &str = "SELECT wallet.set_destination('*', 'webhook', 'https://example.com/')";
const DELIVERY: &[(&str, &str)] = &[(
    "delivery",
    "SELECT delivery_id::text FROM wallet.deliveries WHERE wallet_id = 'w' ORDER BY event_id LIMIT 1",
)];

/// The scenes.
pub const SCENES: &[Scene] = &[
    Scene {
        name: "leased events",
        setup: &[events!("now() + '1 hour'::interval", "NULL")],
        size: 2500,
        short: 500,
        ids: EVENT,
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("claim_events", "", CONSTANT, CLAIM),
            call("claim_events", "100", CONSTANT, "SELECT * FROM wallet.claim_events(100)"),
            call("finish_event", "", CONSTANT, "SELECT wallet.finish_event('{event}')"),
            call("retry_event", "", CONSTANT, "SELECT wallet.retry_event('{event}')"),
            call("events", "by id", CONSTANT, "SELECT * FROM wallet.events WHERE id = '{event}'"),
            call("health", "", LINEAR, "SELECT * FROM wallet.health"),
        ],
    },
    Scene {
        name: "ended leases",
        setup: &[events!("now() - '1 minute'::interval", "NULL")],
        size: 2500,
        short: 500,
        ids: &[],
        everyday: None,
        linear: &[],
        pending: &[],
        calls: &[call("claim_events", "", CONSTANT, CLAIM)],
    },
    Scene {
        name: "finished events",
        setup: &[events!("now() - '1 minute'::interval", "now()")],
        size: 2500,
        short: 500,
        ids: EVENT,
        everyday: None,
        linear: &[],
        pending: &[],
        calls: &[
            call("claim_events", "", CONSTANT, CLAIM),
            call("events", "", LINEAR, "SELECT * FROM wallet.events WHERE wallet = 'w'"),
            call("health", "", CONSTANT, "SELECT * FROM wallet.health"),
        ],
    },
    Scene {
        name: "deliveries of a wallet",
        setup: &[HOOK, deliveries!("'w'", "NULL")],
        size: 2500,
        short: 500,
        ids: DELIVERY,
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("claim_deliveries", "", CONSTANT, "SELECT * FROM wallet.claim_deliveries()"),
            call("finish_delivery", "", CONSTANT, "SELECT wallet.finish_delivery('w', '{delivery}')"),
            call("retry_delivery", "", CONSTANT, "SELECT wallet.retry_delivery('w', '{delivery}')"),
            call("resend_delivery", "", CONSTANT, "SELECT wallet.resend_delivery('w', '{delivery}')"),
            call("set_destination", "", CONSTANT, "SELECT wallet.set_destination('w', 'email', 'a@example.com')"),
            call("rotate_destination", "", CONSTANT, "SELECT wallet.rotate_destination('*')"),
            call("destination_list", "", CONSTANT, "SELECT * FROM wallet.destination_list"),
            call("delivery_list", "waiting", LINEAR, "SELECT * FROM wallet.delivery_list WHERE wallet = 'w'"),
            // Every delivery that waits is given up.
            call("drop_destination", "", LINEAR, "SELECT wallet.drop_destination('*')"),
        ],
    },
    Scene {
        name: "deliveries of many wallets",
        setup: &[HOOK, deliveries!("'w' || i", "NULL")],
        size: 2500,
        short: 500,
        ids: &[],
        everyday: None,
        linear: &[],
        pending: &[],
        calls: &[
            // One look-up per queue.
            call("claim_deliveries", "", LINEAR, "SELECT * FROM wallet.claim_deliveries(1)"),
        ],
    },
    Scene {
        name: "finished deliveries",
        setup: &[HOOK, deliveries!("'w'", "now()")],
        size: 2500,
        short: 500,
        ids: &[],
        everyday: None,
        linear: &[],
        pending: &[],
        calls: &[call("claim_deliveries", "", CONSTANT, "SELECT * FROM wallet.claim_deliveries()")],
    },
    Scene {
        name: "topups",
        setup: &[
            RULE,
            "INSERT INTO wallet.topup_requests (wallet_id, topup_id, rule_name, amount, method, cause, status, created_at, finished_at)
             SELECT 'w', growth.id(now() - '1 day'::interval, i), 'default', 10, 'card', 'threshold', 'succeeded', now() - '1 day'::interval, now() FROM generate_series(1, {n}) i",
            "SELECT wallet.charge('w', amount => 999900)",
        ],
        size: 500,
        short: 200,
        ids: &[("topup", "SELECT topup_id::text FROM wallet.topups WHERE wallet = 'w' AND status = 'requested'")],
        everyday: Some("w"),
        linear: &[],
        pending: &[],
        calls: &[
            call("complete_topup", "", CONSTANT, "SELECT * FROM wallet.complete_topup('w', '{topup}', 'paid')"),
            call("fail_topup", "", CONSTANT, "SELECT * FROM wallet.fail_topup('w', '{topup}', 'declined')"),
            // The money of the period is summed from the rule's top-ups.
            call("set_topup_rule", "", LINEAR, r#"SELECT wallet.set_topup_rule('w', '{"threshold":5,"amount":10}')"#),
            call("request_due_topups", "", CONSTANT, "SELECT wallet.request_due_topups()"),
            call("topups", "open", CONSTANT, "SELECT * FROM wallet.topups WHERE wallet = 'w' AND status = 'requested'"),
            call("topups", "", LINEAR, "SELECT * FROM wallet.topups WHERE wallet = 'w'"),
            // The call needs money to charge.
            call("charge_batch(wallet)", "of 10", CONSTANT, r#"SELECT * FROM wallet.charge_batch('w', (SELECT jsonb_agg('{"amount":1}'::jsonb) FROM generate_series(1, 10)))"#),
        ],
    },
];
