//! The page for people: sessions, forms, and what each person sees and may change.

use crate::support::{SECRET, Visitor, World, output, with, with_settings};

const PLACES: [&str; 6] = [
    "/",
    "/transactions",
    "/statement",
    "/limits",
    "/members",
    "/keys",
];

/// A key of an owner of acme.
fn owner(world: &World) -> String {
    world.sql("SELECT wallet.set_member('acme', 'olga', 'owner')");
    world.sql(
        "SELECT wallet.set_member('acme', 'alice', 'member', team => 'research', actor => 'olga')",
    );
    world.new_key("acme", ", 'olga', 'owner key', actor => 'olga'")
}

fn visitor(world: &World, key: &str) -> Visitor {
    Visitor::with_key(world.walletd.http, key)
}

#[test]
fn every_page_is_there_for_an_owner_and_has_the_headers_that_protect_it() {
    with(|world| {
        let key = owner(world);
        world
            .acme
            .post("/v1/charges", r#"{"amount": "1.5", "model": "<b>m</b>"}"#)
            .expect(201);
        let mut olga = visitor(world, &key);
        for place in PLACES {
            let answer = olga.get(place).expect(200);
            let policy = answer.header("content-security-policy").unwrap();
            for part in [
                "default-src 'none'",
                "script-src 'self'",
                "frame-ancestors 'none'",
                "form-action 'self'",
            ] {
                assert!(
                    policy.contains(part) && !policy.contains("unsafe"),
                    "{policy}"
                );
            }
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.text.matches("<h1>").count(), 1, "{place}");
            for bad in ["<b>m</b>", "style=", "<script>", "onclick", key.as_str()] {
                assert!(!answer.text.contains(bad), "{place}: {bad}");
            }
        }
        let home = olga.get("/").text;
        assert!(
            home.contains("98.50") && home.contains("&lt;b&gt;m&lt;/b&gt;"),
            "{home}"
        );
        let entry = world.value("SELECT entry_id FROM wallet.entries WHERE kind = 'charge'");
        let page = olga.get(&format!("/transactions/{entry}")).expect(200);
        assert!(page.text.contains("-1.50 USD"), "{}", page.text);
        let file = olga.get("/statement.csv").expect(200);
        assert!(file.header("content-type").unwrap().starts_with("text/csv"));
        assert!(
            file.text
                .starts_with("time,kind,description,amount,balance,currency")
        );
        assert!(file.text.contains(",-1.50,98.50,USD"), "{}", file.text);
        let style = home
            .split("/assets/")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let style = olga.get(&format!("/assets/{style}")).expect(200);
        assert!(style.header("cache-control").unwrap().contains("immutable"));
        olga.get("/assets/0.css").expect(404);
    });
}

#[test]
fn without_a_session_there_is_only_the_form_to_sign_in() {
    with(|world| {
        let key = owner(world);
        let mut nobody = Visitor::new(world.walletd.http);
        for place in &PLACES[1..] {
            assert_eq!(
                nobody.get(place).expect(303).header("location"),
                Some("/?ended=1")
            );
        }
        nobody.get("/events").expect(303);
        nobody.get("/statement.csv").expect(303);
        for wrong in ["", "wk_0", &format!("{key}0"), "\u{e9}"] {
            nobody.post("/sign-in", &[("key", wrong)]).expect(401);
        }
        assert!(nobody.get("/").text.contains("Sign in to your wallet"));
        // The token of before is not that of the session.
        let before = nobody.token.clone();
        nobody.post("/sign-in", &[("key", &key)]).expect(303);
        nobody.get("/").expect(200);
        assert_ne!(before, nobody.token);
        let old = nobody.cookie.clone();
        nobody.post("/sign-out", &[]).expect(303);
        assert_ne!(old, nobody.cookie);
        nobody.get("/keys").expect(303);
        // A cookie of which a letter was changed is none.
        let mut forged = visitor(world, &key);
        let place = forged.cookie.len() / 2;
        let letter = if &forged.cookie[place..=place] == "A" {
            "B"
        } else {
            "A"
        };
        forged.cookie.replace_range(place..=place, letter);
        forged.get("/keys").expect(303);
    });
}

#[test]
fn a_revoked_key_and_a_blocked_member_end_the_session() {
    with(|world| {
        let key = owner(world);
        let mut olga = visitor(world, &key);
        let mut alice = visitor(world, world.acme.key.clone().unwrap().as_str());
        alice.get("/transactions").expect(200);
        world.sql(
            "SELECT wallet.set_member('acme', 'alice', 'member', blocked => true, actor => 'olga')",
        );
        alice.get("/transactions").expect(303);
        olga.get("/keys").expect(200);
        world.sql("SELECT wallet.revoke_key('acme', key_id, actor => 'olga') FROM wallet.keys WHERE name = 'owner key'");
        for place in &PLACES[1..] {
            olga.get(place).expect(303);
        }
        let limits = world.value("SELECT count(*) FROM wallet.limits_status");
        olga.post("/limits", &LIMIT).expect(303);
        assert_eq!(
            world.value("SELECT count(*) FROM wallet.limits_status"),
            limits
        );
        assert!(olga.get("/?ended=1").text.contains("the session has ended"));
    });
}

const LIMIT: [(&str, &str); 6] = [
    ("max", "7.125"),
    ("period", "day"),
    ("scope", "user"),
    ("subject", "alice"),
    ("metric", "amount"),
    ("mode", "hard"),
];

#[test]
fn an_owner_manages_limits_members_and_keys() {
    with(|world| {
        let key = owner(world);
        let mut olga = visitor(world, &key);
        olga.post("/limits", &LIMIT).expect(303);
        assert!(olga.get("/limits?done=set").text.contains("7.125"));
        let limit = "SELECT max::text FROM wallet.limits_status WHERE subject = 'alice'";
        assert_eq!(world.value(limit), "7.125");
        let mut wrong = LIMIT;
        for (max, status) in [("-1", 422), ("many", 422), ("", 422), ("NaN", 422)] {
            wrong[0].1 = max;
            let answer = olga.post("/limits", &wrong).expect(status);
            assert!(answer.text.contains("role=\"alert\""), "{}", answer.text);
        }
        let id = world.value("SELECT limit_id FROM wallet.limits_status WHERE subject = 'alice'");
        olga.post("/limits/drop", &[("id", &id)]).expect(303);
        olga.post("/limits/drop", &[("id", &id)]).expect(404);
        assert_eq!(
            world.value("SELECT count(*) FROM wallet.limits_status"),
            "0"
        );

        let member = [
            ("user", "bob"),
            ("role", "viewer"),
            ("team", "x"),
            ("blocked", "false"),
        ];
        olga.post("/members", &member).expect(303);
        assert!(olga.get("/members").text.contains("bob"));
        assert_eq!(
            world.value("SELECT role || team FROM wallet.member_list WHERE user_id = 'bob'"),
            "viewerx"
        );
        olga.post("/members/drop", &[("user", "bob")]).expect(303);
        assert_eq!(
            world.value("SELECT count(*) FROM wallet.member_list WHERE user_id = 'bob'"),
            "0"
        );

        let form = [
            ("once", "k1"),
            ("name", "new"),
            ("user", "alice"),
            ("days", "30"),
        ];
        let made = olga.post("/keys", &form).expect(200);
        let secret = secret_of(&made.text).unwrap();
        visitor(world, &secret).get("/limits").expect(200);
        assert_eq!(secret_of(&olga.post("/keys", &form).expect(200).text), None);
        assert_eq!(
            world.value("SELECT count(*) FROM wallet.keys WHERE name = 'new'"),
            "1"
        );
        assert!(!olga.get("/keys").text.contains(&secret));
        let id = world.value("SELECT key_id FROM wallet.keys WHERE name = 'new'");
        let form = [("once", "r1"), ("id", id.as_str()), ("overlap", "0")];
        let rotated = secret_of(&olga.post("/keys/rotate", &form).expect(200).text).unwrap();
        let mut late = Visitor::new(world.walletd.http);
        late.post("/sign-in", &[("key", &secret)]).expect(401);
        let mut alice = visitor(world, &rotated);
        olga.post("/keys/revoke", &[("id", &id)]).expect(303);
        alice.get("/limits").expect(303);
        assert!(!world.walletd.log().contains("wk_"));
    });
}

fn secret_of(page: &str) -> Option<String> {
    let rest = page.split("<code id=\"secret\">").nth(1)?;
    rest.split('<').next().map(str::to_owned)
}

/// Every form that changes something, with values that would be accepted.
fn changes(id: &str) -> Vec<(&'static str, Vec<(&'static str, String)>)> {
    let text = |fields: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    vec![
        ("/limits", text(&LIMIT)),
        ("/limits/drop", text(&[("id", id)])),
        (
            "/members",
            text(&[
                ("user", "eve"),
                ("role", "owner"),
                ("team", ""),
                ("blocked", "false"),
            ]),
        ),
        ("/members/drop", text(&[("user", "olga")])),
        (
            "/keys",
            text(&[
                ("once", "o"),
                ("name", "stolen"),
                ("user", ""),
                ("days", ""),
            ]),
        ),
        (
            "/keys/rotate",
            text(&[("once", "p"), ("id", id), ("overlap", "0")]),
        ),
        ("/keys/revoke", text(&[("id", id)])),
    ]
}

/// Everything that the forms could have changed.
const RULES: &str = "SELECT (SELECT count(*) FROM wallet.limits_status) || ' ' \
     || (SELECT string_agg(user_id || role, ',' ORDER BY user_id) FROM wallet.member_list) || ' ' \
     || (SELECT string_agg(status || coalesce(rotated_at::text, ''), ',' ORDER BY key_id) FROM wallet.keys)";

#[test]
fn who_is_no_owner_or_admin_changes_nothing() {
    with(|world| {
        let olga = owner(world);
        world.sql(
            "SELECT wallet.set_member('acme', 'vera', 'viewer', actor => 'olga');
                   SELECT wallet.set_member('acme', 'bill', 'billing', actor => 'olga')",
        );
        let mut keys = vec![world.acme.key.clone().unwrap()];
        for user in ["'vera'", "'bill'", "'stranger'", "NULL"] {
            keys.push(world.new_key("acme", &format!(", {user}")));
        }
        let id = world.value("SELECT key_id FROM wallet.keys WHERE name = 'owner key'");
        let before = world.value(RULES);
        for key in &keys {
            let mut person = visitor(world, key);
            for place in &PLACES[..4] {
                person.get(place).expect(200);
            }
            person.get("/members").expect(403);
            person.get("/keys").expect(403);
            assert!(!person.get("/limits").text.contains("action=\"/limits\""));
            for (path, fields) in changes(&id) {
                let fields: Vec<(&str, &str)> =
                    fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
                person.post(path, &fields).expect(403);
            }
        }
        assert_eq!(world.value(RULES), before);
        visitor(world, &olga).get("/keys").expect(200);
    });
}

#[test]
fn a_form_that_the_page_did_not_send_changes_nothing() {
    with(|world| {
        let key = owner(world);
        let mut olga = visitor(world, &key);
        let id = world.value("SELECT key_id FROM wallet.keys WHERE name = 'owner key'");
        let before = world.value(RULES);
        let good = olga.token.clone();
        let other = visitor(world, &key).token;
        let evil = [("origin", "https://evil.example")];
        let cross = [("sec-fetch-site", "cross-site")];
        for (path, fields) in changes(&id) {
            let fields: Vec<(String, String)> =
                fields.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            let with = |token: &str| {
                let mut all = fields.clone();
                all.push(("token".to_owned(), token.to_owned()));
                all
            };
            olga.post_as(path, &fields, &[]).expect(403);
            olga.post_as(path, &with(""), &[]).expect(403);
            olga.post_as(path, &with(&other), &[]).expect(403);
            olga.post_as(path, &with(&good), &evil).expect(403);
            olga.post_as(path, &with(&good), &cross).expect(403);
            olga.get(path).status.to_string();
        }
        assert_eq!(world.value(RULES), before);
        let mut nobody = Visitor::new(world.walletd.http);
        let forged = [("key".to_owned(), key.clone())];
        nobody.post_as("/sign-in", &forged, &[]).expect(403);
        olga.post_as("/sign-out", &[], &[]).expect(403);
        olga.get("/keys").expect(200);
    });
}

#[test]
fn no_address_and_no_form_leads_to_another_wallet() {
    with(|world| {
        let olga = owner(world);
        world.sql(
            "SELECT wallet.set_limit('acme', 77.125, 'day', actor => 'olga');
                   SELECT wallet.set_member('globex', 'gina', 'owner')",
        );
        let charge = world
            .acme
            .post("/v1/charges", r#"{"amount": "4.4412345"}"#)
            .expect(201);
        let entry = charge.json["entry_id"].as_str().unwrap().to_owned();
        let limit = world.value("SELECT limit_id FROM wallet.limits_status WHERE wallet = 'acme'");
        let key = world.value("SELECT key_id FROM wallet.keys WHERE name = 'owner key'");
        let gina = world.new_key("globex", ", 'gina', actor => 'gina'");
        let mut gina = visitor(world, &gina);
        gina.get(&format!("/transactions/{entry}")).expect(404);
        let mut seen = vec![
            gina.get(&format!("/transactions?before={entry}"))
                .expect(200),
        ];
        for place in PLACES {
            seen.push(gina.get(&format!("{place}?wallet=acme")).expect(200));
        }
        seen.push(gina.get("/statement.csv?wallet=acme").expect(200));
        for answer in &seen {
            for trace in ["acme", "alice", "olga", "4.44123", "77.125", entry.as_str()] {
                assert!(!answer.text.contains(trace), "{trace} in {}", answer.text);
            }
        }
        let rules = "SELECT (SELECT string_agg(status || coalesce(rotated_at::text, ''), ',' ORDER BY key_id) \
             FROM wallet.keys WHERE wallet = 'acme') || (SELECT count(*) FROM wallet.limits_status WHERE wallet = 'acme') \
             || (SELECT string_agg(user_id, ',' ORDER BY user_id) FROM wallet.member_list WHERE wallet = 'acme')";
        let before = world.value(rules);
        gina.post("/limits/drop", &[("id", &limit), ("wallet", "acme")])
            .expect(404);
        gina.post(
            "/keys/rotate",
            &[("once", "1"), ("id", &key), ("overlap", "0")],
        )
        .expect(404);
        gina.post("/keys/revoke", &[("id", &key)]).expect(404);
        gina.post("/members/drop", &[("user", "alice"), ("wallet", "acme")])
            .expect(404);
        let mut limit = LIMIT.to_vec();
        limit.push(("wallet", "acme"));
        gina.post("/limits", &limit).expect(303);
        assert_eq!(world.value(rules), before);
        visitor(world, &olga).get("/keys").expect(200);
    });
}

/// A link of the command.
fn link(world: &World, user: &str, others: &[(&str, &str)]) -> String {
    let url = crate::support::url(world.database, "postgres");
    let mut settings: Vec<(&str, &str)> = world
        .settings
        .iter()
        .map(|(n, v)| (n.as_str(), v.as_str()))
        .collect();
    settings.push(("DATABASE_URL", &url));
    settings.extend_from_slice(others);
    let output = output(
        &["sign-in-link", "--wallet", "acme", "--user", user],
        &settings,
    );
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The field of the form that the page of a link has.
fn text_of(link: &str) -> String {
    let query = link.split_once("link=").unwrap().1;
    let pairs: Vec<(String, String)> =
        serde_urlencoded::from_str(&format!("link={query}")).unwrap();
    pairs[0].1.clone()
}

#[test]
fn a_link_signs_in_once_whoever_opens_it_first_and_whatever_the_role() {
    with_settings(&[("WALLETD_PAGE__SIGN_INS", "1000")], |world| {
        owner(world);
        world.sql("SELECT wallet.set_member('acme', 'vera', 'viewer', actor => 'olga')");
        for user in ["alice", "vera"] {
            let link = link(world, user, &[]);
            assert!(!link.contains("wk_"));
            let text = text_of(&link);
            // To open it uses nothing: programs that look at mail do so.
            let path = link.split_once("/sign-in").unwrap().1.to_owned();
            for _ in 0..3 {
                Visitor::new(world.walletd.http)
                    .get(&format!("/sign-in{path}"))
                    .expect(200);
            }
            let address = world.walletd.http;
            let attempts: Vec<_> = (0..8)
                .map(|_| {
                    let text = text.clone();
                    std::thread::spawn(move || {
                        let mut person = Visitor::new(address);
                        person.post("/sign-in/link", &[("link", &text)]).status
                    })
                })
                .collect();
            let mut statuses: Vec<u16> = attempts
                .into_iter()
                .map(|one| one.join().unwrap())
                .collect();
            statuses.sort_unstable();
            assert_eq!(statuses, [303, 401, 401, 401, 401, 401, 401, 401]);
            let mut late = Visitor::new(address);
            late.post("/sign-in/link", &[("link", &text)]).expect(401);
        }
        assert!(!world.walletd.log().contains("link="));
    });
}

#[test]
fn a_link_that_expired_or_was_changed_signs_nobody_in() {
    with(|world| {
        owner(world);
        let short = text_of(&link(world, "alice", &[("WALLETD_PAGE__LINK", "1s")]));
        let other = format!("[{:?}]", SECRET.to_uppercase());
        let foreign = text_of(&link(world, "alice", &[("WALLETD_PAGE__SECRETS", &other)]));
        let good = text_of(&link(world, "alice", &[]));
        std::thread::sleep(std::time::Duration::from_millis(2100));
        let mut person = Visitor::new(world.walletd.http);
        for text in [short.as_str(), &foreign, "x", "", &good[1..]] {
            person.post("/sign-in/link", &[("link", text)]).expect(401);
        }
        person.post("/sign-in/link", &[("link", &good)]).expect(303);
        assert!(person.get("/").text.contains("alice"));
    });
}

#[test]
fn a_session_ends_and_attempts_are_counted_per_address() {
    let settings = [
        ("WALLETD_PAGE__SESSION", "2s"),
        ("WALLETD_PAGE__LINK", "1s"),
        ("WALLETD_PAGE__SIGN_INS", "3"),
    ];
    with_settings(&settings, |world| {
        let key = owner(world);
        let mut olga = visitor(world, &key);
        olga.get("/keys").expect(200);
        std::thread::sleep(std::time::Duration::from_millis(2100));
        olga.get("/keys").expect(303);
        let mut guess = Visitor::new(world.walletd.http);
        for status in [401, 401, 429] {
            guess
                .post("/sign-in", &[("key", "wk_guess")])
                .expect(status);
        }
        guess.post("/sign-in", &[("key", &key)]).expect(429);
    });
}

#[test]
fn addresses_that_cannot_be_read_are_refused() {
    with(|world| {
        let key = owner(world);
        let mut olga = visitor(world, &key);
        for (path, status) in [
            ("/transactions?before=x", 400),
            ("/transactions?kind=x", 422),
            ("/transactions?user=%00", 422),
            ("/transactions/x", 404),
            ("/statement?month=2026-13", 400),
            ("/statement?month=2026-3", 400),
            ("/statement?month='", 400),
        ] {
            olga.get(path).expect(status);
        }
        let large = "x".repeat(70_000);
        olga.post("/members", &[("user", &large)]).expect(413);
        olga.post("/members", &[("user", "x")]).expect(400);
        assert!(!world.walletd.log().contains("\"level\":\"ERROR\""));
    });
}

#[test]
fn the_page_without_secrets_is_not_there() {
    let off = [
        ("WALLETD_PAGE__SECRETS", "[]"),
        ("WALLETD_PAGE__DATABASE", ""),
    ];
    with_settings(&off, |world| {
        world.client("x").get("/").problem(404, "not_found");
        world.client("x").get("/keys").problem(404, "not_found");
    });
}
