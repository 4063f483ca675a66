//! The result of a call on a hold.

use std::borrow::Cow;

use crate::money::Amount;
use crate::pg::clock::Timestamp;

/// The result of a call on a hold.
pub struct Held {
    /// Id of the row in `wallet.reservations`.
    pub hold_id: [u8; 16],
    /// The reserved amount; less than requested if the hold may be partial.
    pub amount: Amount,
    /// The wallet's balance.
    pub balance: Amount,
    /// When the hold stops reserving anything.
    pub expires_at: Timestamp,
    /// True if an earlier call produced this result.
    pub replayed: bool,
    /// The number of output tokens that the amount pays for; `None` if the estimate names none.
    pub affordable_tokens: Option<i64>,
    /// The current status: `waiting`, `open`, `settled`, `voided` or `expired`.
    pub status: Cow<'static, str>,
}
