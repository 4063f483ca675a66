//! Past charges with their usage, to be priced again.

use std::collections::HashMap;
use std::rc::Rc;

use crate::currency::Currency;
use crate::error::{Code, Error, Result};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::{Number, overflow};
use crate::pricing::book::MatchedPrices;
use crate::pricing::exchange::Conversion;
use crate::pricing::lines::StoredLine;
use crate::pricing::markup::is_markup_meter;
use crate::pricing::rate::{PricedBy, rate_from};
use crate::pricing::reported::REPORTED;
use crate::pricing::stored;
use crate::pricing::unknown::PRICED_AS;
use crate::pricing::usage::Usage;
use crate::storage::cursor::{Columns, walk};
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::Call;

// A wallet's charges by usage, in the order of booking. A settlement was priced as of the creation
// of its hold.
statement!(
    CHARGES,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "SELECT l.entry_id, l.amount, l.call, l.model, l.region, l.service_tier, l.reason, l.lines, l.usage,
            coalesce(l.used_at, l.event_at,
                     CASE WHEN l.call = 's' THEN (SELECT r.created_at FROM wallet.reservations r
                                                   WHERE r.wallet_id = l.wallet_id AND r.hold_id = l.related_id) END,
                     l.created_at),
            (l.call = 's' AND EXISTS (SELECT FROM wallet.reservations r
                                       WHERE r.wallet_id = l.wallet_id AND r.hold_id = l.related_id
                                         AND r.expiry_entry_id IS NOT NULL))::integer::smallint
       FROM wallet.ledger_all l
      WHERE l.wallet_id = $1 AND l.kind = 'c' AND l.lines IS NOT NULL AND l.model IS NOT NULL
        AND ($2 IS NULL OR coalesce(l.event_at, l.created_at) >= $2)
        AND ($3 IS NULL OR coalesce(l.event_at, l.created_at) < $3)
      ORDER BY l.entry_id"
);

// Late prices of charges that were booked without a price, and the most that each may cost.
statement!(
    PRICED_LATE,
    [TEXTOID],
    "SELECT u.entry_id, p.amount, u.most
       FROM wallet.unpriced_charges u
       LEFT JOIN wallet.ledger_all p ON p.wallet_id = u.wallet_id AND p.entry_id = u.priced_id
      WHERE u.wallet_id = $1"
);

/// A span of time of use. The end is not included.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The first moment. `None` if the span has no beginning.
    pub from: Option<Timestamp>,
    /// The first moment after the span. `None` if the span has no end.
    pub to: Option<Timestamp>,
}

impl Span {
    /// 22023 if the span ends before it begins.
    pub fn check(self) -> Result<Span> {
        match (self.from, self.to) {
            (Some(from), Some(to)) if from > to => Err(Error::argument("\"from\" is after \"to\"")
                .detail("The span of time ends before it begins.")
                .hint("Give the earlier time as \"from\"; \"to\" is not included.")),
            _ => Ok(self),
        }
    }
}

/// The columns that [`usage`] reads, by position from the first of them.
macro_rules! past_usage_columns {
    () => {
        "l.model, l.region, l.service_tier,
         CASE WHEN l.usage IS NULL THEN wallet.entry_usage(l.model, l.lines) ELSE l.usage END,
         coalesce(l.used_at, l.event_at, l.created_at)"
    };
}
pub(crate) use past_usage_columns;

/// The usage that a charge was made with, its model, and the time of use.
pub fn usage(rows: &Rows, row: usize, first: i32) -> Result<(Usage, String, Timestamp)> {
    let model: String = rows.need(row, first)?;
    let object = rows
        .datum(row, first + 3)
        .ok_or_else(|| Error::internal("a charge by usage has no usage"))?;
    let mut usage = Usage::of_entry(Jsonb(object).reread("usage")?)?;
    // These may have been given as arguments instead of in the object.
    usage.model = Some(model.clone());
    usage.region = rows.get(row, first + 1);
    usage.service_tier = rows.get(row, first + 2);
    Ok((usage, model, rows.need(row, first + 4)?))
}

/// A past charge by usage.
pub struct Charged {
    /// The charge's entry.
    pub entry_id: [u8; 16],
    /// The model of the charge.
    pub model: String,
    /// The booked cost, including a late price.
    pub cost: Amount,
    /// The usage, with the region and service tier that were given as arguments.
    pub usage: Usage,
    /// The time as of which the charge was priced.
    pub at: Timestamp,
    /// The price lines, as stored.
    pub lines: Vec<StoredLine>,
    /// How the charge was priced.
    pub how: How,
    /// The most that the charge may cost. `None` if there is no cap.
    most: Option<Amount>,
}

/// How a past charge was priced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// With the prices of its own model.
    Priced,
    /// With the prices of another model, because of the wallet's rule.
    As(String),
    /// As a settlement that booked the held amount, which was less than the usage cost.
    Capped,
    /// As a settlement of which the given amount had been charged when the hold expired.
    Beyond(Amount),
    /// With the cost that the provider reported.
    Reported,
    /// The charge has no price yet.
    Unpriced,
    /// The entry is the late price of another charge.
    Late,
}

impl Charged {
    /// The cost with the prices that `matched` returns for a model. `None` if some of the usage has
    /// no price. A cost that the provider reported does not depend on prices. A capped charge stays
    /// capped. The cost of the settlement of a hold that was charged is below zero if less than the
    /// charge would have been left.
    pub fn cost_by(
        &self,
        matched: impl Fn(&str) -> Result<Rc<MatchedPrices>>,
        currency: Currency,
    ) -> Result<Option<Amount>> {
        let conversion = Conversion::into(currency, self.at);
        let priced = |model: &str| cost(&self.usage, model, &*matched(model)?, conversion);
        let cost = match &self.how {
            How::Reported => return Ok(Some(self.cost)),
            How::As(other) => match priced(&self.model)? {
                None => priced(other)?,
                own => own,
            },
            _ => priced(&self.model)?,
        };
        cost.map(|cost| self.booked(cost)).transpose()
    }

    /// The part of a cost that the charge would have booked.
    pub fn booked(&self, cost: Amount) -> Result<Amount> {
        match self.how {
            How::Capped => Ok(cost.min(self.cost)),
            How::Beyond(charged) => cost.minus(charged).map_err(overflow),
            _ => Ok(self.most.map_or(cost, |most| cost.min(most))),
        }
    }
}

/// The cost of usage with these prices. `None` if the model or one of its meters has no price, or
/// if the usage has a key that is no meter.
pub fn cost(
    usage: &Usage,
    model: &str,
    matched: &MatchedPrices,
    conversion: Conversion,
) -> Result<Option<Amount>> {
    match rate_from(usage, model, matched, conversion.at, conversion) {
        Ok(priced) => Ok(Some(priced.cost)),
        Err(error) if matches!(error.code, Code::PriceNotFound | Code::InvalidUsage) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Calls `each` with every charge by usage of a span, in the order of booking.
pub fn charges(
    wallet: &str,
    span: Span,
    mut each: impl FnMut(Charged) -> Result<()>,
) -> Result<()> {
    let mut late = Late::new();
    let rows = PRICED_LATE.read(&[Value::Text(wallet)])?;
    for row in 0..rows.len() {
        let more = rows.opt_amount(row, 1)?.map(Amount::negated);
        late.insert(rows.need(row, 0)?, (more, rows.opt_amount(row, 2)?));
    }
    drop(rows);
    let values = [
        Value::Text(wallet),
        Value::OptTime(span.from),
        Value::OptTime(span.to),
    ];
    let each = |columns: &Columns<'_>| each(charged(columns, &late)?);
    walk(&CHARGES, &values, each, || Ok(()))
}

/// By unpriced charge: its late price, and the most that it may cost.
type Late = HashMap<[u8; 16], (Option<Amount>, Option<Amount>)>;

fn charged(columns: &Columns<'_>, late: &Late) -> Result<Charged> {
    let damaged = || Error::internal("a charge by usage lacks what every one has");
    let entry_id = columns.uuid(0).ok_or_else(damaged)?;
    let booked = columns.amount(1).ok_or_else(damaged)?.negated();
    let model = columns.text(3).ok_or_else(damaged)?.to_owned();
    let lines = stored::parts(columns.bytes(7).ok_or_else(damaged)?)?;
    let mut usage = match columns.jsonb(8) {
        Some(object) => Usage::of_entry(Jsonb::reread(object, "usage")?)?,
        None => said_by(&model, &lines),
    };
    // These may have been given as arguments instead of in the object.
    usage.model = Some(model.clone());
    usage.region = columns.text(4).map(str::to_owned);
    usage.service_tier = columns.text(5).map(str::to_owned);
    let reason = columns.text(6);
    let (more, most) = late.get(&entry_id).copied().unwrap_or_default();
    let listed: i128 = lines.iter().map(|line| line.amount.units()).sum();
    let how = match reason {
        _ if columns.letter(2)? == Call::Price as u8 => How::Late,
        _ if reason.is_some_and(|reason| reason.starts_with(REPORTED)) => How::Reported,
        _ if listed > booked.units() && columns.int2(10)? == 1 => {
            How::Beyond(Amount::from_units(listed - booked.units()).map_err(overflow)?)
        }
        _ if listed > booked.units() => How::Capped,
        _ if reason == PricedBy::Unpriced.reason() && more.is_none() => How::Unpriced,
        Some(text) => match text.strip_prefix(PRICED_AS) {
            Some(other) => How::As(other.to_owned()),
            None => How::Priced,
        },
        None => How::Priced,
    };
    let more = more.unwrap_or(Amount::ZERO);
    Ok(Charged {
        entry_id,
        model,
        cost: booked.plus(more).map_err(overflow)?,
        usage,
        at: columns.time(9).ok_or_else(damaged)?,
        lines,
        how,
        most,
    })
}

/// The usage of a charge that did not store it, from its model and lines, as in `entry_usage`.
fn said_by(model: &str, lines: &[StoredLine]) -> Usage {
    let used = || lines.iter().filter(|line| !is_markup_meter(&line.meter));
    let number = |line: &StoredLine| (line.meter.clone(), Json::Number(Number::of(line.quantity)));
    Usage {
        numbers: used()
            .map(|line| (line.meter.clone(), Ok(line.quantity.normalize())))
            .collect(),
        object: std::iter::once(("model".to_owned(), Json::String(model.to_owned())))
            .chain(used().map(number))
            .collect(),
        ..Usage::default()
    }
}
