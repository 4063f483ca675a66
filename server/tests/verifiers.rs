//! The libraries of the Standard Webhooks project verify what walletd sends:
//! `scripts/run walletd-webhooks` installs them and runs this.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::deliveries::{LOCAL, pairs, webhook};
use crate::support::{Receiver, with_settings};

#[test]
#[ignore = "needs packages of PyPI and npm: scripts/run walletd-webhooks"]
fn standard_webhooks_of_pypi_and_npm_verify() {
    with_settings(&LOCAL, |world| {
        let receiver = Receiver::start();
        let first = webhook(world, "acme", &receiver.url("/"));
        pairs(world, "acme", 1);
        let before = receiver.wait(2, Duration::from_secs(10)).len();
        let rotated = "SELECT secret FROM wallet.rotate_destination('acme')";
        let second = world.value(rotated);
        pairs(world, "acme", 2);
        let hooks = receiver.wait(6, Duration::from_secs(10));
        // Each request with the secrets that verify it: after the rotation, both.
        let cases: Vec<_> = hooks
            .iter()
            .enumerate()
            .map(|(number, hook)| {
                let headers: serde_json::Map<_, _> = hook
                    .headers
                    .iter()
                    .map(|(name, value)| (name.clone(), json!(value)))
                    .collect();
                let (right, wrong) = match number < before {
                    true => (vec![&first], vec![&second]),
                    false => (vec![&first, &second], vec![]),
                };
                json!({"headers": headers, "body": hook.body, "right": right, "wrong": wrong})
            })
            .collect();
        let file = std::env::temp_dir().join(format!("{}.json", world.database.name()));
        std::fs::write(&file, json!(cases).to_string()).unwrap();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/webhooks");
        for (program, script) in [
            ("WALLETD_TEST_PYTHON", "verify.py"),
            ("WALLETD_TEST_NODE", "verify.mjs"),
        ] {
            let program = std::env::var(program).expect("scripts/run walletd-webhooks sets it");
            let output = Command::new(program)
                .arg(format!("{folder}/{script}"))
                .arg(&file)
                .output()
                .unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            // Six requests, of which four have two signatures: ten verify, and each altered one and
            // each wrong secret is refused.
            assert_eq!(text, "10 verified, 12 refused\n");
            assert!(output.status.success());
        }
        std::fs::remove_file(file).unwrap();
    });
}
