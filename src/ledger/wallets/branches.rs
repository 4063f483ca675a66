//! The order in which a call that uses several wallets locks them.
//!
//! A use of a pooled child locks the child, then its parent, up to the payer. If a call used two
//! children of one payer one after the other, it would have the payer's locks while it waits for
//! the second child. So it first locks all children that it uses, with the wallets between them
//! and the payer, the deepest ones first, and only then makes the first use.
//!
//! The order of all wallets is: by payer, then from the deepest level upwards, then by name. A use
//! of one wallet follows it, and so do all calls that use several.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::error::Result;
use crate::ledger::grants::due;
use crate::ledger::wallets::config;
use crate::storage::wallet_row::lock_wallet;

/// The most levels that a tree may have.
pub const MAX_LEVELS: usize = 8;

/// The place of a wallet in the order of locks: its payer, its depth below the payer, its name. A
/// payer comes after all wallets that it pays for.
pub type Place = (String, Reverse<usize>, String);

/// The pooled wallets that a call uses or that pass its uses on.
#[derive(Default)]
pub struct Branches(BTreeSet<Place>);

/// The place of a wallet that pays for itself.
pub fn place_of_payer(wallet: &str) -> Place {
    (wallet.to_owned(), Reverse(0), wallet.to_owned())
}

impl Branches {
    /// Adds a wallet, and those above it up to its payer. Returns its place. The cached rules are
    /// used: if a tree changes meanwhile, the call may have to give way.
    pub fn add(&mut self, wallet: &str) -> Result<Place> {
        let mut path = vec![wallet.to_owned()];
        while path.len() < MAX_LEVELS
            && let Some(parent) = &config::known(&path[path.len() - 1])?.pool
        {
            path.push(parent.clone());
        }
        let depth = path.len() - 1;
        let payer = path.pop().unwrap_or_default();
        for (above, name) in path.into_iter().enumerate() {
            self.0.insert((payer.clone(), Reverse(depth - above), name));
        }
        Ok((payer, Reverse(depth), wallet.to_owned()))
    }

    /// The places of the pooled wallets below a payer, in the order of locks.
    pub fn below<'a>(&'a self, payer: &'a str) -> impl Iterator<Item = Place> + 'a {
        let first = (payer.to_owned(), Reverse(usize::MAX), String::new());
        let places = self.0.range(first..);
        places.take_while(move |place| place.0 == payer).cloned()
    }

    /// Locks the wallets below a payer before the first of several uses. Also locks the payer, if
    /// its lane or its limits would make the uses wait for each other in any case. A payer with
    /// lanes and without limits stays free for others.
    pub fn lock(&self, payer: &str) -> Result<()> {
        let mut is_payer_of_others = false;
        for (.., wallet) in self.below(payer) {
            lock_wallet_and_lanes(&wallet)?;
            is_payer_of_others = true;
        }
        if !is_payer_of_others {
            return Ok(());
        }
        let rules = config::known(payer)?;
        match rules.lanes == 1 || !rules.limits.is_empty() {
            true => lock_wallet_and_lanes(payer),
            false => Ok(()),
        }
    }
}

/// Before several uses of one wallet: locks it, and those that pay for it.
pub fn lock_for_uses(wallet: &str, uses: usize) -> Result<()> {
    if uses < 2 {
        return Ok(());
    }
    let mut branches = Branches::default();
    let (payer, ..) = branches.add(wallet)?;
    branches.lock(&payer)
}

/// Locks all that a use of the wallet needs: its row, because a use of a child may have to lock it
/// before the lanes, and all its lanes, because uses in other lanes share the windows of limits.
pub fn lock_wallet_and_lanes(wallet: &str) -> Result<()> {
    match config::known(wallet)?.is_due() {
        true => due::sweep(wallet)?,
        false => lock_wallet(wallet)?,
    }
    config::read_with_lanes(wallet).map(drop)
}
