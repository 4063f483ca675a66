//! SQL functions that create, change, freeze and close wallets.

use crate::access::audit::{Of, enter_audited};
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level, require, require_role};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::canonical;
use crate::items::{Item, Items};
use crate::ledger::limits::default_windows;
use crate::ledger::wallets::setting_args;
use crate::ledger::wallets::settings::{BalanceDatum, Changes, NewWallet};
use crate::ledger::wallets::status::StatusChange;
use crate::ledger::wallets::tree::{self, Share};
use crate::ledger::wallets::{settings, status};
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::BalanceRow;
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

/// Checks the name of a currency.
pub fn currency<'a>(argument: &str, value: Option<&'a str>) -> Result<&'a str> {
    args::currency(argument, value)?;
    args::required(argument, value)
}

/// The arguments of `create_wallet` about a wallet.
struct WalletArgs<'a> {
    wallet: Option<&'a str>,
    currency: Option<&'a str>,
    credit_limit: Option<Number>,
    low_balance: Option<Vec<Option<Number>>>,
    time_zone: Option<&'a str>,
    lanes: Option<i32>,
    metadata: Option<Jsonb>,
    plan: Option<&'a str>,
}

/// Checks the arguments about a new wallet.
fn wallet_of(args: WalletArgs<'_>) -> Result<NewWallet<'_>> {
    let wallet = args::new_name("wallet", args.wallet)?;
    if wallet == ALL_WALLETS {
        return Err(Error::argument("wallet cannot be named \"*\"")
            .detail(
                "The star stands for all wallets, for example in grant_access() and set_limit().",
            )
            .hint("Choose another name.")
            .about("wallet"));
    }
    Ok(NewWallet {
        wallet,
        currency: currency("currency", args.currency)?,
        credit_limit: args::amount("credit_limit", args.credit_limit.as_ref())?,
        low_balance: setting_args::low_balance(args.low_balance)?.unwrap_or_default(),
        time_zone: args::required("time_zone", args.time_zone)?,
        lanes: setting_args::lanes(args.lanes)?,
        metadata: args::document("metadata", args.metadata)?,
        plan: args::name("plan", args.plan)?,
    })
}

/// The items of `create_wallets`.
static WALLETS: Items = Items {
    argument: "wallets",
    path: "",
    single: "create_wallet",
    keys: &[
        "wallet",
        "currency",
        "credit_limit",
        "low_balance",
        "time_zone",
        "lanes",
        "metadata",
        "plan",
    ],
};

fn wallet_of_item(item: &Item) -> Result<NewWallet<'_>> {
    item.told(wallet_of(WalletArgs {
        wallet: item.text("wallet", None)?,
        currency: item.text("currency", Some("USD"))?,
        credit_limit: item.number("credit_limit", Some(0))?,
        low_balance: item.numbers("low_balance")?,
        time_zone: item.text("time_zone", Some("UTC"))?,
        lanes: item.whole("lanes", Some(1))?,
        metadata: item.json("metadata")?,
        plan: item.text("plan", None)?,
    }))
}

/// Creates many wallets with empty balances: all of them or none.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn create_wallets(
    wallets: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(item, i32),
        name!(wallet, String),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let items = WALLETS.read(wallets)?;
        let new = items
            .iter()
            .map(wallet_of_item)
            .collect::<Result<Vec<_>>>()?;
        let names: Vec<String> = new.iter().map(|new| new.wallet.to_owned()).collect();
        WALLETS.require_distinct(
            Some("wallet"),
            names.iter().map(|name| (name, name.clone())),
        )?;
        let call = Call::new("create_wallets", ALL_WALLETS)
            .by(actor)?
            .once(idempotency_key)?
            .with("wallets", wallets.and_then(canonical));
        let replayed = call.enter(Level::Admin, |idempotent| {
            settings::create_each(&new, &call.act(), idempotent, |place, result| {
                items[place].told(result)
            })
        })?;
        Ok((names, replayed))
    };
    let (names, replayed) = work().or_raise();
    TableIterator::new(
        (1..)
            .zip(names)
            .map(move |(item, name)| (item, name, replayed)),
    )
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
    plan: default!(Option<&str>, "NULL"),
) -> BalanceRow {
    let work = || {
        let new = wallet_of(WalletArgs {
            wallet,
            currency,
            credit_limit,
            low_balance: args::numbers(low_balance),
            time_zone,
            lanes,
            metadata,
            plan,
        })?;
        let call = Call::new("create_wallet", new.wallet)
            .by(actor)?
            .once(idempotency_key)?
            .with("currency", currency)
            .with("credit_limit", new.credit_limit)
            .with("low_balance", Some(list(&new.low_balance)))
            .with("time_zone", time_zone)
            .with("lanes", new.lanes)
            .with("plan", new.plan);
        enter_audited(Level::Admin, &call.act(), Of::NewWallet, |session| {
            // A claim of the name is not enough, because the wallet does not exist yet.
            require(session, Level::Admin, ALL_WALLETS)?;
            settings::create(&new, call.idempotent())
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
        let changes = Changes {
            credit_limit: amount("credit_limit", credit_limit)?,
            low_balance: setting_args::low_balance(args::numbers(low_balance))?,
            time_zone: args::name("time_zone", time_zone)?,
            unknown_price: setting_args::unknown_price(unknown_price)?,
            members_only,
            freeze_on_chargeback,
            funding_min: amount("funding_min", funding_min)?,
            funding_max: amount("funding_max", funding_max)?,
            metadata: args::document("metadata", metadata)?,
            unread_usage: setting_args::unread_usage(unread_usage)?,
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
            update(wallet, &changes, call)
        })
    };
    row(work())
}

fn update(wallet: &str, changes: &Changes<'_>, call: IdempotentCall<'_>) -> Result<BalanceDatum> {
    let update = || settings::update(wallet, changes, call);
    match changes.time_zone {
        None => update(),
        Some(_) => default_windows::following_zone(wallet, update),
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

/// Gives a wallet a parent that pays for its use, or whose readers may read it; NULL takes the
/// parent away.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_parent(
    wallet: Option<&str>,
    parent: Option<&str>,
    share: default!(Option<&str>, "'pool'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let share = args::word("share", share, Share::ALL, Share::as_str, &[])?;
        let new = args::name("parent", parent)?.map(|parent| (parent, share));
        let call = Call::new("set_parent", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("parent", parent)
            .with("share", new.map(|(_, share)| share.as_str()));
        enter_audited(Level::Admin, &call.act(), Of::Wallet, |session| {
            if let Some((parent, _)) = new {
                require(session, Level::Admin, parent)?;
                require_role(Level::Admin, parent, actor)?;
            }
            tree::set_parent(wallet, new, call.idempotent())
        })
    };
    row(work())
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
        let lanes = setting_args::lanes(lanes)?;
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
