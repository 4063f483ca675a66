//! The end of a lane's chain, where entries are added.

use crate::allowance::lanes::{changed_underneath, range};
use crate::error::Result;
use crate::money::Amount;
use crate::storage::entry_form::link;
use crate::storage::rows::{Entry, Lane, Link};
use crate::storage::store;

/// Links an entry to the end of a lane's chain. The caller writes the lane and the entry, in the
/// order that its locks need.
pub fn extend(lane: &mut Lane, entry: &Entry<'_>, balance: Amount) -> Result<Link> {
    let booked = lane.booked.plus(entry.amount).map_err(range)?;
    let link = link(entry, lane, booked, balance);
    lane.booked = booked;
    lane.seq = link.seq;
    lane.hash = Some(link.hash);
    Ok(link)
}

/// Links an entry to the end of a lane's chain and writes the entry. The caller writes the lane.
/// 40001 if the key of the entry is taken, which the caller has ruled out under its locks.
pub fn append(
    lane: &mut Lane,
    entry: &Entry<'_>,
    balance: Amount,
    is_archived: bool,
) -> Result<Link> {
    let link = extend(lane, entry, balance)?;
    if !store::append(entry, &link, is_archived)? {
        return Err(changed_underneath(entry.wallet));
    }
    Ok(link)
}
