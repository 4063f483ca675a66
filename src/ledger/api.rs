//! SQL functions on wallets and money.

use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, Inet, Uuid, default};
use rust_decimal::Decimal;

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{canonical, fingerprint, owned};
use crate::ledger::charges::charge;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::{ChargeArgs, Request};
use crate::ledger::wallets::settings;
use crate::ledger::wallets::settings::{BalanceDatum, Changes, MAX_LANES, NewWallet, Turn};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::{Number, Quantity};
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::pg::row::{BalanceRow, composite, text};
use crate::pricing::markup::is_markup_meter;
use crate::pricing::stored;
use crate::pricing::unknown::UnknownPrice;
use crate::pricing::unread::UnreadUsage;

composite!(
    /// What `charge` returns.
    ChargeRow,
    "wallet.charge_result"
);

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

/// The name of a currency.
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

/// Makes a wallet with an empty balance and returns its row of `balances`.
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
        args::name("actor", actor)?;
        let new = NewWallet {
            wallet: name,
            currency: self::currency("currency", currency)?,
            credit_limit: args::amount("credit_limit", credit_limit.as_ref())?,
            low_balance: self::low_balance(low_balance)?.unwrap_or_default(),
            time_zone: args::required("time_zone", time_zone)?,
            lanes: self::lanes(lanes)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = IdempotentCall {
            wallet: name,
            call: "create_wallet",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("currency", owned(currency)),
                ("credit_limit", Some(new.credit_limit.to_fixed())),
                ("low_balance", Some(list(&new.low_balance))),
                ("time_zone", owned(time_zone)),
                ("lanes", Some(new.lanes.to_string())),
            ]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet: name,
                action: "create_wallet",
                actor,
                metadata: None,
            },
            Of::NewWallet,
            |_| settings::create(&new, call),
        )
    };
    row(work())
}

/// Changes what is given of a wallet and returns its row of `balances`.
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
        args::name("actor", actor)?;
        let amount = |name: &str, value: Option<Number>| {
            value
                .map(|number| args::amount(name, Some(&number)))
                .transpose()
        };
        if let Some(rule) = args::name("unknown_price", unknown_price)?
            && UnknownPrice::parse(rule).is_none()
        {
            return Err(Error::argument(format!(
                "unknown_price {} is not known",
                crate::error::quoted(rule)
            ))
            .detail("Known are: reject, unpriced, price_of:MODEL.")
            .hint("Give one of these, such as price_of:gpt-4o."));
        }
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
        let fixed = |amount: Option<Amount>| amount.map(Amount::to_fixed);
        let call = IdempotentCall {
            wallet,
            call: "update_wallet",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("credit_limit", fixed(changes.credit_limit)),
                ("low_balance", changes.low_balance.as_deref().map(list)),
                ("time_zone", owned(time_zone)),
                ("unknown_price", owned(unknown_price)),
                ("members_only", members_only.map(|only| only.to_string())),
                (
                    "freeze_on_chargeback",
                    freeze_on_chargeback.map(|freeze| freeze.to_string()),
                ),
                ("funding_min", fixed(changes.funding_min)),
                ("funding_max", fixed(changes.funding_max)),
                (
                    "metadata",
                    changes.metadata.as_ref().and_then(|m| canonical(m.value)),
                ),
                ("unread_usage", owned(unread_usage)),
            ]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "update_wallet",
                actor,
                metadata: None,
            },
            Of::Wallet,
            |_| settings::update(wallet, &changes, call),
        )
    };
    row(work())
}

#[allow(clippy::too_many_arguments)]
fn turn(
    wallet: Option<&str>,
    turn: Turn,
    call: &'static str,
    reason: Option<&str>,
    idempotency_key: Option<&str>,
    actor: Option<&str>,
    metadata: Option<Jsonb>,
) -> BalanceRow {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let reason = args::text("reason", reason)?;
        let key = args::name("idempotency_key", idempotency_key)?;
        let fingerprint = fingerprint(&[("reason", owned(reason))]);
        let call = IdempotentCall {
            wallet,
            call,
            key,
            fingerprint,
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: call.call,
                actor,
                metadata,
            },
            Of::Wallet,
            |_| settings::turn(wallet, turn, reason, call),
        )
    };
    row(work())
}

/// Stops charges and holds on a wallet; funding stays allowed.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn freeze_wallet(
    wallet: Option<&str>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    turn(
        wallet,
        Turn::Freeze,
        "freeze_wallet",
        reason,
        idempotency_key,
        actor,
        metadata,
    )
}

/// Allows charges again.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn unfreeze_wallet(
    wallet: Option<&str>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    turn(
        wallet,
        Turn::Unfreeze,
        "unfreeze_wallet",
        None,
        idempotency_key,
        actor,
        metadata,
    )
}

/// Closes a wallet whose balance is zero, for good.
#[pg_extern(schema = "wallet", requires = ["views"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn close_wallet(
    wallet: Option<&str>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> BalanceRow {
    turn(
        wallet,
        Turn::Close,
        "close_wallet",
        reason,
        idempotency_key,
        actor,
        metadata,
    )
}

/// Cuts the balance into lanes, so that as many transactions can spend from it at once.
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
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let lanes = self::lanes(lanes)?;
        let key = args::name("idempotency_key", idempotency_key)?;
        let fingerprint = fingerprint(&[("lanes", Some(lanes.to_string()))]);
        let call = IdempotentCall {
            wallet,
            call: "set_lanes",
            key,
            fingerprint,
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "set_lanes",
                actor,
                metadata,
            },
            Of::Wallet,
            |_| settings::set_lanes(wallet, lanes, call),
        )
    };
    row(work())
}

/// Takes the cost of a usage, or an amount, from a wallet and returns the entry and the balance
/// after it.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[allow(clippy::too_many_arguments)]
fn charge(
    wallet: Option<&str>,
    usage: default!(Option<Jsonb>, "NULL"),
    amount: default!(Option<Number>, "NULL"),
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
    cost_from: default!(Option<&str>, "'prices'"),
) -> ChargeRow {
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
        key,
        client_ip,
        device,
        idempotency_key,
        actor,
        metadata,
        cost_from,
    };
    let work = || {
        let request = Request::check(args)?;
        enter(Level::Charger, request.wallet, |_| charge::charge(&request))
    };
    charge_row(or_raise_keeping(key, work))
}

/// A charge as a row.
pub fn charge_row(charged: Charged) -> ChargeRow {
    ChargeRow(vec![
        Uuid::from_bytes(charged.entry_id).into_datum(),
        charged.cost.into_datum(),
        text(&charged.currency),
        charged.balance.into_datum(),
        charged.model.as_deref().and_then(text),
        charged.total_tokens.and_then(IntoDatum::into_datum),
        charged
            .lines
            .map(|lines| stored::to_jsonb(&lines))
            .and_then(IntoDatum::into_datum),
        charged.replayed.into_datum(),
    ])
}

/// The price lines of an entry, spelled out from their compact form.
#[pg_extern(schema = "wallet", stable, strict, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn entry_lines(lines: &[u8]) -> Jsonb {
    let lines = crate::access::rights::enter_any(|_| stored::read(lines)).or_raise();
    stored::to_jsonb(&lines)
}

/// The usage object of an entry that did not store it, from its model and lines.
#[pg_extern(schema = "wallet", immutable, strict, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn entry_usage(model: &str, lines: &[u8]) -> Jsonb {
    let lines = stored::parts(lines).or_raise();
    let mut json = crate::pg::jsonb::Builder::default();
    json.begin_object();
    json.text("model", Some(model));
    for line in lines.iter().filter(|line| !is_markup_meter(&line.meter)) {
        json.decimal(&line.meter, line.quantity);
    }
    json.finish_object()
}

/// The tokens of an entry: of input of every kind, or of output of every kind. It asks no SQL, and setting a
/// search path would cost many times what it does.
#[pg_extern(schema = "wallet", immutable, strict, parallel_safe)]
fn entry_tokens(lines: &[u8], input: bool) -> Quantity {
    let of_input = |meter: &str| meter.starts_with("input") || meter.starts_with("cache");
    let tokens = stored::parts(lines).and_then(|lines| {
        lines
            .iter()
            .filter(|line| line.meter.ends_with("_tokens") && of_input(&line.meter) == input)
            .try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.quantity))
            .ok_or_else(|| stored::damaged("Their quantities are too large."))
    });
    Quantity(tokens.or_raise())
}

/// What an HTTP response can say about a charge: one row a header.
#[pg_extern(schema = "wallet", stable)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn usage_headers(
    wallet: Option<&str>,
    entry_id: Option<Uuid>,
) -> TableIterator<'static, (name!(name, String), name!(value, String))> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let entry_id = entry_id
            .ok_or_else(|| Error::argument("entry_id is missing").hint("Give an entry_id."))?;
        enter(Level::Reader, wallet, |_| {
            crate::ledger::charges::headers::headers(wallet, *entry_id.as_bytes())
        })
    };
    TableIterator::new(work().or_raise())
}
