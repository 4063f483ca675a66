//! SQL functions on database roles.

use pgrx::default;
use pgrx::prelude::*;

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{ALL_WALLETS, Level, readable_by};
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::fingerprint;
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::as_owner;

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
    /// Grants to roles that were dropped, and to an earlier role of the same number. A role cannot be dropped
    /// while it has a privilege on our schema, so one that has none now is another one than the grants were
    /// made to, or it was to lose all its rights by DROP OWNED.
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

/// A grant or its withdrawal.
struct Change<'a> {
    role: &'a str,
    level: Level,
    wallet: &'a str,
    once: IdempotentCall<'a>,
}

impl Change<'_> {
    /// Does the work, unless its key was used for it before.
    fn once(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.once.answered()?.is_some() {
            return Ok(());
        }
        work()?;
        self.once.remember(None)
    }
}

fn change<'a>(
    call: &'static str,
    db_role: Option<&'a str>,
    level: Option<&str>,
    wallet: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    actor: Option<&str>,
) -> Result<Change<'a>> {
    args::name("actor", actor)?;
    let role = args::required("db_role", db_role)?;
    if role == "public" {
        return Err(Error::argument("db_role cannot be public")
            .detail("Rights on money are never granted to everybody.")
            .hint("Grant to a role and make its users members of it."));
    }
    let level = args::word("level", level, Level::ALL, Level::as_str, &[])?;
    let wallet = args::required("wallet", wallet)?;
    let once = IdempotentCall {
        wallet: if wallet == ALL_WALLETS { "" } else { wallet },
        call,
        key: args::name("idempotency_key", idempotency_key)?,
        fingerprint: fingerprint(&[
            ("db_role", Some(role.to_owned())),
            ("level", Some(level.as_str().to_owned())),
        ]),
    };
    Ok(Change {
        role,
        level,
        wallet,
        once,
    })
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

/// Gives a database role a level on a wallet, or on all.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn grant_access(
    db_role: Option<&str>,
    level: Option<&str>,
    wallet: default!(Option<&str>, "'*'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let change = change(
            "grant_access",
            db_role,
            level,
            wallet,
            idempotency_key,
            actor,
        )?;
        args::document("metadata", metadata)?;
        let Change {
            role,
            level,
            wallet,
            ..
        } = change;
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "grant_access",
                actor,
                metadata,
            },
            Of::Access(role),
            |_| {
                change.once(|| {
                    require_role(role)?;
                    FORGET_DROPPED.run(&[Value::Text(role)])?;
                    GRANT.run(&[
                        Value::Text(wallet),
                        Value::Text(role),
                        Value::Text(level.as_str()),
                        Value::Time(clock::now()),
                    ])?;
                    APPLY.run(&[Value::Text(role)]).map(drop)
                })
            },
        )
    };
    work().or_raise();
}

/// Takes a level on a wallet, or on all, back from a database role.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn revoke_access(
    db_role: Option<&str>,
    level: Option<&str>,
    wallet: default!(Option<&str>, "'*'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let change = change(
            "revoke_access",
            db_role,
            level,
            wallet,
            idempotency_key,
            actor,
        )?;
        args::document("metadata", metadata)?;
        let Change {
            role,
            level,
            wallet,
            ..
        } = change;
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "revoke_access",
                actor,
                metadata,
            },
            Of::Access(role),
            |_| {
                change.once(|| {
                    let values = [
                        Value::Text(wallet),
                        Value::Text(role),
                        Value::Text(level.as_str()),
                    ];
                    if REVOKE.run(&values)?.is_empty() {
                        return Err(Error::new(
                            Code::ObjectNotFound,
                            format!("role {} has no such grant", quoted(role)),
                        )
                        .detail(format!("It does not have {} on {wallet}.", level.as_str()))
                        .hint("See wallet.access_grants for what was granted."));
                    }
                    APPLY.run(&[Value::Text(role)]).map(drop)
                })
            },
        )
    };
    work().or_raise();
}

/// Wallets that the current role may read; `*` is all. Row-level security asks it once a query.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn readable_wallets() -> Vec<String> {
    as_owner(|session| readable_by(session.caller)).or_raise()
}

/// Every SQLSTATE that the extension raises.
#[pg_extern(schema = "wallet", immutable, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn error_codes() -> TableIterator<
    'static,
    (
        name!(sqlstate, String),
        name!(name, String),
        name!(meaning, String),
    ),
> {
    TableIterator::new(Code::ALL.iter().map(|code| {
        (
            code.sqlstate().to_owned(),
            code.name().to_owned(),
            code.meaning().to_owned(),
        )
    }))
}
