//! Rolls up closed days: use by day, day of booking, team, user, service, model, region and key,
//! sums of pieces of each lane's chain, and lists of entries by user, team, model and kind.
//!
//! The rolled-up part of each lane's chain is its beginning, and no entry of it is missing. A
//! lane's entries are numbered without gaps and commit in the order of their numbers, because a
//! call that books in a lane locks it until the commit. So no entry can be added later to the
//! rolled-up part. It does not matter how long its transaction was open, what its id is and when
//! the use was. Reports add the entries after that part (`sql/schema/usage.sql`).

use crate::error::Result;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use std::collections::BTreeMap;

/// The number of wallets that one statement rolls up. For more, sorts and sums would need the disk.
const PORTION: usize = 500;

// Wallets with entries that are not rolled up, as many as requested. Today depends on the wallet's
// time zone.
statement!(
    DUE,
    [TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID],
    "SELECT w.wallet_id, t.before
       FROM wallet.wallets w
      CROSS JOIN LATERAL (SELECT coalesce($2, date_trunc('day', $1 AT TIME ZONE w.time_zone) AT TIME ZONE w.time_zone) AS before) t
       LEFT JOIN wallet.rollup_states s ON s.wallet_id = w.wallet_id AND s.time_zone = w.time_zone
      WHERE (s.rolled_to IS NULL OR s.rolled_to < t.before)
        AND EXISTS (SELECT FROM wallet.allowances a
                     WHERE a.wallet_id = w.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
                       AND a.seq > coalesce(s.seqs[a.lane + 2], 0)
                    OFFSET 0)
      ORDER BY w.wallet_id
      LIMIT $3"
);

// The earliest time from which ids may be of transactions that are still open: transactions that
// have booked something, or are in a call. It is read before the snapshot of the roll-up is taken.
// A transaction that is not visible in that snapshot is open now, or begins later. A prepared
// transaction does not tell when it began. If all statements share one snapshot, other transactions
// may have ended since it was taken. In these two cases an hour is assumed, and readers check it.
statement!(
    OPEN_SINCE,
    [BOOLOID],
    "SELECT least(
                clock_timestamp() - CASE WHEN $1 OR EXISTS (SELECT FROM pg_prepared_xacts) THEN interval '1 hour' ELSE '0' END,
                (SELECT min(CASE WHEN a.backend_xid IS NOT NULL THEN a.xact_start
                                 WHEN a.state NOT LIKE 'idle%' THEN coalesce(a.query_start, a.xact_start) END)
                   FROM pg_stat_activity a
                  WHERE a.datname = current_database()))"
);

statement!(
    BEGIN,
    [TEXTARRAYOID],
    "INSERT INTO wallet.rollup_states (wallet_id, time_zone, rolled_to, floor_id, floor_at, seqs)
     SELECT wallet_id, time_zone, '-infinity', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'infinity', '{}'
       FROM wallet.wallets WHERE wallet_id = ANY ($1)
      ORDER BY wallet_id
     ON CONFLICT DO NOTHING"
);

// One call at a time. A call that finds another one working on a wallet leaves the wallet to it.
statement!(
    LOCK,
    [TEXTARRAYOID],
    "SELECT s.wallet_id, s.rolled_to, s.time_zone = w.time_zone
       FROM wallet.rollup_states s JOIN wallet.wallets w ON w.wallet_id = s.wallet_id
      WHERE s.wallet_id = ANY ($1)
      ORDER BY s.wallet_id
        FOR NO KEY UPDATE OF s SKIP LOCKED"
);

// In another time zone, the days are others.
statement!(
    FORGET_DAYS,
    [TEXTARRAYOID],
    "DELETE FROM wallet.usage_rollups WHERE wallet_id = ANY ($1)"
);

statement!(
    FORGET_CHUNKS,
    [TEXTARRAYOID],
    "DELETE FROM wallet.rollup_chunks WHERE wallet_id = ANY ($1)"
);

statement!(
    FORGET_LISTS,
    [TEXTARRAYOID],
    "DELETE FROM wallet.entry_lists WHERE wallet_id = ANY ($1)"
);

statement!(
    START_ANEW,
    [TEXTARRAYOID],
    "UPDATE wallet.rollup_states s SET time_zone = w.time_zone, rolled_to = '-infinity',
            floor_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff', floor_at = 'infinity', seqs = '{}'
       FROM wallet.wallets w WHERE w.wallet_id = s.wallet_id AND s.wallet_id = ANY ($1)"
);

// One statement has one snapshot, for all requested wallets. A lane is rolled up to the first
// missing number. The statement also stores the floor for the next roll-up and for readers. The
// floor is below every entry that was left, and below the ids of transactions that are still open.
// Entries of fundings that were pending are found by their own ids. A wallet whose time zone has
// changed since its state was locked is left to the next call.
statement!(
    ROLL,
    [TEXTARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZOID],
    "WITH asked AS MATERIALIZED (
         SELECT r.*, b.before
           FROM unnest($1, $2) AS b(wallet, before)
           JOIN wallet.rolled_wallets r ON r.wallet = b.wallet
           JOIN wallet.rollup_states s ON s.wallet_id = r.wallet AND s.time_zone = r.time_zone
     ), near AS MATERIALIZED (
         SELECT a.wallet, a.time_zone, a.before, a.seqs[c.lane + 2] AS rolled, c.*
           FROM asked a
          CROSS JOIN LATERAL unnest(a.first_ids, a.last_ids) AS i(first_id, last_id)
          CROSS JOIN LATERAL (
                SELECT c.entry_id, c.lane, c.seq, c.kind, c.amount, c.created_at, c.effective_at, c.event_at, c.team, c.user_id,
                       c.service, c.model, c.region, c.key_id, c.provider, c.requests, c.input_tokens, c.output_tokens, c.cost, c.refunded
                  FROM wallet.counted_entries c
                 WHERE c.wallet = a.wallet AND c.entry_id BETWEEN i.first_id AND i.last_id AND c.seq > coalesce(a.seqs[c.lane + 2], 0)
                OFFSET 0) c
     ), counts AS MATERIALIZED (
         SELECT n.wallet, count(*) AS entries FROM near n GROUP BY 1
     ), incomplete AS MATERIALIZED (
         SELECT a.* FROM asked a LEFT JOIN counts n ON n.wallet = a.wallet WHERE coalesce(n.entries, 0) <> a.entries
     ), found AS (
         SELECT n.* FROM near n
          UNION ALL
         SELECT a.wallet, a.time_zone, a.before, a.seqs[c.lane + 2], c.*
           FROM incomplete a
          CROSS JOIN LATERAL (
                SELECT c.entry_id, c.lane, c.seq, c.kind, c.amount, c.created_at, c.effective_at, c.event_at, c.team, c.user_id,
                       c.service, c.model, c.region, c.key_id, c.provider, c.requests, c.input_tokens, c.output_tokens, c.cost, c.refunded
                  FROM wallet.counted_entries c
                 WHERE c.wallet = a.wallet AND c.entry_id >= '00000000-0000-0000-0000-000000000000' AND c.entry_id < a.floor_id
                   AND c.entry_id <> ALL (a.first_ids) AND c.seq > coalesce(a.seqs[c.lane + 2], 0)
                OFFSET 0) c
     ), judged AS MATERIALIZED (
         SELECT f.*,
                f.seq - coalesce(f.rolled, 0) = row_number() OVER chain AND NOT bool_or(f.created_at >= f.before) OVER chain AS closed,
                max(f.booked_on) OVER chain AS day
           FROM (SELECT f.*, (f.created_at AT TIME ZONE f.time_zone)::date AS booked_on FROM found f) f
         WINDOW chain AS (PARTITION BY f.wallet, f.lane ORDER BY f.seq ROWS UNBOUNDED PRECEDING)
     ), chunks AS (
         INSERT INTO wallet.rollup_chunks (wallet_id, lane, to_seq, from_seq, amount, first_at, last_at, first_id, last_id,
                                           dated_ids, dated_at, dated_amounts, first_on, last_on, first_use, last_use)
         SELECT d.wallet, d.lane, max(d.seq), min(d.seq), coalesce(sum(d.amount) FILTER (WHERE d.effective_at = d.created_at), 0),
                min(d.created_at), max(d.created_at), min(d.entry_id::text COLLATE \"C\")::uuid, max(d.entry_id::text COLLATE \"C\")::uuid,
                array_agg(d.entry_id ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                array_agg(d.effective_at ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                array_agg(d.amount ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                coalesce(min(d.booked_on) FILTER (WHERE d.kind IN ('c', 'r')), min(d.booked_on)),
                coalesce(max(d.booked_on) FILTER (WHERE d.kind IN ('c', 'r')), max(d.booked_on)),
                min(d.entry_id::text COLLATE \"C\") FILTER (WHERE d.kind IN ('c', 'r'))::uuid,
                max(d.entry_id::text COLLATE \"C\") FILTER (WHERE d.kind IN ('c', 'r'))::uuid
           FROM judged d
          WHERE d.closed
          GROUP BY d.wallet, d.lane, d.day
     ), used AS (
         INSERT INTO wallet.usage_rollups
                (wallet_id, day, rollup_id, team, user_id, service, model, region, key_id, requests, input_tokens,
                 output_tokens, cost, refunded, provider, booked_on)
         SELECT u.wallet, (u.event_at AT TIME ZONE u.time_zone)::date AS day, gen_random_uuid(), u.team, u.user_id, u.service,
                u.model, u.region, u.key_id, sum(u.requests), sum(u.input_tokens), sum(u.output_tokens), sum(u.cost),
                sum(u.refunded), u.provider, u.booked_on
           FROM judged u
          WHERE u.closed AND u.kind IN ('c', 'r')
          GROUP BY u.wallet, 2, u.booked_on, u.team, u.user_id, u.service, u.model, u.region, u.key_id, u.provider
          ORDER BY 1, 2
     ), made AS MATERIALIZED (
         SELECT j.wallet, j.user_id, j.team, j.model, j.kind,
                (m.at / 86400000)::integer AS day, (m.at % 86400000)::integer AS time
           FROM judged j
          CROSS JOIN LATERAL (SELECT ('x' || replace(substr(j.entry_id::text, 1, 13), '-', ''))::bit(48)::bigint AS at OFFSET 0) m
          WHERE j.closed
     ), valued AS (
         SELECT v.*, ('x' || substr(md5(v.value), 1, 8))::bit(32) AS hash,
                -- A kind has a list in any case: the days of pending fundings have many other entries.
                v.attribute <> 'kind' AND v.entries * 16 >= d.entries AS is_common
           FROM (SELECT m.wallet, m.day, a.attribute, a.value, count(*) AS entries, array_agg(m.time) AS times
                   FROM made m
                  CROSS JOIN LATERAL (VALUES ('user', m.user_id), ('team', m.team), ('model', m.model),
                                             ('kind', CASE WHEN m.kind <> 'c' THEN m.kind::text END)) AS a(attribute, value)
                  WHERE a.value IS NOT NULL
                  GROUP BY 1, 2, 3, 4) v
           JOIN (SELECT m.wallet, m.day, count(*) AS entries FROM made m GROUP BY 1, 2) d
             ON d.wallet = v.wallet AND d.day = v.day
     ), divided AS (
         SELECT v.*, CASE WHEN v.is_common THEN -1
                          -- About a hundred entries in each bucket.
                          ELSE least(13, ceil(log(2, greatest(1, sum(v.entries) OVER (PARTITION BY v.wallet, v.day, v.attribute, v.is_common) / 128)))::integer)
                     END AS level
           FROM valued v
     ), lists AS (
         INSERT INTO wallet.entry_lists (wallet_id, attribute, level, bucket, day, rollup_id, hashes, times)
         SELECT v.wallet, v.attribute, v.level, CASE WHEN v.level > 0 THEN (v.hash >> (32 - v.level))::integer ELSE 0 END AS bucket, v.day,
                gen_random_uuid(), array_agg(v.hash::integer ORDER BY v.hash, t.time), array_agg(t.time ORDER BY v.hash, t.time) FILTER (WHERE NOT v.is_common)
           FROM divided v
          CROSS JOIN LATERAL unnest(CASE WHEN v.is_common THEN '{0}' ELSE v.times END) AS t(time)
          GROUP BY v.wallet, v.attribute, v.level, 4, v.day
     ), places AS (
         SELECT a.wallet, r.place, r.seq FROM asked a CROSS JOIN LATERAL unnest(a.seqs) WITH ORDINALITY AS r(seq, place)
          UNION ALL
         SELECT j.wallet, j.lane + 2, max(j.seq) FROM judged j WHERE j.closed GROUP BY 1, 2
          UNION ALL
         -- An array has no gaps.
         SELECT a.wallet, p.place, 0
           FROM asked a
          CROSS JOIN LATERAL (SELECT max(b.lane) AS lane FROM wallet.allowances b
                               WHERE b.wallet_id = a.wallet AND b.allowance_id = '00000000-0000-0000-0000-000000000000' OFFSET 0) b
          CROSS JOIN LATERAL generate_series(1, b.lane + 2) AS p(place)
     ), rolled AS (
         SELECT g.wallet, array_agg(g.seq ORDER BY g.place) AS seqs
           FROM (SELECT p.wallet, p.place, max(p.seq) AS seq FROM places p GROUP BY 1, 2) g
          GROUP BY 1
     ), left_over AS (
         SELECT j.wallet, min(j.created_at) AS at,
                min(j.entry_id::text COLLATE \"C\") FILTER (
                    WHERE NOT (j.kind = 'f' AND EXISTS (
                        SELECT FROM wallet.funding_requests f
                         WHERE f.wallet_id = j.wallet AND f.entry_id = j.entry_id AND f.finished_at IS NOT NULL)))::uuid AS id
           FROM judged j
          WHERE NOT j.closed
          GROUP BY 1
     )
     UPDATE wallet.rollup_states s
        SET rolled_to = r.before, seqs = r.seqs, floor_at = r.floor_at,
            floor_id = least(r.id, (lpad(to_hex(floor(extract(epoch FROM r.floor_at) * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid)
       FROM (SELECT a.wallet, a.before, r.seqs, l.id, greatest(least(a.before, $3, l.at), '1971-01-01Z') AS floor_at
               FROM asked a
               JOIN rolled r ON r.wallet = a.wallet
               LEFT JOIN left_over l ON l.wallet = a.wallet) r
      WHERE s.wallet_id = r.wallet"
);

/// Rolls up wallets, each up to a time. Returns their number, without those on which another call
/// works or has worked.
fn roll(wallets: &[(String, Timestamp)]) -> Result<i64> {
    let names: Vec<String> = wallets.iter().map(|(wallet, _)| wallet.clone()).collect();
    BEGIN.run(&[Value::OptTexts(Some(&names))])?;
    let states = LOCK.run(&[Value::OptTexts(Some(&names))])?;
    let befores: BTreeMap<&String, Timestamp> =
        wallets.iter().map(|(wallet, at)| (wallet, *at)).collect();
    let (mut mine, mut until, mut anew) = (Vec::new(), Vec::new(), Vec::new());
    for row in 0..states.len() {
        let wallet: String = states.need(row, 0)?;
        let Some(before) = befores.get(&wallet).copied() else {
            continue;
        };
        let is_anew = !states.need::<bool>(row, 2)?;
        if !is_anew && states.need::<Timestamp>(row, 1)? >= before {
            continue;
        }
        if is_anew {
            anew.push(wallet.clone());
        }
        mine.push(wallet);
        until.push(before);
    }
    if mine.is_empty() {
        return Ok(0);
    }
    if !anew.is_empty() {
        for forget in [&FORGET_DAYS, &FORGET_CHUNKS, &FORGET_LISTS, &START_ANEW] {
            forget.run(&[Value::OptTexts(Some(&anew))])?;
        }
    }
    let open_since = OPEN_SINCE.run(&[Value::Bool(clock::one_snapshot_for_all())])?;
    ROLL.run(&[
        Value::OptTexts(Some(&mine)),
        Value::Times(&until),
        Value::Time(open_since.need(0, 0)?),
    ])?;
    Ok(i64::try_from(mine.len()).unwrap_or(i64::MAX))
}

/// Rolls up the wallets that have entries from before a time, by default before today in the
/// wallet's time zone. It handles at most `most` wallets and returns their number.
pub fn roll_due(now: Timestamp, before: Option<Timestamp>, most: Option<i64>) -> Result<i64> {
    let due = DUE.run(&[
        Value::Time(now),
        Value::OptTime(before),
        Value::OptInt8(most),
    ])?;
    let mut wallets = Vec::with_capacity(due.len());
    for row in 0..due.len() {
        wallets.push((due.need::<String>(row, 0)?, due.need(row, 1)?));
    }
    wallets.chunks(PORTION).map(roll).sum()
}
