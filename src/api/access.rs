//! SQL functions on access grants of database roles.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::grants;
use crate::access::rights::{Level, readable_by};
use crate::args;
use crate::error::{Code, Error, Result};
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::storage::session::as_owner;
use pgrx::default;
use pgrx::prelude::*;

/// Checks the arguments of `grant_access` and `revoke_access`; returns role, level and call.
fn checked<'a>(
    function: &'static str,
    db_role: Option<&'a str>,
    level: Option<&str>,
    wallet: Option<&'a str>,
    [idempotency_key, actor]: [Option<&'a str>; 2],
    metadata: Option<Jsonb>,
) -> Result<(&'a str, Level, Call<'a>)> {
    let role = args::required("db_role", db_role)?;
    if role == "public" {
        return Err(Error::argument("db_role cannot be public")
            .detail("Rights on money are never granted to everybody.")
            .hint("Grant to a role and make its users members of it."));
    }
    let level = args::word("level", level, Level::ALL, Level::as_str, &[])?;
    let wallet = args::required("wallet", wallet)?;
    let call = Call::new(function, wallet)
        .by(actor)?
        .noting(metadata)?
        .once(idempotency_key)?
        .with("db_role", role)
        .with("level", level.as_str());
    Ok((role, level, call))
}

/// Grants a database role a level on a wallet, or on all.
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
        let texts = [idempotency_key, actor];
        let (role, level, call) = checked("grant_access", db_role, level, wallet, texts, metadata)?;
        let wallet = call.wallet;
        call.change(Level::Admin, Of::Access(role), |call| {
            call.once(|| grants::grant(wallet, role, level))
        })
    };
    work().or_raise();
}

/// Revokes a database role's level on a wallet, or on all.
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
        let texts = [idempotency_key, actor];
        let (role, level, call) =
            checked("revoke_access", db_role, level, wallet, texts, metadata)?;
        let wallet = call.wallet;
        call.change(Level::Admin, Of::Access(role), |call| {
            call.once(|| grants::revoke(wallet, role, level))
        })
    };
    work().or_raise();
}

/// The wallets that the current role may read; `*` means all. Row-level security calls it once per
/// query.
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
