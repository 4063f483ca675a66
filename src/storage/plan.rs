//! Statements that are planned once per backend and kept.
//!
//! `SPI_keepplan` moves a plan into memory that lives as long as the backend. PostgreSQL replans it
//! when a table changes. The SQL is a constant; values are passed as parameters only.

mod arrays;
mod rows;
#[cfg(test)]
mod tests;
mod value;

use std::cell::Cell;
use std::ffi::CString;
use std::ptr;

use pgrx::{PgBuiltInOids, pg_sys};

use crate::error::{Error, Result};
use crate::storage::session;

pub(in crate::storage) use arrays::{amounts_of, rows_of, times_of, uuids_of};
pub use rows::Rows;
pub use value::Value;

/// A statement of the extension. It is declared with [`statement!`].
pub struct Statement {
    sql: &'static str,
    types: &'static [PgBuiltInOids],
    plan: Cell<pg_sys::SPIPlanPtr>,
}

/// Declares a statement with the types of its parameters. Its plan is kept until the backend ends.
macro_rules! statement {
    ($(#[$doc:meta])* $visibility:vis $name:ident, [$($type:ident),*], $sql:expr) => {
        thread_local! {
            $(#[$doc])*
            $visibility static $name: $crate::storage::plan::Statement = const {
                $crate::storage::plan::Statement::new($sql, &[$(pgrx::PgBuiltInOids::$type),*])
            };
        }
    };
}
pub(crate) use statement;

impl Statement {
    /// A statement that is planned when it is first used.
    pub const fn new(sql: &'static str, types: &'static [PgBuiltInOids]) -> Statement {
        Statement {
            sql,
            types,
            plan: Cell::new(ptr::null_mut()),
        }
    }

    fn prepared(&self) -> Result<pg_sys::SPIPlanPtr> {
        if self.plan.get().is_null() {
            let sql = CString::new(self.sql)
                .map_err(|_| Error::internal("a statement contains a NUL byte"))?;
            let mut types: Vec<pg_sys::Oid> = self.types.iter().map(|t| t.oid().value()).collect();
            let count = i32::try_from(types.len()).unwrap_or(i32::MAX);
            // SAFETY: called between SPI_connect and SPI_finish (a `Session` exists). The plan is
            // kept before it is stored, so it outlives SPI_finish.
            unsafe {
                // A generic plan suits all parameters, because every look-up is by key.
                let options = pg_sys::CURSOR_OPT_GENERIC_PLAN as i32;
                let plan =
                    pg_sys::SPI_prepare_cursor(sql.as_ptr(), count, types.as_mut_ptr(), options);
                if plan.is_null() || pg_sys::SPI_keepplan(plan) != 0 {
                    return Err(Error::internal(format!("could not plan: {}", self.sql)));
                }
                self.plan.set(plan);
            }
        }
        Ok(self.plan.get())
    }

    fn execute(
        &self,
        values: &[Value<'_>],
        snapshot: Snapshot,
        by_index: fn() -> ByIndex,
    ) -> Result<Rows> {
        session::prepare_for_statements()?;
        let (mut datums, nulls) = self.parameters(values);
        let _indexes = by_index();
        let plan = self.prepared()?;
        if locks(self.sql) {
            // Before the execution, so that calls in a trigger of the statement know of the lock.
            session::note_lock();
        }
        let read_only = snapshot != Snapshot::Fresh;
        // SAFETY: the numbers of datums and null flags equal the plan's number of parameters, and
        // the datums have their types. They outlive the call. SPI is connected. A read-only plan
        // runs with the active snapshot; the one that is pushed here is popped here, or by the
        // abort after an error.
        let code = unsafe {
            if snapshot == Snapshot::Latest {
                push_latest();
            }
            let (datums, nulls) = (datums.as_mut_ptr(), nulls.as_ptr());
            let code = pg_sys::SPI_execute_plan(plan, datums, nulls, read_only, 0);
            if snapshot == Snapshot::Latest {
                pg_sys::PopActiveSnapshot();
            }
            code
        };
        if code < 0 {
            return Err(Error::internal(format!(
                "SPI error {code} in: {}",
                self.sql
            )));
        }
        // SAFETY: SPI_execute_plan has just set both globals.
        Ok(unsafe { Rows::of_the_last_call() })
    }

    /// The values as SPI takes them.
    fn parameters(&self, values: &[Value<'_>]) -> (Vec<pg_sys::Datum>, Vec<std::ffi::c_char>) {
        assert_eq!(values.len(), self.types.len(), "parameters of {}", self.sql);
        values
            .iter()
            .map(|value| {
                let datum = value.datum();
                let null = if datum.is_some() { b' ' } else { b'n' };
                (datum.unwrap_or(pg_sys::Datum::null()), null.cast_signed())
            })
            .unzip()
    }

    /// Opens a cursor on the statement's rows, in the order of an index.
    pub(in crate::storage) fn open(
        &self,
        values: &[Value<'_>],
        snapshot: Snapshot,
    ) -> Result<pg_sys::Portal> {
        session::prepare_for_statements()?;
        let (mut datums, nulls) = self.parameters(values);
        let _indexes = ByIndex::in_order();
        let plan = self.prepared()?;
        if locks(self.sql) {
            session::note_lock();
        }
        let read_only = snapshot != Snapshot::Fresh;
        // SAFETY: as in `execute`.
        let portal = unsafe {
            let (datums, nulls) = (datums.as_mut_ptr(), nulls.as_ptr());
            pg_sys::SPI_cursor_open(ptr::null(), plan, datums, nulls, read_only)
        };
        if portal.is_null() {
            return Err(Error::internal(format!("no cursor for: {}", self.sql)));
        }
        Ok(portal)
    }
}

/// The snapshot of a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::storage) enum Snapshot {
    /// All that is committed by now (under READ COMMITTED), and this transaction's own changes.
    Fresh,
    /// The snapshot of the running query.
    OfTheQuery,
    /// All that is committed by now, under each isolation level, and this transaction's own
    /// changes.
    Latest,
}

/// Makes a snapshot of all that is committed by now the active one. It includes what this
/// transaction's earlier commands did.
///
/// # Safety
///
/// Within a transaction. The caller pops the snapshot.
unsafe fn push_latest() {
    // SAFETY: PushActiveSnapshot copies a snapshot that is not its caller's own. A session runs
    // within a command, where the counter may be incremented, as SPI does for other statements.
    unsafe {
        pg_sys::CommandCounterIncrement();
        // The leader of a parallel query, which evaluates row-level security, may not take the
        // latest snapshot, but may take a new one of the catalog. Each has what is committed.
        let latest = match pg_sys::IsInParallelMode() {
            true => pg_sys::GetCatalogSnapshot(pg_sys::InvalidOid),
            false => pg_sys::GetLatestSnapshot(),
        };
        pg_sys::PushActiveSnapshot(latest);
    }
}

/// Whether a statement locks rows.
fn locks(sql: &str) -> bool {
    [
        "INSERT INTO ",
        "UPDATE wallet.",
        "DELETE FROM ",
        "FOR NO KEY UPDATE",
        "FOR UPDATE",
    ]
    .iter()
    .any(|words| sql.contains(words))
}

/// While this value exists, statements are planned without sequential scans. Otherwise a plan made
/// while a table was empty would be kept, and would read the whole table when it is large.
struct ByIndex {
    seqscan: bool,
    bitmapscan: bool,
    sort: bool,
}

impl ByIndex {
    fn begin() -> ByIndex {
        // SAFETY: plain globals of this backend, restored on drop, also after an error.
        unsafe {
            let before = ByIndex {
                seqscan: pg_sys::enable_seqscan,
                bitmapscan: pg_sys::enable_bitmapscan,
                sort: pg_sys::enable_sort,
            };
            pg_sys::enable_seqscan = false;
            before
        }
    }

    /// Also disables sorts, for a statement whose order an index has. A sort would suit the few
    /// rows that most wallets have, but not a large table.
    fn in_order() -> ByIndex {
        let before = ByIndex::begin();
        // SAFETY: as in `begin`.
        unsafe {
            pg_sys::enable_bitmapscan = false;
            pg_sys::enable_sort = false;
        }
        before
    }
}

impl Drop for ByIndex {
    fn drop(&mut self) {
        // SAFETY: see `begin`.
        unsafe {
            pg_sys::enable_seqscan = self.seqscan;
            pg_sys::enable_bitmapscan = self.bitmapscan;
            pg_sys::enable_sort = self.sort;
        }
    }
}

/// Runs a [`statement!`].
pub trait Run {
    /// Runs it with a fresh snapshot (under READ COMMITTED).
    fn run(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with a fresh snapshot, for a statement whose order only one index has. The planner
    /// uses that index, whatever the statistics of the table say.
    fn run_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with the snapshot of the running query, so that several statements see the same
    /// state.
    fn read(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with a snapshot of all that is committed by now, under each isolation level.
    fn read_latest(&'static self, values: &[Value<'_>]) -> Result<Rows>;

    /// Runs it with the snapshot of the running query and in the order of the index.
    fn read_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows>;
}

impl Run for std::thread::LocalKey<Statement> {
    fn run(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::Fresh, ByIndex::begin))
    }

    fn run_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::Fresh, ByIndex::in_order))
    }

    fn read(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::OfTheQuery, ByIndex::begin))
    }

    fn read_latest(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::Latest, ByIndex::begin))
    }

    fn read_in_order(&'static self, values: &[Value<'_>]) -> Result<Rows> {
        self.with(|statement| statement.execute(values, Snapshot::OfTheQuery, ByIndex::in_order))
    }
}
