//! Access grants of database roles: the rows.

use crate::access::granted::Proof;
use crate::access::rights::Level;
use crate::error::{Code, Error, Result, quoted};
use crate::pg::clock;
use crate::storage::plan::{Run, Value, statement};

statement!(
    ROLE_EXISTS,
    [TEXTOID],
    "SELECT 1 FROM pg_roles WHERE rolname = $1"
);

statement!(
    GRANT,
    [TEXTOID, TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.role_grants AS g (wallet_id, role, level, proof, created_at)
     SELECT $1, r.oid, $3, $4, $5 FROM pg_roles r WHERE r.rolname = $2
     ON CONFLICT (wallet_id, role, level) DO UPDATE SET proof = excluded.proof
      WHERE g.proof <> excluded.proof"
);

statement!(
    /// The levels' own roles have all roles with that level as members, whatever their wallets.
    IS_LEVEL_ROLE,
    [TEXTOID],
    "SELECT $1 ~ '^wallet_[0-9]+_(reader|auditor|charger|billing|worker|admin)$'"
);

statement!(
    REVOKE,
    [TEXTOID, TEXTOID, TEXTOID],
    "DELETE FROM wallet.role_grants g
      USING pg_roles r
      WHERE r.rolname = $2 AND g.role = r.oid AND g.wallet_id = $1 AND g.level = $3"
);

statement!(APPLY, [TEXTOID], "SELECT wallet.apply_privileges($1)");

statement!(
    HAS_DROPPED,
    [],
    "SELECT 1 FROM wallet.role_grants g WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.role) LIMIT 1"
);

statement!(
    DROPPED,
    [],
    "DELETE FROM wallet.role_grants g WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.role)"
);

/// Deletes the grants of dropped roles. Nobody has them, unless PostgreSQL has used up all its oids
/// and gives one to another role.
pub fn forget_dropped() -> Result<()> {
    // A deletion makes every backend read the grants again, even if it finds nothing.
    if HAS_DROPPED.run(&[])?.is_empty() {
        return Ok(());
    }
    DROPPED.run(&[]).map(drop)
}

fn require_role(role: &str) -> Result<()> {
    if ROLE_EXISTS.run(&[Value::Text(role)])?.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("role {} does not exist", quoted(role)),
        )
        .detail("Rights are granted to database roles.")
        .hint("Create it with CREATE ROLE."));
    }
    Ok(())
}

/// Grants a level on a wallet, or on all, to a database role. A grant of the same level on the same
/// wallet is replaced.
pub fn grant(wallet: &str, role: &str, level: Level, proof: Proof) -> Result<()> {
    require_role(role)?;
    if IS_LEVEL_ROLE.run(&[Value::Text(role)])?.need(0, 0)? {
        return Err(Error::argument("db_role cannot be the role of a level")
            .detail("Every role with that level is a member of it, and would get the grant.")
            .hint("Grant to the role of a program or a person."));
    }
    GRANT.run(&[
        Value::Text(wallet),
        Value::Text(role),
        Value::Text(level.as_str()),
        Value::Text(proof.as_str()),
        Value::Time(clock::now()),
    ])?;
    APPLY.run(&[Value::Text(role)]).map(drop)
}

/// Revokes a level on a wallet, or on all, from a database role. The error 42704 if it was not
/// granted.
pub fn revoke(wallet: &str, role: &str, level: Level) -> Result<()> {
    let values = [wallet, role, level.as_str()].map(Value::Text);
    if REVOKE.run(&values)?.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("role {} has no such grant", quoted(role)),
        )
        .detail(format!("It does not have {} on {wallet}.", level.as_str()))
        .hint("See wallet.access_grants for what was granted."));
    }
    APPLY.run(&[Value::Text(role)]).map(drop)
}
