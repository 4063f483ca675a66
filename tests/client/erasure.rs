//! `erase_user` leaves no trace of a person, and everything that is proven stays proven.
//!
//! What could go wrong: a column that is forgotten, today or when one is added; a hash or the id of
//! a window that would confirm a guess; a chain or a digest that no longer matches; a limit that
//! counts something else; a retry that books a second time.

use std::collections::BTreeSet;

use postgres::Client;
use rust_decimal::Decimal;
use serde_json::Value;
use wallet_tests::{Database, archive, audit, dec};

/// Has characters that JSON escapes, and some that patterns would take for their own.
const PERSON: &str = "al\"ice\\o'.?+(x@example.com";

/// A name that contains no other's name.
const OTHER: &str = "bob@example.com";

/// The identifier as a literal and inside of a JSON document in a literal.
fn fill(sql: &str, person: &str) -> String {
    let inside = serde_json::to_string(person).unwrap();
    let inside = &inside[1..inside.len() - 1];
    let literal = |text: &str| text.replace('\'', "''");
    sql.replace("PERSON_JSON", &literal(inside))
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
    "plan_versions.actor",
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
    assert_eq!(left, ["other", "third"]);
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
