//! Places that keep the identifier: keys and names by which others find something.
//!
//! An idempotency key that changed would book a retry a second time, and a payment's reference
//! would credit it a second time. The name of a wallet or team is the application's, and the chain
//! covers it. An actor, a tag or the subject of a limit that has more than the identifier names
//! somebody else, or the application knows what it means. The answer counts these rows, so that the
//! application can stop putting identifiers there.

use crate::erasure::person::Person;
use crate::error::Result;
use crate::storage::plan::{Run, statement};

macro_rules! in_column {
    ($table:literal, $column:literal) => {
        concat!(
            " UNION ALL SELECT '",
            $table,
            ".",
            $column,
            "' FROM wallet.",
            $table,
            " t
               WHERE strpos(t.",
            $column,
            ", $1) > 0 AND wallet.without_person(t.",
            $column,
            ", $1, $2, 'text') <> t.",
            $column,
            "
                 AND ($3::text[] IS NULL OR t.wallet_id = ANY ($3))"
        )
    };
    ($table:literal, json $column:literal) => {
        in_column!($table, json $column, "($3::text[] IS NULL OR t.wallet_id = ANY ($3))")
    };
    ($table:literal, json $column:literal, $condition:literal) => {
        concat!(
            " UNION ALL SELECT '",
            $table,
            ".",
            $column,
            "' FROM wallet.",
            $table,
            " t
               WHERE (strpos(t.",
            $column,
            "::text, $4) > 0 OR strpos(t.",
            $column,
            "::text, $5) > 0) AND wallet.without_person(t.",
            $column,
            "::text, $1, $2, 'metadata')::jsonb <> t.",
            $column,
            " AND ",
            $condition
        )
    };
}

statement!(
    KEPT,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID],
    concat!(
        "SELECT k.place, count(*) FROM (SELECT NULL AS place WHERE num_nulls($4, $5) > 0",
        in_column!("ledger", "idempotency_key"),
        in_column!("ledger", "reference"),
        in_column!("ledger", "team"),
        in_column!("ledger", "contra"),
        in_column!("ledger", "actor"),
        in_column!("ledger", json "tags"),
        in_column!("ledger", json "usage"),
        in_column!("ledger_archive", "idempotency_key"),
        in_column!("ledger_archive", "reference"),
        in_column!("ledger_archive", "team"),
        in_column!("ledger_archive", "contra"),
        in_column!("ledger_archive", "actor"),
        in_column!("ledger_archive", json "tags"),
        in_column!("ledger_archive", json "usage"),
        in_column!("requests", "idempotency_key"),
        in_column!("reservations", "idempotency_key"),
        in_column!("reservations", "team"),
        in_column!("reservations", "actor"),
        in_column!("reservations", json "tags"),
        in_column!("limits", "subject"),
        in_column!("audit_log", "actor"),
        in_column!("chargeback_rules", json "shares"),
        in_column!("plan_rules", "name"),
        // The versions of plans are of all wallets. An erasure in one wallet leaves them.
        in_column!(
            "plan_versions",
            json "definition",
            "($3::text[] IS NULL OR EXISTS (SELECT FROM wallet.wallets w
                                             WHERE w.wallet_id = ANY ($3) AND t.plan IN (w.plan, w.next_plan)))"
        ),
        in_column!("funding_requests", "reference"),
        in_column!("topup_requests", "reference"),
        in_column!("members", "team"),
        in_column!("recurring_grants", "name"),
        in_column!("topup_rules", "name"),
        in_column!("wallets", "wallet_id"),
        ") k GROUP BY 1 ORDER BY 1"
    )
);

/// The number of rows that keep the identifier, by table and column.
pub fn of(person: &Person<'_>) -> Result<Vec<(String, i64)>> {
    let found = KEPT.run(&person.values())?;
    (0..found.len())
        .map(|row| Ok((found.need(row, 0)?, found.need(row, 1)?)))
        .collect()
}
