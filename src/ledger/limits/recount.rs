//! The windows of a limit that is created or changed: the amounts that they count and allow.

use std::collections::HashMap;

use crate::error::Result;
use crate::limits::limit::{Limit, Mode, Scope, WHOLE, bounds};
use crate::limits::slices::Slices;
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::store;

// Refunds count in the window of the refunded charge. Settlements count in the window of their
// hold, and count as one request when the hold is finally settled. Of a late price only the amount
// counts, because the rest was counted when the charge was booked. The charge of an expired hold
// counts what the hold reserved, until a settlement has the usage. Ids of entries are ordered by
// time.
statement!(
    USED,
    [
        TEXTOID,
        UUIDOID,
        TIMESTAMPTZOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        INT8OID,
        UUIDOID,
        UUIDOID
    ],
    "SELECT u.subject, u.slice, sum(u.need)
       FROM (SELECT CASE $4
                        WHEN 'wallet' THEN '*' WHEN 'user' THEN c.user_id WHEN 'team' THEN c.team
                        WHEN 'model' THEN c.model WHEN 'service' THEN c.service
                        WHEN 'key' THEN c.key_id::text ELSE c.tags ->> $5
                    END AS subject,
                    floor(extract(epoch FROM u.at) * 1000000 / $7)::bigint AS slice,
                    CASE
                        WHEN $6 = 'amount' THEN -l.amount
                        WHEN l.kind <> 'c' OR l.call = 'p' THEN 0
                        WHEN h.expiry_entry_id = l.entry_id THEN CASE WHEN h.status = 'expired' THEN coalesce(
                             (SELECT w.amount FROM unnest(h.window_ids, h.window_amounts) w (id, amount)
                               WHERE w.id BETWEEN $8 AND $9), ($6 = 'requests')::int) ELSE 0 END
                        WHEN $6 = 'requests' AND l.call = 's' AND (h.status <> 'settled' OR EXISTS (
                             SELECT FROM wallet.ledger_all s
                              WHERE s.wallet_id = l.wallet_id AND s.related_id = l.related_id AND s.call = 's'
                                AND s.entry_id > l.entry_id)) THEN 0
                        WHEN $6 = 'requests' THEN coalesce(m.quantity, 1)
                        ELSE coalesce(m.quantity, 0)
                    END AS need
               FROM wallet.ledger_all l
               JOIN wallet.ledger_all c
                 ON c.wallet_id = l.wallet_id
                AND c.entry_id = CASE l.kind WHEN 'r' THEN l.related_id ELSE l.entry_id END
                AND c.kind = 'c'
               LEFT JOIN wallet.reservations h
                 ON h.wallet_id = c.wallet_id AND h.hold_id = c.related_id AND c.call = 's'
              CROSS JOIN LATERAL (SELECT coalesce(h.created_at, c.created_at) AS at) u
              CROSS JOIN LATERAL (
                    SELECT sum((line ->> 'quantity')::numeric) AS quantity
                      FROM jsonb_array_elements(
                               CASE WHEN $6 <> 'amount' THEN wallet.entry_lines(l.lines) END) line
                     WHERE CASE $6 WHEN 'tokens' THEN line ->> 'meter' LIKE '%\\_tokens'
                                   ELSE line ->> 'meter' = $6 END) m
              WHERE l.wallet_id = $1 AND l.kind IN ('c', 'r')
                AND ($2 IS NULL OR l.entry_id >= $2)
                AND ($3 IS NULL OR u.at >= $3)) u
      WHERE u.subject IS NOT NULL AND u.need <> 0
      GROUP BY u.subject, u.slice"
);

// Running windows are counted again, possibly with other bounds. The amounts that holds reserve are
// kept.
statement!(
    FORGET,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, UUIDOID, UUIDOID],
    "WITH gone AS (
        DELETE FROM wallet.allowances
         WHERE wallet_id = $1 AND allowance_id >= $4 AND allowance_id <= $5 AND limit_id = $2
           AND (window_end IS NULL OR window_end > $3) AND held = 0
     )
     UPDATE wallet.allowances
        SET spent = 0, slices = NULL, recheck_done = 0, watermark = 0
      WHERE wallet_id = $1 AND allowance_id >= $4 AND allowance_id <= $5 AND limit_id = $2
        AND (window_end IS NULL OR window_end > $3) AND held > 0"
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
        BOOLOID
    ],
    "UPDATE wallet.allowances
        SET allotted = CASE WHEN $9 THEN greatest($4 + watermark * $8::int, spent + held) END,
            recheck_done = (SELECT count(*) FROM unnest($5) part
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

/// Makes a limit count the amounts that were already used in its running windows. From here on, a
/// missing row means that nothing was used in the window.
pub fn count_running(wallet: &str, limit: &Limit, now: Timestamp) -> Result<()> {
    let [first, last] = bounds(limit.id).map(Value::Uuid);
    let id = Value::Uuid(limit.id);
    FORGET.run(&[Value::Text(wallet), id, Value::Time(now), first, last])?;
    let overflow = crate::pg::numeric::overflow;
    let slice = limit.period.slice();
    let start = match slice {
        Some(length) => Some(Timestamp(
            now.0
                .saturating_sub(length.saturating_mul(crate::limits::period::SLICES + 1)),
        )),
        None => limit.window("*".to_owned(), now, Amount::ZERO)?.start,
    };
    let (scope, tag) = match &limit.scope {
        Scope::Tag(name) => ("tag", Some(name.as_str())),
        scope => (&*scope.as_str(), None),
    };
    let used = USED.run(&[
        Value::Text(wallet),
        Value::OptUuid(start.map(first_id)),
        Value::OptTime(start),
        Value::Text(scope),
        Value::OptText(tag),
        Value::Text(limit.metric.as_str()),
        Value::OptInt8(slice),
        first,
        last,
    ])?;
    let mut windows: HashMap<String, (Amount, Slices)> = HashMap::new();
    for row in 0..used.len() {
        let value: String = used.need(row, 0)?;
        let Some(subject) = limit.subject_of(&value) else {
            continue;
        };
        let amount = used.amount(row, 2)?;
        let (spent, slices) = windows
            .entry(subject)
            .or_insert_with(|| (Amount::ZERO, Slices::new(slice.unwrap_or(1))));
        *spent = spent.plus(amount).map_err(overflow)?;
        if let Some(length) = slice {
            let number: i64 = used.need(row, 1)?;
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
            Value::Bool(limit.mode == Mode::Hard),
        ])
        .map(drop)
}
