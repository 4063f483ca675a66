//! Idempotency of the calls that write no ledger entry.

use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::fingerprint;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::uuid_text;

/// The error WL006, which names the argument that differs.
pub fn conflict(key: &str, field: &str) -> Error {
    Error::new(
        Code::IdempotencyConflict,
        format!(
            "idempotency key {} was used for another request",
            quoted(key)
        ),
    )
    .detail(format!("The first request differs in {field}."))
    .hint("Use a new key for a new request, and the same arguments for a retry.")
}

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

/// A call with its idempotency key.
#[derive(Clone, Copy)]
pub struct IdempotentCall<'a> {
    /// The wallet's id; `*` for a call that concerns all wallets or none.
    pub wallet: &'a str,
    /// The function's name.
    pub call: &'static str,
    /// Idempotency key, if the call has one.
    pub key: Option<&'a str>,
    /// Half a SHA-256 of the arguments, which tells a retry from another request.
    pub fingerprint: [u8; 16],
}

/// The first answer. The rows that contain it keep it alive.
pub struct Answer(Rows);

impl Answer {
    /// The stored result; `None` if the call returns nothing.
    pub fn result(&self) -> Option<Jsonb> {
        self.0.datum(0, 1).map(Jsonb)
    }

    /// The stored result, which is a single text.
    pub fn text(&self) -> Result<String> {
        let json = self.result().ok_or_else(lost)?.reread("result")?;
        match json.as_object() {
            Some([(_, Json::String(text))]) => Ok(text.clone()),
            _ => Err(lost()),
        }
    }

    /// The stored result, which is a single id.
    pub fn id(&self) -> Result<[u8; 16]> {
        let id = uuid::Uuid::parse_str(&self.text()?).map_err(|_| lost())?;
        Ok(id.into_bytes())
    }
}

/// The error for a stored result that cannot be read.
pub fn lost() -> Error {
    Error::internal("an answer was not kept")
}

/// A begin time for a fingerprint. `now()`, the default, differs between attempts, so it counts as
/// not given.
pub fn begins(at: Timestamp) -> Option<String> {
    (at != clock::transaction_start()).then(|| at.0.to_string())
}

impl IdempotentCall<'_> {
    /// The first answer to this key, if there is one. The error WL006 if it belongs to another
    /// request.
    pub fn answered(&self) -> Result<Option<Answer>> {
        let Some(key) = self.key else {
            return Ok(None);
        };
        let values = [self.wallet, self.call, key].map(Value::Text);
        let rows = FIND.run(&values)?;
        if rows.is_empty() {
            return Ok(None);
        }
        if fingerprint::differs(rows.get(0, 0), self.fingerprint) {
            return Err(conflict(key, "its arguments"));
        }
        Ok(Some(Answer(rows)))
    }

    /// Runs `work`, which returns no result, unless an earlier call with this key has succeeded.
    pub fn once(&self, work: impl FnOnce() -> Result<()>) -> Result<()> {
        if self.answered()?.is_some() {
            return Ok(());
        }
        work()?;
        self.remember(None)
    }

    /// The text that the first call with this key returned. If there was none, runs `work` and
    /// returns its text.
    pub fn text(&self, work: impl FnOnce() -> Result<String>) -> Result<String> {
        if let Some(answer) = self.answered()? {
            return answer.text();
        }
        let text = work()?;
        self.remember_text("answer", &text)?;
        Ok(text)
    }

    /// The id that the first call with this key returned. If there was none, runs `work` and
    /// returns its id.
    pub fn id(&self, work: impl FnOnce() -> Result<[u8; 16]>) -> Result<[u8; 16]> {
        if let Some(answer) = self.answered()? {
            return answer.id();
        }
        let id = work()?;
        self.remember_text("id", &uuid_text(id))?;
        Ok(id)
    }

    /// Stores an answer that is a single text.
    pub fn remember_text(&self, name: &str, text: &str) -> Result<()> {
        let mut json = Builder::default();
        json.begin_object();
        json.text(name, Some(text));
        self.remember(Some(json.finish_object()))
    }

    /// Stores the answer.
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
            // A concurrent call with the same key was first.
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
