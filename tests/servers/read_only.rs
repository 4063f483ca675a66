//! In a READ ONLY transaction and on a hot standby, every call that reads answers as elsewhere, and
//! every call that writes is refused with 25006, even if it would change nothing. The test is
//! complete: the list of functions is compared with the catalog, which says which of them write.

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::{Database, FUNCTIONS, Reach, Roles, Scene, Server, audit, crowd, state_of};

/// The rows of an answer as text, or the SQLSTATE that refused it. The call is rolled back.
fn attempt(client: &mut Client, begin: &str, sql: &str) -> Result<Vec<String>, String> {
    client.batch_execute(begin).expect("begin");
    let answer = client.simple_query(sql);
    client.batch_execute("ROLLBACK").expect("rollback");
    let messages = answer.map_err(|error| state_of(&error))?;
    let row = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|column| format!("{:?} ", row.get(column)))
                .collect(),
        ),
        _ => None,
    };
    Ok(messages.iter().filter_map(row).collect())
}

struct Calls {
    /// Calls and views that read.
    reads: Vec<String>,
    /// Calls that write.
    writes: Vec<String>,
}

fn calls(client: &mut Client, roles: &mut Roles) -> Calls {
    let names = [roles.add("nobody"), roles.add("onlooker")];
    let scene = Scene::new(client, &["own"], [&names[0], &names[1]]);
    let mut calls = Calls {
        reads: Vec::new(),
        writes: Vec::new(),
    };
    for function in FUNCTIONS {
        let writes = scene.declared(function.name).writes;
        // Trigger functions cannot be called.
        if function.reach == Reach::Inside && writes && function.name != "apply_privileges" {
            continue;
        }
        let list = if writes {
            &mut calls.writes
        } else {
            &mut calls.reads
        };
        list.push(scene.call(function, "own", None));
    }
    let relations = "SELECT c.relname::text FROM pg_class c
                      WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('v', 'r') ORDER BY 1";
    for row in client.query(relations, &[]).expect("pg_class") {
        let name: String = row.get(0);
        calls
            .reads
            .push(format!("SELECT * FROM wallet.{name} t ORDER BY t::text"));
    }
    calls
}

/// The writing calls that are not refused with 25006.
fn not_refused(client: &mut Client, begin: &str, writes: &[String]) -> Vec<String> {
    writes
        .iter()
        .filter_map(|sql| match attempt(client, begin, sql) {
            Err(state) if state == "25006" => None,
            other => Some(format!("{begin}; {sql}: {other:?}")),
        })
        .collect()
}

/// Answers that contain the time of the call: only their rows are counted.
fn tells_the_time(sql: &str) -> bool {
    [
        "forecast",
        "report(",
        "statement",
        "digest",
        "health",
        "verify",
        "limits_status",
    ]
    .iter()
    .any(|word| sql.contains(word))
}

#[test]
fn reads_answer_and_writes_are_refused() {
    let _crowd = crowd();
    let database = Database::new();
    let (mut primary, mut roles) = (database.connect(), Roles::new(&database));
    let calls = calls(&mut primary, &mut roles);
    println!(
        "{} calls read, {} write",
        calls.reads.len(),
        calls.writes.len()
    );
    assert!(calls.reads.len() > 60 && calls.writes.len() > 50);
    let server = Server::standby();
    let mut standby = server.catch_up(&mut primary, database.name());
    let mut wrong = Vec::new();
    for sql in &calls.reads {
        let here = attempt(&mut primary, "BEGIN", sql);
        let read_only = attempt(&mut primary, "BEGIN READ ONLY", sql);
        let there = attempt(&mut standby, "BEGIN", sql);
        let shape = |answer: &Result<Vec<String>, String>| match answer {
            Ok(rows) if tells_the_time(sql) => Ok(vec![rows.len().to_string()]),
            answer => answer.clone(),
        };
        if here.is_err() || shape(&here) != shape(&read_only) || shape(&here) != shape(&there) {
            wrong.push(format!(
                "{sql}: {here:?}, in READ ONLY {read_only:?}, on the standby {there:?}"
            ));
        }
    }
    for storage in ["auto", "spi"] {
        let set = format!("SET wallet.storage = {storage}");
        for (client, begin) in [(&mut primary, "BEGIN READ ONLY"), (&mut standby, "BEGIN")] {
            client.batch_execute(&set).expect("a setting");
            wrong.extend(not_refused(client, begin, &calls.writes));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    audit(&mut primary, "own");
}
