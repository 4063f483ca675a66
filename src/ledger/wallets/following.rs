//! The moment at which a wallet takes over the version of its plan that is in force.
//!
//! Rules are set by code that stands above this one, and that itself checks for due changes. So the
//! function that takes over is registered when the library is loaded.

use std::cell::Cell;

use crate::error::{Error, Result};
use crate::ledger::wallets::config;
use crate::pg::clock;
use crate::storage::wallet_row::lock_wallet;

/// What is done with the plan of a wallet whose row is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The version in force is taken over.
    TakeOver,
    /// The rules of the version that was taken over return where the wallet has none of its own.
    Restore,
}

type Follow = fn(&str, Step) -> Result<()>;

thread_local! {
    static FOLLOW: Cell<Option<Follow>> = const { Cell::new(None) };
    /// The transaction in which rules of a plan are being set.
    static APPLYING: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Registers the function that sets the rules of a plan.
pub fn register(follow: Follow) {
    FOLLOW.set(Some(follow));
}

/// Whether rules of a plan are being set. The calls that do so set no rules of the wallet's own.
pub fn is_applying() -> bool {
    APPLYING.get() == Some(clock::transaction())
}

fn run(wallet: &str, step: Step) -> Result<()> {
    struct PutBack(Option<u32>);
    impl Drop for PutBack {
        fn drop(&mut self) {
            APPLYING.set(self.0);
        }
    }
    let follow = FOLLOW.get();
    let follow = follow.ok_or_else(|| Error::internal("no function sets the rules of plans"))?;
    let _before = PutBack(APPLYING.replace(Some(clock::transaction())));
    // The rules may be rolled back with this transaction.
    config::note_catching_up();
    follow(wallet, step)
}

/// Takes over the version of the wallet's plan that is in force, unless that was done. Locks the
/// wallet's row, and all lanes if there is something to do.
pub fn follow(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    match config::read(wallet)?.plan_is_due() {
        true => run(wallet, Step::TakeOver),
        false => Ok(()),
    }
}

/// Takes over the version of the wallet's plan that is in force, for a wallet whose plan was just
/// assigned. The caller has locked the wallet's row.
pub fn begin(wallet: &str) -> Result<()> {
    run(wallet, Step::TakeOver)
}

/// After a rule of the wallet's own was dropped: the plan's rule returns. The caller has locked the
/// wallet's row.
pub fn restore(wallet: &str, has_plan: bool) -> Result<()> {
    match has_plan && !is_applying() {
        true => run(wallet, Step::Restore),
        false => Ok(()),
    }
}
