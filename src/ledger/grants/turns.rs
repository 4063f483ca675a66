//! The turns of a recurring grant: when the next one is due, and what it grants.

use crate::error::Result;
use crate::ledger::grants::ledge::Ledge;
use crate::ledger::grants::terms::Terms;
use crate::money::Amount;
use crate::statement;
use crate::storage::clock::Timestamp;
use crate::storage::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value};
use crate::storage::rows::{Call, Document, Entry, Kind};

statement!(
    DUE,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT next_at FROM wallet.recurring_grants WHERE wallet_id = $1 AND next_at <= $2"
);

// From the beginning on, so that the 31st comes back after a short month.
statement!(
    TAKE,
    [TEXTOID],
    "UPDATE wallet.recurring_grants r
        SET turn = r.turn + 1,
            next_at = (r.started_at AT TIME ZONE w.time_zone + (r.turn + 2) * r.period)
                      AT TIME ZONE w.time_zone
       FROM wallet.recurring_grants old
       JOIN wallet.wallets w ON w.wallet_id = old.wallet_id
      WHERE r.wallet_id = $1 AND old.wallet_id = $1
     RETURNING old.next_at, r.amount, old.next_at + r.expires_after, r.rollover_max, r.actor,
               r.scope"
);

/// One turn of a recurring grant.
pub(super) struct Turn {
    /// When it was due.
    pub at: Timestamp,
    /// How much.
    pub amount: Amount,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// How much of the turns before may be carried on.
    pub rollover_max: Option<Amount>,
    /// Who set it.
    pub actor: Option<String>,
    /// What it may be used for.
    pub scope: Option<Jsonb>,
    /// Keeps the scope's datum alive.
    pub _rows: Option<Rows>,
}

/// When the next turn is, if it is due.
pub(super) fn due(wallet: &str, now: Timestamp) -> Result<Option<Timestamp>> {
    let rows = DUE.run(&[Value::Text(wallet), Value::Time(now)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    rows.need(0, 0).map(Some)
}

/// The next turn, which counts as done from now on.
pub(super) fn take(wallet: &str) -> Result<Turn> {
    let rows = TAKE.run(&[Value::Text(wallet)])?;
    Ok(Turn {
        at: rows.need(0, 0)?,
        amount: rows.amount(0, 1)?,
        expires_at: rows.get(0, 2),
        rollover_max: rows.opt_amount(0, 3)?,
        actor: rows.get(0, 4),
        scope: rows.datum(0, 5).map(Jsonb),
        _rows: Some(rows),
    })
}

impl Ledge<'_> {
    /// Books one grant of a recurrence.
    pub(super) fn grant_turn(
        &mut self,
        turn: &Turn,
        metadata: Option<Document>,
    ) -> Result<([u8; 16], Amount)> {
        let entry = Entry {
            event_at: Some(turn.at),
            actor: turn.actor.as_deref(),
            metadata,
            ..Entry::of_money(
                self.wallet,
                Kind::Funding,
                Call::Grant,
                turn.amount,
                "funding:grant",
            )
        };
        let terms = Terms {
            expires_at: turn.expires_at,
            promotional: true,
            scope: turn.scope,
            ..Terms::default()
        };
        let balance = self.grant(&entry, turn.amount, &terms, true)?;
        Ok((entry.entry_id, balance))
    }
}
