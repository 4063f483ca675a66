//! The log has no secret, wherever one was sent.

use crate::support::{Walletd, output, with, with_settings};

#[test]
fn no_secret_reaches_the_log_or_an_answer() {
    let settings = [("WALLETD_DATABASE__STATEMENT_TIMEOUT", "300ms")];
    with_settings(&settings, |world| {
        let key = world.acme.key.clone().unwrap();
        let marked = "wk_5ec2e75ec2e75ec2e75ec2e7";
        let unknown = world.client(marked);
        let mut answers = Vec::new();
        for client in [&world.acme, &unknown] {
            let token = client.key.clone().unwrap();
            let body = format!(r#"{{"amount": "1", "user_id": "{token}", "model": "{token}"}}"#);
            let cookie = format!("key={token}");
            let headers = [
                ("idempotency-key", token.as_str()),
                ("cookie", cookie.as_str()),
                ("x-api-key", token.as_str()),
                ("x-forwarded-for", token.as_str()),
                ("user-agent", token.as_str()),
                ("referer", token.as_str()),
            ];
            answers.push(client.send("POST", "/v1/charges", &headers, Some(&body)));
            answers.push(client.post("/v1/charges", &format!("{{\"{token}\": 1}}")));
            answers.push(client.get(&format!("/v1/holds/{token}")));
            answers.push(client.get(&format!("/{token}?key={token}")));
            answers.push(client.get(&format!("/v1/usage?by={token}&{token}={token}")));
            answers.push(client.send(&token, "/v1/wallet", &[], None));
            answers.push(client.send("GET", "/v1/wallet", &[("authorization", &token)], None));
        }
        // A fault of the database, too.
        let mut blocking = world.block("acme");
        answers.push(
            world
                .acme
                .post_once("/v1/charges", &key, r#"{"amount": "1"}"#),
        );
        blocking.batch_execute("ROLLBACK").unwrap();
        assert!(answers.iter().any(|answer| answer.status == 503));
        let log = world.walletd.log();
        assert!(log.lines().count() >= answers.len(), "{log}");
        for secret in [&key, marked] {
            assert!(
                !log.contains(secret) && !log.contains(&secret[3..20]),
                "{log}"
            );
        }
        // Each line is JSON, so that nobody can forge one.
        for line in log.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}"));
        }
    });
}

#[test]
fn a_password_is_never_shown() {
    with(|world| {
        let secret = "hunter2hunter2hunter2";
        for url in [
            format!("postgres://nobody:{secret}@127.0.0.1:1/x"),
            format!("host=127.0.0.1 port=1 user=nobody password={secret}"),
            format!("host=127.0.0.1 password={secret} sslmode=nonsense"),
            format!("host=127.0.0.1 passwort={secret}"),
            format!("postgres://nobody:{secret}@[::1"),
        ] {
            let settings = [
                ("WALLETD_DATABASE__TENANTS", url.as_str()),
                ("WALLETD_DATABASE__WORKER", world.settings[1].1.as_str()),
            ];
            let output = output(&["check"], &settings);
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8(text).unwrap();
            assert!(!output.status.success() && !text.is_empty());
            assert!(!text.contains("hunter2"), "{text}");
        }
        let url = format!("host=127.0.0.1 port=1 user=nobody password={secret} sslmode=disable");
        let walletd = Walletd::start(&[
            ("WALLETD_DATABASE__TENANTS", &url),
            ("WALLETD_DATABASE__WORKER", &url),
        ]);
        let client = crate::support::Client::new(walletd.http, Some("x"));
        let answer = client.get("/v1/wallet").problem(503, "unavailable");
        crate::support::Client::new(walletd.ops, None)
            .get("/readyz")
            .expect(503);
        assert!(!walletd.log().contains("hunter2") && !answer.text.contains("127.0.0.1"));
    });
}
