//! Access grants of database roles: the rows.

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
    [TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.role_grants (wallet_id, role, level, created_at)
     SELECT $1, r.oid, $3, $4 FROM pg_roles r WHERE r.rolname = $2 ON CONFLICT DO NOTHING"
);

statement!(
    /// Deletes grants to dropped roles, and to an earlier role with the same oid. A role cannot be
    /// dropped while it has a privilege on our schema. So a role that has no such privilege now is
    /// not the one to which the grants were made, or it should have lost all its rights by DROP
    /// OWNED.
    FORGET_DROPPED,
    [TEXTOID],
    "DELETE FROM wallet.role_grants g
      WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.role)
         OR g.role = (SELECT r.oid FROM pg_roles r WHERE r.rolname = $1)
        AND NOT EXISTS (
            SELECT FROM pg_namespace n, aclexplode(n.nspacl) a
             WHERE n.nspname = 'wallet' AND a.grantee = g.role AND a.privilege_type = 'USAGE')"
);

statement!(
    REVOKE,
    [TEXTOID, TEXTOID, TEXTOID],
    "DELETE FROM wallet.role_grants g
      USING pg_roles r
      WHERE r.rolname = $2 AND g.role = r.oid AND g.wallet_id = $1 AND g.level = $3"
);

statement!(APPLY, [TEXTOID], "SELECT wallet.apply_privileges($1)");

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

/// Grants a level on a wallet, or on all, to a database role.
pub fn grant(wallet: &str, role: &str, level: Level) -> Result<()> {
    require_role(role)?;
    FORGET_DROPPED.run(&[Value::Text(role)])?;
    GRANT.run(&[
        Value::Text(wallet),
        Value::Text(role),
        Value::Text(level.as_str()),
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
