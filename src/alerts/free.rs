//! The events that a worker may claim, by age, however many other events are claimed or done.
//!
//! An event that nobody has claimed is free. A claimed event is free again when its lease or pause
//! has ended. Each of the two kinds has an index by age. Most claimed events are normally not free,
//! so those whose time has passed are read by time and sorted. If they are many, because workers
//! died with many events, most claimed events are free: then the index by age is read instead.

use std::vec::IntoIter;

use crate::error::Result;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Rows, Run, Value, statement};

/// The most events with a past lease or pause that are sorted.
const FEW: usize = 1000;

/// How many more events than wanted the first batch contains, because others may have locked some.
const MORE: usize = 20;

/// The most events in one batch.
const MOST: usize = 10_000;

macro_rules! by_age_query {
    ($which:literal) => {
        concat!(
            "SELECT wallet_id, event_id
               FROM wallet.outbox
              WHERE done_at IS NULL
                AND ",
            $which,
            "   AND available_at <= $1
                AND event_id > $2
                AND ($4 IS NULL OR event = ANY ($4))
                AND ($5 IS NULL OR wallet_id = ANY ($5))
              ORDER BY event_id
              LIMIT $3"
        )
    };
}

statement!(
    UNTOUCHED,
    [TIMESTAMPTZOID, UUIDOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID],
    by_age_query!("available_at <= created_at")
);

statement!(
    GIVEN_OUT,
    [TIMESTAMPTZOID, UUIDOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID],
    by_age_query!("available_at > created_at")
);

statement!(
    COME_FREE,
    [TIMESTAMPTZOID, INT8OID, TEXTARRAYOID, TEXTARRAYOID],
    "SELECT wallet_id, event_id, ($3 IS NULL OR event = ANY ($3)) AND ($4 IS NULL OR wallet_id = ANY ($4))
       FROM wallet.outbox
      WHERE done_at IS NULL AND available_at > created_at AND available_at <= $1
      ORDER BY available_at
      LIMIT $2"
);

/// The key of an event. Keys are ordered by age.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The event's id, which begins with its time.
    pub id: [u8; 16],
    /// The event's wallet.
    pub wallet: String,
}

/// The events that were free when they were read, the oldest first. They are not locked.
pub struct Free<'a> {
    now: Timestamp,
    events: Option<&'a [String]>,
    wallets: Option<&'a [String]>,
    /// The events whose lease or pause has ended; `None` if they are too many to sort.
    few: Option<Vec<Key>>,
    batch: IntoIter<Key>,
    /// The last event of the batches read so far.
    after: [u8; 16],
    /// Size of the next batch; 0 at the end.
    size: usize,
}

impl<'a> Free<'a> {
    /// Begins with a batch of about `wanted` events. `None` as `events` or `wallets` means all of
    /// them.
    pub fn begin(
        now: Timestamp,
        wanted: usize,
        events: Option<&'a [String]>,
        wallets: Option<&'a [String]>,
    ) -> Result<Free<'a>> {
        let limit = Value::Int8(FEW as i64 + 1);
        let (names, of) = (Value::OptTexts(events), Value::OptTexts(wallets));
        let rows = COME_FREE.run_in_order(&[Value::Time(now), limit, names, of])?;
        let few = (rows.len() <= FEW).then(|| keys(&rows)).transpose()?;
        Ok(Free {
            now,
            events,
            wallets,
            few: few.map(|keys| {
                let wanted = |row: &usize| rows.get(*row, 2).unwrap_or(false);
                let mut keys: Vec<Key> = keys
                    .into_iter()
                    .enumerate()
                    .filter(|(row, _)| wanted(row))
                    .map(|(_, key)| key)
                    .collect();
                keys.sort_unstable();
                keys
            }),
            batch: Vec::new().into_iter(),
            after: [0; 16],
            size: wanted.saturating_add(MORE).min(MOST),
        })
    }

    /// The next free event; `None` at the end.
    pub fn next(&mut self) -> Result<Option<Key>> {
        if let Some(key) = self.batch.next() {
            return Ok(Some(key));
        }
        self.read()?;
        Ok(self.batch.next())
    }

    /// Reads the next batch, the oldest of both kinds together.
    fn read(&mut self) -> Result<()> {
        if self.size == 0 {
            return Ok(());
        }
        let values = [
            Value::Time(self.now),
            Value::Uuid(self.after),
            Value::Int8(self.size as i64),
            Value::OptTexts(self.events),
            Value::OptTexts(self.wallets),
        ];
        let mut batch = keys(&UNTOUCHED.run_in_order(&values)?)?;
        match &self.few {
            Some(few) => {
                let begin = few.partition_point(|key| key.id <= self.after);
                batch.extend(few[begin..].iter().take(self.size).cloned());
            }
            None => batch.extend(keys(&GIVEN_OUT.run_in_order(&values)?)?),
        }
        batch.sort_unstable();
        // Later events are dropped: they may be complete for one kind and not for the other.
        batch.truncate(self.size);
        let is_last = batch.len() < self.size;
        self.size = if is_last {
            0
        } else {
            self.size.saturating_mul(2).min(MOST)
        };
        if let Some(last) = batch.last() {
            self.after = last.id;
        }
        self.batch = batch.into_iter();
        Ok(())
    }
}

fn keys(rows: &Rows) -> Result<Vec<Key>> {
    (0..rows.len())
        .map(|row| {
            Ok(Key {
                wallet: rows.need(row, 0)?,
                id: rows.need(row, 1)?,
            })
        })
        .collect()
}
