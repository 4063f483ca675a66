//! A charge commits or rolls back with its transaction.

use postgres::Client;
use wallet_tests::{Database, audit, balance, charge, create, dec, entries, expect};

#[test]
fn a_charge_is_rolled_back_with_the_applications_row() {
    for lanes in [1, 4] {
        let database = Database::new();
        let mut client = database.connect();
        create(&mut client, "acme", lanes, &[], dec("100"));
        client
            .batch_execute("CREATE TABLE answers (entry_id uuid)")
            .unwrap();
        let mut transaction = client.transaction().unwrap();
        let charged = charge(&mut transaction, "acme", dec("10")).unwrap();
        transaction
            .execute("INSERT INTO answers VALUES ($1)", &[&charged.entry_id])
            .unwrap();
        transaction.rollback().unwrap();
        assert_eq!(balance(&mut client, "acme"), dec("100"));
        assert_eq!(entries(&mut client, "acme"), 1);

        // A savepoint rolls back its own part, and the chain continues.
        let mut transaction = client.transaction().unwrap();
        charge(&mut transaction, "acme", dec("1")).unwrap();
        let mut savepoint = transaction.savepoint("s").unwrap();
        charge(&mut savepoint, "acme", dec("20")).unwrap();
        savepoint.rollback().unwrap();
        charge(&mut transaction, "acme", dec("2")).unwrap();
        transaction.commit().unwrap();
        assert_eq!(balance(&mut client, "acme"), dec("97"));
        audit(&mut client, "acme");
    }
}

#[test]
fn a_refusal_can_be_caught() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 2, &[], dec("5"));
    client
        .batch_execute(
            "DO $$ BEGIN
                PERFORM wallet.charge('acme', amount => 3);
                BEGIN
                    PERFORM wallet.charge('acme', amount => 3);
                    RAISE 'not refused';
                EXCEPTION WHEN SQLSTATE 'WL001' THEN NULL;
                END;
                PERFORM wallet.charge('acme', amount => 2);
             END $$",
        )
        .unwrap();
    assert_eq!(balance(&mut client, "acme"), dec("0"));
    audit(&mut client, "acme");
}

#[test]
fn a_read_only_transaction_reads_and_does_not_write() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("5"));
    client
        .batch_execute("SET default_transaction_read_only = on")
        .unwrap();
    expect(charge(&mut client, "acme", dec("1")), "25006");
    client.batch_execute("SET wallet.storage = spi").unwrap();
    expect(charge(&mut client, "acme", dec("1")), "25006");
    client
        .query("SELECT * FROM wallet.check_limits('acme')", &[])
        .unwrap();
    client.query("SELECT * FROM wallet.balances", &[]).unwrap();
    client.query("SELECT * FROM wallet.entries", &[]).unwrap();
}

/// A trigger or index of the application on the hot tables. The direct way to write, without the
/// executor, would not maintain it, so the call immediately uses the executor.
#[test]
fn an_applications_trigger_on_the_ledger_fires() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    create(&mut client, "acme", 1, &[], dec("50"));
    charge(&mut client, "acme", dec("1")).unwrap();
    other
        .batch_execute(
            "CREATE TABLE seen (entry_id uuid);
             CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO public.seen VALUES (NEW.entry_id); RETURN NEW; END';
             CREATE TRIGGER see AFTER INSERT ON wallet.ledger FOR EACH ROW EXECUTE FUNCTION see();
             CREATE INDEX by_user ON wallet.ledger (user_id)",
        )
        .unwrap();
    let charged = charge(&mut client, "acme", dec("1")).unwrap();
    let seen: uuid::Uuid = client
        .query_one("SELECT entry_id FROM seen", &[])
        .unwrap()
        .get(0);
    assert_eq!(seen, charged.entry_id);
    audit(&mut client, "acme");
}

/// The catalog of Citus, as far as the extension reads it. A table that it names is used through
/// the executor, which Citus extends; every other table directly, as without Citus.
#[test]
fn only_tables_that_citus_distributes_are_used_through_the_executor() {
    let database = Database::new();
    let (mut client, mut other) = (database.connect(), database.connect());
    other
        .batch_execute(
            "SET allow_system_table_mods = on;
             CREATE TABLE pg_catalog.pg_dist_partition (logicalrelid regclass, partmethod \"char\")",
        )
        .unwrap();
    create(&mut other, "acme", 1, &[], dec("50"));
    // Statements that a session has run through the executor.
    let through = |client: &mut Client| -> i64 {
        client
            .query_one(
                "SELECT count(*) FROM pg_backend_memory_contexts
                  WHERE name = 'CachedPlanSource' AND ident ~ '^\\s*INSERT INTO wallet.ledger\\M'",
                &[],
            )
            .unwrap()
            .get(0)
    };
    charge(&mut client, "acme", dec("1")).unwrap();
    assert_eq!(through(&mut client), 0);
    // ANALYZE invalidates the descriptor, as Citus does.
    for (change, wanted) in [
        (
            "INSERT INTO pg_catalog.pg_dist_partition VALUES ('wallet.prices', 'h'); ANALYZE wallet.prices",
            0,
        ),
        (
            "INSERT INTO pg_catalog.pg_dist_partition VALUES ('wallet.ledger', 'h'); ANALYZE wallet.ledger",
            1,
        ),
    ] {
        other.batch_execute(change).unwrap();
        charge(&mut client, "acme", dec("1")).unwrap();
        assert_eq!(through(&mut client), wanted, "{change}");
    }
    audit(&mut client, "acme");
}
