//! Retention: rows that are kept for a limited time.
//!
//! Everything is kept permanently by default. A step deletes a limited number of rows, and leaves
//! out those that others have locked, so nobody waits for it.
//!
//! *No retry books twice.* Keys of entries are kept permanently, and so are the answers of calls
//! that book something later, create something or add to something. Only answers of calls that set
//! a state are dropped: such a call, repeated after that, sets the state again. The answers of
//! calls that close or open a period, or set a rule of cost allocation, are kept: repeated late,
//! such a call would change the reports of months that were closed since.

use crate::error::Result;
use crate::ledger::permit::{self, Permit};
use crate::pg::clock;
use crate::pg::clock::{DAY, Timestamp};
use crate::storage::plan::{Run, Statement, Value, statement};

statement!(
    SET,
    [TEXTOID, INT8OID, TIMESTAMPTZOID],
    "INSERT INTO wallet.retention_rules (what, keep, changed_at)
     VALUES ($1, justify_hours($2 * interval '1 microsecond'), $3)
     ON CONFLICT (what) DO UPDATE SET keep = excluded.keep, changed_at = excluded.changed_at"
);

statement!(
    FORGET,
    [TEXTOID],
    "DELETE FROM wallet.retention_rules WHERE what = $1"
);

// The latest time of rows to drop.
statement!(
    RULES,
    [TIMESTAMPTZOID],
    "SELECT r.what, $1 - r.keep FROM wallet.retention_rules r"
);

macro_rules! delete_query {
    ($table:literal, $condition:literal) => {
        concat!(
            "DELETE FROM wallet.",
            $table,
            " WHERE ctid = ANY (ARRAY(SELECT t.ctid FROM wallet.",
            $table,
            " t WHERE ",
            $condition,
            " LIMIT $2 FOR UPDATE SKIP LOCKED))"
        )
    };
}

// An event stays as long as one of its deliveries may be sent.
statement!(
    EVENTS,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!(
        "outbox",
        "t.done_at < $1
         AND NOT EXISTS (SELECT FROM wallet.deliveries d
                          WHERE d.wallet_id = t.wallet_id AND d.event_id = t.event_id)"
    )
);
statement!(
    DELIVERIES,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!("deliveries", "(t.delivered_at < $1 OR t.dead_at < $1)")
);
statement!(
    AUDIT,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!("audit_log", "t.at < $1")
);
statement!(
    UNREAD,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!("unread_paths", "t.first_seen < $1")
);
statement!(
    ANSWERS,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!(
        "requests",
        "t.created_at < $1 AND t.call IN ('set_member', 'set_members', 'drop_member', 'set_limit', 'set_limits', 'drop_limit',
             'set_model_rules', 'set_ip_rules', 'set_devices', 'update_wallet', 'freeze_wallet', 'unfreeze_wallet', 'set_lanes',
             'use_price_list', 'set_run_out_alert', 'set_topup_rule', 'set_bonus', 'set_retention')"
    )
);
// A rule with a maximum for its lifetime counts all of its top-ups, and one with a maximum per year
// those of a year.
statement!(
    TOPUPS,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!(
        "topup_requests",
        "t.status <> 'requested' AND t.finished_at < $1
         AND NOT EXISTS (SELECT FROM wallet.topup_rules r
                          WHERE r.wallet_id = t.wallet_id AND r.name = t.rule_name AND r.period = 'lifetime')"
    )
);
// Limits on a tag for all time count the tags of every entry. The usage object of a charge without
// a price is still needed, and that of a funding is the amount paid.
statement!(
    PAYLOADS,
    [TIMESTAMPTZOID, INT8OID],
    "UPDATE wallet.ledger_archive l
        SET usage = NULL, tags = NULL, metadata = NULL,
            payload_proof = wallet.payload_digest(l.payload_proof, l.usage, l.tags, l.metadata, l.reference, l.reason)
      WHERE l.ctid = ANY (ARRAY(
            SELECT t.ctid FROM wallet.ledger_archive t
             WHERE t.created_at < $1 AND t.kind = 'c' AND num_nonnulls(t.usage, t.tags, t.metadata) > 0
               AND NOT EXISTS (SELECT FROM wallet.unpriced_charges u
                                WHERE u.wallet_id = t.wallet_id AND u.entry_id = t.entry_id AND u.priced_id IS NULL)
               AND NOT EXISTS (SELECT FROM wallet.limits i
                                WHERE i.wallet_id IN (t.wallet_id, '*') AND i.period = 'lifetime' AND i.scope LIKE '%tag:%')
             LIMIT $2 FOR UPDATE SKIP LOCKED))"
);

// A settled hold with a key stays: its row is the key of what was booked, like the key of an entry.
// So does a hold with a key that is charged when it expires: a late retry would make it again. The
// part in a parent is needed as long as the child's hold.
statement!(
    HOLDS,
    [TIMESTAMPTZOID, INT8OID],
    delete_query!(
        "reservations",
        "t.closed_at < $1 AND t.status <> 'open'
         AND (t.idempotency_key IS NULL
              OR t.status IN ('voided', 'expired') AND t.settled = 0 AND t.expiry_entry_id IS NULL
                 AND NOT t.charge_on_expiry AND t.approval IS NULL)
         AND (t.spender IS NULL
              OR NOT EXISTS (SELECT FROM wallet.reservations c
                              WHERE c.wallet_id = t.spender AND c.hold_id = t.hold_id))"
    )
);

/// A kind of rows that may be dropped.
struct Kind {
    name: &'static str,
    /// The least time for which they are kept.
    least: i64,
    permit: Permit,
    drop: &'static std::thread::LocalKey<Statement>,
}

const fn kind(
    name: &'static str,
    days: i64,
    permit: Permit,
    drop: &'static std::thread::LocalKey<Statement>,
) -> Kind {
    Kind {
        name,
        least: days * DAY,
        permit,
        drop,
    }
}

/// All kinds. A window of a limit lasts up to a year, and so does the period of a top-up rule.
const KINDS: [Kind; 8] = [
    kind("deliveries", 1, Permit::Nothing, &DELIVERIES),
    kind("events", 1, Permit::Nothing, &EVENTS),
    kind("audit", 1, Permit::OldAudit, &AUDIT),
    kind("unread_usage", 1, Permit::Nothing, &UNREAD),
    kind("answers", 7, Permit::Nothing, &ANSWERS),
    kind("holds", 30, Permit::Nothing, &HOLDS),
    kind("topups", 400, Permit::Nothing, &TOPUPS),
    kind("payloads", 400, Permit::Erasure, &PAYLOADS),
];

/// The names of the kinds.
pub const NAMES: [&str; 8] = [
    "deliveries",
    "events",
    "audit",
    "unread_usage",
    "answers",
    "holds",
    "topups",
    "payloads",
];

/// The least time for which rows of a kind are kept, in microseconds.
pub fn least(name: &str) -> i64 {
    let mut kinds = KINDS.iter().filter(|kind| kind.name == name);
    kinds.next().map_or(0, |kind| kind.least)
}

/// Sets how long rows of a kind are kept. `None` keeps them permanently.
pub fn set(name: &str, keep: Option<i64>) -> Result<()> {
    let what = Value::Text(name);
    let set = match keep {
        None => FORGET.run(&[what]),
        Some(keep) => SET.run(&[what, Value::Int8(keep), Value::Time(clock::now())]),
    };
    set.map(drop)
}

/// Drops at most `most` rows of each kind that are kept long enough. Returns the number by kind.
pub fn drop_old(most: i64) -> Result<Vec<(&'static str, i64)>> {
    let rules = RULES.run(&[Value::Time(clock::now())])?;
    let mut dropped = Vec::new();
    for row in 0..rules.len() {
        let (name, before): (String, Timestamp) = (rules.need(row, 0)?, rules.need(row, 1)?);
        let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
            continue;
        };
        let values = [Value::Time(before), Value::Int8(most)];
        let rows = permit::with(kind.permit, || kind.drop.run(&values))?.len() as i64;
        dropped.push((kind.name, rows));
    }
    Ok(dropped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_and_a_least_time() {
        assert_eq!(KINDS.each_ref().map(|kind| kind.name), NAMES);
        assert!(NAMES.iter().all(|name| least(name) >= DAY));
    }
}
