//! SQL functions on access grants of database roles.

use crate::access::audit::{Of, enter_audited};
use crate::access::call::Call;
use crate::access::granted::Proof;
use crate::access::grants;
use crate::access::rights::{ALL_WALLETS, Level, readable_by, require_without_proof};
use crate::args;
use crate::error::{Code, Error, Result};
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pricing::visible_lists;
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

/// The proof that a role must have, from the arguments `claimed` and `keyed`.
fn proof(claimed: Option<bool>, keyed: Option<bool>) -> Result<Proof> {
    let given = |argument: &str, value: Option<bool>| {
        value.ok_or_else(|| {
            args::missing(argument).hint("Pass true or false, or leave it out for false.")
        })
    };
    match (given("claimed", claimed)?, given("keyed", keyed)?) {
        (false, false) => Ok(Proof::None),
        (true, false) => Ok(Proof::Claim),
        (false, true) => Ok(Proof::Key),
        (true, true) => Err(Error::argument("claimed and keyed exclude each other")
            .detail("A key claims its wallet by itself.")
            .hint("Pass keyed => true to accept only keys, or claimed => true to accept keys and claims.")),
    }
}

/// Grants a database role a level on a wallet, or on all.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn grant_access(
    db_role: Option<&str>,
    level: Option<&str>,
    wallet: default!(Option<&str>, "'*'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    claimed: default!(Option<bool>, "false"),
    keyed: default!(Option<bool>, "false"),
) {
    let work = || {
        let texts = [idempotency_key, actor];
        let (role, level, call) = checked("grant_access", db_role, level, wallet, texts, metadata)?;
        let proof = proof(claimed, keyed)?;
        let call = call.with("proof", proof.as_str());
        let wallet = call.wallet;
        enter_audited(Level::Admin, &call.act(), Of::Access(role), |session| {
            require_without_proof(session, wallet)?;
            let once = call.idempotent();
            once.once(|| grants::grant(wallet, role, level, proof))
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
        enter_audited(Level::Admin, &call.act(), Of::Access(role), |session| {
            require_without_proof(session, wallet)?;
            let once = call.idempotent();
            once.once(|| grants::revoke(wallet, role, level))
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

/// The price lists that the current role may see; `*` means all. Row-level security calls it once
/// per query.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn readable_price_lists() -> Vec<String> {
    let lists = as_owner(visible_lists::visible).or_raise();
    lists.unwrap_or_else(|| vec![ALL_WALLETS.to_owned()])
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
