//! Finds the argument that differs between a call and the first call with its key, for WL006.
//!
//! The first call has left its fingerprint and its row. Arguments that no row stores are found by
//! the fingerprint, which is computed again with each of their other possible values.

use crate::error::Result;
use crate::idempotency::fingerprint::canonical;
use crate::ledger::charges::replay;
use crate::ledger::charges::request::Asked;
use crate::ledger::holds::request::{NewHold, OnExpiry, OveragePolicy, Settlement};
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};

statement!(
    /// The first columns are those of an entry, in the order in which a replay reads them.
    FIRST_HOLD,
    [TEXTOID, UUIDOID],
    "SELECT hold_id, fingerprint, -amount, balance, model, NULL::bytea, user_id, team, service, region, service_tier,
            tags, event_at, usage, (extract(epoch FROM expires_at - created_at) * 1000000)::bigint, coalesce(charge_on_expiry OR approval = 'c', charge_on_expiry)
       FROM wallet.reservations WHERE wallet_id = $1 AND hold_id = $2"
);

statement!(
    HOLD_OF,
    [TEXTOID, UUIDOID],
    "SELECT related_id FROM wallet.ledger_all WHERE wallet_id = $1 AND entry_id = $2"
);

/// The name of the argument that differs from the hold with the same key.
pub fn in_hold(new: &NewHold<'_>, hold: [u8; 16]) -> Result<&'static str> {
    let request = &new.request;
    let first = FIRST_HOLD.run(&[Value::Text(request.wallet), Value::Uuid(hold)])?;
    let fingerprint: [u8; 16] = first.need(0, 1)?;
    let ttl: i64 = first.need(0, 14)?;
    let on_expiry = match first.need(0, 15)? {
        true => OnExpiry::Charge,
        false => OnExpiry::Release,
    };
    let as_first =
        |ttl, partial| NewHold::fingerprint(request, ttl, partial, on_expiry) == fingerprint;
    if on_expiry != new.on_expiry && as_first(new.ttl, new.allow_partial) {
        return Ok("on_expiry");
    }
    if as_first(ttl, new.allow_partial) || as_first(ttl, !new.allow_partial) {
        return Ok(if ttl == new.ttl {
            "allow_partial"
        } else {
            "ttl"
        });
    }
    if as_first(new.ttl, !new.allow_partial) {
        // The hold was extended in the meantime.
        return Ok("allow_partial");
    }
    let usage = first.datum(0, 13).and_then(|datum| canonical(Jsonb(datum)));
    match (&request.asked, usage) {
        (Asked::Amount(_), Some(_)) => return Ok("amount"),
        (Asked::Usage(..), None) => return Ok("usage"),
        (Asked::Usage(_, _, now), Some(first)) if **now != *first => return Ok("usage"),
        _ => {}
    }
    if let Some(field) = replay::differing_attribute(request, &first)? {
        return Ok(field);
    }
    match &request.asked {
        // A partial hold reserves less than was requested.
        Asked::Amount(amount) if first.amount(0, 2)?.negated() != *amount => Ok("amount"),
        _ if first.get(0, 12) != request.event_at => Ok("event_at"),
        _ => Ok("ttl"),
    }
}

/// The name of the argument that differs from the settlement with the same key.
pub fn in_settlement(settlement: &Settlement<'_>, first: &Rows) -> Result<&'static str> {
    let request = &settlement.request;
    let entry = Value::Uuid(first.need(0, 0)?);
    let hold: [u8; 16] = HOLD_OF
        .run(&[Value::Text(settlement.wallet), entry])?
        .need(0, 0)?;
    if hold != settlement.hold_id {
        return Ok("hold_id");
    }
    let fingerprint: [u8; 16] = first.need(0, 1)?;
    let as_first = |reported, is_final, over| {
        let request = request.fingerprint_if(reported);
        Settlement::fingerprint(request, hold, is_final, over) == fingerprint
    };
    let (reported, is_final) = (request.reported.is_some(), settlement.is_final);
    for over in OveragePolicy::ALL {
        if as_first(reported, is_final, *over) {
            return Ok("over");
        }
        if as_first(reported, !is_final, *over) {
            return Ok("final");
        }
        if as_first(!reported, is_final, *over) {
            return Ok("cost_from");
        }
    }
    if first.get(0, 12) != request.event_at {
        return Ok("event_at");
    }
    Ok(match &request.asked {
        Asked::Amount(_) => "amount",
        _ => "usage",
    })
}
