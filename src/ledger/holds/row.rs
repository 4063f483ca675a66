//! The rows of holds.

use crate::error::{Code, Error, Result, quoted};
use crate::ledger::grants::due;
use crate::ledger::wallets::config;
use crate::pg::clock;
pub use crate::storage::hold_rows::{About, Hold};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::store;

statement!(
    CHARGED_ON_EXPIRY,
    [TEXTOID, UUIDOID],
    "SELECT FROM wallet.reservations WHERE wallet_id = $1 AND hold_id = $2 AND charge_on_expiry"
);

/// Locks the hold. Returns 42704 if the wallet has no hold of that id, and WL003 if there is no
/// such wallet.
pub fn lock(wallet: &str, id: [u8; 16]) -> Result<Hold> {
    // Reads the rules again, because the backend's cache may be older than the last grant.
    if config::read(wallet)?.grants_are_due() {
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

/// Whether the hold is charged when it expires. False if there is no such hold.
pub fn is_charged_on_expiry(wallet: &str, id: [u8; 16]) -> Result<bool> {
    let rows = CHARGED_ON_EXPIRY.run(&[Value::Text(wallet), Value::Uuid(id)])?;
    Ok(!rows.is_empty())
}

/// The current status of a hold, whether or not its expiry is booked.
pub fn status_now(hold: &Hold) -> &str {
    if hold.status == "open" && hold.expires_at <= clock::now() {
        "expired"
    } else {
        &hold.status
    }
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
