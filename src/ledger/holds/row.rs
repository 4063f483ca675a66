//! The rows of holds.

use crate::error::{Code, Error, Result, quoted};
use crate::ledger::grants::due;
use crate::ledger::rules;
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::{self, Timestamp};
pub use crate::storage::hold_rows::{About, Hold};
use crate::storage::plan::{Run, Value};
use crate::storage::rows::{AllowanceId, uuid_text};
use crate::storage::store;

statement!(
    ANY_EXPIRED,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT FROM wallet.reservations
      WHERE wallet_id = $1 AND status = 'open' AND expires_at <= $2 LIMIT 1"
);

statement!(
    EXPIRED_AMOUNTS,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT w.id, sum(w.amount)
       FROM wallet.reservations r
      CROSS JOIN LATERAL (
            SELECT '00000000-0000-0000-0000-000000000000'::uuid AS id,
                   r.held - (SELECT coalesce(sum(s), 0) FROM unnest(r.scoped_amounts) s) AS amount
             UNION ALL
            SELECT * FROM unnest(r.window_ids, r.window_amounts)
             UNION ALL
            SELECT * FROM unnest(r.scoped_ids, r.scoped_amounts)) w
      WHERE r.wallet_id = $1 AND r.status = 'open' AND r.expires_at <= $2
      GROUP BY w.id"
);

/// Locks the hold; 42704 when the wallet has none of that id, WL003 when there is no wallet.
pub fn lock(wallet: &str, id: [u8; 16]) -> Result<Hold> {
    // Read anew: what this backend knows may be older than the last grant.
    if rules::read(wallet)?.grants_are_due() {
        // It takes the wallet's row, which comes before holds.
        due::sweep(wallet)?;
    }
    if let Some(hold) = store::lock_hold(wallet, id)? {
        return Ok(hold);
    }
    rules::read(wallet)?;
    Err(Error::new(
        Code::ObjectNotFound,
        format!("wallet {} has no such hold", quoted(wallet)),
    )
    .detail(format!("There is no hold {}.", uuid_text(id)))
    .hint("Pass the hold_id that hold() returned; the view holds shows them."))
}

/// True when the wallet has an open hold whose time has come.
pub fn any_expired(wallet: &str, now: Timestamp) -> Result<bool> {
    Ok(!ANY_EXPIRED
        .run(&[Value::Text(wallet), Value::Time(now)])?
        .is_empty())
}

/// What the holds whose time has come still hold, by allowance, and by grant with a scope.
pub fn expired_amounts(wallet: &str, now: Timestamp) -> Result<Vec<(AllowanceId, Amount)>> {
    let rows = EXPIRED_AMOUNTS.run(&[Value::Text(wallet), Value::Time(now)])?;
    (0..rows.len())
        .map(|row| Ok((rows.need(row, 0)?, rows.amount(row, 1)?)))
        .collect()
}

/// What a hold is now, whether or not somebody has booked its end.
pub fn status_now(hold: &Hold) -> &str {
    if hold.status == "open" && hold.expires_at <= clock::now() {
        "expired"
    } else {
        &hold.status
    }
}

/// WL008.
pub fn not_open(hold: &Hold) -> Error {
    let hint = match hold.status.as_str() {
        "settled" => "What it paid for is booked; book further use with charge().",
        _ => "Nothing is held any more; book the use with charge().",
    };
    Error::new(Code::HoldNotOpen, "hold is not open")
        .detail(format!("Hold {} is {}.", uuid_text(hold.id), hold.status))
        .hint(hint)
}
