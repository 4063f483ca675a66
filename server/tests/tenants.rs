//! Two tenants cannot see or touch each other, by any route.

use serde_json::Value;

use crate::support::with;

#[test]
fn no_route_leads_to_another_tenant() {
    with(|world| {
        world.sql(
            "SELECT wallet.set_limit('acme', 77.7712345, 'day', scope => 'user', subject => 'alice');
             SELECT wallet.set_price('hidden', 'requests', 0.1, price_list => 'acme-only');
             SELECT wallet.use_price_list('acme', 'acme-only')",
        );
        let held = world
            .acme
            .post_once("/v1/holds", "secret-hold", r#"{"amount": "3.3312345"}"#)
            .expect(201);
        let id = held.json["hold_id"].as_str().unwrap().to_owned();
        let body =
            r#"{"amount": "4.4412345", "model": "hidden-model", "tags": {"t": "hidden-tag"}}"#;
        let charge = world
            .acme
            .post_once("/v1/charges", "secret-charge", body)
            .expect(201);
        let entry = charge.json["entry_id"].as_str().unwrap().to_owned();
        let other = &world.globex;
        // Holds: neither read, nor settled, nor voided, nor replayed.
        other
            .get(&format!("/v1/holds/{id}"))
            .problem(404, "not_found");
        other
            .post(&format!("/v1/holds/{id}/settle"), r#"{"amount": "1"}"#)
            .problem(404, "undefined_object");
        other
            .post(&format!("/v1/holds/{id}/void"), "{}")
            .problem(404, "undefined_object");
        let mine = other
            .post_once("/v1/holds", "secret-hold", r#"{"amount": "1"}"#)
            .expect(201);
        assert_ne!(mine.json["hold_id"], id);
        // Idempotency keys are those of a wallet.
        let mine = other
            .post_once("/v1/charges", "secret-charge", r#"{"amount": "1"}"#)
            .expect(201);
        assert_ne!(mine.json["entry_id"], entry);
        // Reading: no list has anything of the other wallet, with a cursor of its rows neither.
        let price = world.value("SELECT price_id FROM wallet.prices WHERE model = 'hidden'");
        let limit = world.value("SELECT limit_id FROM wallet.limits_status WHERE wallet = 'acme'");
        for path in [
            "/v1/wallet".to_owned(),
            "/v1/transactions".to_owned(),
            format!("/v1/transactions?cursor={entry}"),
            "/v1/transactions?user_id=alice&model=hidden-model".to_owned(),
            "/v1/limits".to_owned(),
            format!("/v1/limits?cursor={limit}:"),
            "/v1/limits?subject=alice".to_owned(),
            "/v1/prices".to_owned(),
            format!("/v1/prices?cursor={price}"),
            "/v1/prices?model=hidden".to_owned(),
            "/v1/usage?by=user".to_owned(),
            "/v1/usage?by=model".to_owned(),
            "/v1/usage?by=tag:t".to_owned(),
        ] {
            let answer = other.get(&path).expect(200);
            for trace in [
                "acme", "alice", "hidden", "4.44123", "3.33123", "77.77123", &id, &entry,
            ] {
                assert!(
                    !answer.text.contains(trace),
                    "{path}: {trace} in {}",
                    answer.text
                );
            }
        }
        // A body cannot name a wallet, and a query cannot either.
        let named = r#"{"amount": "1", "wallet": "acme"}"#;
        other
            .post("/v1/charges", named)
            .problem(422, "invalid_body");
        other.get("/v1/wallet?wallet=acme").expect(200);
        other
            .get("/v1/transactions?wallet=acme")
            .problem(400, "bad_request");
        let estimate = r#"{"usage": {"model": "hidden", "requests": 1}}"#;
        other
            .post("/v1/estimate", estimate)
            .problem(422, "price_not_found");
        let acme = world.acme.get("/v1/wallet").expect(200);
        assert_eq!(
            (&acme.json["balance"], &acme.json["held"]),
            (&Value::from("95.5587655"), &Value::from("3.3312345"))
        );
        world.verify();
    });
}

#[test]
fn the_role_of_tenants_reaches_nothing_without_a_key() {
    with(|world| {
        let tenants = &world.settings[0].1;
        let mut session = tenants
            .parse::<postgres::Config>()
            .unwrap()
            .connect(postgres::NoTls)
            .unwrap();
        for query in [
            "SELECT * FROM wallet.balances",
            "SELECT * FROM wallet.entries",
            "SELECT * FROM wallet.limits_status",
            "SELECT * FROM wallet.holds",
            "SELECT * FROM wallet.events",
            "SELECT * FROM wallet.fundings",
        ] {
            assert_eq!(session.query(query, &[]).unwrap().len(), 0, "{query}");
        }
        for call in [
            "SELECT wallet.charge('acme', amount => 1)",
            "SELECT wallet.fund('acme', 1)",
            "SELECT wallet.create_key('acme')",
            "SELECT wallet.set_limit('acme', 1, 'day')",
            "SELECT * FROM wallet.api_keys",
        ] {
            let error = session.query(call, &[]).unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42501", "{call}");
        }
    });
}

#[test]
fn a_connection_forgets_the_key_of_the_request_before() {
    let one = [("WALLETD_DATABASE__TENANTS_POOL", "1")];
    crate::support::with_settings(&one, |world| {
        for _ in 0..5 {
            assert_eq!(
                world.acme.get("/v1/wallet").expect(200).json["wallet"],
                "acme"
            );
            world
                .client("nobody")
                .get("/v1/wallet")
                .problem(401, "unauthorized");
            assert_eq!(
                world.globex.get("/v1/wallet").expect(200).json["wallet"],
                "globex"
            );
            world
                .acme
                .post("/v1/charges", r#"{"amount": "1000"}"#)
                .problem(402, "insufficient_funds");
        }
    });
}
