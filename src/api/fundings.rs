//! SQL functions on fundings and vouchers.

use crate::access::audit_making::Making;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, enter_as};
use crate::api::wallets::currency;
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::funding::request::{Change, Funded, Funding};
use crate::ledger::funding::vouchers::{self, NewVoucher, Redemption};
use crate::ledger::funding::{fund, pending, reversal};
use crate::ledger::grants::scope::Scope;
use crate::ledger::grants::terms::{PLAIN_PRIORITY, Terms};
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::pg::row::{composite, text};
use crate::pricing::rates;
use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

composite!(
    /// The result of calls on fundings.
    FundRow,
    "wallet.fund_result"
);

composite!(
    /// The result of `reverse_funding`.
    ReversalRow,
    "wallet.reversal_result"
);

fn fund_row(funded: Funded) -> FundRow {
    let (bonus, bonus_id) = funded.bonus.unzip();
    FundRow(vec![
        Uuid::from_bytes(funded.entry_id).into_datum(),
        funded.amount.into_datum(),
        text(&funded.currency),
        funded.balance.into_datum(),
        text(&funded.status),
        funded.replayed.into_datum(),
        bonus.and_then(IntoDatum::into_datum),
        bonus_id
            .map(Uuid::from_bytes)
            .and_then(IntoDatum::into_datum),
    ])
}

/// Credits a wallet, or records a pending funding.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn fund(
    wallet: Option<&str>,
    amount: Option<Number>,
    method: default!(Option<&str>, "'card'"),
    reference: default!(Option<&str>, "NULL"),
    currency: default!(Option<&str>, "NULL"),
    rate: default!(Option<Number>, "NULL"),
    status: default!(Option<&str>, "'settled'"),
    expires_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    priority: default!(Option<i32>, "100"),
    promotional: default!(Option<bool>, "false"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    scope: default!(Option<Jsonb>, "NULL"),
) -> FundRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let status = args::word("status", status, &["settled", "pending"], |word| word, &[])?;
        let expires_at = args::kept_time("expires_at", expires_at)?;
        if expires_at.is_some_and(|end| end <= crate::pg::clock::now()) {
            return Err(Error::argument("expires_at is in the past")
                .detail("Nothing of the grant could be used.")
                .hint("Give a time in the future, or leave it out for money that stays."));
        }
        let funding = Funding {
            wallet,
            amount: args::positive_amount("amount", amount.as_ref())?,
            method: args::required("method", method)?,
            reference: args::name("reference", reference)?,
            currency: currency
                .map(|value| self::currency("currency", Some(value)))
                .transpose()?,
            rate: rate.as_ref().map(rates::rate).transpose()?,
            pending: status == "pending",
            terms: Terms {
                expires_at,
                priority: priority.unwrap_or(PLAIN_PRIORITY),
                promotional: promotional.unwrap_or(false),
                scope: scope.map(Scope::given).transpose()?.and(scope),
            },
            bounded: true,
            key: args::name("idempotency_key", idempotency_key)?,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_as(Level::Billing, wallet, actor, |_| fund::fund(&funding))
    };
    fund_row(work().or_raise())
}

/// Checks the arguments that the calls on an existing funding share.
fn change<'a>(
    wallet: Option<&'a str>,
    entry_id: Option<Uuid>,
    reason: Option<&'a str>,
    actor: Option<&'a str>,
    metadata: Option<Jsonb>,
) -> Result<Change<'a>> {
    Ok(Change {
        wallet: args::required("wallet", wallet)?,
        entry_id: args::id(
            "entry_id",
            entry_id,
            "Give the entry_id that fund() returned.",
        )?,
        reason: args::text("reason", reason)?,
        actor: args::name("actor", actor)?,
        metadata: args::document("metadata", metadata)?,
    })
}

/// The call of a function that changes an existing funding.
fn once<'a>(
    function: &'static str,
    change: &Change<'a>,
    key: Option<&'a str>,
) -> Result<IdempotentCall<'a>> {
    let call = Call::new(function, change.wallet).once(key)?;
    Ok(call
        .with("entry_id", change.entry_id)
        .with("reason", change.reason)
        .idempotent())
}

/// Credits a pending funding.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn settle_funding(
    wallet: Option<&str>,
    entry_id: Option<Uuid>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> FundRow {
    let work = || {
        let change = change(wallet, entry_id, None, actor, metadata)?;
        let call = once("settle_funding", &change, idempotency_key)?;
        enter_as(Level::Billing, change.wallet, actor, |_| {
            pending::settle(&change, call)
        })
    };
    fund_row(work().or_raise())
}

/// Ends a pending funding that failed.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn fail_funding(
    wallet: Option<&str>,
    entry_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> FundRow {
    let work = || {
        let change = change(wallet, entry_id, reason, actor, metadata)?;
        let call = once("fail_funding", &change, idempotency_key)?;
        enter_as(Level::Billing, change.wallet, actor, |_| {
            pending::fail(&change, call)
        })
    };
    fund_row(work().or_raise())
}

/// Takes back a settled funding, in whole or in part, because it failed late, was charged back or
/// was refunded.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn reverse_funding(
    wallet: Option<&str>,
    entry_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    amount: default!(Option<Number>, "NULL"),
) -> ReversalRow {
    let work = || {
        let change = change(wallet, entry_id, reason, actor, metadata)?;
        let key = args::name("idempotency_key", idempotency_key)?;
        let amount = amount
            .map(|amount| args::positive_amount("amount", Some(&amount)))
            .transpose()?;
        enter_as(Level::Billing, change.wallet, actor, |_| {
            reversal::reverse(&change, amount, key)
        })
    };
    let reversed = work().or_raise();
    ReversalRow(vec![
        reversed
            .entry_id
            .map(Uuid::from_bytes)
            .and_then(IntoDatum::into_datum),
        reversed.amount.into_datum(),
        text(&reversed.currency),
        reversed.balance.into_datum(),
        text(&reversed.status),
        reversed.replayed.into_datum(),
        reversed.taken.and_then(IntoDatum::into_datum),
        reversed.debt.into_datum(),
        reversed.bonus.and_then(IntoDatum::into_datum),
    ])
}

/// Creates a voucher code that wallets can redeem.
#[pg_extern(schema = "wallet", requires = ["ledger"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn create_voucher(
    code: Option<&str>,
    amount: Option<Number>,
    currency: default!(Option<&str>, "'USD'"),
    expires_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    max_redemptions: default!(Option<i32>, "1"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    scope: default!(Option<Jsonb>, "NULL"),
) -> Uuid {
    let work = || {
        let new = NewVoucher {
            code: args::required("code", code)?,
            amount: args::positive_amount("amount", amount.as_ref())?,
            currency: self::currency("currency", currency)?,
            expires_at: args::kept_time("expires_at", expires_at)?,
            max_redemptions: max_redemptions.filter(|most| *most > 0).ok_or_else(|| {
                Error::argument("max_redemptions is out of range")
                    .detail("It is how many wallets may redeem the voucher: one or more.")
                    .hint("Leave it out for a voucher that is redeemed once.")
            })?,
            scope: scope.map(Scope::given).transpose()?.and(scope),
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("create_voucher", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("code", code)
            .with("amount", new.amount)
            .with("currency", currency)
            .with("expires_at", new.expires_at.map(|at| at.0.to_string()))
            .with("max_redemptions", new.max_redemptions)
            .with("scope", scope.map(Jsonb::to_text));
        call.make(Level::Admin, Making::Voucher, |call| {
            vouchers::create(&new, call)
        })
    };
    Uuid::from_bytes(or_raise_keeping(code, work))
}

/// Credits a wallet with a voucher, once.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn redeem_voucher(
    wallet: Option<&str>,
    code: Option<&str>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> FundRow {
    let work = || {
        let redemption = Redemption {
            wallet: args::required("wallet", wallet)?,
            code: args::required("code", code)?,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("redeem_voucher", redemption.wallet)
            .by(actor)?
            .once(idempotency_key)?
            .with("code", code);
        call.enter(Level::Billing, |call| vouchers::redeem(&redemption, call))
    };
    fund_row(or_raise_keeping(code, work))
}
