//! Level × function × wallet, level × view, level × table. The matrix is complete, because the
//! lists are compared with the catalog.

use std::collections::BTreeMap;

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::{Database, FUNCTIONS, Function, Level, Reach, Roles, Scene, state_of};

/// The number of rows, or the SQLSTATE that refused the call. The call is rolled back.
fn attempt(client: &mut Client, sql: &str) -> Result<usize, String> {
    client.batch_execute("BEGIN").expect("begin");
    let result = client.simple_query(sql);
    client.batch_execute("ROLLBACK").expect("rollback");
    match result {
        Ok(messages) => Ok(count(&messages)),
        Err(error) => Err(state_of(&error)),
    }
}

fn count(messages: &[SimpleQueryMessage]) -> usize {
    let row = |message: &&SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
    messages.iter().filter(row).count()
}

/// A database with three wallets and two roles for each level: one has the level on `own` and is a
/// reader of `shared`, the other has the level on all wallets.
struct Matrix<'a> {
    scene: Scene,
    of_own: Vec<(Level, String, Client)>,
    of_all: Vec<(Level, String, Client)>,
    _roles: Roles<'a>,
}

fn grant(client: &mut Client, role: &str, level: Level, wallet: &str) {
    let sql = "SELECT wallet.grant_access($1, $2, $3)";
    client
        .query(sql, &[&role, &level.name(), &wallet])
        .expect("grant_access");
}

impl<'a> Matrix<'a> {
    fn new(database: &'a Database) -> Matrix<'a> {
        let mut client = database.connect();
        let mut roles = Roles::new(database);
        let names = [roles.add("nobody"), roles.add("onlooker")];
        let scene = Scene::new(
            &mut client,
            &["own", "shared", "other"],
            [&names[0], &names[1]],
        );
        for wallet in ["own", "shared", "other"] {
            grant(&mut client, &names[1], Level::Reader, wallet);
        }
        let (mut of_own, mut of_all) = (Vec::new(), Vec::new());
        for level in Level::ALL {
            let role = roles.add(level.name());
            let everywhere = roles.add(&format!("{}_of_all", level.name()));
            if level != Level::None {
                for wallet in Scene::wallets_of("own") {
                    grant(&mut client, &role, level, &wallet);
                }
                // A worker is not a reader, so that the role shows what the level alone may do.
                let is_reader = level != Level::Worker;
                for wallet in Scene::wallets_of("shared").iter().filter(|_| is_reader) {
                    grant(&mut client, &role, Level::Reader, wallet);
                }
                grant(&mut client, &everywhere, level, "*");
            }
            of_own.push((level, role.clone(), roles.connect(&role)));
            of_all.push((level, everywhere.clone(), roles.connect(&everywhere)));
        }
        Matrix {
            scene,
            of_own,
            of_all,
            _roles: roles,
        }
    }
}

/// What docs/reference/access.md says about a role with this level on `own`, and reader of
/// `shared`.
fn expected(function: &Function, level: Level, wallet: &str) -> Result<(), String> {
    let refused = Err("42501".to_owned());
    let there = match wallet {
        "own" => level,
        "shared" if level.covers(Level::Reader) => Level::Reader,
        _ => Level::None,
    };
    let may = match function.reach {
        Reach::Wallet => there.covers(function.level) && there != Level::None,
        Reach::Rows | Reach::Any => level.covers(function.level),
        // The level on any wallet is enough to ask for an id.
        Reach::Id if level.covers(function.level) && !there.covers(function.level) => {
            return Err("42704".to_owned());
        }
        Reach::Id => there.covers(function.level),
        Reach::All | Reach::Inside => false,
    };
    if may { Ok(()) } else { refused }
}

#[test]
fn every_function_allows_each_level_what_is_documented() {
    let database = Database::new();
    let mut matrix = Matrix::new(&database);
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for function in FUNCTIONS {
        let name = function.name;
        for (level, _, client) in &mut matrix.of_own {
            for wallet in ["own", "shared", "other"] {
                let got = attempt(client, &matrix.scene.call(function, wallet, None));
                let want = expected(function, *level, wallet);
                cells += 1;
                if got.clone().map(drop) != want {
                    wrong.push(format!(
                        "{name} by {level:?} on {wallet}: {got:?}, not {want:?}"
                    ));
                }
                // It finds no rows of another role's wallet.
                if function.reach == Reach::Rows && got.is_ok() {
                    assert_eq!(
                        got > Ok(0),
                        wallet != "other",
                        "{name} by {level:?} on {wallet}"
                    );
                }
            }
        }
        for (level, _, client) in &mut matrix.of_all {
            let may = function.reach != Reach::Inside
                && *level != Level::None
                && level.covers(function.level);
            let got = attempt(client, &matrix.scene.call(function, "other", None));
            cells += 1;
            if got.is_ok() != may || got.as_ref().is_err_and(|state| state != "42501") {
                wrong.push(format!("{name} by {level:?} of all: {got:?}, may: {may}"));
            }
        }
    }
    println!("{cells} cells");
    assert!(
        wrong.is_empty(),
        "{} are wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A role cannot find out which wallets exist: a missing wallet answers like another role's. A role
/// that may see all wallets is told that the wallet does not exist.
#[test]
fn a_foreign_wallet_answers_like_a_missing_one() {
    let database = Database::new();
    let mut matrix = Matrix::new(&database);
    let mut wrong = Vec::new();
    let told = |client: &mut Client, function: &Function, wallet: &str| {
        let sql = matrix.scene.call_with(function, wallet, "other", None);
        client.batch_execute("BEGIN").expect("begin");
        let answer = client.simple_query(&sql);
        client.batch_execute("ROLLBACK").expect("rollback");
        match answer {
            Ok(messages) => format!("{} rows", count(&messages)),
            Err(error) => {
                let error = error.as_db_error().expect("an error of the server");
                let (detail, hint) = (error.detail(), error.hint());
                let text = format!(
                    "{} {} {detail:?} {hint:?}",
                    error.code().code(),
                    error.message()
                );
                text.replace(wallet, "…")
            }
        }
    };
    for function in FUNCTIONS {
        if !matches!(function.reach, Reach::Wallet | Reach::Rows) {
            continue;
        }
        for (level, _, client) in &mut matrix.of_own {
            assert_eq!(
                told(client, function, "other"),
                told(client, function, "ghost"),
                "{} by {level:?}",
                function.name
            );
        }
        let (_, _, admin) = matrix.of_all.last_mut().expect("an admin of all");
        let answer = told(admin, function, "ghost");
        let want = match function.name {
            _ if function.reach == Reach::Rows => "0 rows",
            _ => "WL003",
        };
        if !answer.starts_with(want) {
            wrong.push(format!("{}: {answer}", function.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A transfer needs the level on both wallets.
#[test]
fn a_transfer_needs_the_level_on_both_wallets() {
    let database = Database::new();
    let mut matrix = Matrix::new(&database);
    let (_, _, admin) = matrix.of_own.last_mut().expect("an admin");
    for (from, to) in [
        ("own", "shared"),
        ("own", "other"),
        ("shared", "own"),
        ("other", "own"),
    ] {
        let sql = format!("SELECT wallet.transfer('{from}', '{to}', 1)");
        assert_eq!(attempt(admin, &sql), Err("42501".to_owned()), "{sql}");
    }
    assert_eq!(
        attempt(admin, "SELECT wallet.transfer('own', 'own-peer', 1)"),
        Ok(1)
    );
    // A batch with one item on the role's own wallet does not give access to another wallet.
    let items = r#"'[{"wallet":"own","amount":1},{"wallet":"other","amount":1}]'"#;
    let sql = format!("SELECT wallet.charge_batch({items})");
    assert_eq!(attempt(admin, &sql), Err("42501".to_owned()));
    let sql = format!(
        "SELECT item, sqlstate FROM wallet.charge_batch({items}, on_error => 'skip') ORDER BY item"
    );
    let rows = admin.query(&sql, &[]).expect("skipped");
    let states: Vec<Option<String>> = rows.iter().map(|row| row.get(1)).collect();
    assert_eq!(states, [None, Some("42501".to_owned())]);
}

/// The level that a relation needs, and the column with the wallet of a row.
const RELATIONS: &[(&str, Level, Option<&str>)] = &[
    ("access_grants", Level::Admin, Some("wallet_id")),
    ("allowances", Level::Reader, Some("wallet_id")),
    ("api_keys", Level::Auditor, Some("wallet_id")),
    ("audit", Level::Auditor, Some("wallet")),
    ("audit_log", Level::Auditor, Some("wallet_id")),
    ("balances", Level::Reader, Some("wallet")),
    ("bonus_rules", Level::Reader, Some("wallet_id")),
    ("bonuses", Level::Reader, Some("wallet")),
    ("carried_forward", Level::Reader, Some("wallet_id")),
    ("chargeback_rules", Level::Reader, Some("wallet_id")),
    ("closed_periods", Level::Reader, Some("wallet_id")),
    ("counted_entries", Level::Reader, Some("wallet")),
    ("default_limits", Level::Reader, None),
    ("deliveries", Level::Reader, Some("wallet_id")),
    ("delivery_list", Level::Reader, Some("wallet")),
    ("destination_list", Level::Reader, Some("wallet")),
    ("destinations", Level::Reader, Some("wallet_id")),
    ("entries", Level::Reader, Some("wallet")),
    ("entry_lists", Level::Reader, Some("wallet_id")),
    ("events", Level::Reader, Some("wallet")),
    ("focus", Level::Reader, Some("\"BillingAccountId\"")),
    ("funding_requests", Level::Reader, Some("wallet_id")),
    ("fundings", Level::Reader, Some("wallet")),
    ("fx_rates", Level::Reader, None),
    ("grant_burns", Level::Reader, Some("wallet_id")),
    ("grant_lots", Level::Reader, Some("wallet_id")),
    ("grant_marks", Level::Reader, Some("wallet_id")),
    ("grant_payments", Level::Reader, Some("wallet")),
    ("grants", Level::Reader, Some("wallet")),
    ("health", Level::Reader, None),
    ("holds", Level::Reader, Some("wallet")),
    ("kept_credit", Level::Reader, Some("wallet_id")),
    ("keys", Level::Auditor, Some("wallet")),
    ("lane_waits", Level::Reader, Some("wallet")),
    ("ledger", Level::Reader, Some("wallet_id")),
    ("ledger_all", Level::Reader, Some("wallet_id")),
    ("ledger_archive", Level::Reader, Some("wallet_id")),
    ("limits", Level::Reader, Some("wallet_id")),
    ("limits_status", Level::Reader, Some("wallet")),
    ("markup_list", Level::Reader, None),
    ("markups", Level::Reader, None),
    ("member_list", Level::Reader, Some("wallet")),
    ("members", Level::Reader, Some("wallet_id")),
    ("metric_weights", Level::Reader, None),
    ("metrics", Level::Reader, None),
    ("model_rule_list", Level::Reader, Some("wallet")),
    ("model_rules", Level::Reader, Some("wallet_id")),
    ("origin_rules", Level::Reader, Some("wallet_id")),
    ("outbox", Level::Reader, Some("wallet_id")),
    ("periods", Level::Reader, Some("wallet")),
    ("plan_rules", Level::Reader, Some("wallet_id")),
    ("plan_versions", Level::Reader, None),
    ("plans", Level::Reader, None),
    (
        "price_lists",
        Level::Reader,
        Some("coalesce(wallet, 'unused')"),
    ),
    ("prices", Level::Reader, None),
    ("recurring_grant_list", Level::Reader, Some("wallet")),
    ("recurring_grants", Level::Reader, Some("wallet_id")),
    ("refunds", Level::Reader, Some("wallet_id")),
    ("requests", Level::None, Some("wallet_id")),
    ("reservations", Level::Reader, Some("wallet_id")),
    ("retention", Level::Reader, None),
    ("retention_rules", Level::Reader, None),
    ("role_grants", Level::Admin, Some("wallet_id")),
    ("rolled_lanes", Level::Reader, Some("wallet")),
    ("rolled_wallets", Level::Reader, Some("wallet")),
    ("rollup_chunks", Level::Reader, Some("wallet_id")),
    ("rollup_states", Level::Reader, Some("wallet_id")),
    ("run_out_alerts", Level::Reader, Some("wallet_id")),
    ("thresholds", Level::None, Some("wallet_id")),
    ("topup_requests", Level::Reader, Some("wallet_id")),
    ("topup_rule_list", Level::Reader, Some("wallet")),
    ("topup_rules", Level::Reader, Some("wallet_id")),
    ("topups", Level::Reader, Some("wallet")),
    ("unpriced", Level::Reader, Some("wallet")),
    ("unpriced_charges", Level::Reader, Some("wallet_id")),
    ("unread_paths", Level::Reader, Some("wallet_id")),
    ("unread_usage", Level::Reader, Some("wallet")),
    ("unrolled_days", Level::Reader, Some("wallet")),
    ("usage_daily", Level::Reader, Some("wallet")),
    ("usage_days", Level::Reader, Some("wallet")),
    ("usage_entries", Level::Reader, Some("wallet")),
    ("usage_mappings", Level::Reader, None),
    ("usage_rollups", Level::Reader, Some("wallet_id")),
    ("voucher_list", Level::Admin, None),
    ("vouchers", Level::Admin, None),
    ("wallets", Level::Reader, Some("wallet_id")),
];

/// The number of rows by wallet, or the SQLSTATE.
fn rows_of(
    client: &mut Client,
    name: &str,
    key: Option<&str>,
) -> Result<BTreeMap<String, i64>, String> {
    let key = key.unwrap_or("'*'");
    let sql = format!("SELECT {key}::text, count(*) FROM wallet.{name} GROUP BY 1");
    match client.query(&sql, &[]) {
        Ok(rows) => Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect()),
        Err(error) => Err(state_of(&error)),
    }
}

#[test]
fn every_view_and_table_shows_only_own_rows_and_refuses_writes() {
    let database = Database::new();
    let mut matrix = Matrix::new(&database);
    let mut owner = database.connect();
    // Adds rows to relations that the scene leaves empty.
    owner
        .batch_execute(
            "SELECT wallet.fund(w, 7, expires_at => clock_timestamp() + interval '0.2 seconds', priority => 1),
                    wallet.hold(w, amount => 3) FROM unnest(ARRAY['own', 'shared', 'other']) w;
             SELECT pg_sleep(0.3);
             SELECT wallet.sweep_expired();
             SELECT wallet.refund(w, entry_id) FROM unnest(ARRAY['own', 'shared', 'other']) w,
                    LATERAL (SELECT entry_id FROM wallet.entries e WHERE e.wallet = w AND user_id = 'ann') e;
             SELECT wallet.set_chargeback_rule(w, 'even'), wallet.set_ip_rules(w, '{10.0.0.0/8}'), wallet.set_model_rules(w, allowed => '{a}'),
                    wallet.set_recurring_grant(w, 1), wallet.set_fx_rate('EUR', 'USD', 1.1),
                    wallet.void_grant(w, grant_id)
               FROM unnest(ARRAY['own', 'shared', 'other']) w, LATERAL (SELECT grant_id FROM wallet.grants g WHERE g.wallet = w AND promotional) g;
             SELECT wallet.set_bonus(w, '[{\"from\": 0, \"percent\": 5}]') FROM unnest(ARRAY['own', 'shared', 'other', '*']) w;
             SELECT wallet.close_period(w, '2020-01-01Z') FROM unnest(ARRAY['own', 'shared', 'other']) w;
             SELECT wallet.set_limit('*', 900000, 'year');
             SELECT wallet.set_price('fn-late', 'pages', 0.02);
             SELECT wallet.create_wallet('low', low_balance => '{5}', idempotency_key => 'k');",
        )
        .expect("more rows");
    let relations = owner
        .query(
            "SELECT relname::text, relkind = 'r' FROM pg_class
              WHERE relnamespace = 'wallet'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
              ORDER BY relname COLLATE \"C\"",
            &[],
        )
        .expect("pg_class");
    let known: Vec<&str> = RELATIONS.iter().map(|(name, ..)| *name).collect();
    let there: Vec<String> = relations.iter().map(|row| row.get(0)).collect();
    assert_eq!(there, known, "the relations of the schema");
    let refused = "42501".to_owned();
    for (&(name, level, key), relation) in RELATIONS.iter().zip(&relations) {
        let all = rows_of(&mut owner, name, key).expect(name);
        if key.is_some() && name != "requests" {
            assert!(
                ["own", "other"]
                    .iter()
                    .all(|wallet| all.contains_key(*wallet))
                    || name == "thresholds",
                "the scene has no row in {name}: {all:?}"
            );
        }
        for (everywhere, roles) in [(false, &mut matrix.of_own), (true, &mut matrix.of_all)] {
            for (granted, role, client) in roles {
                let seen = rows_of(client, name, key);
                if level == Level::None || !granted.covers(level) {
                    assert_eq!(seen, Err(refused.clone()), "{role} reads {name}");
                } else if name == "health" {
                    let wallets: String = client
                        .query_one(
                            "SELECT value::text FROM wallet.health WHERE name = 'wallets'",
                            &[],
                        )
                        .expect(name)
                        .get(0);
                    assert_eq!(wallets, if everywhere { "13" } else { "8" }, "{role}");
                } else {
                    // The only price list besides the default one is used by no wallet.
                    let mut mine = all.clone();
                    mine.retain(|wallet, _| {
                        everywhere
                            // A voucher concerns all wallets.
                            || key.is_none()
                                && !name.starts_with("markup")
                                && !name.starts_with("voucher")
                            // Rules of all wallets apply to the role's wallet, too.
                            || wallet == "*" && (name.starts_with("bonus") || name == "limits")
                            || wallet
                                .split('-')
                                .next()
                                .is_some_and(|w| w == "own" || w == "shared")
                    });
                    assert_eq!(seen, Ok(mine), "{role} reads {name}");
                }
                if !relation.get::<_, bool>(1) {
                    continue;
                }
                for write in [
                    format!("INSERT INTO wallet.{name} DEFAULT VALUES"),
                    format!(
                        "UPDATE wallet.{name} SET {0} = {0}",
                        first_column(&mut owner, name)
                    ),
                    format!("DELETE FROM wallet.{name}"),
                    format!("TRUNCATE wallet.{name}"),
                    format!("LOCK wallet.{name} IN EXCLUSIVE MODE"),
                    format!("ALTER TABLE wallet.{name} DISABLE ROW LEVEL SECURITY"),
                    format!("SELECT FROM wallet.{name} FOR UPDATE"),
                    format!(
                        "CREATE TRIGGER t BEFORE INSERT ON wallet.{name} EXECUTE FUNCTION tsvector_update_trigger()"
                    ),
                    format!("COPY wallet.{name} FROM STDIN"),
                ] {
                    assert_eq!(
                        attempt(client, &write),
                        Err(refused.clone()),
                        "{role}: {write}"
                    );
                }
            }
        }
    }
    for (_, role, client) in matrix.of_own.iter_mut().chain(&mut matrix.of_all) {
        for sql in [
            "CREATE TABLE wallet.mine ()",
            "CREATE FUNCTION wallet.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "DROP FUNCTION wallet.digest()",
            "ALTER FUNCTION wallet.digest() SECURITY DEFINER",
            "ALTER EXTENSION wallet UPDATE",
            "SET ROLE postgres",
        ] {
            assert_eq!(attempt(client, sql), Err(refused.clone()), "{role}: {sql}");
        }
    }
}

fn first_column(owner: &mut Client, name: &str) -> String {
    let sql = "SELECT quote_ident(attname) FROM pg_attribute
                WHERE attrelid = ('wallet.' || $1::text)::regclass AND attnum = 1";
    owner.query_one(sql, &[&name]).expect(name).get(0)
}
