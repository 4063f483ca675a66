//! The cost of a call: its time, or the number of pages of tables and indexes it reads, which is
//! the same every time.

use std::time::Instant;

use postgres::{Client, SimpleQueryMessage};
use serde_json::Value;

use crate::scene::Call;

/// The unit of the cost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Milliseconds.
    Time,
    /// Pages.
    Pages,
}

impl Measure {
    /// A lower cost counts as this much: below it, noise and caching dominate.
    pub fn floor(self) -> f64 {
        match self {
            Measure::Time => 0.3,
            Measure::Pages => 150.0,
        }
    }

    /// The increase of a cost that does not count as growth. Pages come in steps, and a small scene
    /// has few.
    pub fn tolerance(self, call: &Call) -> f64 {
        match self {
            Measure::Pages if call.allowed > 1.0 => 0.25,
            Measure::Pages | Measure::Time => 0.0,
        }
    }

    /// The exponent of growth from a cost to that of a scene four times as large.
    pub fn exponent(self, small: f64, large: f64) -> f64 {
        (large.max(self.floor()) / small.max(self.floor())).ln() / 4_f64.ln()
    }
}

/// A query of a call as it is sent.
fn query(call: &Call, sql: &str) -> String {
    match call.refused {
        Some(state) => format!("SELECT growth.refused($q${sql}$q$, '{state}')"),
        None => sql.to_owned(),
    }
}

/// Does the work in a transaction that is rolled back.
fn undone<T>(client: &mut Client, sql: &str, work: impl FnOnce(&mut Client) -> T) -> T {
    let fine = |client: &mut Client, sql: &str| client.batch_execute(sql).expect(sql);
    fine(client, "BEGIN");
    let result = work(client);
    // The rollback fails if the call has left an error for the end of the transaction.
    fine(client, &format!("ROLLBACK -- {}", sql.len()));
    result
}

/// Runs the query once. Returns milliseconds.
fn run(client: &mut Client, sql: &str) -> f64 {
    undone(client, sql, |client| {
        let begun = Instant::now();
        let result = client.simple_query(sql);
        let took = begun.elapsed();
        if let Err(error) = result {
            panic!("{sql}: {error:?}");
        }
        took.as_secs_f64() * 1000.0
    })
}

/// The pages it reads, as EXPLAIN counts them.
fn pages(client: &mut Client, sql: &str) -> f64 {
    let explain = format!("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}");
    let rows = undone(client, sql, |client| client.simple_query(&explain));
    let rows = rows.unwrap_or_else(|error| panic!("{explain}: {error:?}"));
    let text = rows.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let plan: Value = serde_json::from_str(text.expect("a plan")).expect("JSON");
    [
        "Shared Hit Blocks",
        "Shared Read Blocks",
        "Temp Read Blocks",
        "Temp Written Blocks",
    ]
    .iter()
    .filter_map(|name| plan[0]["Plan"][name].as_f64())
    .sum()
}

/// Repeats until the time is steady: the median of several runs, fewer of long ones.
fn time(client: &mut Client, sql: &str) -> f64 {
    let first = run(client, sql);
    let times = match first {
        500.0.. => 1,
        50.0.. => 3,
        _ => 5,
    };
    let mut all: Vec<f64> = (0..times).map(|_| run(client, sql)).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// The cost of the second call in a session.
pub fn cost(client: &mut Client, call: &Call, sql: &str, measure: Measure) -> f64 {
    let sql = query(call, sql);
    match measure {
        Measure::Time => time(client, &sql),
        Measure::Pages => {
            pages(client, &sql);
            pages(client, &sql)
        }
    }
}
