//! SQL functions that create, change, freeze and close wallets.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::Level;
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::fingerprint::canonical;
use crate::ledger::wallets::settings::{BalanceDatum, Changes, MAX_LANES, NewWallet};
use crate::ledger::wallets::status::StatusChange;
use crate::ledger::wallets::{settings, status};
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::BalanceRow;
use crate::pricing::unknown::UnknownPrice;
use crate::pricing::unread::UnreadUsage;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, default};

fn list(amounts: &[Amount]) -> String {
    amounts
        .iter()
        .map(|amount| amount.to_fixed())
        .collect::<Vec<_>>()
        .join(",")
}

pub fn row(result: Result<BalanceDatum>) -> BalanceRow {
    BalanceRow(result.or_raise().0)
}

fn lanes(value: Option<i32>) -> Result<i16> {
    match value {
        Some(lanes @ 1..=MAX_LANES) => Ok(lanes as i16),
        other => {
            let given = other.map_or("NULL".to_owned(), |lanes| lanes.to_string());
            Err(Error::argument("lanes is out of range")
                .detail(format!("It is {given}; 1 to {MAX_LANES} are allowed."))
                .hint("About half as many lanes as connections that spend at once are enough."))
        }
    }
}

/// Checks the name of a currency.
pub fn currency<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    args::currency(argument, value)?;
    args::required(argument, value)
}

fn low_balance(values: Option<Vec<Option<AnyNumeric>>>) -> Result<Option<Vec<Amount>>> {
    let Some(values) = values else {
        return Ok(None);
    };
    let mut amounts = args::amounts("low_balance", &values)?;
    amounts.sort_unstable();
    amounts.dedup();
    amounts.reverse();
    if amounts.len() > 32 {
        return Err(Error::argument("low_balance has too many thresholds")
            .detail(format!("It has {}; at most 32 are allowed.", amounts.len()))
            .hint("Alert at a few amounts that somebody acts on."));
    }
    Ok(Some(amounts))
}

/// Creates a wallet with an empty balance and returns its row of `balances`.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn create_wallet(
    wallet: Option<&str>,
    currency: default!(Option<&str>, "'USD'"),
    credit_limit: default!(Option<Number>, "0"),
    low_balance: default!(Option<Vec<Option<AnyNumeric>>>, "'{}'"),
    time_zone: default!(Option<&str>, "'UTC'"),
    lanes: default!(Option<i32>, "1"),
    metadata: default!(Option<Jsonb>, "'{}'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
) -> BalanceRow {
    let work = || {
        let name = args::new_name("wallet", wallet)?;
        if name == crate::access::rights::ALL_WALLETS {
            return Err(Error::argument("wallet cannot be named \"*\"")
                .detail("The star stands for all wallets in grant_access().")
                .hint("Choose another name."));
        }
        let new = NewWallet {
            wallet: name,
            currency: self::currency("currency", currency)?,
            credit_limit: args::amount("credit_limit", credit_limit.as_ref())?,
            low_balance: self::low_balance(low_balance)?.unwrap_or_default(),
            time_zone: args::required("time_zone", time_zone)?,
            lanes: self::lanes(lanes)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("create_wallet", name)
            .by(actor)?
            .once(idempotency_key)?
            .with("currency", currency)
            .with("credit_limit", new.credit_limit)
            .with("low_balance", Some(list(&new.low_balance)))
            .with("time_zone", time_zone)
            .with("lanes", new.lanes);
        call.change(Level::Admin, Of::NewWallet, |call| {
            settings::create(&new, call)
        })
    };
    row(work())
}

/// Changes the given attributes of a wallet and returns its row of `balances`.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn update_wallet(
    wallet: Option<&str>,
    credit_limit: default!(Option<Number>, "NULL"),
    low_balance: default!(Option<Vec<Option<AnyNumeric>>>, "NULL"),
    time_zone: default!(Option<&str>, "NULL"),
    unknown_price: default!(Option<&str>, "NULL"),
    members_only: default!(Option<bool>, "NULL"),
    freeze_on_chargeback: default!(Option<bool>, "NULL"),
    funding_min: default!(Option<Number>, "NULL"),
    funding_max: default!(Option<Number>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    unread_usage: default!(Option<&str>, "NULL"),
) -> BalanceRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let amount = |name: &str, value: Option<Number>| {
            let amount = value.map(|number| args::amount(name, Some(&number)));
            amount.transpose()
        };
        check_unknown_price(unknown_price)?;
        let word = |rule| {
            let all = UnreadUsage::ALL;
            args::word("unread_usage", Some(rule), all, UnreadUsage::as_str, &[])
        };
        let changes = Changes {
            credit_limit: amount("credit_limit", credit_limit)?,
            low_balance: self::low_balance(low_balance)?,
            time_zone: args::name("time_zone", time_zone)?,
            unknown_price,
            members_only,
            freeze_on_chargeback,
            funding_min: amount("funding_min", funding_min)?,
            funding_max: amount("funding_max", funding_max)?,
            metadata: args::document("metadata", metadata)?,
            unread_usage: unread_usage.map(word).transpose()?,
        };
        let call = Call::new("update_wallet", wallet)
            .by(actor)?
            .once(idempotency_key)?
            .with("credit_limit", changes.credit_limit)
            .with("low_balance", changes.low_balance.as_deref().map(list))
            .with("time_zone", time_zone)
            .with("unknown_price", unknown_price)
            .with("members_only", members_only)
            .with("freeze_on_chargeback", freeze_on_chargeback)
            .with("funding_min", changes.funding_min)
            .with("funding_max", changes.funding_max)
            .with(
                "metadata",
                changes.metadata.as_ref().and_then(|m| canonical(m.value)),
            )
            .with("unread_usage", unread_usage);
        call.change(Level::Admin, Of::Wallet, |call| {
            settings::update(wallet, &changes, call)
        })
    };
    row(work())
}

/// 22023 unless the rule for usage without a price has one of its forms.
fn check_unknown_price(rule: Option<&str>) -> Result<()> {
    let argument = "unknown_price";
    match args::name(argument, rule)? {
        Some(rule) if UnknownPrice::parse(rule).is_none() => {
            Err(args::unrecognized(argument, rule, UnknownPrice::FORMS))
        }
        _ => Ok(()),
    }
}

#[allow(clippy::too_many_arguments)]
fn change_status(
    wallet: Option<&str>,
    change_status: StatusChange,
    function: &'static str,
    reason: Option<&str>,
    idempotency_key: Option<&str>,
    actor: Option<&str>,
    metadata: Option<Jsonb>,
) -> BalanceRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let reason = args::text("reason", reason)?;
        let call = Call::new(function, wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("reason", reason);
        call.change(Level::Admin, Of::Wallet, |call| {
            status::change_status(wallet, change_status, reason, call)
        })
    };
    row(work())
}

/// Freezes a wallet: charges and holds are refused; fundings are still accepted.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn freeze_wallet(
    wallet: Option<&str>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    change_status(
        wallet,
        StatusChange::Freeze,
        "freeze_wallet",
        reason,
        idempotency_key,
        actor,
        metadata,
    )
}

/// Unfreezes a wallet: charges and holds are accepted again.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn unfreeze_wallet(
    wallet: Option<&str>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    change_status(
        wallet,
        StatusChange::Unfreeze,
        "unfreeze_wallet",
        None,
        idempotency_key,
        actor,
        metadata,
    )
}

/// Closes a wallet whose balance is zero, permanently.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn close_wallet(
    wallet: Option<&str>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    change_status(
        wallet,
        StatusChange::Close,
        "close_wallet",
        reason,
        idempotency_key,
        actor,
        metadata,
    )
}

/// Divides the balance into lanes, so that as many transactions can spend from it concurrently.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_lanes(
    wallet: Option<&str>,
    lanes: Option<i32>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let lanes = self::lanes(lanes)?;
        let call = Call::new("set_lanes", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("lanes", lanes);
        call.change(Level::Admin, Of::Wallet, |call| {
            settings::set_lanes(wallet, lanes, call)
        })
    };
    row(work())
}
