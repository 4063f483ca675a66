//! Rights of database roles: the rows.

use crate::error::{Code, Error, Result, quoted};
use crate::storage::plan::{Run, Value, statement};

statement!(
    ROLE_EXISTS,
    [TEXTOID],
    "SELECT 1 FROM pg_roles WHERE rolname = $1"
);

statement!(
    pub GRANT,
    [TEXTOID, TEXTOID, TEXTOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.role_grants (wallet_id, role, level, created_at)
     SELECT $1, r.oid, $3, $4 FROM pg_roles r WHERE r.rolname = $2 ON CONFLICT DO NOTHING"
);

statement!(
    /// Grants to roles that were dropped, and to an earlier role of the same number. A role cannot be dropped
    /// while it has a privilege on our schema, so one that has none now is another one than the grants were
    /// made to, or it was to lose all its rights by DROP OWNED.
    pub FORGET_DROPPED,
    [TEXTOID],
    "DELETE FROM wallet.role_grants g
      WHERE NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = g.role)
         OR g.role = (SELECT r.oid FROM pg_roles r WHERE r.rolname = $1)
        AND NOT EXISTS (
            SELECT FROM pg_namespace n, aclexplode(n.nspacl) a
             WHERE n.nspname = 'wallet' AND a.grantee = g.role AND a.privilege_type = 'USAGE')"
);

statement!(
    pub REVOKE,
    [TEXTOID, TEXTOID, TEXTOID],
    "DELETE FROM wallet.role_grants g
      USING pg_roles r
      WHERE r.rolname = $2 AND g.role = r.oid AND g.wallet_id = $1 AND g.level = $3"
);

statement!(pub APPLY, [TEXTOID], "SELECT wallet.apply_privileges($1)");

pub fn require_role(role: &str) -> Result<()> {
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
