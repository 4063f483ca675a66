//! SQL functions on holds.

use crate::access::call::Call;
use crate::access::rights::{Level, enter, enter_as, for_caller, may_read};
use crate::api::charges::{ChargeRow, charge_row};
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::charges::request::{ChargeArgs, Request};
use crate::ledger::holds::close;
use crate::ledger::holds::held::Held;
use crate::ledger::holds::hold;
use crate::ledger::holds::request::{NewHold, OnExpiry, OveragePolicy, Settlement};
use crate::ledger::holds::settle;
use crate::ledger::wallets::branches::Branches;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::pg::row::{composite, text};
use crate::storage::hold_rows;
use crate::storage::session::Session;
use pgrx::datum::{Interval, IntoDatum};
use pgrx::prelude::*;
use pgrx::{Inet, Uuid, default};

composite!(
    /// The result of calls on holds.
    HoldRow,
    "wallet.hold_result"
);

pub fn hold_row(held: Held) -> HoldRow {
    HoldRow(vec![
        Uuid::from_bytes(held.hold_id).into_datum(),
        held.amount.into_datum(),
        held.balance.into_datum(),
        Some(pgrx::pg_sys::Datum::from(held.expires_at.0)),
        held.replayed.into_datum(),
        held.affordable_tokens.and_then(IntoDatum::into_datum),
        text(&held.status),
    ])
}

pub fn hold_id(value: Option<Uuid>) -> Result<[u8; 16]> {
    args::id("hold_id", value, "Pass the id that hold() returned.")
}

fn hold_for(new: &NewHold<'_>) -> Result<Held> {
    let wallet = new.request.wallet;
    enter(Level::Charger, wallet, |session| {
        let held = hold::hold(new).map_err(|error| for_caller(session, error))?;
        if new.allow_partial {
            // Now the wallet's lanes are locked, so no other wallet becomes its payer.
            require_readable_payer(session, wallet)?;
        }
        Ok(held)
    })
}

/// The error 42501 for a hold that may shrink, if another wallet pays for it that the caller may
/// not read: the amount would tell what that wallet and its limits have left. Who may read the
/// payer may read all wallets in between.
fn require_readable_payer(session: &Session, wallet: &str) -> Result<()> {
    let (payer, ..) = Branches::default().add(wallet)?;
    if payer == wallet || may_read(session, &payer)? {
        return Ok(());
    }
    Err(Error::new(
        Code::InsufficientPrivilege,
        format!("permission denied for a partial hold of wallet {}", quoted(wallet)),
    )
    .detail(format!(
        "Wallet {} pays for the use. The amount would tell what it has left, and the caller may not read it.",
        quoted(&payer)
    ))
    .hint(format!(
        "Hold the whole amount, without allow_partial, or have the level reader granted on wallet {}.",
        quoted(&payer)
    )))
}

fn ttl(value: Option<Interval>) -> Result<i64> {
    let micros = args::duration("ttl", value)?;
    if micros == 0 {
        return Err(Error::argument("ttl is zero")
            .detail("The hold would have expired when it is made.")
            .hint("Give a ttl such as '10 minutes'."));
    }
    Ok(micros)
}

/// Reserves money until the actual usage is known.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[allow(clippy::too_many_arguments)]
fn hold(
    wallet: Option<&str>,
    amount: default!(Option<Number>, "NULL"),
    usage: default!(Option<Jsonb>, "NULL"),
    ttl: default!(Option<Interval>, "'10 minutes'"),
    allow_partial: default!(Option<bool>, "false"),
    user_id: default!(Option<&str>, "NULL"),
    team: default!(Option<&str>, "NULL"),
    model: default!(Option<&str>, "NULL"),
    service: default!(Option<&str>, "NULL"),
    region: default!(Option<&str>, "NULL"),
    service_tier: default!(Option<&str>, "NULL"),
    tags: default!(Option<Jsonb>, "NULL"),
    event_at: default!(Option<TimestampWithTimeZone>, "NULL"),
    key: default!(Option<&str>, "NULL"),
    client_ip: default!(Option<Inet>, "NULL"),
    device: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    on_expiry: default!(Option<&str>, "'release'"),
) -> HoldRow {
    let args = ChargeArgs {
        wallet,
        usage,
        amount,
        user_id,
        team,
        model,
        service,
        region,
        service_tier,
        tags,
        event_at: event_at.map(Timestamp::from),
        secret: key,
        client_ip,
        device,
        idempotency_key,
        actor,
        metadata,
        cost_from: Some("prices"),
    };
    let work = || {
        let request = Request::check(args)?;
        let ttl = self::ttl(ttl)?;
        let allow_partial = allow_partial.unwrap_or(false);
        let on_expiry = args::word("on_expiry", on_expiry, OnExpiry::ALL, OnExpiry::as_str, &[])?;
        let fingerprint = NewHold::fingerprint(&request, ttl, allow_partial, on_expiry);
        let new = NewHold {
            id: hold_rows::new_id(request.wallet, request.key),
            request,
            ttl,
            allow_partial,
            on_expiry,
            fingerprint,
        };
        hold_for(&new)
    };
    hold_row(or_raise_keeping(key, work))
}

/// Books the actual usage of a hold and releases the rest.
// The SQL is written by hand, because `final` is a reserved word in Rust.
#[pg_extern(
    schema = "wallet",
    requires = ["results"],
    sql = r#"
CREATE FUNCTION wallet.settle(
    wallet text,
    hold_id uuid,
    usage jsonb DEFAULT NULL,
    amount numeric DEFAULT NULL,
    final boolean DEFAULT true,
    over text DEFAULT 'charge',
    event_at timestamp with time zone DEFAULT NULL,
    idempotency_key text DEFAULT NULL,
    actor text DEFAULT NULL,
    metadata jsonb DEFAULT NULL,
    cost_from text DEFAULT 'prices'
) RETURNS wallet.charge_result
LANGUAGE c
AS 'MODULE_PATHNAME', '@FUNCTION_NAME@';
"#
)]
#[allow(clippy::too_many_arguments)]
fn settle(
    wallet: Option<&str>,
    hold_id: Option<Uuid>,
    usage: Option<Jsonb>,
    amount: Option<Number>,
    is_final: Option<bool>,
    over: Option<&str>,
    event_at: Option<TimestampWithTimeZone>,
    idempotency_key: Option<&str>,
    actor: Option<&str>,
    metadata: Option<Jsonb>,
    cost_from: Option<&str>,
) -> ChargeRow {
    let args = ChargeArgs {
        wallet,
        usage,
        amount,
        event_at: event_at.map(Timestamp::from),
        idempotency_key,
        actor,
        metadata,
        cost_from,
        ..ChargeArgs::default()
    };
    let work = || {
        let hold_id = self::hold_id(hold_id)?;
        let over = args::word("over", over, OveragePolicy::ALL, OveragePolicy::as_str, &[])?;
        let request = Request::check(args)?;
        let is_final = is_final.unwrap_or(true);
        let wallet = request.wallet;
        let settlement = Settlement {
            wallet,
            hold_id,
            is_expiry: false,
            fingerprint: Settlement::fingerprint(request.fingerprint(), hold_id, is_final, over),
            request,
            is_final,
            over,
        };
        enter_as(Level::Charger, wallet, actor, |session| {
            settle::settle(&settlement).map_err(|error| for_caller(session, error))
        })
    };
    charge_row(work().or_raise())
}

/// Releases everything the hold still reserves.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn void(
    wallet: Option<&str>,
    hold_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> HoldRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let hold_id = self::hold_id(hold_id)?;
        let reason = args::text("reason", reason)?;
        let call = Call::new("void", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("hold_id", hold_id)
            .with("reason", reason);
        call.enter(Level::Charger, |call| {
            close::void(wallet, hold_id, reason, call)
        })
    };
    hold_row(work().or_raise())
}

/// Extends a hold to now + `ttl`; never shortens it.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn extend_hold(
    wallet: Option<&str>,
    hold_id: Option<Uuid>,
    ttl: default!(Option<Interval>, "'10 minutes'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> HoldRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let hold_id = self::hold_id(hold_id)?;
        let ttl = self::ttl(ttl)?;
        let call = Call::new("extend_hold", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("hold_id", hold_id)
            .with("ttl", ttl);
        call.enter(Level::Charger, |call| {
            close::extend(wallet, hold_id, ttl, call)
        })
    };
    hold_row(work().or_raise())
}
