//! SQL functions on plans.

use crate::access::audit::{Of, enter_audited};
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, enter};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::call::begins;
use crate::idempotency::fingerprint::canonical;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::plans::assign::{self, Assignment};
use crate::plans::definition::Definition;
use crate::plans::listing;
use crate::plans::versions::{self, NewVersion};
use pgrx::default;
use pgrx::prelude::*;

/// Sets the rules of a plan from a time on. Returns the number of the version.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_plan(
    plan: Option<&str>,
    definition: Option<Jsonb>,
    effective_from: default!(Option<TimestampWithTimeZone>, "now()"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> i64 {
    let work = || {
        let plan = args::new_name("plan", plan)?;
        let from = args::effective_from(effective_from)?;
        let given = definition.ok_or_else(|| {
            Error::argument("definition must not be null")
                .detail("The argument definition is NULL.")
                .hint("Pass {} for a plan without rules.")
        })?;
        args::document("definition", definition)?;
        let read = Definition::read(given)?;
        let call = Call::new("set_plan", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("plan", plan)
            .with("definition", canonical(given))
            .with("effective_from", begins(from));
        let new = NewVersion {
            plan,
            definition: &read,
            given,
            from,
        };
        call.enter(Level::Admin, |idempotent| {
            versions::set(&new, &call.act(), idempotent)
        })
    };
    work().or_raise()
}

/// Assigns a plan to a wallet, now or from a later time on. NULL ends the plan.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn assign_plan(
    wallet: Option<&str>,
    plan: Option<&str>,
    at: default!(Option<TimestampWithTimeZone>, "NULL"),
    reset_settings: default!(Option<bool>, "false"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let new = Assignment {
            wallet,
            plan: args::name("plan", plan)?,
            at: args::kept_time("at", at)?,
            reset_settings: reset_settings == Some(true),
        };
        let call = Call::new("assign_plan", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("plan", new.plan)
            .with("at", new.at.and_then(begins))
            .with("reset_settings", new.reset_settings);
        enter_audited(Level::Admin, &call.act(), Of::Wallet, |session| {
            assign::assign(session, &new, call.idempotent())
        })
    };
    work().or_raise();
}

/// The rules that apply to a wallet with its next call, as JSON text, without the times of
/// versions.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn rules_of(
    wallet: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(kind, &'static str),
        name!(name, String),
        name!(rule, String),
        name!(source, &'static str),
        name!(plan, Option<String>),
        name!(version, Option<i64>),
    ),
> {
    let work = || -> Result<_> {
        let wallet = args::required("wallet", wallet)?;
        enter(Level::Reader, wallet, |_| listing::list(wallet))
    };
    let rows = work().or_raise().into_iter();
    TableIterator::new(rows.map(|one| {
        (
            one.kind,
            one.name,
            one.rule,
            one.source,
            one.plan,
            one.version,
        )
    }))
}
