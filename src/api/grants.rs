//! SQL functions on grants.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{Level, enter_as};
use crate::args;
use crate::ledger::grants::recurring::{self, NewRecurring};
use crate::ledger::grants::recurring_args;
use crate::ledger::grants::scope::Scope;
use crate::ledger::grants::void::{self, Void};
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use pgrx::datum::{Date, Interval, IntoDatum};
use pgrx::prelude::*;
use pgrx::{Uuid, default};

composite!(
    /// The result of `void_grant`.
    VoidRow,
    "wallet.void_result"
);

composite!(
    /// The result of `set_recurring_grant`.
    RecurringRow,
    "wallet.recurring_result"
);

/// Takes back the rest of a grant.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn void_grant(
    wallet: Option<&str>,
    grant_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> VoidRow {
    let work = || {
        let grant_id = args::id("grant_id", grant_id, "Give a grant_id of the view grants.")?;
        let wallet = args::required("wallet", wallet)?;
        let reason = args::text("reason", reason)?;
        let call = Call::new("void_grant", wallet)
            .once(idempotency_key)?
            .with("grant_id", grant_id)
            .idempotent();
        let void = Void {
            wallet,
            grant_id,
            reason,
            key: call.key,
            fingerprint: call.fingerprint,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_as(Level::Billing, void.wallet, actor, |_| void::void(&void))
    };
    let voided = work().or_raise();
    VoidRow(vec![
        voided
            .entry_id
            .and_then(|id| Uuid::from_bytes(id).into_datum()),
        voided.amount.into_datum(),
        voided.balance.into_datum(),
        voided.replayed.into_datum(),
    ])
}

/// Grants an amount now, or from a day on, and again every period. Zero ends the recurring grant.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_recurring_grant(
    wallet: Option<&str>,
    amount: Option<Number>,
    period: default!(Option<&str>, "'month'"),
    expires_after: default!(Option<Interval>, "NULL"),
    rollover_max: default!(Option<Number>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    scope: default!(Option<Jsonb>, "NULL"),
    name: default!(Option<&str>, "'default'"),
    starts_on: default!(Option<Date>, "NULL"),
) -> RecurringRow {
    let work = || {
        let name = args::new_name("name", name)?;
        let period = recurring_args::period("period", period)?;
        let expires_after = recurring_args::lifetime("expires_after", expires_after)?;
        let new = NewRecurring {
            wallet: args::required("wallet", wallet)?,
            name,
            starts_on: args::day("starts_on", starts_on)?,
            amount: args::amount("amount", amount.as_ref())?,
            period: &period,
            expires_after: expires_after.as_deref(),
            rollover_max: rollover_max
                .map(|most| args::amount("rollover_max", Some(&most)))
                .transpose()?,
            scope: scope.map(Scope::given).transpose()?.and(scope),
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("set_recurring_grant", new.wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("amount", new.amount)
            .with("period", period.as_str())
            .with("expires_after", new.expires_after)
            .with("rollover_max", new.rollover_max)
            .with("scope", scope.map(Jsonb::to_text))
            .with("name", new.name)
            .with("starts_on", starts_on.map(i32::from));
        let set = call.change(Level::Billing, Of::Recurring(new.name), |call| {
            recurring::set(&new, call)
        })?;
        Ok((set, name))
    };
    let (set, name) = work().or_raise();
    RecurringRow(vec![
        set.grant_id
            .and_then(|id| Uuid::from_bytes(id).into_datum()),
        set.amount.into_datum(),
        set.balance.into_datum(),
        set.next_at.map(|at| pgrx::pg_sys::Datum::from(at.0)),
        set.replayed.into_datum(),
        text(name),
    ])
}
