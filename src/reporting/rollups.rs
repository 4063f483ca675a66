//! Rolls up closed days: use by day, team, user, service, model, region and key, and sums of pieces of
//! each lane's chain.
//!
//! What is rolled up is a beginning of each lane's chain, of which not one entry is missing: a lane's entries
//! are numbered without gaps and commit in the order of their numbers, since who books in a lane has it until the
//! commit. So no entry can come later into what was rolled up, however long its transaction was open, whatever
//! its id says and whenever the use was. Reports add the entries behind (`sql/schema/usage.sql`).

use pgrx::default;
use pgrx::prelude::*;

use crate::access::rights::{ALL_WALLETS, Level, enter};
use crate::args;
use crate::error::{OrRaise, Result};
use crate::statement;
use crate::storage::clock;
use crate::storage::plan::{Run, Value};

// Wallets with entries that are not rolled up. Today is the wallet's.
statement!(
    DUE,
    [TIMESTAMPTZOID, TIMESTAMPTZOID],
    "SELECT w.wallet_id, t.before
       FROM wallet.wallets w
      CROSS JOIN LATERAL (SELECT coalesce($2, date_trunc('day', $1 AT TIME ZONE w.time_zone) AT TIME ZONE w.time_zone) AS before) t
       LEFT JOIN wallet.rollup_states s ON s.wallet_id = w.wallet_id AND s.time_zone = w.time_zone
      WHERE (s.rolled_to IS NULL OR s.rolled_to < t.before)
        AND EXISTS (SELECT FROM wallet.allowances a
                     WHERE a.wallet_id = w.wallet_id AND a.allowance_id = '00000000-0000-0000-0000-000000000000'
                       AND a.seq > coalesce((SELECT max(c.to_seq) FROM wallet.rollup_chunks c
                                              WHERE s.wallet_id IS NOT NULL AND c.wallet_id = a.wallet_id AND c.lane = a.lane), 0))
      ORDER BY w.wallet_id"
);
statement!(
    BEGIN,
    [TEXTOID],
    "INSERT INTO wallet.rollup_states (wallet_id, time_zone, rolled_to, floor_id)
     SELECT wallet_id, time_zone, '-infinity', '00000000-0000-0000-0000-000000000000'
       FROM wallet.wallets WHERE wallet_id = $1
     ON CONFLICT DO NOTHING"
);
// One at a time; who finds another at it leaves the wallet to it.
statement!(
    LOCK,
    [TEXTOID],
    "SELECT s.rolled_to, s.time_zone = w.time_zone
       FROM wallet.rollup_states s JOIN wallet.wallets w ON w.wallet_id = s.wallet_id
      WHERE s.wallet_id = $1
        FOR NO KEY UPDATE OF s SKIP LOCKED"
);
// Days of another time zone are other days.
statement!(
    FORGET_DAYS,
    [TEXTOID],
    "DELETE FROM wallet.usage_rollups WHERE wallet_id = $1"
);
statement!(
    FORGET_CHUNKS,
    [TEXTOID],
    "DELETE FROM wallet.rollup_chunks WHERE wallet_id = $1"
);
statement!(
    START_ANEW,
    [TEXTOID],
    "UPDATE wallet.rollup_states s SET time_zone = w.time_zone, rolled_to = '-infinity',
            floor_id = '00000000-0000-0000-0000-000000000000'
       FROM wallet.wallets w WHERE w.wallet_id = s.wallet_id AND s.wallet_id = $1"
);
// One statement, hence one snapshot. `found` may lack entries whose ids are below the floor; a lane is rolled
// up to where the first number is missing. The floor for the next time and for readers: below every entry that
// was left, and below the ids that transactions still open can have made. Days are those of the state's time
// zone, which is locked: the wallet's may be changing at this moment, and back again later.
statement!(
    ROLL,
    [TEXTOID, TIMESTAMPTZOID],
    "WITH wallet AS MATERIALIZED (
         SELECT s.wallet_id, s.time_zone, wallet.unrolled_from(s.wallet_id) AS floor_id
           FROM wallet.rollup_states s WHERE s.wallet_id = $1
     ), rolled AS MATERIALIZED (
         SELECT c.lane, max(c.to_seq) AS seq FROM wallet.rollup_chunks c WHERE c.wallet_id = $1 GROUP BY c.lane
     ), found AS MATERIALIZED (
         SELECT l.entry_id, l.lane, l.seq, l.amount, l.created_at, l.effective_at, coalesce(r.seq, 0) AS rolled
           FROM wallet w
           JOIN wallet.ledger_all l ON l.wallet_id = w.wallet_id AND l.entry_id >= w.floor_id
           LEFT JOIN rolled r ON r.lane = l.lane
          WHERE l.seq > coalesce(r.seq, 0)
          UNION ALL
         SELECT l.entry_id, l.lane, l.seq, l.amount, l.created_at, l.effective_at, coalesce(r.seq, 0)
           FROM wallet w
           JOIN wallet.funding_requests f ON f.wallet_id = w.wallet_id AND f.entry_id < w.floor_id
           JOIN wallet.ledger_all l ON l.wallet_id = f.wallet_id AND l.entry_id = f.entry_id
           LEFT JOIN rolled r ON r.lane = l.lane
          WHERE l.seq > coalesce(r.seq, 0)
     ), judged AS (
         SELECT f.*,
                f.seq - f.rolled = row_number() OVER chain AND NOT bool_or(f.created_at >= $2) OVER chain AS closed
           FROM found f
         WINDOW chain AS (PARTITION BY f.lane ORDER BY f.seq ROWS UNBOUNDED PRECEDING)
     ), marks AS MATERIALIZED (
         SELECT j.lane, max(j.seq) AS seq FROM judged j WHERE j.closed GROUP BY j.lane
     ), days AS (
         SELECT f.*, max((f.created_at AT TIME ZONE w.time_zone)::date) OVER (PARTITION BY f.lane ORDER BY f.seq ROWS UNBOUNDED PRECEDING) AS day
           FROM found f JOIN marks m ON m.lane = f.lane AND f.seq <= m.seq
          CROSS JOIN wallet w
     ), chunks AS (
         INSERT INTO wallet.rollup_chunks (wallet_id, lane, to_seq, from_seq, amount, first_at, last_at, first_id, last_id,
                                           dated_ids, dated_at, dated_amounts)
         SELECT $1, d.lane, max(d.seq), min(d.seq), coalesce(sum(d.amount) FILTER (WHERE d.effective_at = d.created_at), 0),
                min(d.created_at), max(d.created_at),
                (array_agg(d.entry_id ORDER BY d.entry_id))[1], (array_agg(d.entry_id ORDER BY d.entry_id DESC))[1],
                array_agg(d.entry_id ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                array_agg(d.effective_at ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at),
                array_agg(d.amount ORDER BY d.seq) FILTER (WHERE d.effective_at <> d.created_at)
           FROM days d GROUP BY d.lane, d.day
     ), used AS (
         INSERT INTO wallet.usage_rollups
                (wallet_id, day, rollup_id, team, user_id, service, model, region, key_id, requests, input_tokens,
                 output_tokens, cost, refunded, provider)
         SELECT $1, (u.event_at AT TIME ZONE w.time_zone)::date AS day, gen_random_uuid(), u.team, u.user_id, u.service,
                u.model, u.region, u.key_id, sum(u.requests), sum(u.input_tokens), sum(u.output_tokens), sum(u.cost),
                sum(u.refunded), u.provider
           FROM wallet w
           JOIN wallet.usage_entries u ON u.wallet = w.wallet_id AND u.entry_id >= w.floor_id
           JOIN marks m ON m.lane = u.lane AND u.seq <= m.seq
           LEFT JOIN rolled r ON r.lane = u.lane
          WHERE u.seq > coalesce(r.seq, 0)
          GROUP BY 2, 4, 5, 6, 7, 8, 9, u.provider
          ORDER BY 2
     )
     UPDATE wallet.rollup_states s
        SET rolled_to = $2,
            floor_id = least(
                (SELECT j.entry_id FROM judged j WHERE NOT j.closed ORDER BY j.entry_id LIMIT 1),
                (SELECT (lpad(to_hex((extract(epoch FROM t.at - interval '1 hour') * 1000)::bigint), 12, '0') || repeat('0', 20))::uuid
                   FROM (SELECT greatest(least($2, min(a.xact_start)), '1971-01-01Z') AS at FROM pg_stat_activity a) t))
      WHERE s.wallet_id = $1"
);

/// Rolls up a wallet; false when another call is at it, or has been.
fn roll(wallet: &str, before: clock::Timestamp) -> Result<bool> {
    let name = [Value::Text(wallet)];
    BEGIN.run(&name)?;
    let state = LOCK.run(&name)?;
    if state.is_empty() {
        return Ok(false);
    }
    if !state.need::<bool>(0, 1)? {
        FORGET_DAYS.run(&name)?;
        FORGET_CHUNKS.run(&name)?;
        START_ANEW.run(&name)?;
    } else if state.need::<clock::Timestamp>(0, 0)? >= before {
        return Ok(false);
    }
    ROLL.run(&[Value::Text(wallet), Value::Time(before)])?;
    Ok(true)
}

/// Rolls up the entries of all wallets that were booked before a time, by default before today in each
/// wallet's time zone; says of how many wallets.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn roll_up(before: default!(Option<TimestampWithTimeZone>, "NULL")) -> i64 {
    let work = || {
        let now = clock::now();
        // What comes until then is not there yet.
        let before = args::time("before", before)?.map(|before| before.min(now));
        enter(Level::Admin, ALL_WALLETS, |_| {
            let due = DUE.run(&[Value::Time(now), Value::OptTime(before)])?;
            let mut rolled = 0;
            for row in 0..due.len() {
                if roll(&due.need::<String>(row, 0)?, due.need(row, 1)?)? {
                    rolled += 1;
                }
            }
            Ok(rolled)
        })
    };
    work().or_raise()
}
