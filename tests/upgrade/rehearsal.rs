//! A synthetic older version: its installation script is this version's plus some statements that
//! make it older. The upgrade script reverts them. If one of its steps is left out, the test must
//! detect that.

use postgres::Client;
use wallet_tests::{Database, audit, crowd};

use crate::files::{Files, install_script, this_version};
use crate::releases::{Restored, dump};
use crate::{catalog, differences, fresh};

/// A step between the two versions: what makes this one older, and the statement in the upgrade
/// script.
struct Step {
    what: &'static str,
    older: String,
    newer: String,
}

/// One of each kind of object, as the catalog of this version has it.
fn steps(client: &mut Client) -> Vec<Step> {
    let mut one = |sql: &str| -> String { client.query_one(sql, &[]).expect(sql).get(0) };
    let step = |what, older: &str, newer: String| Step {
        what,
        older: older.to_owned(),
        newer,
    };
    let comment =
        one("SELECT quote_literal(obj_description('wallet.wallets'::regclass, 'pg_class'))");
    let note =
        one("SELECT quote_literal(obj_description('wallet.digest()'::regprocedure, 'pg_proc'))");
    let function =
        one("SELECT pg_get_functiondef('wallet.balance_at(text, timestamptz)'::regprocedure)");
    let kind = one("SELECT format_type(atttypid, atttypmod) FROM pg_attribute
          WHERE attrelid = 'wallet.fx_rates'::regclass AND attname = 'rate'");
    let index = "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
                 WHERE c.relnamespace = 'wallet'::regnamespace AND NOT i.indisunique ORDER BY i.indexrelid LIMIT 1";
    let name = one(&format!("SELECT i.indexrelid::regclass::text {index}"));
    let index = one(&format!("SELECT pg_get_indexdef(i.indexrelid) {index}"));
    let policy =
        "FROM pg_policy p WHERE p.polrelid = 'wallet.members'::regclass ORDER BY 1 LIMIT 1";
    let policy_name = one(&format!("SELECT quote_ident(p.polname) {policy}"));
    let policy = one(&format!(
        "SELECT pg_get_expr(p.polqual, p.polrelid) {policy}"
    ));
    let view = one("SELECT pg_get_viewdef('wallet.balances'::regclass)");
    vec![
        step(
            "a table",
            "CREATE TABLE wallet.obsolete (wallet_id text PRIMARY KEY);",
            "DROP TABLE wallet.obsolete;".to_owned(),
        ),
        step(
            "a column",
            "ALTER TABLE wallet.members ADD COLUMN obsolete text;",
            "ALTER TABLE wallet.members DROP COLUMN obsolete;".to_owned(),
        ),
        step(
            "a column of the limits",
            "ALTER TABLE wallet.limits ADD COLUMN obsolete text NOT NULL DEFAULT '';",
            "ALTER TABLE wallet.limits DROP COLUMN obsolete;".to_owned(),
        ),
        step(
            "a type",
            "ALTER TABLE wallet.fx_rates ALTER COLUMN rate TYPE numeric(20,8);",
            format!("ALTER TABLE wallet.fx_rates ALTER COLUMN rate TYPE {kind};"),
        ),
        step(
            "a constraint",
            "ALTER TABLE wallet.fx_rates ADD CONSTRAINT obsolete CHECK (rate > -1);",
            "ALTER TABLE wallet.fx_rates DROP CONSTRAINT obsolete;".to_owned(),
        ),
        step("an index", &format!("DROP INDEX {name};"), format!("{index};")),
        step(
            "a function",
            "CREATE OR REPLACE FUNCTION wallet.balance_at(wallet text, at timestamptz) RETURNS numeric
                LANGUAGE sql STABLE SET search_path = pg_catalog, wallet, pg_temp AS 'SELECT 0::numeric';",
            format!("{function};"),
        ),
        step(
            "a view",
            "CREATE OR REPLACE VIEW wallet.balances WITH (security_invoker = false) AS
                SELECT * FROM (TABLE wallet.balances LIMIT 0) s;",
            format!("CREATE OR REPLACE VIEW wallet.balances WITH (security_invoker = true) AS {view}"),
        ),
        step(
            "a trigger",
            "ALTER TABLE wallet.ledger DISABLE TRIGGER refuse_truncate;",
            "ALTER TABLE wallet.ledger ENABLE TRIGGER refuse_truncate;".to_owned(),
        ),
        step(
            "a policy",
            &format!("ALTER POLICY {policy_name} ON wallet.members USING (false);"),
            format!("ALTER POLICY {policy_name} ON wallet.members USING ({policy});"),
        ),
        step(
            "row-level security",
            "ALTER TABLE wallet.members NO FORCE ROW LEVEL SECURITY;",
            "ALTER TABLE wallet.members FORCE ROW LEVEL SECURITY;".to_owned(),
        ),
        step(
            "a privilege",
            "GRANT SELECT ON wallet.prices TO PUBLIC;",
            "REVOKE SELECT ON wallet.prices FROM PUBLIC;".to_owned(),
        ),
        step(
            "what a dump takes along",
            "SELECT pg_catalog.pg_extension_config_dump('wallet.fx_rates', 'WHERE false');",
            "SELECT pg_catalog.pg_extension_config_dump('wallet.fx_rates', '');".to_owned(),
        ),
        step(
            "a comment of a table",
            "COMMENT ON TABLE wallet.wallets IS 'Old.';",
            format!("COMMENT ON TABLE wallet.wallets IS {comment};"),
        ),
        step(
            "a comment of a function",
            "COMMENT ON FUNCTION wallet.digest IS 'Old.';",
            format!("COMMENT ON FUNCTION wallet.digest IS {note};"),
        ),
    ]
}

/// The older version `0.0.N` and its upgrade script to this one, without the step `left_out`.
fn scripts(steps: &[Step], number: usize, left_out: Option<usize>) -> [(String, String); 2] {
    let older: String = steps
        .iter()
        .map(|step| step.older.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    let newer: String = steps
        .iter()
        .enumerate()
        .filter(|(place, _)| Some(*place) != left_out)
        .map(|(_, step)| step.newer.as_str())
        .collect::<Vec<_>>()
        .join("\n");
    [
        (
            format!("wallet--0.0.{number}.sql"),
            format!("{}\n{older}\n", install_script()),
        ),
        (
            format!("wallet--0.0.{number}--{}.sql", this_version()),
            format!("SET LOCAL search_path TO pg_catalog, pg_temp;\n{newer}\n"),
        ),
    ]
}

fn written(scripts: &[(String, String)]) -> Files {
    let files: Vec<(String, &str)> = scripts
        .iter()
        .map(|(name, text)| (name.clone(), text.as_str()))
        .collect();
    Files::new(&files)
}

#[test]
fn an_incomplete_upgrade_script_is_detected() {
    let _files = crowd();
    let fresh = fresh();
    let steps = steps(&mut Database::new().connect());
    for (place, step) in steps.iter().enumerate() {
        let number = 100 + place;
        let _files = written(&scripts(&steps, number, Some(place)));
        let database = Database::empty();
        let mut client = database.connect();
        client
            .batch_execute(&format!(
                "CREATE EXTENSION wallet VERSION '0.0.{number}'; ALTER EXTENSION wallet UPDATE"
            ))
            .expect(step.what);
        let missed = differences(&fresh, &catalog(&mut client));
        assert!(
            !missed.is_empty(),
            "{} is left out and nobody saw it",
            step.what
        );
    }
}

#[test]
fn an_upgraded_older_version_equals_a_fresh_one() {
    let _files = crowd();
    let fresh = fresh();
    let from = Database::new();
    let mut before = from.connect();
    before
        .batch_execute(include_str!("fill.sql"))
        .expect("data");
    before
        .batch_execute("SELECT wallet.archive('acme', statement_timestamp(), 20)")
        .expect("an archive");
    let digest: String = before
        .query_one("SELECT wallet.digest()::text", &[])
        .expect("digest")
        .get(0);
    let data = dump(&from);
    let _files = written(&scripts(&steps(&mut before), 1, None));
    let restored = Restored::new("0.0.1", &data);
    let mut client = restored.connect();

    // This library refuses to work with the older objects, and says what to do. Views and functions
    // in SQL are the older version's own.
    for call in [
        "SELECT wallet.charge('acme', amount => 1)",
        "SELECT wallet.price_usage('{\"model\":\"m\",\"input_tokens\":1}')",
        "SELECT wallet.check_limits('acme')",
    ] {
        let error = client.batch_execute(call).expect_err(call);
        let error = error.as_db_error().expect("the server refuses it");
        assert_eq!(error.code().code(), "55000", "{call}: {error:?}");
        assert!(
            error
                .detail()
                .is_some_and(|detail| detail.contains("0.0.1")),
            "{error:?}"
        );
        assert!(
            error
                .hint()
                .is_some_and(|hint| hint.contains("ALTER EXTENSION wallet UPDATE")),
            "{error:?}"
        );
    }
    assert_ne!(
        differences(&fresh, &catalog(&mut client)),
        Vec::<String>::new()
    );
    client
        .batch_execute("RESET search_path; ALTER EXTENSION wallet UPDATE")
        .expect("the upgrade");
    assert_eq!(
        differences(&fresh, &catalog(&mut client)),
        Vec::<String>::new()
    );
    restored.goes_on(&mut client, &digest);
    for wallet in ["acme", "hot", "peer"] {
        audit(&mut client, wallet);
    }
}
