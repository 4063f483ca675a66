//! A scene of a given size, in its own database.

use std::collections::HashMap;

use postgres::Client;
use wallet_tests::Database;

use crate::measure::{self, Measure};
use crate::scene::{Call, Scene};

/// The age of the planner's statistics.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Statistics {
    /// From a database with almost no data.
    Old,
    /// From the scene.
    Fresh,
}

/// A database with `base.sql`, to copy from.
pub fn template() -> Database {
    let database = Database::new();
    let mut client = database.connect();
    client
        .batch_execute(include_str!("base.sql"))
        .expect("base.sql");
    client.batch_execute("VACUUM ANALYZE").expect("VACUUM");
    database
}

/// A scene that has been created.
pub struct Place {
    scene: &'static Scene,
    n: usize,
    role: String,
    values: HashMap<&'static str, String>,
    // Fields are dropped in this order: the connection before the database, the database before the
    // role.
    client: Client,
    as_role: Client,
    _database: Database,
    _role: Role,
}

/// A role that exists until the database of the scene is dropped.
struct Role(String);

impl Drop for Role {
    fn drop(&mut self) {
        let sql = format!(
            "DO $$ DECLARE name text; BEGIN
                 FOR name IN SELECT rolname FROM pg_roles WHERE starts_with(rolname, '{}') LOOP EXECUTE format('DROP ROLE %I', name); END LOOP;
             END $$",
            self.0
        );
        if let Err(error) = Database::administrator().batch_execute(&sql) {
            eprintln!("{} was not dropped: {error}", self.0);
        }
    }
}

impl Place {
    /// Makes it.
    pub fn new(template: &Database, scene: &'static Scene, n: usize) -> Place {
        let database = Database::like(template);
        let role = format!("{}_role", database.name());
        let guard = Role(role.clone());
        let mut client = database.connect();
        let connect = format!("CREATE ROLE {role} LOGIN; SET synchronous_commit = off");
        client.batch_execute(&connect).expect("a role");
        let everyday = scene.everyday.map(|_| include_str!("everyday.sql"));
        for part in scene.setup.iter().copied().chain(everyday) {
            let sql = scene.filled(part, n, &role);
            if let Err(error) = client.batch_execute(&sql) {
                panic!("{} of {n}: {sql}: {error:?}", scene.name);
            }
        }
        let everyday = scene.everyday.map(|_| crate::scenes::everyday::IDS);
        let ids = scene.ids.iter().chain(everyday.unwrap_or(&[]));
        let mut values = HashMap::new();
        for (name, sql) in ids {
            let sql = scene.filled(sql, n, &role);
            let row = client.query_one(&sql, &[]);
            let row = row.unwrap_or_else(|error| panic!("{}, {name}: {error:?}", scene.name));
            values.insert(*name, row.get(0));
        }
        let mut config = database.config();
        config.user(&role);
        let as_role = config
            .connect(postgres::NoTls)
            .expect("a connection of the role");
        // A new session, like those of callers.
        let client = database.connect();
        Place {
            scene,
            n,
            role,
            values,
            client,
            as_role,
            _database: database,
            _role: guard,
        }
    }

    /// Updates the planner's statistics.
    pub fn analyze(&mut self) {
        self.client.batch_execute("VACUUM ANALYZE").expect("VACUUM");
    }

    /// The cost of a call in this scene.
    pub fn cost(&mut self, call: &Call, measure: Measure) -> f64 {
        let mut sql = self.scene.filled(call.sql, self.n, &self.role);
        for (name, value) in &self.values {
            sql = sql.replace(&format!("{{{name}}}"), value);
        }
        let client = match call.as_role {
            true => &mut self.as_role,
            false => &mut self.client,
        };
        measure::cost(client, call, &sql, measure)
    }
}
