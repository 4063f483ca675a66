//! The programs of docs/clients.md print what the page says, although their transaction fails four
//! times.

use std::process::Command;

use wallet_tests::{Database, audit, python_with};

use crate::page::{Page, path_of};

/// The first attempt to store an answer gets a serialization failure, the second a deadlock. At the
/// third one the connection ends. The fourth one has a connection to a standby, which is one at every
/// later attempt, too. Sequences are not rolled back: they count the attempts, and remember the standby.
const REFUSALS: &str = "
    CREATE SEQUENCE attempts;
    CREATE SEQUENCE standby MINVALUE 0 START 0;
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        CASE nextval('attempts')
            WHEN 1 THEN RAISE serialization_failure;
            WHEN 2 THEN RAISE deadlock_detected;
            WHEN 3 THEN PERFORM pg_terminate_backend(pg_backend_pid()), pg_sleep(10);
            WHEN 4 THEN PERFORM setval('standby', pg_backend_pid());
            ELSE NULL;
        END CASE;
        IF pg_backend_pid() = (SELECT last_value FROM standby) THEN
            RAISE read_only_sql_transaction;
        END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER refuse BEFORE INSERT ON answers FOR EACH ROW EXECUTE FUNCTION refuse();";

/// The page's blocks in a language.
fn block(page: &Page, language: &str) -> String {
    let found = page.fences().into_iter().find(|(of, _)| *of == language);
    let (_, lines) = found.expect("the page has such a block");
    page.lines[lines].join("\n")
}

/// The program prints what the page says, and books once.
fn prints(mut program: Command) {
    let page = Page::read("docs/clients.md");
    let database = Database::empty();
    let mut client = database.connect();
    client
        .batch_execute(&block(&page, "sql"))
        .expect("the page's wallet");
    client.batch_execute(REFUSALS).expect("the refusals");
    let output = program
        .env("PGDATABASE", database.name())
        .output()
        .unwrap_or_else(|error| panic!("{program:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program:?}: {errors}");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert_eq!(said.trim(), block(&page, "text"), "{program:?}: {errors}");
    let row = client
        .query_one(
            "SELECT (SELECT last_value FROM attempts), (SELECT count(*) FROM answers),
                    (SELECT count(*) FROM wallet.entries WHERE kind = 'charge')",
            &[],
        )
        .expect("what was done");
    assert_eq!(
        [0, 1, 2].map(|column| row.get::<_, i64>(column)),
        [5, 1, 1],
        "attempts, answers, charges"
    );
    audit(&mut client, "acme");
}

fn example(name: &str) -> std::path::PathBuf {
    path_of("examples/clients").join(name)
}

fn script(program: &str, name: &str) {
    let mut command = Command::new(program);
    command.arg(example(name));
    prints(command);
}

#[test]
fn the_psql_client_prints_what_the_page_says() {
    script("sh", "with_psql.sh");
}

#[test]
fn the_psycopg_client_prints_what_the_page_says() {
    script(python_with("psycopg"), "with_psycopg.py");
}

#[test]
fn the_asyncpg_client_prints_what_the_page_says() {
    script(python_with("asyncpg"), "with_asyncpg.py");
}

#[test]
fn the_node_postgres_client_prints_what_the_page_says() {
    script("node", "with_node_postgres.js");
}

#[test]
fn the_sqlx_client_prints_what_the_page_says() {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--quiet", "--package", "wallet-example-sqlx"]);
    cargo.current_dir(path_of("."));
    prints(cargo);
}
