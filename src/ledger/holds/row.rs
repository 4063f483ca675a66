//! The rows of holds.

use crate::error::{Code, Error, Result, quoted};
use crate::ledger::grants::due;
use crate::ledger::wallets::config;
use crate::pg::clock;
pub use crate::storage::hold_rows::{About, Approval, Hold};
use crate::storage::rows::uuid_text;
use crate::storage::store;

/// Locks the hold. Returns 42704 if the wallet has no hold of that id, and WL003 if there is no
/// such wallet.
pub fn lock(wallet: &str, id: [u8; 16]) -> Result<Hold> {
    let hold = lock_part(wallet, id)?;
    match &hold.spender {
        None => Ok(hold),
        Some(spender) => Err(of_child(wallet, spender)),
    }
}

/// The error WL008 for a part of a child's hold.
fn of_child(wallet: &str, spender: &str) -> Error {
    Error::new(
        Code::HoldNotOpen,
        format!("hold is not one of wallet {}", quoted(wallet)),
    )
    .detail(format!(
        "It is the part of a hold of wallet {}, for which this wallet pays.",
        quoted(spender)
    ))
    .hint(format!("Name wallet {} in the call.", quoted(spender)))
}

/// Locks a hold, or the part of a child's hold.
pub fn lock_part(wallet: &str, id: [u8; 16]) -> Result<Hold> {
    // Reads the rules again, because the backend's cache may be older than the last grant.
    if config::read(wallet)?.is_due() {
        // The sweep locks the wallet's row, which comes before holds in the lock order.
        due::sweep(wallet)?;
    }
    if let Some(hold) = store::lock_hold(wallet, id)? {
        return Ok(hold);
    }
    config::read(wallet)?;
    Err(Error::new(
        Code::ObjectNotFound,
        format!("wallet {} has no such hold", quoted(wallet)),
    )
    .detail(format!("There is no hold {}.", uuid_text(id)))
    .hint("Pass the hold_id that hold() returned; the view holds shows them."))
}

/// The status of an open hold that waits for approval.
pub const WAITING: &str = "waiting";

/// The current status of a hold, whether or not its expiry is booked.
pub fn status_now(hold: &Hold) -> &str {
    match &*hold.status {
        "open" if hold.expires_at <= clock::now() => "expired",
        "open" if hold.waits() => WAITING,
        status => status,
    }
}

/// The error WL008 for a hold that was not approved.
pub fn not_approved(hold: &Hold) -> Error {
    let (status, hint) = match status_now(hold) {
        WAITING => (
            WAITING,
            "Approve it with approve_hold(), or deny it with deny_hold().",
        ),
        status => (status, "Make a new hold, and ask for its approval in time."),
    };
    Error::new(Code::HoldNotOpen, "hold is not approved")
        .detail(format!("Hold {} is {status}.", uuid_text(hold.id)))
        .hint(hint)
}

/// The error WL008 for a hold that is not open.
pub fn not_open(hold: &Hold) -> Error {
    let hint = match hold.status.as_str() {
        "expired" if hold.charge_on_expiry => {
            "Its amount is charged; settle() with final => true corrects the charge."
        }
        "settled" => "Its use is booked; book further use with charge().",
        _ => "Nothing is held any more; book the use with charge().",
    };
    Error::new(Code::HoldNotOpen, "hold is not open")
        .detail(format!("Hold {} is {}.", uuid_text(hold.id), hold.status))
        .hint(hint)
}
