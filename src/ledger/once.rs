//! Idempotency of the calls that write no ledger entry.

use crate::error::{Code, Error, Result};
use crate::ledger::replay::conflict;
use crate::statement;
use crate::storage::clock;
use crate::storage::jsonb::Jsonb;
use crate::storage::plan::{Rows, Run, Value};

statement!(
    FIND,
    [TEXTOID, TEXTOID, TEXTOID],
    "SELECT fingerprint, result FROM wallet.requests
      WHERE wallet_id = $1 AND call = $2 AND idempotency_key = $3"
);

statement!(
    REMEMBER,
    [TEXTOID, TEXTOID, TEXTOID, UUIDOID, JSONBOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.requests
        (wallet_id, call, idempotency_key, fingerprint, result, created_at)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT DO NOTHING"
);

/// One call with its key.
#[derive(Clone, Copy)]
pub struct Once<'a> {
    /// The wallet, or empty for a call on none.
    pub wallet: &'a str,
    /// The function's name.
    pub call: &'static str,
    /// Idempotency key.
    pub key: Option<&'a str>,
    /// Fingerprint of the arguments.
    pub fingerprint: [u8; 16],
}

/// The first answer, kept alive by the rows it stands in.
pub struct Answer(Rows);

impl Answer {
    /// The result as it was remembered.
    pub fn result(&self) -> Option<Jsonb> {
        self.0.datum(0, 1).map(Jsonb)
    }
}

impl Once<'_> {
    /// The first answer to this key; WL006 when it was another request.
    pub fn answered(&self) -> Result<Option<Answer>> {
        let Some(key) = self.key else {
            return Ok(None);
        };
        let values = [self.wallet, self.call, key].map(Value::Text);
        let rows = FIND.run(&values)?;
        if rows.is_empty() {
            return Ok(None);
        }
        if rows.need::<[u8; 16]>(0, 0)? != self.fingerprint {
            return Err(conflict(key, "its arguments"));
        }
        Ok(Some(Answer(rows)))
    }

    /// Remembers the answer.
    pub fn remember(&self, result: Option<Jsonb>) -> Result<()> {
        let Some(key) = self.key else {
            return Ok(());
        };
        let rows = REMEMBER.run(&[
            Value::Text(self.wallet),
            Value::Text(self.call),
            Value::Text(key),
            Value::Uuid(self.fingerprint),
            Value::OptJsonb(result),
            Value::Time(clock::now()),
        ])?;
        if rows.is_empty() {
            // Two calls with one key at the same moment, and the other one was first.
            return Err(Error::new(
                Code::SerializationFailure,
                "another call used the same idempotency key at the same moment",
            )
            .detail("The other call has committed.")
            .hint("Run the transaction again: the call then answers with the first result."));
        }
        Ok(())
    }
}
