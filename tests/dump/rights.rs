//! The rights of database roles: a dump has them by name, and a restore gives them to the roles of
//! that name, whose oids differ in another cluster.

use std::path::Path;
use std::process::{Command, Stdio};

use postgres::Client;
use wallet_tests::{Database, charge, create, dec, expect, fund};

use crate::run;

/// Roles of this test, dropped at its end.
struct Named<'a> {
    database: &'a Database,
    names: Vec<String>,
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Named<'_> {
    fn create(&self, client: &mut Client) {
        for name in &self.names {
            let sql = format!("CREATE ROLE {}", quoted(name));
            client.batch_execute(&sql).expect("CREATE ROLE");
        }
    }

    fn drop_in(&self, client: &mut Client) {
        for name in &self.names {
            let name = quoted(name);
            client
                .batch_execute(&format!("DROP OWNED BY {name}"))
                .expect("DROP OWNED");
        }
    }

    fn drop(&self, client: &mut Client) {
        for name in &self.names {
            let sql = format!("DROP ROLE IF EXISTS {}", quoted(name));
            if let Err(error) = client.batch_execute(&sql) {
                eprintln!("{name} was not dropped: {error}");
            }
        }
    }
}

impl Drop for Named<'_> {
    fn drop(&mut self) {
        Named::drop(self, &mut self.database.connect());
    }
}

/// What a role may do: charge and fund each wallet.
fn may(client: &mut Client, role: &str) -> Vec<(String, bool, bool)> {
    let mut rights = Vec::new();
    for wallet in ["own", "other"] {
        let mut transaction = client.transaction().expect("BEGIN");
        transaction
            .batch_execute(&format!("SET LOCAL ROLE {}", quoted(role)))
            .expect("SET ROLE");
        let mut attempt = |sql: &str| {
            let mut savepoint = transaction.transaction().expect("SAVEPOINT");
            match savepoint.query(sql, &[&wallet]) {
                Ok(_) => true,
                Err(error) => {
                    drop(savepoint);
                    expect::<()>(Err(error), "42501");
                    false
                }
            }
        };
        let charges = attempt("SELECT wallet.charge($1, amount => 1)");
        let funds = attempt("SELECT wallet.fund($1, 1)");
        rights.push((wallet.to_owned(), charges, funds));
    }
    rights
}

fn grants(client: &mut Client) -> Vec<(String, String, String)> {
    client
        .query(
            "SELECT db_role, level, wallet_id FROM wallet.access_grants ORDER BY 1, 2, 3",
            &[],
        )
        .expect("access_grants")
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect()
}

/// What docs/operations.md says to run after a restore.
const APPLY: &str = "
    SELECT wallet.apply_privileges(g.db_role) FROM (SELECT DISTINCT db_role FROM wallet.access_grants) g";

fn restore(to: &Database, file: &Path) {
    run(Command::new("psql")
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", to.name(), "-f"])
        .arg(file)
        .stdout(Stdio::null()));
}

#[test]
fn rights_follow_role_names_into_another_cluster() {
    let (from, to) = (Database::new(), Database::empty());
    let mut client = from.connect();
    let named = |what: &str| format!("{}_{what}", from.name());
    let (plain, odd, gone) = (named("plain"), named("Odd \"1\", o'neil \\"), named("gone"));
    let roles = Named {
        database: &from,
        names: vec![plain.clone(), odd.clone()],
    };
    for wallet in ["own", "other"] {
        create(&mut client, wallet, 1, &[], dec("100"));
    }
    // One role has its rights under a new name, and one is dropped.
    client
        .batch_execute(&format!(
            "CREATE ROLE {}; CREATE ROLE {}; CREATE ROLE {gone}",
            named("before"),
            quoted(&odd)
        ))
        .expect("roles");
    for (role, level, wallet) in [
        (&named("before"), "charger", "own"),
        (&odd, "billing", "other"),
        (&odd, "charger", "*"),
        (&gone, "admin", "*"),
    ] {
        client
            .execute(
                "SELECT wallet.grant_access($1, $2, $3)",
                &[role, &level, &wallet],
            )
            .expect("grant_access");
    }
    client
        .batch_execute(&format!(
            "ALTER ROLE {} RENAME TO {plain}; DROP OWNED BY {gone}; DROP ROLE {gone}",
            named("before")
        ))
        .expect("roles");
    let granted = grants(&mut client);
    assert_eq!(granted.len(), 3);
    let rights = [may(&mut client, &plain), may(&mut client, &odd)];
    assert_eq!(rights[0][0], ("own".to_owned(), true, false));
    assert_eq!(rights[0][1], ("other".to_owned(), false, false));
    assert_eq!(rights[1][0], ("own".to_owned(), true, false));
    assert_eq!(rights[1][1], ("other".to_owned(), true, true));

    let file = std::env::temp_dir().join(format!("{}.rights.sql", from.name()));
    let file_without = file.with_extension("bare.sql");
    run(Command::new("pg_dump")
        .arg("--file")
        .arg(&file)
        .arg(from.name()));
    // Where the roles are the same ones, with their memberships, everything is as before.
    let same = Database::empty();
    restore(&same, &file);
    let mut copy = same.connect();
    assert_eq!(grants(&mut copy), granted);
    assert_eq!([may(&mut copy, &plain), may(&mut copy, &odd)], rights);
    // Without any privileges in the dump, and so without the roles of levels, the grants are enough.
    let bare = Database::empty();
    run(Command::new("pg_dump")
        .args(["--no-privileges", "--file"])
        .arg(&file_without)
        .arg(from.name()));
    restore(&bare, &file_without);
    std::fs::remove_file(&file_without).unwrap();
    let mut without = bare.connect();
    without.batch_execute(APPLY).expect("memberships");
    assert_eq!([may(&mut without, &plain), may(&mut without, &odd)], rights);
    drop((copy, without, same, bare));
    // The roles of the other cluster: the same names, other oids, no memberships.
    roles.drop_in(&mut client);
    roles.drop(&mut client);
    roles.create(&mut client);
    restore(&to, &file);
    std::fs::remove_file(&file).unwrap();
    let mut restored = to.connect();
    assert_eq!(grants(&mut restored), granted);
    restored.batch_execute(APPLY).expect("memberships");
    let left: i64 = restored
        .query_one("SELECT count(*) FROM wallet.role_grants", &[])
        .unwrap()
        .get(0);
    assert_eq!(
        left, 3,
        "what was granted to a role that is gone stays behind"
    );
    assert_eq!(
        [may(&mut restored, &plain), may(&mut restored, &odd)],
        rights
    );
    // New roles with the old names have no rights in the original database.
    assert_eq!(grants(&mut client), []);
    // The copy continues: rights are revoked by their current names.
    restored
        .execute("SELECT wallet.revoke_access($1, 'charger')", &[&odd])
        .expect("revoke_access");
    assert_eq!(
        may(&mut restored, &odd)[0],
        ("own".to_owned(), false, false)
    );
    charge(&mut restored, "own", dec("1")).unwrap();
    fund(&mut restored, "own", dec("1")).unwrap();
    roles.drop_in(&mut restored);
}
