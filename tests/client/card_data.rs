//! Card data stays out of the database, of the error and of the server's log.

use std::fs;
use std::path::Path;

use wallet_tests::{Database, create, dec};

/// A test number of Visa, in parts, so that this file does not stand in the log itself.
fn card() -> String {
    ["4242", "4242", "4242", "4242"].concat()
}

fn log_of(client: &mut postgres::Client) -> String {
    let data: String = client.query_one("SHOW data_directory", &[]).unwrap().get(0);
    let log = Path::new(&data).parent().unwrap().join("postgres.log");
    String::from_utf8_lossy(&fs::read(log).expect("the server's log")).into_owned()
}

#[test]
fn neither_the_error_nor_the_log_repeats_it() {
    let database = Database::new();
    let mut client = database.connect();
    create(&mut client, "acme", 1, &[], dec("100"));
    client
        .batch_execute(
            "SET log_parameter_max_length_on_error = -1;
             SET log_error_verbosity = verbose;
             CREATE FUNCTION pay(note text) RETURNS void LANGUAGE plpgsql AS $$
             BEGIN
                 EXECUTE format('SELECT wallet.fund(''acme'', 1, reference => %L)', note);
             END $$",
        )
        .unwrap();
    let card = card();
    let spaced = "4242 4242-4242 4242";
    let object = format!(r#"{{"a": [{{"note": "{card}"}}]}}"#);
    let statements = [
        format!("SELECT wallet.fund('acme', 1, reference => '{card}')"),
        format!("SELECT wallet.fund('acme', 1, reference => 'paid by {spaced}.')"),
        format!("SELECT pay('{card}')"),
        format!("SELECT wallet.charge('acme', amount => 1, metadata => '{object}')"),
        format!("SELECT wallet.charge('acme', amount => 1, tags => '{{\"n\": {card}}}')"),
        format!("SELECT wallet.freeze_wallet('acme', metadata => '{object}')"),
        format!("SELECT wallet.charge('{card}', amount => 1)"),
        format!("SELECT wallet.charge('acme', '{{\"model\": \"m\", \"note\": \"{card}\"}}')"),
    ];
    let marker = "card data";
    let seen = log_of(&mut client).matches(marker).count();
    for statement in &statements {
        let error = client.batch_execute(statement).unwrap_err();
        let error = error.as_db_error().expect("an error of the server");
        assert_eq!(error.code().code(), "WL011", "{error}");
        let all = format!("{error:?}");
        assert!(!all.contains(&card) && !all.contains(spaced), "{all}");
    }
    // As a parameter, which the log would show as one.
    let error = client
        .query("SELECT wallet.fund('acme', 1, reference => $1)", &[&card])
        .unwrap_err();
    assert_eq!(error.code().unwrap().code(), "WL011");
    let log = log_of(&mut client);
    assert!(
        log.matches(marker).count() > seen + statements.len(),
        "it is logged"
    );
    assert!(
        !log.contains(&card) && !log.contains(spaced),
        "the log repeats it"
    );
    let kept: i64 = client
        .query_one(
            "SELECT count(*) FROM wallet.entries WHERE wallet = 'acme'",
            &[],
        )
        .unwrap()
        .get(0);
    assert_eq!(kept, 1, "the funding of the beginning");
    // The transaction goes on behind a savepoint, as after every other error.
    let mut transaction = client.transaction().unwrap();
    let mut savepoint = transaction.savepoint("s").unwrap();
    savepoint.batch_execute(&statements[0]).unwrap_err();
    savepoint.rollback().unwrap();
    transaction
        .batch_execute("SELECT wallet.fund('acme', 1)")
        .unwrap();
    transaction.commit().unwrap();
}
