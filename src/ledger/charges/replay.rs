//! Exactly once: a used key returns the first result, or is refused as a conflict.

use crate::error::Result;
use crate::idempotency::call::conflict;
use crate::idempotency::entry_by_key::{by_key, is_of_other};
use crate::idempotency::fingerprint::canonical;
use crate::ledger::charges::request::{Asked, Request};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pricing::rate::tokens;
use crate::pricing::stored;
use crate::storage::plan::Rows;
use crate::storage::rows::Call;

/// The result of `charge`.
pub struct Charged {
    /// The charge's entry.
    pub entry_id: [u8; 16],
    /// The amount that was booked.
    pub cost: Amount,
    /// The wallet's currency.
    pub currency: String,
    /// The wallet's balance after the entry.
    pub balance: Amount,
    /// The model of the charge.
    pub model: Option<String>,
    /// Tokens of all kinds. `None` if the charge was an amount.
    pub total_tokens: Option<i64>,
    /// The price lines. `None` if the charge was an amount.
    pub lines: Option<Vec<crate::pricing::lines::Line>>,
    /// True if an earlier call made the entry.
    pub replayed: bool,
}

/// The first result of a charge with this key. `None` if the key is new.
pub fn charge(request: &Request<'_>, currency: &str) -> Result<Option<Charged>> {
    let Some(rows) = by_key(request.wallet, request.key, Call::Charge)? else {
        return Ok(None);
    };
    if is_of_other(&rows, request.fingerprint()) {
        let key = request.key.unwrap_or_default();
        return Err(conflict(key, differing_field(request, &rows)?));
    }
    charged(request, &rows, currency).map(Some)
}

/// The result of the call that made the entry.
pub fn charged(request: &Request<'_>, rows: &Rows, currency: &str) -> Result<Charged> {
    let lines = match rows.get::<Vec<u8>>(0, 5) {
        Some(bytes) => Some(stored::read(&bytes)?),
        None => None,
    };
    let total_tokens = lines.as_ref().map(|lines| {
        match &request.asked {
            // An entry has no lines if no meter was used or none had a price.
            Asked::Usage(usage, ..) if lines.is_empty() => tokens(usage),
            _ => crate::pricing::lines::total_tokens(
                lines
                    .iter()
                    .map(|line| (line.meter.as_str(), line.quantity)),
            ),
        }
    });
    Ok(Charged {
        entry_id: rows.need(0, 0)?,
        cost: rows.amount(0, 2)?.negated(),
        currency: currency.to_owned(),
        balance: rows.amount(0, 3)?,
        model: rows.get(0, 4),
        total_tokens,
        lines,
        replayed: true,
    })
}

fn differing_field(request: &Request<'_>, rows: &Rows) -> Result<&'static str> {
    let priced = rows.datum(0, 5).is_some();
    match &request.asked {
        Asked::Amount(amount) if priced || rows.amount(0, 2)?.negated() != *amount => {
            return Ok("amount");
        }
        Asked::Usage(..) if !priced => return Ok("usage"),
        _ => {}
    }
    if let Some(field) = differing_attribute(request, rows)? {
        return Ok(field);
    }
    if rows.get::<Timestamp>(0, 12) != request.event_at {
        return Ok("event_at");
    }
    Ok(if priced { "usage" } else { "service" })
}

/// The attribute of the use that differs from the first call's row. `None` if all agree.
pub fn differing_attribute(request: &Request<'_>, rows: &Rows) -> Result<Option<&'static str>> {
    let text = |column: i32| rows.get::<String>(0, column);
    let same = |column: i32, value: Option<&str>| text(column).as_deref() == value;
    // An API key and the list of members fill in missing values.
    let may_be_filled_in = |value: Option<&str>| value.is_none() && request.secret.is_some();
    if !same(6, request.attribution.user_id) && !may_be_filled_in(request.attribution.user_id) {
        return Ok(Some("user_id"));
    }
    if !same(7, request.attribution.team) && request.attribution.team.is_some() {
        return Ok(Some("team"));
    }
    if !same(4, request.model.as_deref()) {
        return Ok(Some("model"));
    }
    if !same(9, request.region.as_deref()) {
        return Ok(Some("region"));
    }
    if !same(10, request.service_tier.as_deref()) {
        return Ok(Some("service_tier"));
    }
    let stored_tags = rows.datum(0, 11).and_then(|datum| canonical(Jsonb(datum)));
    if stored_tags != request.tags.as_ref().and_then(|tags| canonical(tags.value)) {
        return Ok(Some("tags"));
    }
    // The entry may have a service that was not given, because the price names one.
    if request.service.is_some() && !same(8, request.service) {
        return Ok(Some("service"));
    }
    Ok(None)
}
