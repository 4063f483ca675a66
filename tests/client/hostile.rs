//! A role that puts its own functions, operators, types and relations before the extension's, and
//! settings that change how SQL is read. Every call returns the same results, and nothing of the
//! role is run.

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::{Database, FUNCTIONS, Reach, Roles, Scene, audit, state_of};

/// Everything in pg_catalog that can be created again in another schema. Each replacement reveals
/// that it was called: by a sequence, which a rollback does not reset, and by an error.
const EVIL: &str = r#"
CREATE SCHEMA evil;
CREATE SEQUENCE evil.marks;
GRANT USAGE ON SCHEMA evil TO PUBLIC;
GRANT USAGE ON SEQUENCE evil.marks TO PUBLIC;
CREATE FUNCTION evil.mark() RETURNS boolean LANGUAGE plpgsql AS $f$
BEGIN PERFORM pg_catalog.nextval('evil.marks'); RAISE SQLSTATE 'HACKD'; END $f$;
DO $$
DECLARE
    body text := $b$ BEGIN PERFORM pg_catalog.nextval('evil.marks'); RAISE SQLSTATE 'HACKD'; END $b$;
    o record;
BEGIN
    FOR o IN
        SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, p.prorettype::regtype AS result, p.proretset
          FROM pg_proc p
         WHERE p.pronamespace IN ('pg_catalog'::regnamespace, 'wallet'::regnamespace)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS %L', o.proname,
                           regexp_replace(o.arguments, 'ORDER BY|VARIADIC|OUT [^,]*(, |$)', '', 'g'),
                           CASE WHEN o.proretset THEN 'SETOF' ELSE '' END, o.result, body);
        EXCEPTION WHEN OTHERS THEN NULL; -- of internal types, or of the same arguments
        END;
    END LOOP;
    FOR o IN SELECT * FROM pg_operator WHERE oprnamespace = 'pg_catalog'::regnamespace LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION evil.op_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', o.oid,
                           concat_ws(', ', nullif(o.oprleft, 0)::regtype, o.oprright::regtype), o.oprresult::regtype, body);
            EXECUTE format('CREATE OPERATOR evil.%s (%s RIGHTARG = %s, FUNCTION = evil.op_%s)', o.oprname,
                           'LEFTARG = ' || nullif(o.oprleft, 0)::regtype || ',', o.oprright::regtype, o.oid);
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    -- Types, which an implicit cast to them makes run.
    FOR o IN SELECT t FROM unnest(ARRAY['text', 'uuid', 'jsonb', 'json', 'timestamptz', 'bytea', 'int8', 'int4', 'bool', 'name', 'inet', 'cidr', 'regclass', 'date']) t LOOP
        EXECUTE format('CREATE DOMAIN evil.%I AS pg_catalog.%1$I CHECK (evil.mark())', o.t);
    END LOOP;
END $$;
-- A cast that is taken where nothing else fits.
CREATE TYPE evil.other AS (x pg_catalog.text);
CREATE FUNCTION evil.to_other(pg_catalog.text) RETURNS evil.other LANGUAGE plpgsql AS 'BEGIN PERFORM evil.mark(); END';
CREATE CAST (pg_catalog.text AS evil.other) WITH FUNCTION evil.to_other(pg_catalog.text) AS IMPLICIT;
"#;

/// Relations with the names of the extension's and the catalog's, in the given schema.
const RELATIONS: &str = "
DO $$
DECLARE r pg_catalog.record;
BEGIN
    FOR r IN SELECT c.relname FROM pg_catalog.pg_class c
              WHERE c.relkind IN ('r', 'v')
                AND (c.relnamespace = 'wallet'::pg_catalog.regnamespace OR c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace)
    LOOP
        EXECUTE pg_catalog.format('CREATE VIEW SCHEMA.%I AS SELECT evil.mark() AS wallet_id, evil.mark() AS wallet, evil.mark() AS oid', r.relname);
    END LOOP;
END $$";

/// The number of rows, or the SQLSTATE that refused the call. The call is rolled back.
fn attempt(client: &mut Client, sql: &str) -> Result<usize, String> {
    client.batch_execute("BEGIN").expect("begin");
    let result = client.simple_query(sql);
    client.batch_execute("ROLLBACK").expect("rollback");
    let is_row = |message: &&SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
    match result {
        Ok(messages) => Ok(messages.iter().filter(is_row).count()),
        Err(error) => Err(state_of(&error)),
    }
}

/// Every call of the API and every view, on the role's own wallet and on another's.
fn calls(client: &mut Client, scene: &Scene) -> Vec<String> {
    let functions = FUNCTIONS
        .iter()
        .filter(|function| function.reach != Reach::Inside)
        .flat_map(|function| {
            ["own", "other"].map(|wallet| scene.call(function, wallet, Some("eve")))
        });
    let views = client
        .query(
            "SELECT c.relname::text FROM pg_class c
              WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind = 'v' ORDER BY 1",
            &[],
        )
        .expect("pg_class");
    let views = views.iter().map(|row| {
        let name: &str = row.get(0);
        format!("SELECT * FROM wallet.{name}")
    });
    functions.chain(views.collect::<Vec<_>>()).collect()
}

fn marks(client: &mut Client) -> bool {
    client
        .query_one("SELECT is_called FROM evil.marks", &[])
        .expect("evil.marks")
        .get(0)
}

#[test]
fn no_object_of_a_hostile_role_is_run() {
    let database = Database::new();
    let (mut owner, mut roles) = (database.connect(), Roles::new(&database));
    let names = [roles.add("nobody"), roles.add("onlooker")];
    let scene = Scene::new(&mut owner, &["own", "other"], [&names[0], &names[1]]);
    let (of_own, of_all) = (roles.add("of_own"), roles.add("of_all"));
    for wallet in Scene::wallets_of("own") {
        let sql = "SELECT wallet.grant_access($1, 'admin', $2)";
        owner.query(sql, &[&of_own, &wallet]).expect("grant_access");
    }
    let sql = "SELECT wallet.grant_access($1, 'admin'), wallet.grant_access($2, 'reader', 'own')";
    owner
        .query(sql, &[&of_all, &names[1]])
        .expect("grant_access");
    let name = database.name();
    let sql = format!("GRANT CREATE, TEMPORARY ON DATABASE {name} TO {of_own}, {of_all}");
    owner.batch_execute(&sql).expect("grant");

    let calls = calls(&mut owner, &scene);
    let mut evil = roles.connect(&of_own);
    evil.batch_execute(EVIL).expect("a hostile schema");
    evil.batch_execute(&RELATIONS.replace("SCHEMA", "evil"))
        .expect("hostile relations");
    let made = "SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = 'evil'::regnamespace),
                       (SELECT count(*) FROM pg_operator WHERE oprnamespace = 'evil'::regnamespace)";
    let made = owner.query_one(made, &[]).expect("counts");
    let (functions, operators): (i64, i64) = (made.get(0), made.get(1));
    println!("{functions} functions and {operators} operators stand in the way");
    assert!(functions > 2000 && operators > 500);

    for role in [of_own.as_str(), of_all.as_str(), "postgres"] {
        let mut client = roles.connect(role);
        let before: Vec<_> = calls.iter().map(|sql| attempt(&mut client, sql)).collect();
        assert!(
            before.iter().filter(|answer| answer.is_ok()).count() > 80,
            "{role}"
        );
        for storage in ["auto", "spi"] {
            // A new backend has no cached plans.
            let mut client = roles.connect(role);
            client
                .batch_execute(&RELATIONS.replace("SCHEMA", "pg_temp"))
                .expect("temporary relations");
            let sql = format!(
                "SET wallet.storage = {storage}; SET search_path = evil, pg_temp, wallet, pg_catalog"
            );
            client.batch_execute(&sql).expect("search_path");
            for (sql, before) in calls.iter().zip(&before) {
                assert_eq!(
                    &attempt(&mut client, sql),
                    before,
                    "{role}, {storage}: {sql}"
                );
                assert!(
                    !marks(&mut owner),
                    "{role}, {storage}: {sql} ran what the role made"
                );
            }
        }
    }
    // Checks that the replacements reveal themselves.
    let mut client = roles.connect(&of_own);
    let trap = "SET search_path = evil, pg_catalog; SELECT 1 + 1";
    assert_eq!(attempt(&mut client, trap), Err("HACKD".to_owned()));
    assert!(marks(&mut owner));
    audit(&mut owner, "own");
}

/// Settings that every role may change, and that change how SQL is read or values are printed.
const SETTINGS: &[(&str, &str)] = &[
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "on"),
    ("escape_string_warning", "off"),
    ("transform_null_equals", "on"),
    ("array_nulls", "off"),
    ("quote_all_identifiers", "on"),
    ("DateStyle", "'SQL, DMY'"),
    ("DateStyle", "'Postgres, MDY'"),
    ("DateStyle", "'German'"),
    ("IntervalStyle", "sql_standard"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "'Asia/Kolkata'"),
    ("TimeZone", "'Pacific/Apia'"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("xmlbinary", "hex"),
    ("xmloption", "document"),
    ("lc_monetary", "'C'"),
    ("plan_cache_mode", "force_generic_plan"),
    ("plan_cache_mode", "force_custom_plan"),
    ("enable_indexscan", "off"),
    ("enable_seqscan", "off"),
    ("cursor_tuple_fraction", "0.0001"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_isolation", "'repeatable read'"),
    ("client_encoding", "LATIN1"),
    ("check_function_bodies", "off"),
    ("work_mem", "64"),
    ("temp_buffers", "100"),
];

/// The ledger and the chain, whatever format the session uses for dates and bytes.
fn proof(client: &mut Client) -> (String, i64) {
    let digest = client
        .query_one("SELECT wallet.digest()::text", &[])
        .expect("digest")
        .get(0);
    let broken = client
        .query_one(
            "SELECT count(*) FILTER (WHERE NOT ok) FROM wallet.verify('own', wallet.digest())",
            &[],
        )
        .expect("verify")
        .get(0);
    (digest, broken)
}

#[test]
fn session_settings_change_no_answer() {
    let database = Database::new();
    let (mut owner, mut roles) = (database.connect(), Roles::new(&database));
    let names = [roles.add("nobody"), roles.add("onlooker")];
    let scene = Scene::new(&mut owner, &["own", "other"], [&names[0], &names[1]]);
    let sql = "SELECT wallet.grant_access($1, 'reader', 'own')";
    owner.query(sql, &[&names[1]]).expect("grant_access");
    let calls = calls(&mut owner, &scene);
    let mut wrong: Vec<String> = Vec::new();
    for (number, (name, value)) in SETTINGS.iter().enumerate() {
        let before: Vec<_> = calls.iter().map(|sql| attempt(&mut owner, sql)).collect();
        let storage = ["auto", "spi"][number % 2];
        let mut client = database.connect();
        let sql = format!("SET wallet.storage = {storage}; SET {name} = {value}");
        client.batch_execute(&sql).expect(name);
        for (sql, before) in calls.iter().zip(&before) {
            let got = attempt(&mut client, sql);
            if &got != before {
                wrong.push(format!(
                    "{name} = {value}, {storage}: {got:?}, not {before:?}: {sql}"
                ));
            }
        }
        let sql = r#"SELECT wallet.charge('own', '{"model":"fn-m","input_tokens":5,"note":"ab"}', tags => '{"t":"d"}', event_at => '2026-03-04 05:06:07.89+00');
                     SELECT wallet.fund('own', 1, expires_at => 'tomorrow')"#;
        client.batch_execute(sql).expect(name);
        let (seen, broken) = proof(&mut client);
        assert_eq!((seen, broken), proof(&mut owner), "{name} = {value}");
        assert_eq!(broken, 0, "{name} = {value}");
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    audit(&mut owner, "own");
}
