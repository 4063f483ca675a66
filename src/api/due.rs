//! SQL functions for views and reports: what is due in a wallet but not booked yet.
//!
//! They compute it with the code that books it.

use crate::access::rights::{Level, enter};
use crate::allowance::lanes::range;
use crate::args;
use crate::error::Result;
use crate::ledger::grants::asof::{self, Funds};
use crate::ledger::grants::course::Effect;
use crate::ledger::grants::lot_end::Ending;
use crate::ledger::grants::recurrence::Occurrence;
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::storage::rows::BALANCE;
use pgrx::Uuid;
use pgrx::prelude::*;
use std::collections::HashMap;

fn look<T>(
    wallet: Option<&str>,
    until: Option<TimestampWithTimeZone>,
    read: impl FnOnce(Funds) -> Result<T>,
) -> Result<T> {
    let wallet = args::required("of_wallet", wallet)?;
    // Later expiries are not known yet, because the wallet may receive or spend money before.
    let until = args::time("until", until)?.unwrap_or(Timestamp(i64::MAX));
    enter(Level::Reader, wallet, |_| {
        let rules = config::read(wallet)?;
        read(asof::standing_at(wallet, &rules, until.min(clock::now()))?)
    })
}

fn time(at: Timestamp) -> Option<TimestampWithTimeZone> {
    TimestampWithTimeZone::try_from(at.0).ok()
}

/// The entries that a call at a time would book before anything else, in the order of time: expired
/// grants, and new periods of a recurring grant. `repaid` is the part of a grant that pays what was
/// used on credit before.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn due_entries(
    of_wallet: Option<&str>,
    until: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(at, Option<TimestampWithTimeZone>),
        name!(kind, String),
        name!(amount, Amount),
        name!(contra, String),
        name!(grant_id, Uuid),
        name!(scoped, bool),
        name!(repaid, Amount),
    ),
> {
    let work = || {
        look(of_wallet, until, |standing| {
            let turns = &standing.due.turns;
            let row = |effect: &Effect| match effect {
                Effect::Expired {
                    id,
                    at,
                    amount,
                    scoped,
                } => Ok((
                    time(*at),
                    "expiry".to_owned(),
                    amount.negated(),
                    Ending::expired(*at).contra(),
                    Uuid::from_bytes(*id),
                    *scoped,
                    Amount::ZERO,
                )),
                Effect::Granted {
                    id,
                    turn,
                    remaining,
                } => Ok((
                    time(turns[*turn].at),
                    "funding".to_owned(),
                    turns[*turn].amount,
                    "funding:grant".to_owned(),
                    Uuid::from_bytes(*id),
                    turns[*turn].scope.is_some(),
                    turns[*turn].amount.minus(*remaining).map_err(range)?,
                )),
            };
            let effects = standing.course.effects.iter();
            effects.map(row).collect::<Result<Vec<_>>>()
        })
    };
    TableIterator::new(work().or_raise())
}

/// The lots that have a rest at a time. A lot whose grant is not booked yet shows its full amount,
/// and its id differs between calls.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn due_lots(
    of_wallet: Option<&str>,
    until: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(grant_id, Uuid),
        name!(remaining, Amount),
        name!(expires_at, Option<TimestampWithTimeZone>),
        name!(priority, i32),
        name!(promotional, bool),
        name!(created_at, Option<TimestampWithTimeZone>),
        name!(new_amount, Option<Amount>),
        name!(new_scope, Option<String>),
    ),
> {
    let work = || {
        look(of_wallet, until, |standing| {
            let granted = standing.course.effects.iter();
            let granted = granted.filter_map(|effect| match effect {
                Effect::Granted { id, turn, .. } => Some((*id, standing.due.turns.get(*turn)?)),
                Effect::Expired { .. } => None,
            });
            let granted: HashMap<[u8; 16], &Occurrence> = granted.collect();
            let rows = standing.course.lots.iter().map(|one| {
                let turn = granted.get(&one.lot.rank.id);
                (
                    Uuid::from_bytes(one.lot.rank.id),
                    one.lot.remaining,
                    one.expires_at.and_then(time),
                    one.lot.rank.priority,
                    !one.lot.rank.paid,
                    time(Timestamp(one.lot.rank.created_at)),
                    turn.map(|turn| turn.amount),
                    turn.and_then(|turn| turn.stored_scope).map(Jsonb::to_text),
                )
            });
            Ok(rows.collect::<Vec<_>>())
        })
    };
    TableIterator::new(work().or_raise())
}

/// The state of a wallet at a time: its balance, the amount held, and the part of the rest that
/// only some charges may use.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn due_balance(
    of_wallet: Option<&str>,
    until: Option<TimestampWithTimeZone>,
) -> TableIterator<
    'static,
    (
        name!(balance, Amount),
        name!(held, Amount),
        name!(scoped, Amount),
    ),
> {
    let work = || {
        look(of_wallet, until, |standing| {
            Ok((standing.balance()?, standing.held()?, standing.for_some()?))
        })
    };
    TableIterator::once(work().or_raise())
}

/// The amount that is still held in a wallet's lanes by holds that have expired at a time, whether
/// or not a call has released it yet.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn expired_held(of_wallet: Option<&str>, by: Option<TimestampWithTimeZone>) -> Amount {
    let work = || {
        let wallet = args::required("of_wallet", of_wallet)?;
        let by = args::time("by", by)?.unwrap_or_else(clock::now);
        enter(Level::Reader, wallet, |_| {
            config::require(wallet)?;
            Expired::look_in_query(wallet, by)?.of(BALANCE)
        })
    };
    work().or_raise()
}
