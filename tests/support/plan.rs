//! What a statement costs, as PostgreSQL counts it.

use postgres::Client;
use serde_json::Value;

/// The root of the plan of a statement that was run.
pub fn explained(client: &mut Client, sql: &str) -> Value {
    let sql = format!("EXPLAIN (ANALYZE, BUFFERS, WAL, TIMING off, FORMAT json) {sql}");
    let plan: Value = client.query_one(&sql, &[]).expect(&sql).get(0);
    plan[0]["Plan"].clone()
}

/// The number of pages that a statement reads, cached or not.
pub fn pages(client: &mut Client, sql: &str) -> u64 {
    let plan = explained(client, sql);
    let pages = |name: &str| plan[name].as_u64().unwrap_or(0);
    pages("Shared Hit Blocks") + pages("Shared Read Blocks")
}
