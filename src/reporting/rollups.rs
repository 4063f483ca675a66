//! Rolls up closed days: use by day, team, user, service, model, region and key, and sums of pieces of
//! each lane's chain.
//!
//! What is rolled up is a beginning of each lane's chain, of which not one entry is missing: a lane's entries
//! are numbered without gaps and commit in the order of their numbers, since who books in a lane has it until the
//! commit. So no entry can come later into what was rolled up, however long its transaction was open, whatever
//! its id says and whenever the use was. Reports add the entries behind (`sql/schema/usage.sql`).

use crate::error::Result;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use std::collections::BTreeMap;

/// Wallets that are rolled up by one statement. Beyond, sorts and sums would go to disk.
const PORTION: usize = 500;

// Wallets with entries that are not rolled up, as many as are asked for. Today is the wallet's.
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

// From when on ids may be of transactions that are still open: those that have booked something, and those that
// are in a call. It is asked before the snapshot of the roll-up is taken: who is not in it then is open now, or
// begins later. A prepared transaction does not say when it began, and under one snapshot for all statements
// others may have ended since: an hour is a guess then, which readers check.
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

// One at a time; who finds another at a wallet leaves it to that one.
statement!(
    LOCK,
    [TEXTARRAYOID],
    "SELECT s.wallet_id, s.rolled_to, s.time_zone = w.time_zone
       FROM wallet.rollup_states s JOIN wallet.wallets w ON w.wallet_id = s.wallet_id
      WHERE s.wallet_id = ANY ($1)
      ORDER BY s.wallet_id
        FOR NO KEY UPDATE OF s SKIP LOCKED"
);

// Days of another time zone are other days.
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
    START_ANEW,
    [TEXTARRAYOID],
    "UPDATE wallet.rollup_states s SET time_zone = w.time_zone, rolled_to = '-infinity',
            floor_id = 'ffffffff-ffff-ffff-ffff-ffffffffffff', floor_at = 'infinity', seqs = '{}'
       FROM wallet.wallets w WHERE w.wallet_id = s.wallet_id AND s.wallet_id = ANY ($1)"
);

// One statement, hence one snapshot, for as many wallets as are asked for. A lane is rolled up to where the first number
// is missing. The floor for the next time and for readers: below every entry that was left, and below the ids that
// transactions still open can have made; fundings that were pending are looked up by their own. A wallet whose time zone
// has changed since its state was locked is left to the next call.
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
                max((f.created_at AT TIME ZONE f.time_zone)::date) OVER chain AS day
           FROM found f
         WINDOW chain AS (PARTITION BY f.wallet, f.lane ORDER BY f.seq ROWS UNBOUNDED PRECEDING)
     ), chunks AS (
         INSERT INTO wallet.rollup_chunks (wallet_id, lane, to_seq, from_seq, amount, first_at, last_at, first_id, last_id,
                                           dated_ids, dated_at, dated_amounts)
         SELECT d.wallet, d.lane, max(d.seq), min(d.seq), coalesce(sum(d.amount) FILTER (WHERE d.effective_at = d.created_at), 0),
                min(d.created_at), max(d.created_at), min(d.entry_id::text COLLATE \"C\")::uuid, max(d.entry_id::text COLLATE \"C\")::uuid,
                array_agg(d.entry_id ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                array_agg(d.effective_at ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                array_agg(d.amount ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at)
           FROM judged d
          WHERE d.closed
          GROUP BY d.wallet, d.lane, d.day
     ), used AS (
         INSERT INTO wallet.usage_rollups
                (wallet_id, day, rollup_id, team, user_id, service, model, region, key_id, requests, input_tokens,
                 output_tokens, cost, refunded, provider)
         SELECT u.wallet, (u.event_at AT TIME ZONE u.time_zone)::date AS day, gen_random_uuid(), u.team, u.user_id, u.service,
                u.model, u.region, u.key_id, sum(u.requests), sum(u.input_tokens), sum(u.output_tokens), sum(u.cost),
                sum(u.refunded), u.provider
           FROM judged u
          WHERE u.closed AND u.kind IN ('c', 'r')
          GROUP BY u.wallet, 2, u.team, u.user_id, u.service, u.model, u.region, u.key_id, u.provider
          ORDER BY 1, 2
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

/// Rolls up wallets, each up to a time; says how many. Left out are those that another call is at, or has been.
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
        for forget in [&FORGET_DAYS, &FORGET_CHUNKS, &START_ANEW] {
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
/// wallet's time zone, at most that many; returns how many.
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
