//! What the reference says about errors and retries, checked with every call of the API: in
//! situations that refuse the call, with each argument replaced by a bad one, and repeated.

use std::collections::BTreeMap;

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::{Database, FUNCTIONS, Function, Roles, Scene, state_of};

use crate::reference::{Function as Documented, catalog, inside};

/// Situations before a call, each of which refuses some calls.
const SITUATIONS: &[(&str, &str)] = &[
    ("ordinary", "SELECT 1"),
    ("frozen", "SELECT wallet.freeze_wallet('own')"),
    (
        "closed",
        "SELECT wallet.freeze_wallet('own'), wallet.unfreeze_wallet('own-frozen');
         UPDATE wallet.wallets SET status = 'closed' WHERE wallet_id LIKE 'own%'",
    ),
    (
        "spent",
        "SELECT wallet.adjust('own', -available) FROM wallet.balances WHERE wallet = 'own'",
    ),
    (
        "limited",
        "SELECT wallet.set_limit('own', 0.000001, 'lifetime')",
    ),
    (
        "without a price",
        "SELECT wallet.set_price('fn-m', 'input_tokens', NULL)",
    ),
    (
        "in a currency without a rate",
        "SELECT wallet.set_price('fn-m', 'input_tokens', 0.01, currency => 'elsewhere')",
    ),
    (
        "pooled",
        "UPDATE wallet.wallets SET parent = 'own-peer', share = 'pool' WHERE wallet_id = 'own';
         UPDATE wallet.wallets SET parent = 'own-empty', share = 'own' WHERE wallet_id = 'own-frozen'",
    ),
    (
        "nobody but members",
        "SELECT wallet.update_wallet('own', members_only => true)",
    ),
];

/// Literals that replace each literal of a call.
const SPOILT: &[&str] = &["NULL", "'{}'", "'ghost'", "-1", "'NaN'"];

/// The codes in a comment, in their order.
fn listed<'a>(documented: &'a BTreeMap<String, Documented>, name: &str) -> Vec<&'a str> {
    let errors = &documented[name].errors;
    let words = errors.split(|c: char| !c.is_ascii_alphanumeric());
    let mut codes = Vec::new();
    for word in words {
        match word {
            "charge" => codes.extend(listed(documented, "charge")),
            code if code.starts_with("WL") || code.starts_with(|c: char| c.is_ascii_digit()) => {
                codes.push(code);
            }
            _ => {}
        }
    }
    codes
}

/// The call with each of its literals replaced, one at a time.
fn spoilt(call: &str, by: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut calls = Vec::new();
    let bytes = call.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let begin = at;
        match bytes[at] {
            b'\'' => {
                at += 1;
                while at < bytes.len() && bytes[at] != b'\'' {
                    at += 1;
                }
                at += 1;
            }
            b'0'..=b'9' if !bytes[at - 1].is_ascii_alphanumeric() => {
                while at < bytes.len() && (bytes[at].is_ascii_digit() || bytes[at] == b'.') {
                    at += 1;
                }
            }
            _ => {
                at += 1;
                continue;
            }
        }
        if let Some(other) = by(&call[begin..at]) {
            calls.push(format!("{}{other}{}", &call[..begin], &call[at..]));
        }
    }
    calls
}

/// The calls of a function that may be refused, with the statements before each.
fn attempts(scene: &Scene, function: &Function, documented: &Documented) -> Vec<(String, String)> {
    let call = scene.call(function, "own", None);
    let mut attempts: Vec<(String, String)> = SITUATIONS
        .iter()
        .map(|(_, before)| ((*before).to_owned(), call.clone()))
        .collect();
    let mut also = |before: &str, call: String| attempts.push((before.to_owned(), call));
    also(&call, call.clone());
    also("SELECT 1", scene.call_with(function, "ghost", "own", None));
    if documented.arguments.contains("actor") {
        also("SELECT 1", scene.call(function, "own", Some("viewer")));
    }
    for literal in SPOILT {
        for call in spoilt(&call, |_| Some((*literal).to_owned())) {
            also("SELECT 1", call);
        }
    }
    let unknown = "'00000000-0000-7000-8000-000000000001'";
    for call in spoilt(&call, |literal| {
        (literal.len() == 38).then(|| unknown.to_owned())
    }) {
        also("SELECT 1", call);
    }
    if documented.has_key && call.ends_with(')') {
        for other in others(&call, documented) {
            also(&keyed(&call), keyed(&other));
        }
    }
    attempts
}

fn keyed(call: &str) -> String {
    format!("{}, idempotency_key => 'k')", &call[..call.len() - 1])
}

/// Requests that differ from the call: with another value for each of its literals, and another
/// reason.
fn others(call: &str, documented: &Documented) -> Vec<String> {
    let mut others = spoilt(call, |literal| {
        let number = literal.parse::<f64>().is_ok();
        number
            .then(|| format!("{literal}1"))
            .or_else(|| Some(format!("{}x'", &literal[..literal.len() - 1])))
    });
    let unknown = "'00000000-0000-7000-8000-000000000001'";
    others.extend(spoilt(call, |literal| {
        (literal.len() == 38).then(|| unknown.to_owned())
    }));
    // A number inside a document.
    others.extend(spoilt(call, |literal| {
        let digit = literal.rfind(|c: char| c.is_ascii_digit())?;
        (literal.contains('{')).then(|| format!("{}7{}", &literal[..=digit], &literal[digit + 1..]))
    }));
    // Words that only certain other words can replace.
    for (word, other) in [
        ("'even'", "'use'"),
        ("laptop", "tablet"),
        ("10.0.0.0", "11.0.0.0"),
        ("fn-*", "fo-*"),
        ("2026-01-01Z", "2025-01-01Z"),
    ] {
        others.extend(call.contains(word).then(|| call.replace(word, other)));
    }
    if call.contains("extend_hold") {
        others.push(format!("{}, ttl => '3 days')", &call[..call.len() - 1]));
    }
    if call.contains("assign_plan") {
        others.push(format!("{}, at => '2099-01-01Z')", &call[..call.len() - 1]));
    }
    if call.contains("set_parent") {
        others.push(call.replace("NULL", "'own-peer'"));
    }
    if documented.arguments.contains("reason") {
        others.push(format!("{}, reason => 'other')", &call[..call.len() - 1]));
    }
    others
}

/// The SQLSTATE with which the extension refuses a call, if it does. The call is rolled back.
fn refusal(client: &mut Client, before: &str, call: &str) -> Option<String> {
    client.batch_execute("BEGIN").expect("begin");
    // An error in the situation refuses the call too.
    let refused = match client.batch_execute(before) {
        Ok(()) => client.simple_query(call).err(),
        Err(_) => None,
    };
    client.batch_execute("ROLLBACK").expect("rollback");
    let error = refused?;
    let state = state_of(&error);
    // PostgreSQL's own error about a literal of the wrong type: the call was never made.
    let about_the_text = matches!(
        state.as_str(),
        "22P02" | "42883" | "42601" | "22007" | "42725" | "42804" | "22003"
    );
    (!about_the_text).then_some(state)
}

/// A scene in which `viewer` is a member without rights, and what the catalog says about the
/// functions.
fn scene(client: &mut Client, roles: &mut Roles<'_>) -> (Scene, BTreeMap<String, Documented>) {
    let documented = catalog(client);
    let names = [roles.add("nobody"), roles.add("onlooker")];
    let scene = Scene::new(client, &["own"], [&names[0], &names[1]]);
    let grant = format!(
        "SELECT wallet.grant_access('{}', 'reader', 'own'); SELECT wallet.set_member(w, 'viewer', 'viewer')
           FROM unnest(ARRAY['own', 'own-peer', 'own-empty', 'own-frozen']) w",
        names[1]
    );
    client.batch_execute(&grant).expect("the scene");
    (scene, documented)
}

#[test]
fn comments_list_every_error() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    let (scene, documented) = scene(&mut client, &mut roles);
    let (mut calls, mut refused) = (0, 0);
    let mut wrong = BTreeMap::new();
    let inside = inside();
    for function in FUNCTIONS {
        if inside.contains(function.name) {
            continue;
        }
        let listed = listed(&documented, function.name);
        for (before, call) in attempts(&scene, function, &documented[function.name]) {
            calls += 1;
            let Some(state) = refusal(&mut client, &before, &call) else {
                continue;
            };
            refused += 1;
            if !listed.contains(&state.as_str()) {
                wrong
                    .entry((function.name, state.clone()))
                    .or_insert(format!("{before}; {call}"));
            }
        }
    }
    println!("{calls} calls");
    assert!(refused > calls / 4, "{refused} of {calls} are refused");
    assert!(
        wrong.is_empty(),
        "{} are not listed:\n{wrong:#?}",
        wrong.len()
    );
}

/// Of two reasons to refuse a call, the one that the comment lists first is raised.
#[test]
fn comments_list_the_errors_in_their_order() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    let (scene, documented) = scene(&mut client, &mut roles);
    let (mut pairs, mut wrong) = (0, Vec::new());
    for function in FUNCTIONS {
        let (name, listed) = (function.name, listed(&documented, function.name));
        // A code may be listed twice, because some errors of an argument are detected late.
        let first = |state: &str| listed.iter().position(|code| *code == state);
        let last = |state: &str| listed.iter().rposition(|code| *code == state);
        let call = scene.call(function, "own", None);
        let each = |literal: &&str| spoilt(&call, |_| Some((*literal).to_owned()));
        let spoilt: Vec<String> = SPOILT.iter().flat_map(each).collect();
        // The situation before the call, and the caller.
        let mut reasons: Vec<(&str, &str)> =
            SITUATIONS.iter().map(|(_, before)| (*before, "")).collect();
        if documented[name].has_key {
            reasons.push(("SELECT 1", ", actor => 'viewer'"));
        }
        let alone: Vec<_> = spoilt
            .iter()
            .map(|call| refusal(&mut client, "SELECT 1", call))
            .collect();
        for (before, actor) in reasons {
            let by = |call: &str| format!("{}{actor})", &call[..call.len() - 1]);
            let Some(one) = refusal(&mut client, before, &by(&call)) else {
                continue;
            };
            for (call, other) in spoilt.iter().zip(&alone) {
                // A wallet that does not exist has no members.
                let Some(other) = other.as_deref().filter(|other| *other != "WL003") else {
                    continue;
                };
                let Some(got) = refusal(&mut client, before, &by(call)) else {
                    continue;
                };
                pairs += 1;
                let right = got == one && first(&one) <= last(other)
                    || got == other && first(other) <= last(&one);
                if !right {
                    wrong.push(format!(
                        "{name}: {got} of {one} and {other}: {before}; {}",
                        by(call)
                    ));
                }
            }
        }
    }
    println!("{pairs} pairs");
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Columns by name, as text.
type Row = Vec<(String, Option<String>)>;

/// The rows of a query, without what a retry returns differently: the flag that it is one, and no
/// secret.
fn rows(client: &mut Client, sql: &str) -> Result<Vec<Row>, String> {
    let messages = client.simple_query(sql).map_err(|error| state_of(&error))?;
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let rows = rows
        .map(|row| {
            let columns = row.columns().iter().enumerate();
            columns
                .map(|(number, column)| {
                    (column.name().to_owned(), row.get(number).map(str::to_owned))
                })
                .filter(|(name, _)| !["replayed", "secret"].contains(&name.as_str()))
                .collect()
        })
        .collect();
    Ok(rows)
}

/// Calls that can differ only in the wallet, which has keys of its own. `erase_user` stores nothing
/// of the identifier: another one is refused only if there is something to erase. The
/// values that replace those of `set_retention` are not valid; `tests/client/retention.rs` has
/// another. None replaces a time; `tests/pg_regress/sql/closed_periods.sql` has other ones.
const ALL_THE_SAME: &[&str] = &[
    "close_period",
    "close_wallet",
    "create_wallet",
    "erase_user",
    "price_unpriced",
    "reopen_period",
    "set_retention",
    "unfreeze_wallet",
];

/// A key stands for one request: another request with it is refused, for every function.
#[test]
fn a_key_identifies_one_request() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    let (scene, documented) = scene(&mut client, &mut roles);
    let (mut calls, mut wrong) = (0, Vec::new());
    for function in FUNCTIONS {
        let documented = &documented[function.name];
        let has_key = documented.has_key && function.call.contains("{a}");
        if !has_key || ALL_THE_SAME.contains(&function.name) {
            continue;
        }
        let call = scene.call(function, "own", None);
        let refused: Vec<_> = others(&call, documented)
            .iter()
            .filter_map(|other| refusal(&mut client, &keyed(&call), &keyed(other)))
            .collect();
        if !refused.iter().any(|state| state == "WL006") {
            wrong.push(format!("{call}: {refused:?}"));
        }
        calls += 1;
    }
    assert!(wrong.is_empty(), "of {calls} calls:\n{}", wrong.join("\n"));
    assert!(calls > 40, "{calls} calls");
}

/// Columns that a retry does not repeat, as the sections of these functions say.
const NOT_REPEATED: &[(&str, &str)] = &[
    ("complete_topup", "balance"),
    ("fail_funding", "balance"),
    ("fail_topup", "balance"),
    ("reverse_funding", "taken"),
    ("void_grant", "balance"),
];

/// "Retry: the first result": the same call with the same key returns the first result, even after
/// another call that would change the result.
#[test]
fn a_retry_gets_the_first_result() {
    let database = Database::new();
    let (mut client, mut roles) = (database.connect(), Roles::new(&database));
    let (scene, documented) = scene(&mut client, &mut roles);
    let (mut calls, mut wrong) = (0, Vec::new());
    for function in FUNCTIONS {
        let has_key = documented[function.name].has_key && function.call.contains("{a}");
        if !has_key {
            continue;
        }
        let call = scene.call(function, "own", None);
        let keyed = keyed(&call);
        client.batch_execute("BEGIN").expect("begin");
        let repeated = |(name, _): &(String, Option<String>)| {
            !NOT_REPEATED.contains(&(function.name, name.as_str()))
        };
        let mut first =
            rows(&mut client, &keyed).unwrap_or_else(|state| panic!("{keyed}: {state}"));
        let another = "SELECT wallet.adjust('own', 1)";
        client.batch_execute(another).expect("another call");
        let mut second = rows(&mut client, &keyed);
        for row in first.iter_mut().chain(second.iter_mut().flatten()) {
            row.retain(repeated);
        }
        client.batch_execute("ROLLBACK").expect("rollback");
        if second.as_ref() != Ok(&first) {
            wrong.push(format!("{keyed}\n{first:?}\n{second:?}"));
        }
        calls += 1;
    }
    assert!(wrong.is_empty(), "of {calls} calls:\n{}", wrong.join("\n"));
    assert!(calls > 40, "{calls} calls");
}
