//! The windows of a limit that is created or changed: the amounts that they count and allow.

use std::collections::HashMap;

use crate::error::Result;
use crate::limits::limit::{Limit, Mode, WHOLE, bounds};
use crate::limits::metric::Metric;
use crate::limits::scope::MOST_DIMENSIONS;
use crate::limits::slices::Slices;
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::store;

/// The value of the dimension whose kind and tag are the parameters `$of` and `$tag`. NULL if the
/// charge has none. The empty kind, for a limit of fewer dimensions, has the empty value.
macro_rules! value_of {
    ($of:literal, $tag:literal) => {
        concat!(
            "CASE ",
            $of,
            " WHEN '' THEN '' WHEN 'user' THEN c.user_id WHEN 'team' THEN c.team
                  WHEN 'model' THEN c.model WHEN 'service' THEN c.service
                  WHEN 'key' THEN c.key_id::text WHEN 'tag' THEN c.tags ->> ",
            $tag,
            " END"
        )
    };
}

// Money that is lent to a child counts as the child's use does, with its attribution.
// Refunds count in the window of the refunded charge. Settlements count in the window of their
// hold, and count as one request when the hold is finally settled. Of a late price only the amount
// counts, because the rest was counted when the charge was booked. The charge of an expired hold
// counts what the hold reserved, until a settlement has the usage. Ids of entries are ordered by
// time. $14 and $15 are the meters of the metric and their weights, $16 is the weight of a request.
// An entry is rounded up as `Weighted::need` rounds. Charges of refunds and holds are looked up in
// the order of their primary keys, so that no statistics make a lookup read all entries.
statement!(
    USED,
    [
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TEXTOID,
        INT8OID,
        UUIDOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTARRAYOID,
        NUMERICARRAYOID,
        NUMERICOID
    ],
    concat!(
        "SELECT u.first, u.second, u.third, u.slice, sum(u.need)
       FROM (SELECT ", value_of!("$8", "$9"), " AS first,
                    ", value_of!("$10", "$11"), " AS second,
                    ", value_of!("$12", "$13"), " AS third,
                    floor(extract(epoch FROM u.at) * 1000000 / $5)::bigint AS slice,
                    CASE
                        WHEN $4 = 'amount' THEN -l.amount
                        WHEN l.call IN ('r', 'u', 'p', 'n') THEN 0
                        WHEN h.expiry_entry_id = l.entry_id THEN CASE WHEN h.status = 'expired' THEN coalesce(
                             (SELECT w.amount FROM unnest(h.window_ids, h.window_amounts) w (id, amount)
                               WHERE w.id BETWEEN $6 AND $7), $16) ELSE 0 END
                        WHEN $16 = 0 OR l.call IN ('s', 'm') AND (h.status <> 'settled' OR EXISTS (
                             SELECT FROM wallet.ledger_all s
                              WHERE s.wallet_id = l.wallet_id AND s.related_id = l.related_id AND s.call = l.call
                                AND s.entry_id > l.entry_id)) THEN ceil(m.usage * 1e12) * 1e-12
                        ELSE ceil((m.usage + coalesce(m.requests, $16)) * 1e12) * 1e-12
                    END AS need
               FROM wallet.ledger_all l
              CROSS JOIN LATERAL (
                    SELECT l.user_id, l.team, l.model, l.service, l.key_id, l.tags, l.related_id, l.call, l.created_at
                     WHERE l.kind = 'c' OR l.call IN ('l', 'm', 'n')
                     UNION ALL
                    (SELECT r.user_id, r.team, r.model, r.service, r.key_id, r.tags, r.related_id, r.call, r.created_at
                       FROM wallet.ledger_all r
                      WHERE (l.kind = 'r' OR l.call = 'u' AND l.amount > 0)
                        AND r.wallet_id = l.wallet_id AND r.entry_id = l.related_id
                        AND (r.kind = 'c' OR r.call IN ('l', 'm', 'n'))
                      ORDER BY r.wallet_id, r.entry_id LIMIT 1)) c
               LEFT JOIN LATERAL (
                    SELECT r.* FROM wallet.reservations r
                     WHERE c.call IN ('s', 'm') AND r.wallet_id = l.wallet_id AND r.hold_id = c.related_id
                     ORDER BY r.wallet_id, r.hold_id LIMIT 1) h ON true
              CROSS JOIN LATERAL (SELECT coalesce(h.created_at, c.created_at) AS at) u
              CROSS JOIN LATERAL (
                    SELECT coalesce(sum(q.counted) FILTER (WHERE q.meter <> 'requests'), 0) AS usage,
                           sum(q.counted) FILTER (WHERE q.meter = 'requests') AS requests
                      FROM (SELECT w.meter, (line ->> 'quantity')::numeric * w.weight AS counted
                              FROM jsonb_array_elements(
                                       CASE WHEN $4 <> 'amount' THEN wallet.entry_lines(l.lines) END) line
                              JOIN unnest($14, $15) w (meter, weight)
                                ON CASE w.meter WHEN 'tokens' THEN line ->> 'meter' LIKE '%\\_tokens'
                                                ELSE line ->> 'meter' = w.meter END) q) m
              WHERE l.wallet_id = $1 AND (l.kind IN ('c', 'r') OR l.call IN ('l', 'm', 'n', 'u'))
                AND ($2 IS NULL OR l.entry_id >= $2)
                AND ($3 IS NULL OR u.at >= $3)) u
      WHERE u.first IS NOT NULL AND u.second IS NOT NULL AND u.third IS NOT NULL AND u.need <> 0
      GROUP BY u.first, u.second, u.third, u.slice"
    )
);

// A window that begins as before the change has its id and its row, but may end at another time.
statement!(
    SET_END,
    [
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        UUIDOID,
        UUIDOID
    ],
    "UPDATE wallet.allowances SET window_end = $4
      WHERE wallet_id = $1 AND allowance_id >= $5 AND allowance_id <= $6 AND limit_id = $2
        AND window_start = $3 AND window_end <> $4"
);

// Running windows are counted again, possibly with other bounds. The amounts that holds reserve are
// kept.
statement!(
    FORGET,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, UUIDOID, UUIDOID, BOOLOID],
    "WITH gone AS (
        DELETE FROM wallet.allowances
         WHERE wallet_id = $1 AND allowance_id >= $4 AND allowance_id <= $5 AND limit_id = $2
           AND (window_end IS NULL OR window_end > $3) AND held = 0
           AND NOT ($6 AND watermark <> 0)
     )
     UPDATE wallet.allowances
        SET spent = 0, slices = NULL, recheck_done = 0,
            watermark = CASE WHEN $6 THEN watermark ELSE 0 END
      WHERE wallet_id = $1 AND allowance_id >= $4 AND allowance_id <= $5 AND limit_id = $2
        AND (window_end IS NULL OR window_end > $3)
        AND (held > 0 OR $6 AND watermark <> 0)"
);

statement!(
    REALLOT,
    [
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        NUMERICOID,
        NUMERICARRAYOID,
        UUIDOID,
        UUIDOID,
        BOOLOID,
        BOOLOID,
        INT8OID
    ],
    "UPDATE wallet.allowances
        SET allotted = CASE WHEN $9 THEN greatest($4 + watermark * $8::int, spent + held) END,
            recheck_done = $10 + (SELECT count(*) FROM unnest($5) part
                         WHERE spent + held > 0
                           AND spent + held >= ceil((greatest($4 + watermark * $8::int, 0) * part) * 1000000000000)
                                               / 1000000000000),
            watermark = watermark * $8::int
      WHERE wallet_id = $1 AND allowance_id >= $6 AND allowance_id <= $7 AND limit_id = $2 AND lane = 0
        AND (window_end IS NULL OR window_end > $3)"
);

/// The smallest id of an entry of that time, minus a minute because clocks may differ.
fn first_id(start: Timestamp) -> [u8; 16] {
    let millis = (start.unix_micros() / 1_000 - 60_000).max(0).unsigned_abs();
    let mut id = [0; 16];
    id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
    id
}

/// The meters that a metric counts, and the weight of each.
fn meters_of(metric: &Metric) -> (Vec<String>, Vec<Amount>) {
    match metric {
        Metric::Amount => (Vec::new(), Vec::new()),
        Metric::Weighted(sum) => sum.weights.iter().cloned().unzip(),
        one => (vec![one.as_str().to_owned()], vec![Amount::ONE]),
    }
}

/// The time from which the running windows of a limit count. `None` for all time.
fn counts_from(limit: &Limit, now: Timestamp) -> Result<Option<Timestamp>> {
    let Some(length) = limit.period.slice() else {
        return Ok(limit.window("*".to_owned(), now, Amount::ZERO)?.start);
    };
    let slices = length.saturating_mul(crate::limits::period::SLICES + 1);
    let start = Some(Timestamp(now.0.saturating_sub(slices)));
    Ok(start.max(limit.default.map(|default| default.counts_since)))
}

/// Makes a limit count the amounts that were already used in its running windows. From here on, a
/// missing row means that nothing was used in the window.
///
/// The carries of the windows start again, unless they `stay`.
pub fn count_running(wallet: &str, limit: &Limit, now: Timestamp, stay: bool) -> Result<()> {
    if !limit.period.counts_use() {
        // The ledger does not have the quantities of holds.
        return reallot(wallet, limit, now);
    }
    let [first, last] = bounds(limit.id).map(Value::Uuid);
    let id = Value::Uuid(limit.id);
    let window = limit.window("*".to_owned(), now, Amount::ZERO)?;
    if let (Some(start), Some(end)) = (window.start, window.end) {
        let of = Value::Text(wallet);
        SET_END.run(&[of, id, Value::Time(start), Value::Time(end), first, last])?;
    }
    let stay = Value::Bool(stay && limit.rollover.is_some());
    FORGET.run(&[Value::Text(wallet), id, Value::Time(now), first, last, stay])?;
    let overflow = crate::pg::numeric::overflow;
    let slice = limit.period.slice();
    let start = counts_from(limit, now)?;
    let mut parts = [("", ""); MOST_DIMENSIONS];
    for (part, dimension) in parts.iter_mut().zip(limit.scope.dimensions()) {
        *part = dimension.parts();
    }
    let [(of1, tag1), (of2, tag2), (of3, tag3)] = parts;
    let (meters, weights) = meters_of(&limit.metric);
    let used = USED.run_in_order(&[
        Value::Text(wallet),
        Value::OptUuid(start.map(first_id)),
        Value::OptTime(start),
        Value::Text(limit.metric.as_str()),
        Value::OptInt8(slice),
        first,
        last,
        Value::Text(of1),
        Value::Text(tag1),
        Value::Text(of2),
        Value::Text(tag2),
        Value::Text(of3),
        Value::Text(tag3),
        Value::OptTexts(Some(&meters)),
        Value::Amounts(&weights),
        Value::Amount(limit.metric.weight_of_request()),
    ])?;
    let mut windows: HashMap<String, (Amount, Slices)> = HashMap::new();
    for row in 0..used.len() {
        let values: [String; MOST_DIMENSIONS] =
            [used.need(row, 0)?, used.need(row, 1)?, used.need(row, 2)?];
        let Some(subject) = limit.subject_of(&values) else {
            continue;
        };
        let amount = used.amount(row, 4)?;
        let (spent, slices) = windows
            .entry(subject)
            .or_insert_with(|| (Amount::ZERO, Slices::new(slice.unwrap_or(1))));
        *spent = spent.plus(amount).map_err(overflow)?;
        if let Some(length) = slice {
            let number: i64 = used.need(row, 3)?;
            slices.add(number.saturating_mul(length), amount);
        }
    }
    for (subject, (spent, slices)) in windows {
        let applied = limit.window(subject, now, Amount::ZERO)?;
        let mut counted = store::lock_window(wallet, applied.window_id)?.unwrap_or_default();
        counted.spent = spent.max(Amount::ZERO);
        counted.slices = slice.map(|_| slices.to_bytes());
        if !window::open(wallet, &applied, &counted)? {
            store::write_window(wallet, applied.window_id, &counted, applied.cap())?;
        }
    }
    reallot(wallet, limit, now)
}

/// Adapts the running windows of a limit to its maximum and its warning levels. Their carries stay,
/// unless the limit carries nothing any longer. Usage up to now causes no further warnings.
pub fn reallot(wallet: &str, limit: &Limit, now: Timestamp) -> Result<()> {
    let max = limit.max_at(now)?;
    let whole = Amount::from_units(WHOLE).map_err(crate::pg::numeric::overflow)?;
    let parts: Vec<Amount> = limit.warn_at.iter().copied().chain([whole]).collect();
    let [first, last] = bounds(limit.id).map(Value::Uuid);
    REALLOT
        .run(&[
            Value::Text(wallet),
            Value::Uuid(limit.id),
            Value::Time(now),
            Value::Amount(max),
            Value::Amounts(&parts),
            first,
            last,
            Value::Bool(limit.rollover.is_some()),
            Value::Bool(limit.mode != Mode::Soft),
            Value::Int8(limit.levels_stored(0)),
        ])
        .map(drop)
}
