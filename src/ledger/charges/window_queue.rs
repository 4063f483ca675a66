//! The queue in which calls on a wallet with several lanes wait for calls on the same windows.
//!
//! A wallet has several lanes, but the window of a user's limit is one row. A call that locks a
//! lane and then waits for that row would keep the lane from everybody until the other transaction
//! ends. So calls that count in the same windows queue before they lock a lane.
//!
//! The queue only orders calls: rows are locked behind it as they would be without it. A
//! transaction that already has locks on a wallet does not queue, because the calls in front may be
//! waiting for those locks.

use crate::allowance::lanes::{self, Found, LaneView};
use crate::error::Result;
use crate::limits::limit::Applied;
use crate::money::Amount;
use crate::storage::{lock, session};

/// Queues for the windows of the limits, then finds a lane that can pay, as [`lanes::find`] does.
pub fn find(
    view: LaneView<'_>,
    amount: Amount,
    applied: &[Applied<'_>],
    again: bool,
) -> Result<Found> {
    if view.lanes > 1 && !session::has_locks() {
        // In the order of their ids, the order in which the rows are locked.
        for one in applied {
            // A limit that can be spread has one row per lane.
            if !one.need.is_zero() && !one.limit.can_spread() {
                lock::queue(one.window_id);
            }
        }
    }
    // A spread limit, or one that carries, may need all lanes. Lanes that money was moved out of
    // are already written and cannot be released for that. Waiting for other lanes below them could
    // deadlock.
    let may_need_all =
        |one: &Applied<'_>| !one.need.is_zero() && (one.limit.can_spread() || one.carry.is_some());
    let may_combine = view.lanes == 1 || !applied.iter().any(may_need_all);
    lanes::find(view, amount, again, may_combine)
}
