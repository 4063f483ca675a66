//! Every cell of the table of roles in docs/reference/access.md.

use std::collections::BTreeMap;

use postgres::Client;
use wallet_tests::{Database, FUNCTIONS, Function, Level, Reach, Roles, Scene, expect, state_of};

const REFERENCE: &str = include_str!("../../docs/reference/access.md");

/// The columns of the table.
const COLUMNS: [&str; 4] = [
    "spends",
    "fundings and refunds",
    "rules, members, keys",
    "appoints owners",
];

/// The table: role → yes or no for each column.
fn table() -> BTreeMap<String, [bool; 4]> {
    let head = format!("| role | {} |", COLUMNS.join(" | "));
    let (_, rest) = REFERENCE
        .split_once(&head)
        .expect("docs/reference/access.md has the table of roles");
    let rows = rest
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [role, cells @ ..] = &cells[..] else {
            panic!("a row without a role: {line}");
        };
        let cells: Vec<bool> = cells
            .iter()
            .map(|cell| match *cell {
                "yes" => true,
                "no" => false,
                other => panic!("neither yes nor no: {other}"),
            })
            .collect();
        let cells = cells.try_into().expect("four columns");
        ((*role).to_owned(), cells)
    })
    .collect()
}

/// The column for a function with an actor. `None` if it concerns no wallet with members.
fn column(function: &Function) -> Option<usize> {
    match (function.reach, function.level) {
        (Reach::All, _) => None,
        (_, Level::Charger) => Some(0),
        (_, Level::Billing | Level::Events) => Some(1),
        (_, Level::Admin) => Some(2),
        (reach, level) => panic!("{}: {reach:?} {level:?}", function.name),
    }
}

/// The SQLSTATE of a call, `00000` for success. The call is rolled back.
fn attempt(client: &mut Client, sql: &str) -> String {
    client.batch_execute("BEGIN").expect("begin");
    let result = client.simple_query(sql);
    client.batch_execute("ROLLBACK").expect("rollback");
    result.map_or_else(|error| state_of(&error), |_| "00000".to_owned())
}

/// A scene whose wallets all have a member `u-ROLE` for every role of the table.
fn scene(client: &mut Client, roles: &mut Roles<'_>) -> Scene {
    let names = [roles.add("nobody"), roles.add("onlooker")];
    let scene = Scene::new(client, &["own"], [&names[0], &names[1]]);
    let grant = "SELECT wallet.grant_access($1, 'reader', 'own')";
    client.query(grant, &[&names[1]]).expect("grant_access");
    for wallet in Scene::wallets_of("own") {
        for role in table().keys() {
            let sql = "SELECT wallet.set_member($1, 'u-' || $2::text, $2)";
            client.query(sql, &[&wallet, role]).expect("set_member");
        }
    }
    scene
}

#[test]
fn every_call_with_an_actor_allows_each_role_what_is_documented() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    let scene = scene(&mut client, &mut roles);
    let table = table();
    let documented: Vec<&str> = table.keys().map(String::as_str).collect();
    assert_eq!(
        documented,
        ["admin", "billing", "member", "owner", "viewer"],
        "the roles that set_member takes"
    );
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for function in FUNCTIONS {
        if !scene.declared(function.name).has_actor {
            continue;
        }
        for (role, may) in &table {
            let allowed = column(function).is_none_or(|column| may[column]);
            let want = if allowed { "00000" } else { "WL009" };
            let actor = format!("u-{role}");
            let got = attempt(&mut client, &scene.call(function, "own", Some(&actor)));
            cells += 1;
            if got != want {
                wrong.push(format!("{} by {role}: {got}, not {want}", function.name));
            }
        }
        // A program that is not a member is bound only by its database role. A blocked member
        // cannot do anything.
        let program = attempt(&mut client, &scene.call(function, "own", Some("program")));
        assert_eq!(program, "00000", "{} by a program", function.name);
    }
    println!("{cells} cells");
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );

    let block = "SELECT wallet.set_member(w, 'u-owner', 'owner', blocked => true)
                   FROM unnest(ARRAY['own', 'own-peer', 'own-empty', 'own-frozen']) w";
    client.batch_execute(block).expect("blocked");
    for function in FUNCTIONS {
        if scene.declared(function.name).has_actor && column(function).is_some() {
            let got = attempt(&mut client, &scene.call(function, "own", Some("u-owner")));
            assert_eq!(got, "WL009", "{} by a blocked owner", function.name);
        }
    }
}

/// The column "spends" also applies to the user of a charge or hold, whichever function is called.
#[test]
fn a_user_spends_only_with_a_role_that_spends() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    scene(&mut client, &mut roles);
    for (role, may) in table() {
        let want = if may[0] { "00000" } else { "WL009" };
        for sql in [
            format!("SELECT wallet.charge('own', amount => 1, user_id => 'u-{role}')"),
            format!("SELECT wallet.hold('own', amount => 1, user_id => 'u-{role}')"),
            format!(
                "SELECT wallet.charge_batch('own', '[{{\"amount\":1,\"user_id\":\"u-{role}\"}}]')"
            ),
            format!(
                "SELECT wallet.charge_batch('own', '[{{\"amount\":1,\"actor\":\"u-{role}\"}}]')"
            ),
            format!(
                "SELECT wallet.charge_batch('[{{\"wallet\":\"own\",\"amount\":1,\"user_id\":\"u-{role}\"}}]')"
            ),
        ] {
            assert_eq!(attempt(&mut client, &sql), want, "{sql}");
        }
        let check = format!(
            "SELECT allowed FROM wallet.check_limits('own', user_id => 'u-{role}', amount => 1) WHERE scope = 'balance'"
        );
        let row = client.query_one(&check, &[]).expect("check_limits");
        assert_eq!(row.get::<_, bool>(0), may[0], "{check}");
    }
}

#[test]
fn only_a_role_that_names_owners_changes_owners() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    scene(&mut client, &mut roles);
    for (role, may) in table() {
        let want = if may[3] { "00000" } else { "WL009" };
        for call in [
            "set_member('own', 'new', 'owner'",
            "set_member('own', 'u-admin', 'owner'",
            "set_member('own', 'u-owner', 'member'",
            "set_member('own', 'u-owner', 'owner', blocked => true",
            "drop_member('own', 'u-owner'",
        ] {
            let sql = format!("SELECT wallet.{call}, actor => 'u-{role}')");
            assert_eq!(attempt(&mut client, &sql), want, "{sql}");
        }
        // Members cannot make themselves owners.
        let sql =
            format!("SELECT wallet.set_member('own', 'u-{role}', 'owner', actor => 'u-{role}')");
        assert_eq!(attempt(&mut client, &sql), want, "{sql}");
    }
}

/// An actor needs the right in both wallets of a transfer.
#[test]
fn an_actor_needs_the_right_in_both_wallets_of_a_transfer() {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(
            "SELECT wallet.create_wallet(w), wallet.fund(w, 10) FROM unnest(ARRAY['a', 'b']) w;
             SELECT wallet.set_member('a', 'eve', 'admin'), wallet.set_member('b', 'eve', 'viewer')",
        )
        .expect("two wallets");
    for (from, to) in [("a", "b"), ("b", "a")] {
        let sql = "SELECT wallet.transfer($1, $2, 1, actor => 'eve')";
        expect(client.query(sql, &[&from, &to]), "WL009");
    }
    let sql = "SELECT wallet.set_member('b', 'eve', 'owner')";
    client.batch_execute(sql).expect("set_member");
    let sql = "SELECT wallet.transfer('a', 'b', 1, actor => 'eve')";
    client.batch_execute(sql).expect("transfer");
}
