//! `erase_user` leaves no trace of a person, and everything that is proven stays proven.
//!
//! What could go wrong: a column that is forgotten, today or when one is added; a hash or the id of
//! a window that would confirm a guess; a chain or a digest that no longer matches; a limit that
//! counts something else; a retry that books a second time.

use std::collections::BTreeSet;

use postgres::Client;
use rust_decimal::Decimal;
use serde_json::Value;
use wallet_tests::{Database, archive, audit, dec, state_of};

/// Has characters that JSON escapes, and some that patterns would take for their own.
const PERSON: &str = "al\"ice\\o'.?+(x@example.com";

/// A name that contains no other's name.
const OTHER: &str = "bob@example.com";

/// The identifier as a literal and inside of a JSON document in a literal.
fn fill(sql: &str, person: &str) -> String {
    let inside = serde_json::to_string(person).unwrap();
    let inside = &inside[1..inside.len() - 1];
    let literal = |text: &str| text.replace('\'', "''");
    let twice = inside.replace('\\', "\\\\").replace('"', "\\\"");
    sql.replace("PERSON_TWICE", &literal(&twice))
        .replace("PERSON_JSON", &literal(inside))
        .replace("PERSON", &literal(person))
        .replace("OTHER", OTHER)
}

/// A person with rows of every kind.
const SCENE: &str = r#"
    SET standard_conforming_strings = on;
    SELECT wallet.set_price('m', 'input_tokens', 0.001, effective_from => '2020-01-01Z', actor => 'PERSON', metadata => '{"by": "PERSON_JSON"}');
    SELECT wallet.set_markup('list', 10, actor => 'PERSON');
    SELECT wallet.set_fx_rate('EUR', 'USD', 1.1, actor => 'PERSON', metadata => '{"by": "PERSON_JSON"}');
    SELECT wallet.set_metric('points', '{"input_tokens": 2}', actor => 'PERSON');
    SELECT wallet.set_usage_mapping('own', '{"providers": ["own"], "shapes": [{"at": "u", "all": ["n"]}], "meters": [{"path": "n", "meter": "pages"}]}', actor => 'PERSON');
    SELECT wallet.create_voucher('code-1', 5, max_redemptions => 3, actor => 'PERSON', metadata => '{"for": "PERSON_JSON"}');
    SELECT wallet.set_limit('*', 70, 'month', 'user', 'PERSON', actor => 'PERSON');
    SELECT wallet.set_plan('basic', '{"limits": [{"max": 100000, "period": "month"}]}', actor => 'PERSON', metadata => '{"by": "PERSON_JSON"}');
    SELECT wallet.set_plan('personal', '{"limits": [{"max": 70000, "period": "day", "scope": "user", "subject": "PERSON_JSON"},
                                                   {"max": 71000, "period": "day", "scope": "user+tag:end_user", "subject": "[\"*\",\"PERSON_TWICE\"]"}],
                                        "model_rules": [{"scope": "user", "subject": "PERSON_JSON", "allowed": ["m"]}]}');
    SELECT wallet.create_wallet('planned', plan => 'personal'); SELECT wallet.fund('planned', 10);
    SELECT wallet.charge('planned', amount => 1, user_id => 'PERSON', model => 'm');
    SELECT wallet.set_chargeback_rule('planned', 'fixed', '{"PERSON_JSON": 0.5}', dimension => 'tag:end_user');
    SELECT wallet.create_wallet('acme', metadata => '{"contact": "PERSON_JSON"}', actor => 'PERSON');
    SELECT wallet.create_wallet('other');
    SELECT wallet.fund('acme', 500, reference => 'pay_1', actor => 'PERSON', metadata => '{"payer": "PERSON_JSON"}', idempotency_key => 'f1');
    SELECT wallet.fund('acme', 5, reference => 'pay_2', status => 'pending', actor => 'PERSON', metadata => '{"payer": "PERSON_JSON"}');
    SELECT wallet.fund('other', 50);
    SELECT wallet.set_bonus('acme', '[{"from":5000,"percent":5}]', actor => 'PERSON');
    SELECT wallet.set_recurring_grant('acme', 1, actor => 'PERSON', metadata => '{"for": "PERSON_JSON"}');
    SELECT wallet.redeem_voucher('acme', 'code-1', actor => 'PERSON');
    SELECT wallet.set_limit('acme', 60, 'month', 'user', 'PERSON', actor => 'PERSON');
    SELECT wallet.set_limit('acme', 90, 'month', 'user', actor => 'OTHER');
    SELECT wallet.set_limit('acme', 50, 'day', 'user+model', '["PERSON_JSON", "*"]');
    SELECT wallet.set_limit('acme', 55, 'lifetime', 'tag:end_user');
    SELECT wallet.create_wallet('third'); SELECT wallet.fund('third', 50);
    SELECT wallet.set_limit('third', 40, 'week', 'user', 'al*');
    SELECT wallet.charge('third', amount => 5, user_id => 'PERSON'); SELECT wallet.charge('third', amount => 6, user_id => 'alfred');
    SELECT wallet.set_member('acme', 'PERSON', 'admin', 'red', idempotency_key => 'm1');
    SELECT wallet.set_member('acme', 'OTHER', 'owner');
    SELECT wallet.create_key('acme', 'PERSON', 'laptop of PERSON', allowed_ips => '{10.0.0.0/8}', devices => '{d1}');
    SELECT wallet.set_model_rules('acme', 'user', 'PERSON', allowed => '{m}');
    SELECT wallet.charge('acme', '{"model": "m", "input_tokens": 1000, "user": "PERSON_JSON", "steps": 3}', user_id => 'PERSON',
                         tags => '{"end_user": "PERSON_JSON", "project": "p"}', idempotency_key => 'c1',
                         actor => 'PERSON', metadata => '{"ip": "10.0.0.7"}');
    SELECT wallet.charge('acme', '{"model": "m", "input_tokens": 2000}', user_id => 'PERSON');
    SELECT wallet.charge('acme', '{"model": "m", "input_tokens": 3000}', user_id => 'OTHER', actor => 'PERSON',
                         metadata => '{"seen": ["by PERSON_JSON"], "n": 1.50}', tags => '{"end_user": "OTHER"}');
    SELECT wallet.charge('other', '{"model": "m", "input_tokens": 4000}', user_id => 'PERSON');
    SELECT wallet.charge('acme', amount => 42, user_id => 'PERSON', model => 'm');
    SELECT wallet.refund('acme', (SELECT entry_id FROM wallet.entries WHERE idempotency_key = 'c1'), 0.25, reason => 'asked by PERSON.', actor => 'PERSON');
    SELECT wallet.adjust('acme', 1, reason => 'for PERSON', idempotency_key => 'a1');
    SELECT wallet.hold('acme', amount => 2, user_id => 'PERSON', model => 'm', ttl => '1 day', idempotency_key => 'h1', actor => 'PERSON',
                       tags => '{"end_user": "PERSON_JSON"}', metadata => '{"x": "PERSON_JSON"}');
    SELECT wallet.hold('acme', amount => 1, user_id => 'PERSON', model => 'm', ttl => '1 day', idempotency_key => 'h2');
    SELECT wallet.settle('acme', (SELECT hold_id FROM wallet.reservations WHERE idempotency_key = 'h2'), amount => 1, idempotency_key => 's2');
    SELECT wallet.set_topup_rule('acme', '{"threshold":900,"amount":10}', actor => 'PERSON');
    SELECT wallet.charge('acme', amount => 0.01);
    SELECT wallet.fail_topup('acme', (SELECT topup_id FROM wallet.topups WHERE wallet = 'acme' AND status = 'requested' LIMIT 1), 'card of PERSON', actor => 'PERSON');
    SELECT wallet.set_destination('other', 'webhook', 'https://example.com/hook', actor => 'PERSON', metadata => '{"of": "PERSON_JSON"}');
    SELECT wallet.freeze_wallet('other', 'asked by PERSON', actor => 'PERSON');
    SELECT wallet.retry_event((SELECT id FROM wallet.claim_events() LIMIT 1), error => 'no mail to PERSON');
    SELECT wallet.roll_up(now() + interval '1 day');
"#;

/// The columns that are expected to name the person before the erasure.
const EXPECTED: &[&str] = &[
    "allowances.subject",
    "api_keys.name",
    "api_keys.user_id",
    "audit_log.actor",
    "audit_log.after",
    "audit_log.subject",
    "bonus_rules.actor",
    "carried_forward.actor",
    "chargeback_rules.shares",
    "funding_requests.actor",
    "funding_requests.metadata",
    "destinations.actor",
    "destinations.metadata",
    "fx_rates.actor",
    "fx_rates.metadata",
    "ledger.actor",
    "ledger.metadata",
    "ledger.reason",
    "ledger.tags",
    "ledger.user_id",
    "ledger_archive.actor",
    "ledger_archive.metadata",
    "ledger_archive.usage",
    "limits.subject",
    "markups.actor",
    "members.user_id",
    "metric_weights.actor",
    "model_rules.subject",
    "outbox.last_error",
    "outbox.payload",
    "plan_rules.name",
    "plan_versions.actor",
    "plan_versions.definition",
    "plan_versions.metadata",
    "prices.actor",
    "prices.metadata",
    "recurring_grants.actor",
    "recurring_grants.metadata",
    "reservations.actor",
    "reservations.metadata",
    "reservations.tags",
    "reservations.user_id",
    "topup_requests.reason",
    "usage_mappings.actor",
    "usage_rollups.user_id",
    "vouchers.actor",
    "vouchers.metadata",
    "wallets.known_limits",
    "wallets.metadata",
    "wallets.status_reason",
];

/// The columns of all tables of the schema in which a text is found, printed in any type. A text in
/// a document, an array or a row may be escaped.
fn places(client: &mut Client, text: &str) -> BTreeSet<String> {
    let columns = client
        .query(
            "SELECT c.relname::text, a.attname::text FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
              WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped",
            &[],
        )
        .unwrap();
    let json = serde_json::to_string(text).unwrap();
    let json = &json[1..json.len() - 1];
    let doubled = text.replace('\\', "\\\\\\\\").replace('"', "\\\\\"\\\\\"");
    let mut found = BTreeSet::new();
    for row in &columns {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        let sql = format!(
            "SELECT EXISTS (SELECT FROM wallet.{table} t
                             WHERE strpos(t.{column}::text, $1) > 0 OR strpos(t.{column}::text, $2) > 0
                                OR strpos(t.{column}::text, $3) > 0
                                OR strpos(regexp_replace(t.{column}::text, '[\"\\\\]', '', 'g'), $4) > 0)"
        );
        let bare = text.replace(['"', '\\'], "");
        let hit: bool = client
            .query_one(&sql, &[&text, &json, &doubled, &bare])
            .unwrap_or_else(|error| panic!("{table}.{column}: {error:?}"))
            .get(0);
        if hit {
            found.insert(format!("{table}.{column}"));
        }
    }
    found
}

/// Fails if a table has one of the secrets, which consist of letters, digits and hyphens.
#[track_caller]
fn none_of(client: &mut Client, secrets: &[String]) {
    let tables = texts(
        client,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'wallet'::regnamespace AND relkind = 'r'",
    );
    for table in tables {
        let sql = format!(
            "SELECT s FROM unnest($1::text[]) s WHERE EXISTS (SELECT FROM wallet.{table} t WHERE strpos(t::text, s) > 0)"
        );
        let found = client.query(&sql, &[&secrets]).unwrap();
        assert!(
            found.is_empty(),
            "{table} has {}",
            found[0].get::<_, String>(0)
        );
    }
}

fn texts(client: &mut Client, sql: &str) -> Vec<String> {
    let rows = client.query(sql, &[]).unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Every check of verify() is right, also with the digest.
#[track_caller]
fn verified(client: &mut Client, wallet: &str, digest: &Value) {
    let rows = client
        .query(
            "SELECT \"check\", ok, detail FROM wallet.verify($1, $2)",
            &[&wallet, digest],
        )
        .unwrap();
    for row in rows {
        let (check, ok, detail): (String, bool, String) = (row.get(0), row.get(1), row.get(2));
        assert!(ok, "{wallet}: {check}: {detail}");
    }
    audit(client, wallet);
}

fn cost_of(client: &mut Client, user: &str) -> Decimal {
    client
        .query_one(
            "SELECT coalesce(sum(cost), 0) FROM wallet.usage_daily WHERE user_id = $1",
            &[&user],
        )
        .unwrap()
        .get(0)
}

fn page(client: &mut Client, user: &str) -> i64 {
    client
        .query_one(
            "SELECT count(*) FROM wallet.transactions('acme', $1)",
            &[&user],
        )
        .unwrap()
        .get(0)
}

fn erase(client: &mut Client, sql: &str) -> (Option<String>, i64, Value, bool) {
    let row = client
        .query_one(
            &format!(
                "SELECT pseudonym, rows, kept, replayed FROM {}",
                fill(sql, PERSON)
            ),
            &[],
        )
        .unwrap_or_else(|error| panic!("{error:?}"));
    (row.get(0), row.get(1), row.get(2), row.get(3))
}

struct Scene {
    _database: Database,
    client: Client,
    digest: Value,
    secrets: Vec<String>,
}

/// The person, rolled up and partly archived. The secrets are hashes and ids of which the
/// identifier is a part.
fn scene() -> Scene {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(&fill(SCENE, PERSON))
        .unwrap_or_else(|error| panic!("{error:?}"));
    let moved = fill(
        "SELECT archived FROM wallet.archive('acme', now(), 4, actor => 'PERSON')",
        PERSON,
    );
    client.query_one(&moved, &[]).unwrap();
    client
        .batch_execute(&fill(
            "SELECT wallet.archive('acme', now(), 1, actor => 'PERSON')",
            PERSON,
        ))
        .unwrap();
    let digest = client
        .query_one("SELECT wallet.digest()", &[])
        .unwrap()
        .get(0);
    let windows = "SELECT allowance_id::text FROM wallet.allowances WHERE subject LIKE '%ice%'";
    let fingerprints = "SELECT fingerprint::text FROM wallet.ledger_all WHERE user_id LIKE 'al\"%' AND fingerprint IS NOT NULL
                         UNION SELECT fingerprint::text FROM wallet.reservations WHERE fingerprint IS NOT NULL
                         UNION SELECT fingerprint::text FROM wallet.requests WHERE idempotency_key = 'm1'";
    let salts =
        "SELECT encode(person_proof, 'hex') FROM wallet.ledger_all WHERE user_id LIKE 'al\"%'";
    let mut secrets = texts(&mut client, windows);
    for sql in [fingerprints, salts] {
        let more = texts(&mut client, sql);
        assert!(!more.is_empty(), "{sql}");
        secrets.extend(more);
    }
    assert!(secrets.len() > 12, "{secrets:?}");
    Scene {
        _database: database,
        client,
        digest,
        secrets,
    }
}

#[test]
fn nothing_is_left_of_an_erased_person() {
    let mut scene = scene();
    let client = &mut scene.client;
    let before = places(client, PERSON);
    let missing: Vec<_> = EXPECTED
        .iter()
        .filter(|place| !before.contains(**place))
        .collect();
    assert!(missing.is_empty(), "the scene has nothing in {missing:?}");
    verified(client, "acme", &scene.digest);
    let (cost, entries, others) = (
        cost_of(client, PERSON),
        page(client, PERSON),
        cost_of(client, OTHER),
    );
    assert!(cost > dec("40") && entries >= 3);
    let call = "wallet.erase_user('PERSON', actor => 'PERSON', metadata => '{\"ticket\": \"of PERSON_JSON\"}')";
    let (pseudonym, rows, kept, replayed) = erase(client, call);
    let pseudonym = pseudonym.expect("a pseudonym");
    assert!(pseudonym.starts_with("erased-") && rows > 40 && !replayed);
    assert_eq!(kept, serde_json::json!({}));
    assert_eq!(places(client, PERSON), BTreeSet::new());
    none_of(client, &scene.secrets);
    for wallet in ["acme", "other", "third"] {
        verified(client, wallet, &scene.digest);
    }
    assert_eq!(cost_of(client, &pseudonym), cost);
    assert_eq!(page(client, &pseudonym), entries);
    assert_eq!(cost_of(client, OTHER), others);
    let audited = client
        .query(
            "SELECT subject, actor FROM wallet.audit WHERE action = 'erase_user'",
            &[],
        )
        .unwrap();
    assert_eq!(audited.len(), 1);
    assert_eq!(audited[0].get::<_, String>(0), pseudonym);
    assert_eq!(audited[0].get::<_, String>(1), pseudonym);
    // What was billed is still explained, and what is not personal is still there.
    let row = client
        .query_one(
            "SELECT usage, tags, metadata, lines <> '[]' FROM wallet.entries WHERE idempotency_key = 'c1'",
            &[],
        )
        .unwrap();
    let (usage, tags): (Value, Value) = (row.get(0), row.get(1));
    assert_eq!(usage["input_tokens"], 1000);
    assert_eq!(usage["user"], pseudonym.as_str());
    assert_eq!(tags["project"], "p");
    assert!(row.get::<_, Option<Value>>(2).is_none() && row.get::<_, bool>(3));
    // The second call finds nothing.
    let (again, rows, _, _) = erase(client, "wallet.erase_user('PERSON')");
    assert_eq!((again, rows), (None, 0));
    assert_eq!(places(client, PERSON), BTreeSet::new());
}

/// A retry books nothing, and use under the old name is that of a new person.
#[test]
fn an_erased_person_can_come_back_as_another() {
    let mut scene = scene();
    let client = &mut scene.client;
    let (pseudonym, ..) = erase(
        client,
        "wallet.erase_user('PERSON', idempotency_key => 'e1')",
    );
    let pseudonym = pseudonym.expect("a pseudonym");
    for retry in [
        "SELECT replayed FROM wallet.charge('acme', '{\"model\": \"m\", \"input_tokens\": 1000}', user_id => 'PERSON', idempotency_key => 'c1')",
        "SELECT replayed FROM wallet.hold('acme', amount => 2, user_id => 'PERSON', model => 'm', ttl => '1 day', idempotency_key => 'h1')",
        "SELECT replayed FROM wallet.fund('acme', 500, reference => 'pay_1', idempotency_key => 'f1')",
    ] {
        let row = client.query_one(&fill(retry, PERSON), &[]).unwrap();
        assert!(row.get::<_, bool>(0), "{retry}");
    }
    client
        .batch_execute(&fill(
            "SELECT wallet.set_member('acme', 'PERSON', 'admin', 'red', idempotency_key => 'm1')",
            PERSON,
        ))
        .unwrap();
    assert_eq!(places(client, PERSON), BTreeSet::new());
    // The open hold is settled in the renamed windows.
    client
        .batch_execute("SELECT wallet.settle('acme', (SELECT hold_id FROM wallet.reservations WHERE idempotency_key = 'h1'), amount => 1.5)")
        .unwrap();
    verified(client, "acme", &scene.digest);
    let old = cost_of(client, &pseudonym);
    client
        .batch_execute(&fill("SELECT wallet.set_member('acme', 'PERSON'); SELECT wallet.charge('acme', amount => 7, user_id => 'PERSON')", PERSON))
        .unwrap();
    assert_eq!(cost_of(client, PERSON), dec("7"));
    assert_eq!(cost_of(client, &pseudonym), old);
    verified(client, "acme", &scene.digest);
    // The first key is that of the first erasure.
    let sql = fill(
        "SELECT * FROM wallet.erase_user('PERSON', idempotency_key => 'e1')",
        PERSON,
    );
    let error = client.query_one(&sql, &[]).unwrap_err();
    assert_eq!(error.code().unwrap().code(), "WL006");
    let (second, ..) = erase(
        client,
        "wallet.erase_user('PERSON', idempotency_key => 'e2')",
    );
    assert!(second.is_some_and(|second| second != pseudonym));
    let (replay, _, _, replayed) = erase(
        client,
        "wallet.erase_user('PERSON', idempotency_key => 'e1')",
    );
    assert_eq!((replay, replayed), (Some(pseudonym), true));
    verified(client, "acme", &scene.digest);
}

/// In one wallet, the others are left alone.
#[test]
fn one_wallet_is_erased_alone() {
    let mut scene = scene();
    let client = &mut scene.client;
    let (pseudonym, ..) = erase(client, "wallet.erase_user('PERSON', 'acme')");
    assert!(pseudonym.is_some());
    for wallet in ["acme", "other", "third"] {
        verified(client, wallet, &scene.digest);
    }
    let left = texts(
        client,
        "SELECT DISTINCT wallet_id FROM wallet.ledger_all WHERE user_id LIKE 'al\"%' ORDER BY 1",
    );
    assert_eq!(left, ["other", "planned", "third"]);
    let left = places(client, PERSON);
    assert!(
        left.contains("prices.actor") && !left.contains("members.user_id"),
        "{left:?}"
    );
}

/// Keys and references stay, and the answer says so.
#[test]
fn what_cannot_change_is_counted() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('w of person-1'); SELECT wallet.fund('w of person-1', 10, reference => 'pay person-1');
             SELECT wallet.charge('w of person-1', amount => 1, user_id => 'person-1', idempotency_key => 'k person-1')",
        )
        .unwrap();
    let row = client
        .query_one("SELECT kept FROM wallet.erase_user('person-1')", &[])
        .unwrap();
    assert_eq!(
        row.get::<_, Value>(0),
        serde_json::json!({"ledger.idempotency_key": 1, "ledger.reference": 1, "funding_requests.reference": 1, "wallets.wallet_id": 1})
    );
    audit(&mut client, "w of person-1");
    let error = client
        .query_one(
            "SELECT wallet.erase_user('person-1', idempotency_key => 'of person-1')",
            &[],
        )
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22023");
}

/// A short name is also a number or a word. Only what names somebody is replaced.
#[test]
fn a_short_name_does_not_eat_other_texts() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('acme'); SELECT wallet.fund('acme', 10);
             SELECT wallet.charge('acme', amount => 1, user_id => '7', tags => '{\"priority\": \"7\", \"user\": \"7\"}');
             SELECT wallet.charge('acme', amount => 1, user_id => '8', tags => '{\"priority\": \"7\"}');
             SELECT wallet.adjust('acme', 1, reason => '7 days');
             SELECT wallet.set_limit('acme', 5, 'month', 'user+team', '[\"7\", \"*\"]');
             SELECT wallet.erase_user('7')",
        )
        .unwrap();
    let kept = texts(
        &mut client,
        "SELECT tags ->> 'priority' FROM wallet.entries WHERE tags IS NOT NULL",
    );
    assert_eq!(kept, ["7", "7"]);
    assert_eq!(
        texts(
            &mut client,
            "SELECT reason FROM wallet.entries WHERE reason IS NOT NULL"
        ),
        ["7 days"]
    );
    let users = "SELECT user_id FROM wallet.entries WHERE user_id = '7' UNION SELECT tags ->> 'user' FROM wallet.entries WHERE tags ->> 'user' = '7'
                 UNION SELECT subject FROM wallet.limits WHERE subject LIKE '%\"7\"%'";
    assert!(texts(&mut client, users).is_empty());
    audit(&mut client, "acme");
}

/// No statement of anybody changes an entry, also not one that has been erased.
#[test]
fn erased_entries_are_as_immutable_as_others() {
    let mut scene = scene();
    let client = &mut scene.client;
    erase(client, "wallet.erase_user('PERSON')");
    for table in ["ledger", "ledger_archive"] {
        for change in [
            "user_id = 'x'",
            "person_proof = NULL",
            "metadata = NULL",
            "actor = actor",
            "amount = 0",
        ] {
            let error = client
                .batch_execute(&format!("UPDATE wallet.{table} SET {change}"))
                .unwrap_err();
            assert_eq!(error.code().unwrap().code(), "WL010", "{change}");
        }
    }
    for statement in [
        "UPDATE wallet.audit_log SET actor = 'x'",
        "DELETE FROM wallet.audit_log",
        "DELETE FROM wallet.ledger_archive",
    ] {
        let error = client.batch_execute(statement).unwrap_err();
        assert_eq!(error.code().unwrap().code(), "WL010", "{statement}");
    }
    let moved = archive(client, "acme", Some(2)).unwrap();
    assert_eq!(moved, 2);
    verified(client, "acme", &scene.digest);
}

/// The part of a name is somebody else. Tags, actors and the subjects of limits are compared as a
/// whole.
#[test]
fn another_person_keeps_limits_and_names() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('t1'); SELECT wallet.fund('t1', 1000);
             SELECT wallet.set_limit('t1', 2, 'day', scope => 'tag:end_user', subject => 'mary.ann@example.org');
             SELECT wallet.set_limit('t1', 2, 'day', scope => 'user', subject => 'mary.ann@example.org');
             SELECT wallet.charge('t1', amount => 1, user_id => 'ann@example.org', tags => '{\"end_user\": \"ann@example.org\"}');
             SELECT wallet.charge('t1', amount => 1, user_id => 'zoe', tags => '{\"end_user\": \"mary.ann@example.org\"}',
                                  actor => 'mary.ann@example.org', metadata => '{\"of\": \"mary.ann@example.org\"}');
             SELECT wallet.adjust('t1', 1, reason => 'mary.ann@example.org asked ann@example.org.', actor => 'bot of ann@example.org')",
        )
        .unwrap();
    let kept: Value = client
        .query_one(
            "SELECT kept FROM wallet.erase_user('ann@example.org', 't1')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(kept, serde_json::json!({"ledger.actor": 1}));
    let subjects = texts(&mut client, "SELECT DISTINCT subject FROM wallet.limits");
    assert_eq!(subjects, ["mary.ann@example.org"]);
    let error = client
        .batch_execute("SELECT wallet.charge('t1', amount => 50, user_id => 'zoe', tags => '{\"end_user\": \"mary.ann@example.org\"}')")
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "WL002");
    let row = client
        .query_one(
            "SELECT tags ->> 'end_user', actor, metadata ->> 'of' FROM wallet.entries WHERE user_id = 'zoe'",
            &[],
        )
        .unwrap();
    let mary = "mary.ann@example.org".to_owned();
    assert_eq!(
        [0, 1, 2].map(|column| row.get::<_, String>(column)),
        [(); 3].map(|()| mary.clone())
    );
    let reasons = texts(
        &mut client,
        "SELECT regexp_replace(reason, 'erased-[-0-9a-f]+', 'X') FROM wallet.entries WHERE reason IS NOT NULL",
    );
    assert_eq!(reasons, ["mary.ann@example.org asked X."]);
    audit(&mut client, "t1");
}

/// The words of the extension's own documents are no names. A replay still reads its answer.
#[test]
fn a_user_with_the_name_of_a_member_changes_no_form() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.set_price('m', 'input_tokens', 0.001, effective_from => '2020-01-01Z');
             SELECT wallet.create_wallet('acme', low_balance => '{900}'); SELECT wallet.fund('acme', 1000);
             SELECT wallet.set_recurring_grant('acme', 5, idempotency_key => 'g1', name => 'x');
             SELECT wallet.set_topup_rule('acme', '{\"threshold\":1,\"amount\":10}');
             SELECT wallet.set_limit('acme', 5000, 'lifetime', metric => 'input_tokens', idempotency_key => 'l1');
             SELECT wallet.charge('acme', '{\"model\": \"m\", \"input_tokens\": 1000, \"user\": \"amount\"}', user_id => u,
                                  metadata => jsonb_build_object('by', u, u, 1), tags => jsonb_build_object('who', u, 'lifetime', 'y'))
               FROM unnest('{balance,amount,input_tokens,lifetime,threshold}'::text[]) u;
             SELECT wallet.charge('acme', amount => 150)",
        )
        .unwrap();
    let forms = "SELECT (SELECT string_agg(payload::text, ' ' ORDER BY event_id) FROM wallet.outbox)
                     || (SELECT string_agg(concat(before, after), ' ' ORDER BY at, audit_id) FROM wallet.audit_log WHERE action <> 'erase_user')
                     || (SELECT string_agg(result::text, ' ' ORDER BY idempotency_key) FROM wallet.requests)
                     || (SELECT string_agg(rule::text, ' ') FROM wallet.topup_rules)";
    let before = texts(&mut client, forms);
    for user in ["balance", "amount", "input_tokens", "lifetime", "threshold"] {
        let row = client
            .query_one(
                "SELECT pseudonym, kept FROM wallet.erase_user($1)",
                &[&user],
            )
            .unwrap();
        assert!(row.get::<_, Option<String>>(0).is_some(), "{user}");
        assert_eq!(row.get::<_, Value>(1), serde_json::json!({}), "{user}");
    }
    assert_eq!(texts(&mut client, forms), before);
    let usage = texts(
        &mut client,
        "SELECT DISTINCT regexp_replace(usage::text, 'erased-[-0-9a-f]+', 'X') FROM wallet.ledger WHERE usage ? 'model'",
    );
    assert_eq!(
        usage,
        [r#"{"user": "X", "model": "m", "input_tokens": 1000}"#]
    );
    let left: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.ledger WHERE user_id NOT LIKE 'erased-%' OR tags ->> 'who' NOT LIKE 'erased-%' OR tags ->> 'lifetime' <> 'y'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(left, 0);
    let replayed: bool = client
        .query_one("SELECT replayed FROM wallet.set_recurring_grant('acme', 5, idempotency_key => 'g1', name => 'x')", &[])
        .unwrap()
        .get(0);
    assert!(replayed);
    audit(&mut client, "acme");
}

/// An erasure everywhere renames the person in plans too. The rules of the plan are then those of
/// the pseudonym, and nothing has to be taken over.
#[test]
fn a_plan_and_its_rules_name_the_same_person() {
    let scene = &mut scene();
    let client = &mut scene.client;
    let rules =
        "SELECT concat(kind, ' ', name, ' ', rule ->> 'subject') FROM wallet.plan_of('planned')
                  WHERE source = 'plan' AND kind IN ('limit', 'model_rule') ORDER BY 1";
    let stored = "SELECT 'limit ' || subject FROM wallet.limits WHERE wallet_id = 'planned'
                   UNION SELECT 'model_rule ' || subject FROM wallet.model_rules WHERE wallet_id = 'planned' ORDER BY 1";
    let (before, rows) = (texts(client, rules), texts(client, stored));
    assert_eq!((before.len(), rows.len()), (3, 3));
    let (pseudonym, _, kept, _) = erase(client, "wallet.erase_user('PERSON')");
    let pseudonym = pseudonym.unwrap();
    assert_eq!(kept, serde_json::json!({}));
    let renamed = |texts: Vec<String>| -> BTreeSet<String> {
        let inside = serde_json::to_string(PERSON).unwrap();
        let inside = inside.trim_matches('"');
        let rename = |text: String| text.replace(inside, &pseudonym).replace(PERSON, &pseudonym);
        texts.into_iter().map(rename).collect()
    };
    client
        .batch_execute("SELECT wallet.charge('planned', amount => 1)")
        .unwrap();
    assert_eq!(
        texts(client, rules).into_iter().collect::<BTreeSet<_>>(),
        renamed(before)
    );
    assert_eq!(
        texts(client, stored).into_iter().collect::<BTreeSet<_>>(),
        renamed(rows)
    );
    let taken = "SELECT count(*)::text FROM wallet.audit WHERE wallet = 'planned' AND action = 'take_over_plan'";
    let taken = texts(client, taken);
    let error = client
        .batch_execute(&format!(
            "SELECT wallet.charge('planned', amount => 1, user_id => '{pseudonym}', model => 'other')"
        ))
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "WL009");
    assert_eq!(taken, ["1"]);
    verified(client, "planned", &scene.digest);
}

/// An erasure in one wallet leaves the plan, whose rules on the person then apply again.
#[test]
fn a_plan_applies_after_an_erasure_in_one_wallet() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.set_plan('team', '{\"limits\": [{\"max\": 5, \"period\": \"day\", \"scope\": \"user\", \"subject\": \"ann@example.com\"}],
                 \"recurring_grants\": [{\"amount\": 1}],
                 \"model_rules\": [{\"scope\": \"user\", \"subject\": \"ann@example.com\", \"allowed\": [\"gpt*\"]}]}');
             SELECT wallet.create_wallet('c1', plan => 'team'); SELECT wallet.fund('c1', 100);
             SELECT wallet.charge('c1', amount => 1, model => 'gpt-4o', user_id => 'ann@example.com')",
        )
        .unwrap();
    let kept: Value = client
        .query_one(
            "SELECT kept FROM wallet.erase_user('ann@example.com', 'c1')",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(kept, serde_json::json!({"plan_versions.definition": 1}));
    for (call, code) in [
        ("amount => 50, model => 'gpt-4o'", "WL002"),
        ("amount => 1, model => 'claude'", "WL009"),
    ] {
        let error = client
            .batch_execute(&format!(
                "SELECT wallet.charge('c1', {call}, user_id => 'ann@example.com')"
            ))
            .unwrap_err();
        assert_eq!(error.code().unwrap().code(), code, "{call}");
    }
    client
        .batch_execute("SELECT wallet.charge('c1', amount => 1, user_id => 'bob')")
        .unwrap();
    let grants = texts(
        &mut client,
        "SELECT count(*)::text FROM wallet.entries WHERE kind = 'funding' AND amount = 1",
    );
    assert_eq!(grants, ["1"]);
    let rules = texts(
        &mut client,
        "SELECT subject FROM wallet.model_rules WHERE wallet_id = 'c1'",
    );
    assert_eq!(rules, ["ann@example.com"]);
    audit(&mut client, "c1");
}

/// The query of docs/ledger.md finds a changed name that is disguised as an erasure.
#[test]
fn the_query_for_disguised_changes_finds_them() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/ledger.md")).unwrap();
    let (_, rest) = text.split_once("fingerprint was erased too:").unwrap();
    let (query, _) = rest.split_once(';').unwrap();
    let scene = &mut scene();
    let client = &mut scene.client;
    erase(client, "wallet.erase_user('PERSON')");
    let found = |client: &mut Client| client.query(query.trim(), &[]).unwrap().len();
    let erased = texts(
        client,
        "SELECT entry_id::text FROM wallet.ledger_all WHERE octet_length(person_proof) = 32",
    );
    assert!(erased.len() > 3);
    assert_eq!(found(client), 0);
    client
        .batch_execute(
            "SET session_replication_role = replica;
             UPDATE wallet.ledger SET user_id = 'mallory', actor = NULL WHERE octet_length(person_proof) = 32;
             RESET session_replication_role",
        )
        .unwrap();
    let changed = texts(
        client,
        "SELECT entry_id::text FROM wallet.ledger WHERE user_id = 'mallory'",
    );
    assert!(!changed.is_empty());
    assert_eq!(found(client), changed.len());
}

/// A charge locks a child before its parent, and so does the erasure, whatever the names are.
#[test]
fn a_child_is_locked_before_its_parent() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet('z'); SELECT wallet.create_wallet('z/a'); SELECT wallet.create_wallet('z/a/b');
             SELECT wallet.fund('z', 100); SELECT wallet.set_parent('z/a', 'z'); SELECT wallet.set_parent('z/a/b', 'z/a');
             SELECT wallet.charge('z/a/b', amount => 1, user_id => 'person-one');
             SELECT wallet.set_member(w, 'person-one') FROM unnest('{z,z/a,z/a/b}'::text[]) w",
        )
        .unwrap();
    let mut holding = database.connect();
    let mut open = holding.transaction().unwrap();
    open.batch_execute("SELECT wallet.set_limit('z/a/b', 1000, 'day')")
        .unwrap();
    let mut other = database.connect();
    let erasing = std::thread::spawn(move || {
        other
            .batch_execute("SELECT wallet.erase_user('person-one')")
            .map_err(|error| state_of(&error))
    });
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let begun = std::time::Instant::now();
    while client.query_one(waiting, &[]).unwrap().get::<_, i64>(0) == 0 {
        assert!(begun.elapsed().as_secs() < 60, "the erasure does not wait");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    // It waits for the deepest wallet and has locked none of those above it.
    for above in ["z", "z/a"] {
        client
            .batch_execute(&format!(
                "BEGIN; SET LOCAL lock_timeout = '5s'; SELECT wallet.set_limit('{above}', 2000, 'day'); COMMIT"
            ))
            .unwrap();
    }
    open.commit().unwrap();
    assert_eq!(erasing.join().unwrap(), Ok(()));
}
