//! Level × function × wallet for roles whose grants need a claim or a key: directly, and through
//! PgBouncer in transaction mode.

use postgres::{Client, SimpleQueryMessage};
use wallet_tests::{Database, FUNCTIONS, Function, Level, Pool, Reach, Roles, Scene, state_of};

/// How a transaction says for which wallet it acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Claim,
    Key,
}

/// The number of rows, or the SQLSTATE that refused the call. The call is rolled back.
fn attempt(client: &mut Client, set: &str, sql: &str) -> Result<usize, String> {
    client.batch_execute("BEGIN").expect("begin");
    client.batch_execute(set).expect(set);
    let result = client.simple_query(sql);
    client.batch_execute("ROLLBACK").expect("rollback");
    let is_row = |message: &&SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
    match result {
        Ok(messages) => Ok(messages.iter().filter(is_row).count()),
        Err(error) => Err(state_of(&error)),
    }
}

/// A database with two wallets and, for each level, a role with claimed and one with keyed grants
/// on all wallets.
struct Tenants<'a> {
    scene: Scene,
    roles: Vec<(Level, Way, String)>,
    secrets: [String; 2],
    all: Roles<'a>,
}

impl<'a> Tenants<'a> {
    fn new(database: &'a Database) -> Tenants<'a> {
        let mut client = database.connect();
        let mut all = Roles::new(database);
        let names = [all.add("nobody"), all.add("onlooker")];
        let scene = Scene::new(&mut client, &["own", "other"], [&names[0], &names[1]]);
        for wallet in ["own", "other"] {
            let sql = "SELECT wallet.grant_access($1, 'reader', $2)";
            client
                .query(sql, &[&names[1], &wallet])
                .expect("grant_access");
        }
        let mut roles = Vec::new();
        for level in Level::ALL {
            for (way, argument) in [(Way::Claim, "claimed"), (Way::Key, "keyed")] {
                let role = all.add(&format!("{}_{argument}", level.name()));
                if level != Level::None {
                    let name = level.name();
                    let sql =
                        format!("SELECT wallet.grant_access($1, '{name}', {argument} => true)");
                    client.query(&sql, &[&role]).expect("grant_access");
                }
                roles.push((level, way, role));
            }
        }
        let mut secret = |wallet: &str| {
            client
                .query_one("SELECT secret FROM wallet.create_key($1)", &[&wallet])
                .expect("create_key")
                .get(0)
        };
        let secrets = ["own", "other"].map(&mut secret);
        Tenants {
            scene,
            roles,
            secrets,
            all,
        }
    }

    /// The statement with which a transaction acts for a wallet, or for none.
    fn acting(&self, way: Way, wallet: &str) -> String {
        match (way, wallet) {
            (_, "") => "SELECT 1".to_owned(),
            (Way::Claim, wallet) => {
                let wallets = Scene::wallets_of(wallet).join(",");
                format!("SET LOCAL wallet.claim = '{{{wallets}}}'")
            }
            (Way::Key, "own") => format!("SET LOCAL wallet.key = '{}'", self.secrets[0]),
            (Way::Key, _) => format!("SET LOCAL wallet.key = '{}'", self.secrets[1]),
        }
    }
}

/// Functions that only compute, or have an answer for no wallet: whoever may execute them needs no
/// claim.
const PURE: &[&str] = &[
    "check_cursor",
    "check_dimensions",
    "day_begins",
    "day_begun",
    "digest",
    "entry_tokens",
    "entry_usage",
    "error_codes",
    "exchanged",
    "hour_of",
    "key_owner",
    "payload_digest",
    "period_end",
    "person_digest",
    "readable_price_lists",
    "readable_wallets",
    "span_in",
    "usage_attributes",
];

/// What a call may do for a transaction that acts for a wallet, or for none.
fn expected(
    function: &Function,
    level: Level,
    way: Way,
    acting: &str,
    wallet: &str,
) -> Result<(), String> {
    let refused = Err("42501".to_owned());
    if level == Level::None || !level.covers(function.level) {
        return refused;
    }
    let is_pure = PURE.contains(&function.name);
    // A key has a single wallet, and the scene's other wallets are none of its.
    let needs_more = ["{peer}", "{empty}", "{frozen}"]
        .iter()
        .any(|more| function.call.contains(more));
    // Who has access is changed only by a grant without proof.
    if ["grant_access", "revoke_access"].contains(&function.name) {
        return refused;
    }
    match function.reach {
        Reach::All | Reach::Inside => refused,
        Reach::Any if is_pure => Ok(()),
        _ if acting.is_empty() => match function.reach {
            // Row-level security hides the rows.
            Reach::Rows => Ok(()),
            _ => refused,
        },
        Reach::Any | Reach::Rows => Ok(()),
        Reach::Wallet if way == Way::Key && needs_more => refused,
        Reach::Wallet if acting == wallet => Ok(()),
        Reach::Wallet => refused,
        Reach::Id if acting == wallet => Ok(()),
        Reach::Id => Err("42704".to_owned()),
    }
}

/// Compares every cell, with the connections that `connect` makes.
fn compare(tenants: &Tenants<'_>, mut connect: impl FnMut(&str) -> Client) {
    let (mut wrong, mut cells) = (Vec::new(), 0);
    for (level, way, role) in &tenants.roles {
        let mut client = connect(role);
        for function in FUNCTIONS {
            for acting in ["own", "other", ""] {
                let set = tenants.acting(*way, acting);
                let call = tenants.scene.call(function, "own", None);
                let got = attempt(&mut client, &set, &call);
                let want = expected(function, *level, *way, acting, "own");
                cells += 1;
                let finds = function.reach == Reach::Rows
                    && got.is_ok()
                    && (got > Ok(0)) != (acting == "own");
                if got.clone().map(drop) != want || finds {
                    wrong.push(format!(
                        "{} by {level:?} with a {way:?} of {acting:?}: {got:?}, not {want:?}",
                        function.name
                    ));
                }
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

#[test]
fn every_function_obeys_claims_and_keys() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    compare(&tenants, |role| tenants.all.connect(role));
}

/// All clients share one server connection per role.
#[test]
fn every_function_obeys_claims_and_keys_through_a_pool() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    let pool = Pool::new(&database);
    compare(&tenants, |role| pool.connect(role));
}

/// Every relation with rows of wallets shows only those of the claimed wallet.
#[test]
fn every_relation_obeys_claims_and_keys() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    let mut owner = database.connect();
    let relations = owner
        .query(
            "SELECT c.relname::text, a.attname::text
               FROM pg_class c
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname IN ('wallet', 'wallet_id', 'BillingAccountId')
              WHERE c.relnamespace = 'wallet'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY 1",
            &[],
        )
        .expect("pg_class");
    let (mut wrong, mut seen_own) = (Vec::new(), 0);
    for (level, way, role) in &tenants.roles {
        if !level.covers(Level::Reader) {
            continue;
        }
        let mut client = tenants.all.connect(role);
        for relation in &relations {
            let (name, column): (&str, &str) = (relation.get(0), relation.get(1));
            for acting in ["own", "other", ""] {
                client.batch_execute("BEGIN").expect("begin");
                client
                    .batch_execute(&tenants.acting(*way, acting))
                    .expect("acting");
                let sql = format!(
                    "SELECT DISTINCT \"{column}\"::text FROM wallet.{name} WHERE \"{column}\" <> '*'"
                );
                let found = client.query(&sql, &[]);
                client.batch_execute("ROLLBACK").expect("rollback");
                // Tables that the level may not read at all are part of the other matrix.
                let Ok(found) = found else { continue };
                let found: Vec<String> = found.iter().map(|row| row.get(0)).collect();
                let is_own = |wallet: &String| {
                    !acting.is_empty()
                        && (wallet == acting || *way == Way::Claim && wallet.starts_with(acting))
                };
                seen_own += usize::from(found.iter().any(is_own));
                if !found.iter().all(is_own) {
                    wrong.push(format!(
                        "{role} acting for {acting:?} sees {found:?} in {name}"
                    ));
                }
            }
        }
    }
    assert!(seen_own > 100, "only {seen_own} relations showed rows");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two clients of one server connection: what the first claimed for its transaction is gone when the
/// second begins its own. Here the pool does not reset connections, as in transaction mode.
#[test]
fn a_claim_ends_with_its_transaction_in_a_pool() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    let pool = Pool::new(&database);
    for (level, way, role) in &tenants.roles {
        if *level != Level::Charger {
            continue;
        }
        let (mut first, mut second) = (pool.connect(role), pool.connect(role));
        let backend = |client: &mut Client| -> i32 {
            // A pool in transaction mode has no prepared statements.
            let messages = client
                .simple_query("SELECT pg_backend_pid()")
                .expect("a backend");
            let pid = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(0),
                _ => None,
            });
            pid.expect("a row").parse().expect("a number")
        };
        assert_eq!(
            backend(&mut first),
            backend(&mut second),
            "they share a backend"
        );
        let charge = "SELECT cost FROM wallet.charge('own', amount => 1)";
        for end in ["COMMIT", "ROLLBACK"] {
            first.batch_execute("BEGIN").expect("begin");
            first
                .batch_execute(&tenants.acting(*way, "own"))
                .expect("acting");
            first.batch_execute(charge).expect("a charge");
            first.batch_execute(end).expect(end);
            assert_eq!(
                attempt(&mut second, "SELECT 1", charge),
                Err("42501".to_owned()),
                "{way:?} {end}"
            );
            let balances = "SELECT * FROM wallet.balances";
            assert_eq!(
                attempt(&mut second, "SELECT 1", balances),
                Ok(0),
                "{way:?} {end}"
            );
            let other = tenants.acting(*way, "other");
            assert_eq!(
                attempt(&mut second, &other, charge),
                Err("42501".to_owned()),
                "{way:?} {end}"
            );
        }
    }
}

/// A claim may be the first statement of a session, before the library is loaded.
#[test]
fn a_claim_counts_in_a_new_session() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    for (level, way, role) in &tenants.roles {
        if *level != Level::Charger {
            continue;
        }
        let mut client = tenants.all.connect(role);
        client.batch_execute("BEGIN").expect("begin");
        client
            .batch_execute(&tenants.acting(*way, "own"))
            .expect("acting");
        client
            .batch_execute("SELECT wallet.charge('own', amount => 1)")
            .expect("a charge");
        client.batch_execute("COMMIT").expect("commit");
        let balances = client
            .query("SELECT * FROM wallet.balances", &[])
            .expect("balances");
        assert!(balances.is_empty(), "{way:?}");
    }
}

/// A key that another session revokes is refused from then on, also inside a running transaction.
#[test]
fn a_revoked_key_is_refused_at_once() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    let mut owner = database.connect();
    let (.., role) = tenants
        .roles
        .iter()
        .find(|(level, way, _)| (*level, *way) == (Level::Charger, Way::Key))
        .expect("a role");
    let mut client = tenants.all.connect(role);
    client.batch_execute("BEGIN").expect("begin");
    client
        .batch_execute(&tenants.acting(Way::Key, "own"))
        .expect("acting");
    let charge = "SELECT cost FROM wallet.charge('own', amount => 1)";
    client.batch_execute(charge).expect("a charge");
    owner
        .batch_execute("SET lock_timeout = '5s'")
        .expect("a setting");
    client.batch_execute("COMMIT; BEGIN").expect("commit");
    client
        .batch_execute(&tenants.acting(Way::Key, "own"))
        .expect("acting");
    let visible = client
        .query("SELECT * FROM wallet.balances", &[])
        .expect("balances");
    assert_eq!(visible.len(), 1);
    let revoke = "SELECT wallet.revoke_key(o.wallet, o.key_id) FROM wallet.key_owner($1) o";
    owner
        .execute(revoke, &[&tenants.secrets[0]])
        .expect("revoke_key");
    let visible = client
        .query("SELECT * FROM wallet.balances", &[])
        .expect("balances");
    assert!(visible.is_empty());
    assert_eq!(
        state_of(&client.batch_execute(charge).expect_err("revoked")),
        "42501"
    );
}

/// What another session revokes is refused from then on, also in a transaction with an older
/// snapshot.
#[test]
fn a_revocation_holds_under_every_isolation_level() {
    let database = Database::new();
    let mut owner = database.connect();
    let mut all = Roles::new(&database);
    owner
        .batch_execute("SELECT wallet.create_wallet('own'), wallet.fund('own', 100)")
        .expect("a wallet");
    let role = all.add("pool");
    let grant = format!("SELECT wallet.grant_access('{role}', 'admin', 'own', keyed => true)");
    owner.batch_execute(&grant).expect("grant_access");
    let plain = format!("SELECT wallet.grant_access('{role}', 'admin', 'own')");
    let revoke = format!("SELECT wallet.revoke_access('{role}', 'admin', 'own')");
    let demote = "SELECT wallet.set_member('own', 'ada', 'viewer')";
    let end_key = "SELECT wallet.revoke_key('own', key_id) FROM wallet.keys WHERE user_id = 'ada' AND revoked_at IS NULL";
    // The grant, what is revoked, whether a key is set, and the SQLSTATE of a change afterwards.
    let cases = [
        (&*plain, &*revoke, false, "42501"),
        (&*plain, &*grant, false, "42501"),
        (&*grant, end_key, true, "42501"),
        (&*grant, demote, true, "WL009"),
    ];
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        for (granted, change, by_key, state) in cases {
            owner.batch_execute(granted).expect("grant_access");
            let member = "SELECT wallet.set_member('own', 'ada', 'admin')";
            owner.batch_execute(member).expect("set_member");
            let key = "SELECT secret FROM wallet.create_key('own', 'ada')";
            let secret: String = owner.query_one(key, &[]).expect("create_key").get(0);
            let mut client = all.connect(&role);
            let begin = format!("BEGIN ISOLATION LEVEL {level}; SELECT 1 FROM pg_class LIMIT 1");
            client.batch_execute(&begin).expect("a snapshot");
            if by_key {
                let set = "SELECT set_config('wallet.key', $1, true)";
                client.query(set, &[&secret]).expect("a key");
            }
            let balances = "SELECT * FROM wallet.balances";
            let seen = client.query(balances, &[]).expect("balances");
            assert_eq!(seen.len(), 1, "{change} under {level}");
            client.batch_execute("SAVEPOINT a").expect("a savepoint");
            owner.batch_execute(change).expect(change);
            let call = "SELECT wallet.set_ip_rules('own', NULL, actor => NULL)";
            let error = client.batch_execute(call).expect_err("refused");
            assert_eq!(state_of(&error), state, "{change} under {level}");
            client.batch_execute("ROLLBACK TO a").expect("rollback");
            if change == revoke {
                // The privilege on the view is gone, too.
                let error = client.query(balances, &[]).expect_err("refused");
                assert_eq!(state_of(&error), "42501", "under {level}");
            } else {
                let seen = client.query(balances, &[]).expect("balances").len();
                assert_eq!(
                    seen,
                    usize::from(change == demote),
                    "{change} under {level}"
                );
            }
        }
    }
}

/// Grants are read in the leader of a parallel query, too, where PostgreSQL takes no latest snapshot.
#[test]
fn a_parallel_query_obeys_claims() {
    let database = Database::new();
    let tenants = Tenants::new(&database);
    let mut owner = database.connect();
    owner
        .batch_execute(
            "CREATE TABLE large AS SELECT generate_series(1, 1000) AS id;
             GRANT SELECT ON large TO PUBLIC",
        )
        .expect("a table");
    for (_, way, role) in tenants
        .roles
        .iter()
        .filter(|(level, ..)| *level == Level::Reader)
    {
        for isolation in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
            let mut client = tenants.all.connect(role);
            let settings = format!(
                "BEGIN ISOLATION LEVEL {isolation}; SET LOCAL parallel_setup_cost = 0;
                 SET LOCAL parallel_tuple_cost = 0; SET LOCAL min_parallel_table_scan_size = 0"
            );
            client.batch_execute(&settings).expect("settings");
            // The library is loaded before: in a parallel query it cannot take over a setting.
            client
                .batch_execute("SELECT wallet.error_codes()")
                .expect("error_codes");
            let acting = tenants.acting(*way, "own");
            client.batch_execute(&acting).expect("acting");
            let sql = "SELECT wallet.readable_wallets(), l.n
                         FROM (SELECT count(*) AS n FROM large OFFSET 0) l";
            let plan = client
                .query(&format!("EXPLAIN {sql}"), &[])
                .expect("a plan");
            let is_gather = |row: &postgres::Row| row.get::<_, String>(0).contains("Gather");
            assert!(plan.iter().any(is_gather), "no parallel query");
            let row = client.query_one(sql, &[]).expect("the wallets");
            let (wallets, rows): (Vec<String>, i64) = (row.get(0), row.get(1));
            assert!(
                wallets.contains(&"own".to_owned()),
                "{way:?} {isolation}: {wallets:?}"
            );
            assert_eq!(rows, 1000);
            assert!(wallets.iter().all(|wallet| wallet.starts_with("own")));
        }
    }
}
