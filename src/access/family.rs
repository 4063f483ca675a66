//! The wallets above and below others in trees. Who may read a wallet may read those below it.
//!
//! They are read once per change of any tree, which drops this cache in every backend, and with the
//! latest snapshot, like the access grants. A wallet that is in no tree costs nothing: the cache
//! knows whether there is any tree at all.

use std::cell::RefCell;
use std::rc::Rc;

use foldhash::HashMap;

use crate::error::Result;
use crate::pg::invalidation;
use crate::storage::plan::{Rows, Run, Value, statement};

/// The maximum number of answers that a backend caches. Beyond that, the cache is cleared.
const MAX_ANSWERS: usize = 1024;

/// The longest list of wallets that is cached.
const MAX_LIST: usize = 4096;

statement!(
    ANY,
    [],
    "SELECT EXISTS (SELECT FROM wallet.wallets w WHERE w.parent IS NOT NULL)"
);

statement!(
    ABOVE,
    [TEXTOID],
    "WITH RECURSIVE up (wallet_id) AS (
         SELECT w.parent FROM wallet.wallets w WHERE w.wallet_id = $1 AND w.parent IS NOT NULL
          UNION
         SELECT w.parent FROM up u JOIN wallet.wallets w ON w.wallet_id = u.wallet_id WHERE w.parent IS NOT NULL
     )
     SELECT u.wallet_id FROM up u"
);

statement!(
    BELOW,
    [TEXTOID],
    "WITH RECURSIVE down (wallet_id) AS (
         SELECT w.wallet_id FROM wallet.wallets w WHERE w.parent = $1
          UNION
         SELECT w.wallet_id FROM down d JOIN wallet.wallets w ON w.parent = d.wallet_id
     )
     SELECT d.wallet_id FROM down d"
);

type Names = Rc<[String]>;

#[derive(Default)]
struct Cache {
    generation: u64,
    any: Option<bool>,
    above: HashMap<String, Names>,
    below: HashMap<String, Names>,
}

thread_local! {
    static CACHE: RefCell<Cache> = RefCell::default();
}

fn with_cache<T>(work: impl FnOnce(&mut Cache) -> T) -> T {
    let generation = invalidation::generation();
    CACHE.with_borrow_mut(|cache| {
        let answers = cache.above.len() + cache.below.len();
        if cache.generation != generation || answers > MAX_ANSWERS {
            *cache = Cache {
                generation,
                ..Cache::default()
            };
        }
        work(cache)
    })
}

/// Keeps an answer, unless something changed while it was read.
fn keep(before: u64, store: impl FnOnce(&mut Cache)) {
    invalidation::note_caching();
    if invalidation::generation() == before {
        with_cache(store);
    }
}

fn names(rows: &Rows) -> Result<Names> {
    (0..rows.len()).map(|row| rows.need(row, 0)).collect()
}

/// Whether any wallet has a parent.
pub fn are_any() -> Result<bool> {
    if let Some(any) = with_cache(|cache| cache.any) {
        return Ok(any);
    }
    let before = invalidation::generation();
    let any = ANY.read_latest(&[])?.need(0, 0)?;
    keep(before, |cache| cache.any = Some(any));
    Ok(any)
}

/// The wallets above a wallet.
pub fn above(wallet: &str) -> Result<Names> {
    if !are_any()? {
        return Ok(Rc::default());
    }
    if let Some(known) = with_cache(|cache| cache.above.get(wallet).cloned()) {
        return Ok(known);
    }
    let before = invalidation::generation();
    let found = names(&ABOVE.read_latest(&[Value::Text(wallet)])?)?;
    keep(before, |cache| {
        cache.above.insert(wallet.to_owned(), found.clone());
    });
    Ok(found)
}

/// Adds the wallets below to a sorted list of wallets.
pub fn add_below(wallets: &mut Vec<String>) -> Result<()> {
    if wallets.is_empty() || !are_any()? {
        return Ok(());
    }
    let mut added = Vec::new();
    for wallet in wallets.iter() {
        added.extend_from_slice(&below(wallet)?);
    }
    if !added.is_empty() {
        wallets.append(&mut added);
        wallets.sort_unstable();
        wallets.dedup();
    }
    Ok(())
}

/// The wallets below a wallet.
fn below(wallet: &str) -> Result<Names> {
    if let Some(known) = with_cache(|cache| cache.below.get(wallet).cloned()) {
        return Ok(known);
    }
    let before = invalidation::generation();
    let found = names(&BELOW.read_latest(&[Value::Text(wallet)])?)?;
    if found.len() <= MAX_LIST {
        keep(before, |cache| {
            cache.below.insert(wallet.to_owned(), found.clone());
        });
    }
    Ok(found)
}
