//! Messages for people: e-mails, Slack and Teams.

use crate::deliveries::{LOCAL, WAITING, pairs, wait_for};
use crate::support::{Receiver, Smtp, World, localhost, output, with_settings};

fn email(world: &World, address: &str, name: &str) {
    world.sql(&format!(
        "SELECT wallet.set_destination('*', 'email', '{address}', name => '{name}')"
    ));
}

#[test]
fn an_email_is_readable_and_a_name_cannot_add_a_header() {
    let (tls, file) = localhost(&format!("walletd-mail-{}", std::process::id()));
    let smtp = Smtp::start(Some(tls));
    let port = smtp.port.to_string();
    let settings = [
        LOCAL[1],
        ("WALLETD_MAIL__HOST", "localhost"),
        ("WALLETD_MAIL__PORT", port.as_str()),
        ("WALLETD_MAIL__FROM", "Wallet <wallet@example.com>"),
        ("WALLETD_MAIL__USER", "walletd"),
        ("WALLETD_MAIL__PASSWORD", "hunter2hunter2hunter2"),
        ("WALLETD_MAIL__ROOT_CERTIFICATES", file.to_str().unwrap()),
    ];
    with_settings(&settings, |world| {
        email(world, "billing@example.org", "default");
        pairs(world, "acme", 1);
        wait_for(world, WAITING, "0");
        let letters = smtp.letters();
        assert_eq!(letters.len(), 2, "{letters:?}");
        let letter = &letters[0];
        assert!(letter.tls && letter.signed_in);
        assert_eq!(letter.to, ["<billing@example.org>"]);
        let (head, body) = letter.text.split_once("\n\n").unwrap();
        let id = world.value("SELECT min(id::text) FROM wallet.events");
        let message_id = format!("Message-ID: <{id}@example.com>");
        for line in [
            "Subject: Wallet acme is low",
            "From: Wallet <wallet@example.com>",
            "To: billing@example.org",
            "Auto-Submitted: auto-generated",
            message_id.as_str(),
        ] {
            assert!(head.lines().any(|found| found == line), "{line}: {head}");
        }
        assert!(
            body.starts_with("Less than 20.00 USD is available.\nTime: "),
            "{body}"
        );

        // Whoever reports a payment writes the reason.
        world.sql(
            "SELECT wallet.set_topup_rule('acme', '{\"threshold\": 10, \"amount\": 50}');
             SELECT wallet.charge('acme', amount => 95);
             SELECT wallet.fail_topup('acme', topup_id, E'no\\r\\n.\\r\\nBcc: evil@example.com')
               FROM wallet.topups",
        );
        wait_for(world, WAITING, "0");
        let failed = |text: &str| text.contains("A top-up of wallet acme failed");
        let letters = smtp.letters();
        let letter = letters.iter().find(|letter| failed(&letter.text)).unwrap();
        assert_eq!(letter.to, ["<billing@example.org>"]);
        let text = letter.text.replace("=\n", "");
        assert!(
            text.contains("says: no  .  Bcc: evil@example.com"),
            "{text}"
        );
        let added = text.lines().any(|line| line.starts_with("Bcc"));
        assert!(!added && text.contains("50.00 USD"), "{text}");

        let given: Vec<(&str, &str)> = world
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let checked = output(&["check"], &given);
        let text = String::from_utf8([checked.stdout, checked.stderr].concat()).unwrap();
        assert!(text.contains("ok: mail.host lets walletd in"), "{text}");
        assert!(!text.contains("hunter2") && !world.walletd.log().contains("hunter2"));
    });
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_recipient_that_does_not_exist_is_dead_and_a_busy_server_is_asked_again() {
    let smtp = Smtp::start(None);
    let port = smtp.port.to_string();
    let settings = [
        LOCAL[1],
        ("WALLETD_MAIL__HOST", "localhost"),
        ("WALLETD_MAIL__PORT", port.as_str()),
        ("WALLETD_MAIL__FROM", "wallet@example.com"),
        ("WALLETD_MAIL__TLS", "none"),
    ];
    with_settings(&settings, |world| {
        email(world, "nobody@example.org", "gone");
        email(world, "later@example.org", "busy");
        email(world, "somebody@example.org", "fine");
        world.sql("SELECT wallet.charge('acme', amount => 90)");
        let became = "SELECT string_agg(destination || ' ' || status || ' ' || attempts, ', ' ORDER BY destination)
            FROM wallet.delivery_list";
        wait_for(
            world,
            became,
            "busy waiting 1, fine delivered 0, gone dead 1",
        );
        let reasons = world.value("SELECT string_agg(last_error, '; ') FROM wallet.delivery_list");
        assert!(reasons.contains("5.1.1 no such user"), "{reasons}");
        for text in [reasons.clone(), world.walletd.log()] {
            let text = text.to_lowercase();
            assert!(
                !text.contains("nobody@") && text.contains("recipient"),
                "{text}"
            );
        }
        assert!(reasons.contains("try again later"), "{reasons}");
        assert_eq!(smtp.letters().len(), 1);
    });
}

#[test]
fn without_tls_no_password_is_sent_and_without_a_server_an_email_waits() {
    // The server offers no TLS, and the settings ask for it.
    let smtp = Smtp::start(None);
    let port = smtp.port.to_string();
    let mut settings = vec![
        LOCAL[1],
        ("WALLETD_MAIL__HOST", "localhost"),
        ("WALLETD_MAIL__PORT", port.as_str()),
        ("WALLETD_MAIL__FROM", "wallet@example.com"),
        ("WALLETD_MAIL__USER", "walletd"),
        ("WALLETD_MAIL__PASSWORD", "hunter2hunter2hunter2"),
    ];
    let failed =
        "SELECT count(*) FROM wallet.delivery_list WHERE status = 'waiting' AND attempts = 1";
    with_settings(&settings, |world| {
        email(world, "somebody@example.org", "default");
        world.sql("SELECT wallet.charge('acme', amount => 90)");
        wait_for(world, failed, "1");
        assert!(smtp.letters().is_empty());
    });
    settings.truncate(1);
    with_settings(&settings, |world| {
        email(world, "somebody@example.org", "default");
        world.sql("SELECT wallet.charge('acme', amount => 90)");
        wait_for(world, failed, "1");
        let reason = world.value("SELECT last_error FROM wallet.delivery_list");
        assert!(reason.contains("no mail server"), "{reason}");
    });
}

#[test]
fn chat_services_get_their_own_messages() {
    with_settings(&LOCAL, |world| {
        let receiver = Receiver::start();
        let url = |path: &str| receiver.url(path);
        world.sql(&format!(
            "SELECT wallet.create_wallet('<!here> & co', low_balance => '{{20}}');
             SELECT wallet.fund('<!here> & co', 100);
             SELECT wallet.set_destination('*', 'slack', '{}', name => 'slack');
             SELECT wallet.set_destination('*', 'teams', '{}', name => 'teams');
             SELECT wallet.charge('<!here> & co', amount => 90)",
            url("/services/T/B/x"),
            url("/workflows/y?sig=z")
        ));
        wait_for(world, WAITING, "0");
        for hook in receiver.hooks() {
            assert_eq!(hook.header("webhook-signature"), "", "it has no secret");
            let json = hook.json();
            if hook.path.starts_with("/services") {
                assert_eq!(json["text"], "Wallet &lt;!here&gt; &amp; co is low");
                let section = json["blocks"][1]["text"]["text"].as_str().unwrap();
                assert!(section.starts_with("Less than 20.00 USD is available.\nTime: "));
            } else {
                let card = &json["attachments"][0]["content"];
                assert_eq!(card["type"], "AdaptiveCard");
                let run = &card["body"][0]["inlines"][0]["text"];
                assert_eq!(run, "Wallet <!here> & co is low");
            }
        }
        assert_eq!(receiver.hooks().len(), 2);
    });
}
