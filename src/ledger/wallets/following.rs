//! The moment at which a wallet takes over the version of its plan that is in force.
//!
//! Rules are set by code that uses this file, and that itself checks for due changes. So the
//! function that takes over is registered when the library is loaded.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;

use crate::error::{Code, Error, Result};
use crate::ledger::wallets::config::{self, WalletConfig};
use crate::pg::clock;
use crate::pg::subtransaction::attempt;
use crate::pg::writable::is_writable;
use crate::storage::session::as_owner;
use crate::storage::wallet_row::lock_wallet;

/// A change of the rules of a wallet whose row is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The version in force is taken over. Before, the grants are booked that were due before the
    /// rules changed.
    TakeOver,
    /// The version in force of a plan that has just been assigned is taken over.
    Begin,
    /// The rules of the version that was taken over return where the wallet has none of its own.
    Restore,
}

/// The result of a call that reads, as it will be for the next call that writes: if the wallet is
/// to take over a version of its plan first, that is done in a subtransaction that is rolled back.
/// Where nothing may be written, the call sees the rules that the wallet has taken over.
///
/// `work` enters a session of its own, and reads the rules with [`read_ahead`].
pub fn foreseeing<T>(wallet: &str, work: impl Fn() -> Result<T>) -> Result<T> {
    BEHIND.set(false);
    let seen = work();
    if !BEHIND.get() || is_applying() || !is_writable() {
        return seen;
    }
    let mut foreseen = None;
    let attempted = attempt(
        AssertUnwindSafe(|| {
            foreseen = Some(as_owner(|_| follow_upwards(wallet)).and_then(|()| work()));
            Ok(())
        }),
        |()| false,
    )?;
    match (attempted, foreseen) {
        (_, Some(result)) => result,
        (Err(failure), None) => Err(Error::new(
            Code::SerializationFailure,
            format!("could not take over the plan: {}", failure.message),
        )
        .detail("Another call changed the wallet at the same moment.")
        .hint("Run the transaction again.")),
        (Ok(()), None) => seen,
    }
}

/// The rules of a wallet, for a call that [`foreseeing`] runs.
pub fn read_ahead(wallet: &str) -> Result<Rc<WalletConfig>> {
    let rules = config::read(wallet)?;
    if rules.plan_is_due() {
        BEHIND.set(true);
    }
    Ok(rules)
}

type Follow = fn(&str, Step) -> Result<()>;
type Ended = fn(&str) -> Result<Vec<String>>;

thread_local! {
    static FOLLOW: Cell<Option<(Follow, Ended)>> = const { Cell::new(None) };
    /// Whether rules were read ahead of a version that is to be taken over.
    static BEHIND: Cell<bool> = const { Cell::new(false) };
    /// The transaction in which rules of a plan are being set.
    static APPLYING: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Registers the function that sets the rules of a plan, and the one that names the recurring
/// grants that end with the change that is due.
pub fn register(follow: Follow, ended: Ended) {
    FOLLOW.set(Some((follow, ended)));
}

fn registered() -> Result<(Follow, Ended)> {
    let all = FOLLOW.get();
    all.ok_or_else(|| Error::internal("no function sets the rules of plans"))
}

/// The names of the recurring grants of the plan that end with the change that is due.
pub fn ended_grants(wallet: &str) -> Result<Vec<String>> {
    registered()?.1(wallet)
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
    let (follow, _) = registered()?;
    let _before = PutBack(APPLYING.replace(Some(clock::transaction())));
    // The rules may be rolled back with this transaction.
    config::note_catching_up();
    follow(wallet, step)
}

/// Takes over the version of the wallet's plan that is in force, unless that was done. Locks the
/// wallet's row, and all lanes if there is something to do.
pub fn follow(wallet: &str) -> Result<()> {
    lock_wallet(wallet)?;
    // The calls that set the rules of a plan call this too. A version that begins meanwhile is
    // taken over by the next call.
    match !is_applying() && config::read_basis(wallet)?.plan_is_due() {
        true => run(wallet, Step::TakeOver),
        false => Ok(()),
    }
}

/// Like [`follow`], for the wallet and those above it that pay for its use.
fn follow_upwards(wallet: &str) -> Result<()> {
    follow(wallet)?;
    match &config::read_basis(wallet)?.pool {
        Some(parent) => follow_upwards(parent),
        None => Ok(()),
    }
}

/// Takes over the version of the wallet's plan that is in force, for a wallet whose plan was just
/// assigned. The caller has locked the wallet's row.
pub fn begin(wallet: &str) -> Result<()> {
    run(wallet, Step::Begin)
}

/// After a rule of the wallet's own was dropped: the plan's rule returns. The caller has locked the
/// wallet's row.
pub fn restore(wallet: &str, has_plan: bool) -> Result<()> {
    match has_plan && !is_applying() {
        true => run(wallet, Step::Restore),
        false => Ok(()),
    }
}
