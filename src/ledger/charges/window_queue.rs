//! Where a call on a wallet of several lanes waits for another one of the same user.
//!
//! Lanes are for all, but the window of a user's limit is one row. Who had a lane already when it found that
//! row being changed would keep the lane from everybody else for as long as the other's transaction runs. So
//! calls that count in the same windows stand in a queue before they take a lane.
//!
//! The queue keeps order and nothing else: rows are locked behind it as they would be without it. Only a
//! transaction that has no row or lane of ours locked stands in it: those in front may be waiting for that.

use crate::allowance::lanes::{self, Found, LaneView};
use crate::error::Result;
use crate::limits::limit::Applied;
use crate::money::Amount;
use crate::storage::{lock, session};

/// A lane that can pay, as [`lanes::find`] has it, when it is this call's turn with the windows of the limits.
pub fn find(
    cutting: LaneView<'_>,
    amount: Amount,
    applied: &[Applied<'_>],
    again: bool,
) -> Result<Found> {
    if cutting.lanes > 1 && !session::has_locks() {
        // In the order of their ids, as the rows are taken.
        for one in applied {
            // The others have a row for each lane.
            if !one.need.is_zero() && !one.limit.can_spread() {
                lock::queue(one.window_id);
            }
        }
    }
    // A limit that is spread over the lanes may need a look at all of them. Lanes that room was taken from are written and
    // cannot be let go for that; to wait for others below them could be a circle.
    let may_combine = cutting.lanes == 1
        || !applied
            .iter()
            .any(|one| !one.need.is_zero() && one.limit.can_spread());
    lanes::find(cutting, amount, again, may_combine)
}
