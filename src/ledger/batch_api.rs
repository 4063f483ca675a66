//! SQL function on many charges.

use pgrx::prelude::*;
use pgrx::{Uuid, default};

use crate::args;
use crate::error::{OrRaise, Result};
use crate::ledger::batch::{Answer, Batch, OnError, charge_all};
use crate::money::Amount;
use crate::storage::jsonb::Jsonb;

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
        Ok(charged) => {
            let entry_id = Uuid::from_bytes(charged.entry_id);
            (
                item,
                Some(entry_id),
                Some(charged.cost),
                None,
                None,
                charged.replayed,
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

/// Charges for each item of an array; all or nothing, or all that can be.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
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
    let work = || -> Result<Vec<Answer>> {
        let batch = Batch {
            wallet: args::name("wallet", wallet)?,
            on_error: args::word("on_error", on_error, OnError::ALL, OnError::as_str, &[])?,
            key: args::name("idempotency_key", idempotency_key)?,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?.map(|document| document.value),
        };
        charge_all(&batch, charges)
    };
    let answers = work().or_raise();
    TableIterator::new(
        answers
            .into_iter()
            .enumerate()
            .map(|(index, answer)| row(index, answer)),
    )
}
