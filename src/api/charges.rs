//! SQL functions on charges and on the usage of entries.

use crate::access::rights::{Level, enter, for_caller};
use crate::args;
use crate::ledger::charges::charge;
use crate::ledger::charges::replay::Charged;
use crate::ledger::charges::request::{ChargeArgs, Request};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::pg::row::{composite, text};
use crate::pg::sql_types::Quantity;
use crate::pricing::markup::is_markup_meter;
use crate::pricing::stored;
use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Inet, Uuid, default};
use rust_decimal::Decimal;

composite!(
    /// The result of `charge`.
    ChargeRow,
    "wallet.charge_result"
);

/// Takes the cost of a usage, or an amount, from a wallet. Returns the entry and the balance after
/// it.
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
        secret: key,
        client_ip,
        device,
        idempotency_key,
        actor,
        metadata,
        cost_from,
    };
    let work = || {
        let request = Request::check(args)?;
        enter(Level::Charger, request.wallet, |session| {
            charge::charge(&request).map_err(|error| for_caller(session, error))
        })
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

/// The price lines of an entry, decoded from their compact form.
#[pg_extern(schema = "wallet", stable, strict, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn entry_lines(lines: &[u8]) -> Jsonb {
    let lines = crate::access::rights::enter_any(|_| stored::read(lines)).or_raise();
    stored::to_jsonb(&lines)
}

/// The usage object of an entry that did not store it, derived from its model and lines.
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

/// The number of input tokens of all kinds, or of output tokens of all kinds, of an entry. It runs
/// no SQL, and setting a search path would cost many times as much as the computation.
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

/// HTTP response headers about a charge: one row per header.
#[pg_extern(schema = "wallet", stable)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn usage_headers(
    wallet: Option<&str>,
    entry_id: Option<Uuid>,
) -> TableIterator<'static, (name!(name, String), name!(value, String))> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let entry_id = args::id(
            "entry_id",
            entry_id,
            "Give an entry_id of the view entries.",
        )?;
        enter(Level::Reader, wallet, |_| {
            crate::ledger::charges::headers::headers(wallet, entry_id)
        })
    };
    TableIterator::new(work().or_raise())
}
