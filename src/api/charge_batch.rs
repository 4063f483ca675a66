//! The SQL functions that make many charges.

use crate::args;
use crate::error::Result;
use crate::ledger::batch::{Answer, Batch, OnError, charge_all};
use crate::money::Amount;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::or_raise_hiding;
use crate::storage::session::as_one_call;
use pgrx::prelude::*;
use pgrx::{Uuid, default};
use std::cell::Cell;

type Row = (
    i32,
    Option<Uuid>,
    Option<Amount>,
    Option<String>,
    Option<String>,
    bool,
);

fn row(index: usize, answer: Answer) -> Row {
    let item = i32::try_from(index + 1).unwrap_or(i32::MAX);
    match answer {
        Ok(booked) => {
            let entry_id = Uuid::from_bytes(booked.entry_id);
            (
                item,
                Some(entry_id),
                Some(booked.cost),
                None,
                None,
                booked.replayed,
            )
        }
        Err(failure) => (
            item,
            None,
            None,
            Some(failure.sqlstate),
            Some(failure.message),
            false,
        ),
    }
}

/// The arguments of both functions.
struct Args<'a> {
    wallet: Option<&'a str>,
    charges: Option<Jsonb>,
    on_error: Option<&'a str>,
    idempotency_key: Option<&'a str>,
    actor: Option<&'a str>,
    metadata: Option<Jsonb>,
}

fn charge_each(args: Args<'_>) -> impl Iterator<Item = Row> + 'static {
    // Until the items have been read, any of them may contain the secret of a key.
    let secret = Cell::new(true);
    let work = || -> Result<Vec<Answer>> {
        let batch = Batch {
            wallet: args::name("wallet", args.wallet)?,
            on_error: args::word(
                "on_error",
                args.on_error,
                OnError::ALL,
                OnError::as_str,
                &[],
            )?,
            key: args::name("idempotency_key", args.idempotency_key)?,
            actor: args::name("actor", args.actor)?,
            metadata: args::document("metadata", args.metadata)?.map(|document| document.value),
        };
        charge_all(&batch, args.charges, &secret)
    };
    let answers = or_raise_hiding(&secret, || as_one_call(work));
    answers
        .into_iter()
        .enumerate()
        .map(|(index, answer)| row(index, answer))
}

// The search path is fixed inside the function. A setting of the function would be set again for
// every row.

/// Charges for each item of an array: either all items or none, or all that can be charged.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[allow(clippy::type_complexity)]
fn charge_batch(
    wallet: Option<&str>,
    charges: Option<Jsonb>,
    on_error: default!(Option<&str>, "'fail'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(item, i32),
        name!(entry_id, Option<Uuid>),
        name!(cost, Option<Amount>),
        name!(sqlstate, Option<String>),
        name!(message, Option<String>),
        name!(replayed, bool),
    ),
> {
    TableIterator::new(charge_each(Args {
        wallet,
        charges,
        on_error,
        idempotency_key,
        actor,
        metadata,
    }))
}

/// Like `charge_batch`, with a wallet in each item. `metadata` is the second argument, so that two
/// literals are always a wallet and its charges.
#[pg_extern(schema = "wallet", name = "charge_batch", requires = ["results"])]
#[allow(clippy::type_complexity)]
fn charge_batch_over_wallets(
    charges: Option<Jsonb>,
    metadata: default!(Option<Jsonb>, "NULL"),
    on_error: default!(Option<&str>, "'fail'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(item, i32),
        name!(entry_id, Option<Uuid>),
        name!(cost, Option<Amount>),
        name!(sqlstate, Option<String>),
        name!(message, Option<String>),
        name!(replayed, bool),
    ),
> {
    TableIterator::new(charge_each(Args {
        wallet: None,
        charges,
        on_error,
        idempotency_key,
        actor,
        metadata,
    }))
}
