//! Closing periods, and opening them again.

use crate::access::rights::ALL_WALLETS;
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::change::change_once;
use crate::pg::clock::{self, Timestamp};
use crate::pg::jsonb::Jsonb;
use crate::storage::lock;
use crate::storage::plan::{Run, Value, statement};

statement!(
    OWN,
    [TEXTOID],
    "SELECT until FROM wallet.closed_periods WHERE wallet_id = $1"
);

statement!(
    CLOSE,
    [TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TEXTOID, JSONBOID],
    "INSERT INTO wallet.closed_periods (wallet_id, until, closed_at, actor, metadata)
     VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (wallet_id) DO UPDATE
        SET until = excluded.until, closed_at = excluded.closed_at, actor = excluded.actor,
            metadata = excluded.metadata"
);

statement!(
    REOPEN,
    [TEXTOID],
    "DELETE FROM wallet.closed_periods WHERE wallet_id = $1"
);

// No wallet has the name *.
statement!(
    COPY,
    [TEXTOID, TIMESTAMPTZOID],
    "UPDATE wallet.wallets SET closed_until = $2 WHERE wallet_id = $1"
);

/// A change of the closing of a wallet, or of all wallets.
pub struct Change<'a> {
    /// The wallet, or `*`.
    pub wallet: &'a str,
    /// The first moment of the open period. `None` if no period remains closed.
    pub until: Option<Timestamp>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Jsonb>,
}

impl Change<'_> {
    /// Closes the periods that end at `until` or earlier.
    pub fn close(&self, call: IdempotentCall<'_>) -> Result<()> {
        self.once(call, |own| match own {
            Some(own) if self.until < Some(own) => {
                Err(Error::argument("the period is closed until a later time")
                    .detail(format!("It is closed until {}.", own.to_json()))
                    .hint("To open a part of it again, call reopen_period().")
                    .about("until"))
            }
            _ => Ok(self.until != own),
        })
    }

    /// Opens the periods from `until` on.
    pub fn reopen(&self, call: IdempotentCall<'_>) -> Result<()> {
        self.once(call, |own| match own {
            None => Ok(false),
            Some(own) if self.until > Some(own) => {
                Err(Error::argument("until is not in a closed period")
                    .detail(format!("Periods are closed until {}.", own.to_json()))
                    .hint("Pass an earlier time, or call close_period() to close more.")
                    .about("until"))
            }
            Some(_) => Ok(self.until != own),
        })
    }

    /// Writes the change once, if `is_other` finds with the present closing that it is one. When it
    /// is written, no booking is in progress, and every later one knows it.
    fn once(
        &self,
        call: IdempotentCall<'_>,
        is_other: impl FnOnce(Option<Timestamp>) -> Result<bool>,
    ) -> Result<()> {
        let work = || match is_other(own(self.wallet)?)? {
            true => self.write(),
            false => Ok(()),
        };
        match self.wallet == ALL_WALLETS {
            false => change_once(call, work),
            true => {
                lock::stop_bookings();
                call.once(work)
            }
        }
    }

    fn write(&self) -> Result<()> {
        let wallet = Value::Text(self.wallet);
        match self.until {
            None => REOPEN.run(&[wallet])?,
            Some(until) => CLOSE.run(&[
                wallet,
                Value::Time(until),
                Value::Time(clock::now()),
                Value::OptText(self.actor),
                Value::OptJsonb(self.metadata),
            ])?,
        };
        COPY.run(&[Value::Text(self.wallet), Value::OptTime(self.until)])
            .map(drop)
    }
}

/// The closing that was set for a wallet, or for all of them with `*`.
fn own(wallet: &str) -> Result<Option<Timestamp>> {
    let rows = OWN.run(&[Value::Text(wallet)])?;
    Ok(if rows.is_empty() {
        None
    } else {
        rows.get(0, 0)
    })
}
