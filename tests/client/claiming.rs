//! `claim_events` returns the oldest free events, compared with a query that reads all events.

use postgres::{Client, GenericClient};
use uuid::Uuid;
use wallet_tests::{Database, Seed, scale};

/// Random events: never claimed, claimed, claimed with an expired lease, or completed.
const EVENTS: &str = "
    INSERT INTO wallet.outbox (wallet_id, event_id, event, created_at, available_at, attempts, done_at)
    SELECT (ARRAY['a', 'b'])[1 + (random())::integer], gen_random_uuid(),
           (ARRAY['wallet_balance_low', 'limit_near'])[1 + (random())::integer],
           now() - '1 day'::interval,
           CASE WHEN k.kind < $2 THEN now() - '1 day'::interval
                ELSE now() + sign(random() - 0.5) * (1 + random()) * '1 hour'::interval END,
           k.kind, CASE WHEN random() < 0.2 THEN now() END
      FROM generate_series(1, $1) CROSS JOIN LATERAL (SELECT (random() * 3)::integer + generate_series * 0 AS kind) k";

const OLDEST: &str = "
    SELECT event_id FROM wallet.outbox
     WHERE done_at IS NULL AND available_at <= clock_timestamp() AND ($2::text IS NULL OR event = $2)
     ORDER BY event_id LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED";

fn ids(client: &mut impl GenericClient, sql: &str, max: i64, event: Option<&str>) -> Vec<Uuid> {
    let rows = client.query(sql, &[&max, &event]).expect(sql);
    rows.iter().map(|row| row.get(0)).collect()
}

/// The result of a query that reads all events. Its locks are released on return.
fn oldest(client: &mut Client, max: i64, event: Option<&str>) -> Vec<Uuid> {
    let mut transaction = client.transaction().expect("a transaction");
    ids(&mut transaction, OLDEST, max, event)
}

fn claimed(client: &mut impl GenericClient, max: i64, event: Option<&str>) -> Vec<Uuid> {
    let sql = "SELECT id FROM wallet.claim_events($1::bigint::integer, '1 hour', CASE WHEN $2::text IS NOT NULL THEN ARRAY[$2] END)";
    ids(client, sql, max, event)
}

#[test]
fn the_oldest_free_events_are_claimed() {
    let mut seed = Seed::of("the_oldest_free_events_are_claimed");
    let database = Database::new();
    let (mut worker, mut other) = (database.connect(), database.connect());
    let seeded = seed.below(1000) as f64 / 1000.0;
    worker
        .execute("SELECT setseed($1)", &[&seeded])
        .expect("setseed");
    // A few events that have become free, and more than are sorted.
    for round in 0..scale(12) {
        let number = [10_i32, 300, 6000][round % 3];
        worker
            .batch_execute("DELETE FROM wallet.outbox")
            .expect("an empty outbox");
        let untouched = seed.below(4) as i32;
        worker
            .execute(EVENTS, &[&number, &untouched])
            .expect("events");
        for _ in 0..6 {
            let most = [5, 50, 2000][seed.below(3) as usize];
            let max = 1 + seed.below(most).cast_signed();
            let event = [None, Some("limit_near")][seed.below(2) as usize];
            // Another session has locked some in an open transaction.
            let mut open = other.transaction().expect("a transaction");
            let theirs = seed.below(200) as i64;
            if theirs > 0 {
                claimed(&mut open, theirs, None);
            }
            let expected = oldest(&mut worker, max, event);
            assert_eq!(
                claimed(&mut worker, max, event),
                expected,
                "{number} events, {max} at most"
            );
            open.rollback().expect("ROLLBACK");
        }
    }
}
