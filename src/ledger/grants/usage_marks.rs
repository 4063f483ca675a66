//! Determines a wallet's total spending up to a charge, without summing its whole ledger.
//!
//! A refund must know it, with all lanes locked. So each refund leaves a mark with the total
//! spending up to now, which it computes from the lots and the balance. The next refund sums only
//! the entries between two marks, and adds marks if they are many. However many refunds there are,
//! each entry is summed only a few times.
//!
//! A mark is trusted only if the entries up to the next mark add up to that mark. They may not.
//! Entries are found by their ids, which are created a moment before the time is taken, and a clock
//! may have been set back. Then the whole ledger is summed, as `wallet.payments_of()` does.

use crate::error::Result;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};

/// The approximate number of entries between two marks.
const APART: i64 = 500;

// The time in an id has a precision of a millisecond. Ids and times differ by some microseconds.
statement!(
    AROUND,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID, NUMERICOID],
    "WITH charge AS MATERIALIZED (
         SELECT c.created_at, c.lane, c.seq
           FROM wallet.ledger_all c WHERE c.wallet_id = $1 AND c.entry_id = $2
     ), marks AS MATERIALIZED (
         SELECT c.*, b.at AS after, coalesce(b.upto, 0) AS upto, coalesce(e.at, $3) AS until,
                coalesce(e.upto,
                         $4 + coalesce((SELECT max(u.upto) FROM wallet.grant_burns u
                                         WHERE u.wallet_id = $1 AND u.entry_id IS NULL), 0)
                            - coalesce((SELECT sum(u.amount) FROM wallet.grant_burns u
                                         WHERE u.wallet_id = $1 AND u.grant_id IS NULL AND u.upto IS NOT NULL), 0)) AS next
           FROM charge c
           LEFT JOIN LATERAL (SELECT m.at, m.upto FROM wallet.grant_marks m
                               WHERE m.wallet_id = $1 AND m.at < c.created_at ORDER BY m.at DESC LIMIT 1) b ON true
           LEFT JOIN LATERAL (SELECT m.at, m.upto FROM wallet.grant_marks m
                               WHERE m.wallet_id = $1 AND m.at >= c.created_at ORDER BY m.at LIMIT 1) e ON true
     )
     SELECT m.created_at, m.lane, m.seq,
            coalesce(m.after, (SELECT w.created_at - interval '1 hour' FROM wallet.wallets w WHERE w.wallet_id = $1)),
            m.upto::text, m.until, m.next::text,
            CASE WHEN m.after IS NULL THEN '00000000-0000-0000-0000-000000000000'
                 ELSE (lpad(to_hex(floor(extract(epoch FROM m.after) * 1000)::bigint - 10), 12, '0')
                       || '70000000000000000000')::uuid END,
            (lpad(to_hex(floor(extract(epoch FROM m.until) * 1000)::bigint + 10), 12, '0')
             || '7fffffffffffffffffff')::uuid
       FROM marks m"
);

// Money that is drawn from a parent pays for the use behind it, which no grant pays, so both cancel
// out. Payments for one entry are subtracted at the place where the entry was booked. Each of these
// entries is looked up by its id. A join might be planned for one row although there are many.
macro_rules! used_query {
    ($amounts:literal, $times:literal) => {
        concat!(
            "SELECT ", $amounts, "
               FROM (SELECT l.created_at, l.lane, l.seq, -l.amount AS amount, 1 AS number
                       FROM wallet.ledger_all l
                      WHERE l.wallet_id = $1
                        AND (l.amount < 0 AND l.kind IN ('c', 'a', 't') AND l.call <> 'u' OR l.call = 'd')
                        AND l.entry_id >= $2 AND l.entry_id <= $3
                     UNION ALL
                     SELECT c.created_at, c.lane, c.seq, -u.amount, 0
                       FROM wallet.grant_burns u
                      CROSS JOIN LATERAL (
                            SELECT l.created_at, l.lane, l.seq
                              FROM wallet.ledger_all l
                             WHERE l.wallet_id = $1 AND l.entry_id = u.entry_id
                                AND (l.kind = 'c' OR l.call IN ('l', 'm', 'n'))
                            OFFSET 0) c
                      WHERE u.wallet_id = $1 AND u.entry_id >= $2 AND u.entry_id <= $3 AND u.amount > 0) l
              WHERE ", $times
        )
    };
}

// If there are many entries, a mark is added after each `$11` of them, at the time of the last one.
statement!(
    BETWEEN,
    [
        TEXTOID,
        UUIDOID,
        UUIDOID,
        TIMESTAMPTZOID,
        INT2OID,
        INT8OID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        TEXTOID,
        TEXTOID,
        INT8OID
    ],
    concat!(
        "WITH used AS MATERIALIZED (",
        used_query!(
            "l.created_at AS at, sum(l.number) AS number, sum(l.amount) AS amount,
             sum(l.amount) FILTER (WHERE (l.created_at, l.lane, l.seq) <= ($4, $5, $6)) AS own",
            "l.created_at > $7 AND l.created_at <= $8"
        ),
        "    GROUP BY 1
         ), total AS MATERIALIZED (
             SELECT $9::numeric + coalesce(sum(u.own), 0) AS own,
                    $9::numeric + coalesce(sum(u.amount), 0) = $10::numeric AS adds_up,
                    sum(u.number) > 2 * $11 AS is_much
               FROM used u
         ), made AS (
             INSERT INTO wallet.grant_marks (wallet_id, at, upto)
             SELECT $1, m.at, $9::numeric + m.upto
               FROM (SELECT s.at, s.upto, s.nth, lag(s.nth, 1, 0::bigint) OVER (ORDER BY s.at) AS nth_before
                       FROM (SELECT u.at, sum(u.amount) OVER in_order AS upto,
                                    (sum(u.number) OVER in_order)::bigint / $11 AS nth
                               FROM used u
                              WHERE (SELECT t.adds_up AND t.is_much FROM total t)
                             WINDOW in_order AS (ORDER BY u.at ROWS UNBOUNDED PRECEDING)) s) m
              WHERE m.nth > m.nth_before AND m.at < $8
                 ON CONFLICT DO NOTHING
         )
         SELECT t.own::text, t.adds_up FROM total t"
    )
);

statement!(
    ALL,
    [TEXTOID, UUIDOID, UUIDOID, TIMESTAMPTZOID, INT2OID, INT8OID],
    used_query!(
        "sum(l.amount)::text",
        "(l.created_at, l.lane, l.seq) <= ($4, $5, $6)"
    )
);

statement!(
    MARK,
    [TEXTOID, TIMESTAMPTZOID, TEXTOID],
    "INSERT INTO wallet.grant_marks (wallet_id, at, upto) VALUES ($1, $2, $3::numeric)
     ON CONFLICT DO NOTHING"
);

/// The total spending up to and including a charge, as text. `on_credit` is the amount now used on
/// credit. The caller has locked all lanes, and the lots are settled.
pub(super) fn used_up_to(wallet: &str, charge: [u8; 16], on_credit: Amount) -> Result<String> {
    let now = clock::now();
    let around = AROUND.run(&[
        Value::Text(wallet),
        Value::Uuid(charge),
        Value::Time(now),
        Value::Amount(on_credit),
    ])?;
    let (at, lane, seq): (Timestamp, i16, i64) =
        (around.need(0, 0)?, around.need(0, 1)?, around.need(0, 2)?);
    let (after, until): (Timestamp, Timestamp) = (around.need(0, 3)?, around.need(0, 5)?);
    let (before, next): (String, String) = (around.need(0, 4)?, around.need(0, 6)?);
    let (first, last): ([u8; 16], [u8; 16]) = (around.need(0, 7)?, around.need(0, 8)?);
    let charge = [Value::Time(at), Value::Int2(lane), Value::Int8(seq)];
    let ids = |first, last| [Value::Text(wallet), Value::Uuid(first), Value::Uuid(last)];
    let between = [
        Value::Time(after),
        Value::Time(until),
        Value::Text(&before),
        Value::Text(&next),
        Value::Int8(APART),
    ];
    let found = BETWEEN.run(&[&ids(first, last)[..], &charge, &between].concat())?;
    if found.need(0, 1)? {
        if until == now {
            MARK.run(&[Value::Text(wallet), Value::Time(now), Value::Text(&next)])?;
        }
        return found.need(0, 0);
    }
    ALL.run(&[ids([0; 16], [255; 16]), charge].concat())?
        .need(0, 0)
}
