//! An independent check of a wallet: plain SQL on committed rows, without the extension's
//! functions.

use postgres::{Client, GenericClient, IsolationLevel};
use rust_decimal::Decimal;

const VERIFY_CHAIN: &str = include_str!("../../docs/verify_chain.sql");

/// The query of docs/verify_chain.sql, with the wallet as a parameter instead of psql's variable.
fn verify_chain() -> String {
    VERIFY_CHAIN.replace(":'wallet'", "$1::text")
}

/// Fails unless everything that is stored about the wallet agrees. Reads one snapshot, so it can
/// run while others write.
#[track_caller]
pub fn audit(client: &mut Client, wallet: &str) {
    let mut snapshot = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .expect("a snapshot");
    check_snapshot(&mut snapshot, wallet);
    check_windows(&mut snapshot, wallet);
    let lanes = snapshot
        .query(&verify_chain(), &[&wallet])
        .expect("verify_chain.sql");
    assert!(!lanes.is_empty(), "wallet {wallet} has no lane");
    for lane in lanes {
        let (number, ok): (i32, bool) = (lane.get("lane"), lane.get("ok"));
        let problem: Option<String> = lane.get("problem");
        let at: Option<i64> = lane.get("at_seq");
        assert!(ok, "lane {number} at {at:?}: {problem:?}");
    }
    snapshot.commit().expect("the end of a snapshot");
}

/// The part that is fast enough to run all the time. The sum of the ledger is the balance, the
/// balance is not below the credit limit, and no allowance is overdrawn. One statement, so one
/// snapshot. Returns the balance.
#[track_caller]
pub fn check_snapshot(client: &mut impl GenericClient, wallet: &str) -> Decimal {
    let row = client
        .query_one(
            "SELECT b.balance, b.available, b.debt, b.credit_limit,
                    (SELECT coalesce(sum(e.amount), 0) FROM wallet.entries e WHERE e.wallet = $1),
                    (SELECT count(*) FROM wallet.allowances a
                      WHERE a.wallet_id = $1
                        AND (a.spent < 0 OR a.held < 0 OR a.spent + a.held > a.allotted
                             OR a.allotted IS NULL AND a.limit_id IS NULL)),
                    (SELECT sum(a.booked) FROM wallet.allowances a WHERE a.wallet_id = $1)
               FROM wallet.balances b
              WHERE b.wallet = $1",
            &[&wallet],
        )
        .expect("a wallet");
    let number = |column: usize| -> Decimal { row.get(column) };
    let (balance, available, debt, credit) = (number(0), number(1), number(2), number(3));
    assert_eq!(number(4), balance - debt, "sum of the entries");
    assert_eq!(number(6), balance - debt, "sum of the lanes' totals");
    assert!(balance >= -credit, "the balance is {balance}");
    assert!(available >= -credit, "available is {available}");
    assert_eq!(row.get::<_, i64>(5), 0, "overdrawn or negative allowances");
    balance
}

/// The spending in the windows of limits equals what the ledger has for their subjects.
#[track_caller]
fn check_windows(client: &mut impl GenericClient, wallet: &str) {
    let wrong = client
        .query(
            "SELECT w.subject, w.spent, l.spent
               FROM (SELECT wallet_id, limit_id, allowance_id, subject, window_start, window_end, sum(spent) AS spent
                       FROM wallet.allowances
                      WHERE limit_id IS NOT NULL GROUP BY 1, 2, 3, 4, 5, 6) w
               JOIN wallet.limits r ON r.wallet_id = w.wallet_id AND r.limit_id = w.limit_id
              CROSS JOIN LATERAL (
                    SELECT CASE r.metric WHEN 'amount' THEN -coalesce(sum(b.amount), 0)
                                         ELSE count(*) FILTER (WHERE b.entry_id = e.entry_id
                                                                 AND NOT EXISTS (SELECT FROM wallet.entries p
                                                                                  WHERE p.wallet = e.wallet AND p.entry_id = e.related_id))
                           END AS spent
                      FROM wallet.entries e
                      -- A refund counts where its charge did.
                      JOIN wallet.entries b
                        ON b.wallet = e.wallet
                       AND (b.entry_id = e.entry_id OR b.related_id = e.entry_id AND b.kind = 'refund')
                     WHERE e.wallet = w.wallet_id
                       AND e.kind = 'charge'
                       AND (r.scope = 'wallet' OR NOT EXISTS (
                            SELECT FROM unnest(string_to_array(r.scope, '+'),
                                               CASE WHEN r.scope LIKE '%+%' THEN ARRAY(SELECT jsonb_array_elements_text(w.subject::jsonb))
                                                    ELSE ARRAY[w.subject] END) p (dimension, place)
                             WHERE (CASE p.dimension WHEN 'user' THEN e.user_id WHEN 'team' THEN e.team
                                                     WHEN 'model' THEN e.model WHEN 'service' THEN e.service
                                                     ELSE e.tags ->> substr(p.dimension, 5) END
                                    LIKE replace(replace(replace(p.place, '\\', '\\\\'), '_', '\\_'), '*', '%')) IS NOT TRUE))
                       AND (w.window_start IS NULL OR e.created_at >= w.window_start)
                       AND (w.window_end IS NULL OR e.created_at < w.window_end)) l
              WHERE w.wallet_id = $1 AND w.spent <> l.spent
                AND r.metric IN ('amount', 'requests') AND r.period NOT LIKE 'rolling %' AND r.period <> 'open'",
            &[&wallet],
        )
        .expect("windows");
    if let Some(row) = wrong.first() {
        let (subject, spent, booked): (String, Decimal, Decimal) =
            (row.get(0), row.get(1), row.get(2));
        panic!("the window of {subject} has {spent}, the ledger {booked}");
    }
    let wrong = client
        .query(
            "SELECT w.subject, w.held, h.held
               FROM (SELECT allowance_id, subject, sum(held) AS held
                       FROM wallet.allowances WHERE wallet_id = $1 AND limit_id IS NOT NULL GROUP BY 1, 2) w
              CROSS JOIN LATERAL (
                    SELECT coalesce(sum(p.amount), 0) AS held
                      FROM wallet.reservations r
                     CROSS JOIN LATERAL unnest(r.window_ids, r.window_amounts) p (id, amount)
                     WHERE r.wallet_id = $1 AND r.status = 'open' AND p.id = w.allowance_id) h
              WHERE w.held <> h.held",
            &[&wallet],
        )
        .expect("windows");
    if let Some(row) = wrong.first() {
        let (subject, held, reserved): (String, Decimal, Decimal) =
            (row.get(0), row.get(1), row.get(2));
        panic!("the window of {subject} holds {held}, the open holds {reserved}");
    }
}
