//! The occurrences of recurring grants: when the next one is due, and its grant.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::error::Result;
use crate::ledger::grants::burn::{Lot, Rank};
use crate::ledger::grants::lots::{self, Active, NewLot};
use crate::ledger::grants::scope::Scope;
use crate::ledger::grants::terms::{PLAIN_PRIORITY, Terms};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{Call, Entry, Kind};

// Computed from the beginning, so that the 31st returns after a short month. Months and days are
// calendar units of the wallet's time zone, whatever the session's. Hours have a fixed length.
//
// Occurrences at the same moment are never separated: all of them come before the ends of lots at
// that moment.
statement!(
    DUE,
    [TEXTOID, TIMESTAMPTZOID, TEXTARRAYOID, INT8ARRAYOID, INT8OID],
    "SELECT d.*
       FROM (SELECT t.at, r.amount,
                    (t.at AT TIME ZONE w.time_zone + date_trunc('day', r.expires_after)) AT TIME ZONE w.time_zone
                        + (r.expires_after - date_trunc('day', r.expires_after)),
                    r.rollover_max, r.actor, r.scope, r.name
               FROM wallet.recurring_grants r
               JOIN wallet.wallets w ON w.wallet_id = r.wallet_id
               LEFT JOIN unnest($3, $4) AS k(name, read) ON k.name = r.name
              CROSS JOIN LATERAL (
                    SELECT CASE WHEN n.n = 1 THEN r.next_at
                                ELSE (r.started_at AT TIME ZONE w.time_zone + (r.turn + n.n) * r.period)
                                     AT TIME ZONE w.time_zone END AS at
                      FROM generate_series(coalesce(k.read, 0) + 1, coalesce(k.read, 0) + $5) AS n(n)) t
              WHERE r.wallet_id = $1 AND r.next_at <= $2 AND t.at <= $2
              ORDER BY t.at
              FETCH FIRST $5 ROWS WITH TIES) d
      ORDER BY d.at, d.name"
);

statement!(
    TAKEN,
    [TEXTOID, TEXTARRAYOID, INT8ARRAYOID],
    "UPDATE wallet.recurring_grants r
        SET turn = r.turn + k.taken,
            next_at = (r.started_at AT TIME ZONE w.time_zone + (r.turn + k.taken + 1) * r.period)
                      AT TIME ZONE w.time_zone
       FROM wallet.wallets w, unnest($2, $3) AS k(name, taken)
      WHERE r.wallet_id = $1 AND w.wallet_id = r.wallet_id AND k.name = r.name"
);

/// One occurrence of a recurring grant.
pub struct Occurrence {
    /// The name of the recurring grant.
    pub name: Rc<str>,
    /// When it was due.
    pub at: Timestamp,
    /// The granted amount, that of the new lot.
    pub amount: Amount,
    /// When the grant ends; `None` if it does not expire.
    pub expires_at: Option<Timestamp>,
    /// The most that may be rolled over from earlier occurrences.
    pub rollover_max: Option<Amount>,
    /// The person or program that set the recurring grant.
    pub actor: Option<String>,
    /// The models and services that it may pay for; `None` for all.
    pub scope: Option<Scope>,
    /// The scope as it is stored.
    pub stored_scope: Option<Jsonb>,
}

/// How often each recurring grant occurs in a list.
pub fn by_name(turns: &[Occurrence]) -> BTreeMap<Rc<str>, i64> {
    let mut counts = BTreeMap::new();
    for turn in turns {
        *counts.entry(turn.name.clone()).or_insert(0) += 1;
    }
    counts
}

/// The names and the numbers, as parameters of a statement.
fn apart(counts: BTreeMap<Rc<str>, i64>) -> (Vec<String>, Vec<i64>) {
    let counts = counts.into_iter();
    counts
        .map(|(name, count)| (name.to_string(), count))
        .unzip()
}

/// Occurrences that are due.
#[derive(Default)]
pub struct Due {
    /// The occurrences, the earliest first. Those of one moment are in the order of their names.
    pub turns: Vec<Occurrence>,
    /// Keeps the datums of the scopes alive.
    rows: Vec<Rows>,
}

impl Due {
    /// Appends `most` occurrences that are due by a moment, and those of the same moment as the
    /// last one. Returns true if there may be more.
    pub(super) fn read_on(&mut self, wallet: &str, until: Timestamp, most: usize) -> Result<bool> {
        let (names, read) = apart(by_name(&self.turns));
        let rows = DUE.run(&[
            Value::Text(wallet),
            Value::Time(until),
            Value::OptTexts(Some(&names)),
            Value::Int8s(&read),
            Value::Int8(most as i64),
        ])?;
        for row in 0..rows.len() {
            let scope = rows.datum(row, 5).map(Jsonb);
            self.turns.push(Occurrence {
                name: rows.need::<String>(row, 6)?.into(),
                at: rows.need(row, 0)?,
                amount: rows.amount(row, 1)?,
                expires_at: rows.get(row, 2),
                rollover_max: rows.opt_amount(row, 3)?,
                actor: rows.get(row, 4),
                scope: scope.map(Scope::stored).transpose()?,
                stored_scope: scope,
            });
        }
        let more = rows.len() >= most;
        self.rows.push(rows);
        Ok(more)
    }

    /// Leaves out the occurrences of recurring grants that ended at a time.
    pub(super) fn end(&mut self, names: &[String], at: Timestamp) {
        let ended = |turn: &Occurrence| names.iter().any(|name| **name == *turn.name);
        self.turns.retain(|turn| turn.at < at || !ended(turn));
    }
}

/// Records that more occurrences were booked.
pub(super) fn taken(wallet: &str, turns: &[Occurrence]) -> Result<()> {
    let (names, taken) = apart(by_name(turns));
    TAKEN
        .run(&[
            Value::Text(wallet),
            Value::OptTexts(Some(&names)),
            Value::Int8s(&taken),
        ])
        .map(drop)
}

impl Occurrence {
    /// The entry that books the occurrence.
    pub(super) fn entry<'a>(&'a self, wallet: &'a str, metadata: Option<Document>) -> Entry<'a> {
        Entry {
            event_at: Some(self.at),
            actor: self.actor.as_deref(),
            metadata,
            ..Entry::of_money(
                wallet,
                Kind::Funding,
                Call::Grant,
                self.amount,
                "funding:grant",
            )
        }
    }

    /// The terms of its lot.
    pub(super) fn terms(&self) -> Terms {
        Terms {
            expires_at: self.expires_at,
            promotional: true,
            scope: self.stored_scope,
            ..Terms::default()
        }
    }

    /// Its lot, created at the time when the occurrence was due.
    pub(super) fn lot<'a>(
        &'a self,
        id: [u8; 16],
        terms: &'a Terms,
        remaining: Amount,
    ) -> NewLot<'a> {
        NewLot {
            id,
            amount: self.amount,
            remaining,
            terms,
            recurring: Some(&self.name),
            created_at: self.at,
        }
    }

    /// Its lot, as the course uses it.
    pub(super) fn active(&self, id: [u8; 16], remaining: Amount) -> Active {
        Active {
            lot: Lot {
                rank: Rank {
                    priority: PLAIN_PRIORITY,
                    expires_at: self.expires_at.map_or(i64::MAX, |at| at.0),
                    paid: false,
                    created_at: self.at.0,
                    id,
                },
                remaining,
            },
            expires_at: self.expires_at,
            warn_at: self.expires_at.map(|end| lots::warn_at(self.at, end)),
            recurring: Some(self.name.clone()),
            scope: self.scope.clone().map(Rc::new),
            held: Amount::ZERO,
        }
    }
}
