//! Alerts, limits, grants and payments continue in a restored copy where they were before the dump.

use std::process::{Command, Stdio};

use wallet_tests::{
    Charge, Database, Heard, Listener, audit, charge, create, dec, expect, fund, limit, noon,
};

fn copy_of(source: &Database) -> Database {
    let target = Database::empty();
    let mut dump = Command::new("pg_dump")
        .arg(source.name())
        .stdout(Stdio::piped())
        .spawn()
        .expect("pg_dump starts");
    let restored = Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target.name()])
        .stdin(dump.stdout.take().expect("a pipe"))
        .stdout(Stdio::null())
        .status()
        .expect("psql starts");
    assert!(restored.success() && dump.wait().expect("its end").success());
    target
}

fn alice<'a>(amount: &str, key: Option<&'a str>) -> Charge<'a> {
    Charge {
        amount: dec(amount),
        user: Some("alice"),
        key,
    }
}

fn event(name: &str, at: &str) -> Heard {
    (name.to_owned(), dec(at))
}

#[test]
fn a_restored_database_continues_where_it_was() {
    for lanes in [1, 4] {
        let source = Database::new();
        let mut client = source.connect();
        create(
            &mut client,
            "acme",
            lanes,
            &[dec("50"), dec("20")],
            dec("100"),
        );
        limit(&mut client, "acme", dec("60"), "day", &noon());
        let first = alice("55", Some("key")).on(&mut client, "acme").unwrap();
        charge(&mut client, "acme", dec("5")).unwrap();
        let paid = "SELECT replayed FROM wallet.fund('acme', 5, 'bank', 'ref 1')";
        client.query_one(paid, &[]).unwrap();

        let target = copy_of(&source);
        let (mut copy, mut listener) = (target.connect(), Listener::new(&target));
        let again = alice("55", Some("key")).on(&mut copy, "acme").unwrap();
        assert!(again.replayed);
        assert_eq!(
            (again.entry_id, again.balance),
            (first.entry_id, first.balance)
        );
        expect(alice("54", Some("key")).on(&mut copy, "acme"), "WL006");
        assert!(copy.query_one(paid, &[]).unwrap().get::<_, bool>(0));
        expect(alice("5.01", None).on(&mut copy, "acme"), "WL002");
        alice("5", None).on(&mut copy, "acme").unwrap();
        assert_eq!(listener.heard(), [event("limit_reached", "1")]);
        // 50 has fired, 20 is armed: at 40 the next charge crosses only 20, and then back.
        charge(&mut copy, "acme", dec("25")).unwrap();
        assert_eq!(listener.heard(), [event("wallet_balance_low", "20")]);
        fund(&mut copy, "acme", dec("35")).unwrap();
        let back = ["20", "50"].map(|at| event("wallet_balance_recovered", at));
        assert_eq!(listener.heard(), back);
        audit(&mut copy, "acme");
        audit(&mut client, "acme");
    }
}
