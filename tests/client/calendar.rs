//! Every date and every point in time that a function takes is either used or refused with a code
//! that its comment names. PostgreSQL's calendar is larger than that of reports: it has infinite
//! values, years before Christ and years after 9999.

use std::collections::BTreeSet;

use postgres::Client;
use wallet_tests::{Database, FUNCTIONS, Reach, Roles, Scene};

/// An argument of a function that is a date or a point in time.
struct Argument {
    function: String,
    name: String,
    position: usize,
    is_date: bool,
    /// The codes in the function's comment.
    codes: BTreeSet<String>,
    /// How many functions have this name.
    forms: i64,
}

fn arguments(client: &mut Client) -> Vec<Argument> {
    let rows = client
        .query(
            "SELECT p.proname::text, a.name, a.position::int4, t.type = 'date'::regtype::oid,
                    coalesce(obj_description(p.oid, 'pg_proc'), ''),
                    (SELECT count(*) FROM pg_proc q WHERE q.pronamespace = p.pronamespace AND q.proname = p.proname)
               FROM pg_proc p
              CROSS JOIN LATERAL unnest(p.proargtypes::oid[]) WITH ORDINALITY t(type, position)
               JOIN LATERAL unnest(p.proargnames) WITH ORDINALITY a(name, position) USING (position)
              WHERE p.pronamespace = 'wallet'::regnamespace AND p.prokind = 'f'
                AND t.type IN ('date'::regtype, 'timestamptz'::regtype)
              ORDER BY 1, 3",
            &[],
        )
        .unwrap();
    let argument = |row: postgres::Row| {
        let comment: String = row.get(4);
        // A comment may refer to another function for some codes.
        let listed = comment.split("Errors: ").nth(1).unwrap_or("");
        let codes = if listed.contains("of charge") {
            ""
        } else {
            listed
        };
        let codes = codes.split([',', ' ', '.']).filter(|code| {
            code.len() == 5
                && code
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        });
        Argument {
            function: row.get(0),
            name: row.get(1),
            position: row.get::<_, i32>(2) as usize,
            is_date: row.get(3),
            codes: codes.map(str::to_owned).collect(),
            forms: row.get(5),
        }
    };
    rows.into_iter().map(argument).collect()
}

/// The beginning and the arguments of a call `… name(a, b)`.
fn parts(sql: &str) -> (String, Vec<String>) {
    let open = sql.find('(').unwrap();
    let (mut depth, mut in_text) = (0, false);
    let mut arguments = vec![String::new()];
    for c in sql[open + 1..sql.rfind(')').unwrap()].chars() {
        in_text ^= c == '\'';
        match c {
            '(' | '[' if !in_text => depth += 1,
            ')' | ']' if !in_text => depth -= 1,
            _ => {}
        }
        if c == ',' && depth == 0 && !in_text {
            arguments.push(String::new());
        } else {
            arguments.last_mut().unwrap().push(c);
        }
    }
    arguments.retain(|argument| !argument.trim().is_empty());
    (sql[..open].to_owned(), arguments)
}

/// The call with another value of the argument.
fn with(sql: &str, argument: &Argument, value: &str) -> String {
    let (start, mut arguments) = parts(sql);
    let named = |text: &String| text.trim().starts_with(&format!("{} => ", argument.name));
    let kind = if argument.is_date {
        "date"
    } else {
        "timestamptz"
    };
    let value = format!("{kind} '{value}'");
    let before_names = arguments.iter().take_while(|text| !text.contains(" => "));
    if argument.position <= before_names.count() {
        arguments[argument.position - 1] = value;
    } else {
        arguments.retain(|text| !named(text));
        arguments.push(format!("\"{}\" => {value}", argument.name));
    }
    format!("{start}({})", arguments.join(", "))
}

#[test]
fn every_date_and_time_is_used_or_refused_with_a_code_of_the_comment() {
    let database = Database::new();
    let mut client = database.connect();
    let mut roles = Roles::new(&database);
    let names = [roles.add("nobody"), roles.add("onlooker")];
    let scene = Scene::new(&mut client, &["own"], [&names[0], &names[1]]);
    let (mut wrong, mut calls) = (Vec::new(), 0);
    for argument in arguments(&mut client) {
        let values = match argument.is_date {
            true => [
                "infinity",
                "-infinity",
                "0044-03-15 BC",
                "10000-01-01",
                "5874897-12-31",
            ],
            false => [
                "infinity",
                "-infinity",
                "0044-03-15Z BC",
                "10000-01-01Z",
                "294276-12-31Z",
            ],
        };
        for function in FUNCTIONS
            .iter()
            .filter(|f| f.name == argument.function && f.reach != Reach::Inside)
        {
            for value in values {
                let sql = with(&scene.call(function, "own", None), &argument, value);
                calls += 1;
                client.batch_execute("BEGIN").unwrap();
                let code = client
                    .query(&sql, &[])
                    .err()
                    .map(|error| match error.as_db_error() {
                        Some(error) => (error.code().code().to_owned(), error.message().to_owned()),
                        None => (error.to_string(), String::new()),
                    });
                client.batch_execute("ROLLBACK").unwrap();
                match code {
                    Some((code, _)) if argument.forms > 1 && code == "42883" => {}
                    // The comment names no code: only other functions call it, or its codes are
                    // those of another function.
                    Some((code, _)) if argument.codes.is_empty() && !code.starts_with("XX") => {}
                    Some((code, message)) if !argument.codes.contains(&code) => {
                        wrong.push(format!("{code} {message}: {sql}"));
                    }
                    _ => {}
                }
            }
        }
    }
    assert!(calls > 100, "{calls} calls");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
