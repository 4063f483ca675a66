//! SQL functions that correct balances, transfer money and refund charges.

use crate::access::call::Call;
use crate::access::rights::{Level, enter_as, require, require_role};
use crate::args;
use crate::error::{Code, Error, Result};
use crate::ledger::movements::{self, Moved, Movement};
use crate::ledger::refund;
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::composite;
use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

composite!(
    /// The result of calls that move money.
    MovementRow,
    "wallet.movement_result"
);

fn movement_row(moved: Moved) -> MovementRow {
    MovementRow(vec![
        Uuid::from_bytes(moved.entry_id).into_datum(),
        moved.amount.into_datum(),
        moved.balance.into_datum(),
        moved.replayed.into_datum(),
    ])
}

/// A positive or negative amount other than zero.
fn signed(value: Option<Number>) -> Result<Amount> {
    let amount = match value {
        Some(number) => number.amount("amount")?,
        None => args::amount("amount", None)?,
    };
    if amount.is_zero() {
        return Err(Error::new(Code::InvalidAmount, "amount is zero")
            .detail("Nothing would be booked.")
            .hint("Give an amount above zero to put money in, below zero to take money out."));
    }
    Ok(amount)
}

/// Books a correction of the balance.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn adjust(
    wallet: Option<&str>,
    amount: Option<Number>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> MovementRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let amount = signed(amount)?;
        let reason = args::text("reason", reason)?;
        let call = Call::new("adjust", wallet)
            .once(idempotency_key)?
            .with("amount", amount)
            .with("reason", reason)
            .idempotent();
        let movement = Movement {
            wallet,
            reason,
            key: call.key,
            fingerprint: call.fingerprint,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_as(Level::Admin, wallet, actor, |_| {
            movements::adjust(&movement, amount)
        })
    };
    movement_row(work().or_raise())
}

/// Transfers money to another wallet with the same currency.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn transfer(
    from_wallet: Option<&str>,
    to_wallet: Option<&str>,
    amount: Option<Number>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> MovementRow {
    let work = || {
        let from = args::required("from_wallet", from_wallet)?;
        let to = args::required("to_wallet", to_wallet)?;
        let amount = args::positive_amount("amount", amount.as_ref())?;
        if from == to {
            return Err(Error::argument("from_wallet and to_wallet are the same")
                .detail("Money would go nowhere.")
                .hint("Name two wallets."));
        }
        let reason = args::text("reason", reason)?;
        let call = Call::new("transfer", from)
            .once(idempotency_key)?
            .with("to_wallet", to)
            .with("amount", amount)
            .with("reason", reason)
            .idempotent();
        let movement = Movement {
            wallet: from,
            reason,
            key: call.key,
            fingerprint: call.fingerprint,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_as(Level::Admin, from, actor, |session| {
            require(session, Level::Admin, to)?;
            require_role(Level::Admin, to, actor)?;
            movements::transfer(&movement, to, amount)
        })
    };
    movement_row(work().or_raise())
}

/// Refunds a charge, in whole or in part.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn refund(
    wallet: Option<&str>,
    entry_id: Option<Uuid>,
    amount: default!(Option<Number>, "NULL"),
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> MovementRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let hint = "Pass the entry_id that charge() returned.";
        let entry_id = args::id("entry_id", entry_id, hint)?;
        let amount = match amount {
            None => None,
            Some(number) => Some(args::positive_amount("amount", Some(&number))?),
        };
        let reason = args::text("reason", reason)?;
        let call = Call::new("refund", wallet)
            .once(idempotency_key)?
            .with("entry_id", entry_id)
            .with("amount", amount)
            .with("reason", reason)
            .idempotent();
        let movement = Movement {
            wallet,
            reason,
            key: call.key,
            fingerprint: call.fingerprint,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_as(Level::Billing, wallet, actor, |_| {
            refund::refund(&movement, entry_id, amount)
        })
    };
    movement_row(work().or_raise())
}
