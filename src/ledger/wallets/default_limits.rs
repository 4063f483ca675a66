//! Reads the default limits. Each backend caches them until one of them changes.

use std::cell::RefCell;
use std::rc::Rc;

use crate::access::rights::ALL_WALLETS;
use crate::error::{Error, Result};
use crate::limits::as_default::AsDefault;
use crate::limits::defaults::DefaultLimit;
use crate::limits::limit::Limit;
use crate::limits::stored::{limit_query, row_of};
use crate::pg::invalidation;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::Home;

statement!(
    DEFAULTS,
    [TEXTOID],
    limit_query!(" AND dropped_at IS NULL ORDER BY limit_id")
);

statement!(EVER, [TEXTOID], limit_query!(" ORDER BY limit_id"));

statement!(
    HOME,
    [TEXTOID],
    "SELECT time_zone, defaults_from FROM wallet.wallets WHERE wallet_id = $1"
);

thread_local! {
    /// The default limits, and the generation in which they were read.
    static KNOWN: RefCell<Option<(u64, Rc<[DefaultLimit]>)>> = const { RefCell::new(None) };
}

/// The default limits that were not dropped, paused or not.
pub fn known() -> Result<Rc<[DefaultLimit]>> {
    let generation = invalidation::generation();
    let known = KNOWN.with_borrow(|known| match known {
        Some((read, limits)) if *read == generation => Some(limits.clone()),
        _ => None,
    });
    if let Some(known) = known {
        return Ok(known);
    }
    let limits: Rc<[DefaultLimit]> = all(&DEFAULTS.run(&[Value::Text(ALL_WALLETS)])?)?.into();
    invalidation::note_caching();
    if invalidation::generation() == generation {
        KNOWN.set(Some((generation, limits.clone())));
    }
    Ok(limits)
}

/// All default limits as they apply to a wallet, also those that were dropped or paused.
pub fn ever(wallet: &str) -> Result<Vec<Limit>> {
    let defaults = all(&EVER.run(&[Value::Text(ALL_WALLETS)])?)?;
    if defaults.is_empty() {
        return Ok(Vec::new());
    }
    let home = home(wallet)?;
    defaults.iter().map(|one| one.limit(&home)).collect()
}

/// All default limits, also those that were dropped, under the snapshot of the running query.
pub fn ever_in_query() -> Result<Vec<DefaultLimit>> {
    all(&EVER.read(&[Value::Text(ALL_WALLETS)])?)
}

fn all(rows: &Rows) -> Result<Vec<DefaultLimit>> {
    (0..rows.len()).map(|row| default_of(rows, row)).collect()
}

/// A row of a `limit_query` on default limits.
pub fn default_of(rows: &Rows, row: usize) -> Result<DefaultLimit> {
    Ok(DefaultLimit {
        row: row_of(rows, row)?,
        default: AsDefault {
            counts_since: rows.need(row, 17)?,
            revision: rows.need(row, 18)?,
        },
        is_dropped: rows.need(row, 19)?,
    })
}

fn home_of(wallet: &str, rows: &Rows) -> Result<Home> {
    if rows.is_empty() {
        return Err(Error::wallet_not_found(wallet));
    }
    Ok(Home {
        time_zone: rows.need(0, 0)?,
        since: rows.need(0, 1)?,
    })
}

/// The part of a wallet on which default limits depend. WL003 if there is no such wallet.
pub fn home(wallet: &str) -> Result<Home> {
    home_of(wallet, &HOME.run(&[Value::Text(wallet)])?)
}

/// Like [`home`], under the snapshot of the running query.
pub fn home_in_query(wallet: &str) -> Result<Home> {
    home_of(wallet, &HOME.read(&[Value::Text(wallet)])?)
}
