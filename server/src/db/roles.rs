//! Whether the roles may do what walletd needs, and nothing that it does not need.

use tokio_postgres::Row;

use super::error::{DbError, Trouble};
use super::pool::Connections;

/// A fact about a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether walletd can work with it.
    pub is_right: bool,
    /// A sentence about it, which says what to do if it is not right.
    pub text: String,
}

/// The role, its attributes, TLS, and the version of the extension.
const SESSION: &str = "SELECT r.rolname::text, r.rolsuper OR r.rolbypassrls OR r.rolcreaterole, \
            coalesce((SELECT s.version FROM pg_catalog.pg_stat_ssl s WHERE s.pid = pg_catalog.pg_backend_pid() AND s.ssl), 'no TLS'), \
            (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname = 'wallet'), \
            coalesce((SELECT pg_catalog.pg_has_role(n.nspowner, 'USAGE') FROM pg_catalog.pg_namespace n WHERE n.nspname = 'wallet'), false) \
       FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
/// Which of these functions the role may call.
const MAY_CALL: &str = "SELECT n.name, EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace s ON s.oid = p.pronamespace \
             WHERE s.nspname = 'wallet' AND p.proname = n.name \
               AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE') AND pg_catalog.has_schema_privilege(s.oid, 'USAGE')) \
       FROM pg_catalog.unnest($1::text[]) AS n (name)";
/// The wallets that the role reaches without a key.
const WITHOUT_KEY: &str = "SELECT EXISTS (SELECT FROM wallet.balances)";

/// The functions that a tenant's request needs.
const TENANTS_NEED: &[&str] = &[
    "charge",
    "hold",
    "settle",
    "void",
    "check_limits",
    "key_owner",
];
/// Functions that a tenant's request must not reach, whatever a fault in walletd does.
const TENANTS_NEVER: &[&str] = &["fund", "adjust", "grant_access", "create_key", "set_limit"];
/// The functions with which owners manage members, keys and limits.
const PAGE_NEED: &[&str] = &[
    "key_owner",
    "set_limit",
    "drop_limit",
    "set_member",
    "drop_member",
    "create_key",
    "rotate_key",
    "revoke_key",
];
const WORKER_NEED: &[&str] = &[
    "claim_events",
    "maintain",
    "fund",
    "complete_topup",
    "claim_deliveries",
    "finish_delivery",
    "retry_delivery",
    "request_due_topups",
    "digest",
];
const WORKER_NEVER: &[&str] = &["adjust", "grant_access", "create_wallet"];

fn right(text: String) -> Finding {
    Finding {
        is_right: true,
        text,
    }
}

fn wrong(text: String) -> Finding {
    Finding {
        is_right: false,
        text,
    }
}

/// The report of `walletd check` on the role of tenants' requests.
pub async fn look_at_tenants(connections: &Connections) -> Result<Vec<Finding>, DbError> {
    let found = look(connections, TENANTS_NEED, TENANTS_NEVER).await?;
    look_without_key(connections, "charger", found).await
}

/// The report of `walletd check` on the role of the page.
pub async fn look_at_page(connections: &Connections) -> Result<Vec<Finding>, DbError> {
    let found = look(connections, PAGE_NEED, &[]).await?;
    look_without_key(connections, "admin", found).await
}

/// Adds whether a role whose grants must be keyed reaches a wallet without a key.
async fn look_without_key(
    connections: &Connections,
    level: &str,
    mut found: Vec<Finding>,
) -> Result<Vec<Finding>, DbError> {
    if found.iter().all(|finding| finding.is_right) {
        let reaches: bool = one(connections, WITHOUT_KEY, &[])
            .await?
            .try_get(0)
            .map_err(garbled)?;
        found.push(match reaches {
            true => wrong(format!(
                "reaches wallets without a key: grant {level} with keyed => true, and nothing else"
            )),
            false => right("reaches no wallet without a key".to_owned()),
        });
    }
    Ok(found)
}

/// The report of `walletd check` on the worker's role.
pub async fn look_at_worker(connections: &Connections) -> Result<Vec<Finding>, DbError> {
    look(connections, WORKER_NEED, WORKER_NEVER).await
}

async fn look(
    connections: &Connections,
    need: &[&str],
    never: &[&str],
) -> Result<Vec<Finding>, DbError> {
    let mut found = Vec::new();
    let row = one(connections, SESSION, &[]).await?;
    let role: String = row.try_get(0).map_err(garbled)?;
    let tls: String = row.try_get(2).map_err(garbled)?;
    found.push(right(format!("connected as {role}, {tls}")));
    if row.try_get(1).map_err(garbled)? {
        found.push(wrong(format!(
            "{role} is a superuser, bypasses row-level security or creates roles: use a role of its own"
        )));
    }
    if row.try_get(4).map_err(garbled)? {
        found.push(wrong(format!(
            "{role} owns the extension: use a role of its own"
        )));
    }
    let version: Option<String> = row.try_get(3).map_err(garbled)?;
    let Some(version) = version else {
        found.push(wrong(
            "the database has no extension wallet: CREATE EXTENSION wallet".to_owned(),
        ));
        return Ok(found);
    };
    let series = |version: &str| {
        version
            .rsplit_once('.')
            .map(|(series, _)| series.to_owned())
    };
    found.push(
        match series(&version) == series(env!("CARGO_PKG_VERSION")) {
            true => right(format!("the extension has version {version}")),
            false => wrong(format!(
                "the extension has version {version}, and walletd {}: use both of one series",
                env!("CARGO_PKG_VERSION")
            )),
        },
    );
    let missing = may_call(connections, need, false).await?;
    if !missing.is_empty() {
        found.push(wrong(format!(
            "{role} may not call {}: run the statements of `walletd setup-sql`",
            missing.join(", ")
        )));
    }
    let extra = may_call(connections, never, true).await?;
    if !extra.is_empty() {
        found.push(wrong(format!(
            "{role} may call {}: revoke what it does not need",
            extra.join(", ")
        )));
    }
    Ok(found)
}

/// Those of the functions that the role may call, or may not.
async fn may_call(
    connections: &Connections,
    functions: &[&str],
    wanted: bool,
) -> Result<Vec<String>, DbError> {
    let client = connections.get().await?;
    let rows = client.query(MAY_CALL, &[&functions]).await;
    let rows = rows.map_err(|error| failed(&error))?;
    let mut found = Vec::new();
    for row in rows {
        let may: bool = row.try_get(1).map_err(garbled)?;
        if may == wanted {
            found.push(row.try_get(0).map_err(garbled)?);
        }
    }
    Ok(found)
}

async fn one(
    connections: &Connections,
    statement: &'static str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Row, DbError> {
    let client = connections.get().await?;
    let row = client.query_one(statement, parameters).await;
    row.map_err(|error| failed(&error))
}

fn failed(error: &tokio_postgres::Error) -> DbError {
    match error.as_db_error() {
        Some(error) => DbError::rolled_back(error),
        None => DbError::Unknown(Trouble::Lost(error.to_string())),
    }
}

fn garbled(error: tokio_postgres::Error) -> DbError {
    DbError::Garbled(error.to_string())
}
