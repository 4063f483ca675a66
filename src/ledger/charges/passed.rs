//! A use that a child passes on to its parent, which pays for it.
//!
//! A pooled child has no money of its own. Each of its uses is booked in its own ledger with two
//! entries, one that draws the money and one that spends it, and then in the ledger of its parent
//! with one that lends the money. A parent that is pooled itself draws and lends. So the balance of
//! every pooled wallet is zero before and after, and the wallet on top pays.
//!
//! The entry of a use has the same id in every wallet of the tree. The entry that draws the money
//! has that id with its last bit flipped, so that both are found by their primary key.
//!
//! The order is from the child upwards: all that the child decides comes first, with its locks, and
//! then its parent. The dangers, and how each is handled:
//!
//! - **The key was used already.** The child's entry is written before anything of the parent. The
//!   unique index finds the key, and only rows of the child must be restored.
//! - **A rule of the child changed**: its lane tells, before the parent is touched. A rule of the
//!   parent is told by the parent's own lane, in the parent's own attempts.
//! - **A refusal further up**: it is an error, which undoes all that the child wrote. Nothing is
//!   caught, so nothing remains.
//! - **A deadlock**: no call that has a lock of a parent waits for one of its children.
//! - **A queue in front of one child**: calls wait for the child's lane or window while they hold
//!   nothing of the parent, so other children go on spending.

use crate::attribution::Attribution;
use crate::money::Amount;
use crate::pricing::rate::Priced;
use crate::storage::rows::{Call, Entry, Kind};

/// The part of a passed use that the request does not contain.
#[derive(Clone)]
pub struct Passed<'a> {
    /// The wallet whose call it is, at the bottom of the tree.
    pub spender: &'a str,
    /// The contra account of the parent's entry.
    pub contra: String,
    /// The usage with the spender's prices. `None` for an amount.
    pub priced: Option<Priced>,
    /// The amount to book.
    pub cost: Amount,
    /// The id of the use's entries.
    pub entry_id: [u8; 16],
    /// The call that books the parent's entry.
    pub call: Call,
    /// The hold that is settled, or the charge that gets a late price.
    pub related_id: Option<[u8; 16]>,
    /// The part of the charge of an expired hold that a correction has refunded.
    pub refunded: Amount,
}

/// The contra account of money that moves between a child and its parent.
pub fn contra(other: &str) -> String {
    format!("pool:{other}")
}

/// The wallet on the other side of such an entry.
pub fn other_side(contra: &str) -> Option<&str> {
    contra.strip_prefix("pool:")
}

/// The id of the entry that draws the money for a use.
pub fn draw_id(mut entry_id: [u8; 16]) -> [u8; 16] {
    entry_id[15] ^= 1;
    entry_id
}

impl Passed<'_> {
    /// The part of an entry that says that the money is lent.
    pub fn lend<'b>(&'b self, entry: Entry<'b>) -> Entry<'b> {
        Entry {
            entry_id: self.entry_id,
            kind: Kind::Transfer,
            call: self.call,
            related_id: self.related_id,
            contra: Some(&self.contra),
            ..entry
        }
    }
}

/// The entry that draws the money of a use from the parent.
pub fn draw<'a>(entry: &Entry<'a>, contra: &'a str) -> Entry<'a> {
    Entry {
        entry_id: draw_id(entry.entry_id),
        related_id: Some(entry.entry_id),
        created_at: entry.created_at,
        actor: entry.actor,
        attribution: Attribution::default(),
        ..Entry::of_money(
            entry.wallet,
            Kind::Transfer,
            Call::Draw,
            entry.amount.negated(),
            contra,
        )
    }
}
