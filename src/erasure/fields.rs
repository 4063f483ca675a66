//! The rows with a person's identifier, table by table.
//!
//! A test compares this list with the catalog: a new column with texts is either here, or it is a
//! key or a name that cannot be changed (`kept.rs`), or it cannot name a person.

use crate::erasure::person::Person;
use crate::error::Result;
use crate::ledger::permit::{self, Permit};
use crate::storage::plan::{Run, Statement, statement};

/// The condition that a column has the identifier: `id` as a whole, `text` and `json` inside.
macro_rules! found {
    (id $column:literal) => {
        concat!("t.", $column, " = $1")
    };
    (text $column:literal) => {
        concat!(
            "(strpos(t.",
            $column,
            ", $1) > 0 OR strpos(t.",
            $column,
            ", $4) > 0) AND wallet.without_person(t.",
            $column,
            ", $1, $2, false) <> t.",
            $column
        )
    };
    (json $column:literal) => {
        concat!(
            "(strpos(t.",
            $column,
            "::text, $4) > 0 OR strpos(t.",
            $column,
            "::text, $5) > 0) AND wallet.without_person(t.",
            $column,
            "::text, $1, $2, true)::jsonb <> t.",
            $column
        )
    };
}

/// The column without the identifier.
macro_rules! erased {
    (id $column:literal) => {
        concat!(
            "CASE WHEN t.",
            $column,
            " = $1 THEN $2 ELSE t.",
            $column,
            " END"
        )
    };
    (text $column:literal) => {
        concat!("wallet.without_person(t.", $column, ", $1, $2, false)")
    };
    (json $column:literal) => {
        concat!(
            "wallet.without_person(t.",
            $column,
            "::text, $1, $2, true)::jsonb"
        )
    };
}

/// An UPDATE of the columns of a table. The further assignments apply to the same rows.
macro_rules! erase_in {
    ($table:literal, $kind:ident $column:literal $(, $kinds:ident $columns:literal)* $(; $further:literal)?) => {
        erase_in!(@where "($3::text[] IS NULL OR t.wallet_id = ANY ($3))",
                  $table, $kind $column $(, $kinds $columns)* $(; $further)?)
    };
    (@where $condition:literal,
     $table:literal, $kind:ident $column:literal $(, $kinds:ident $columns:literal)* $(; $further:literal)?) => {
        concat!(
            "UPDATE wallet.", $table, " t SET ", $column, " = ", erased!($kind $column),
            $(", ", $columns, " = ", erased!($kinds $columns),)*
            $(", ", $further,)?
            " WHERE ", $condition, " AND (", found!($kind $column),
            $(" OR ", found!($kinds $columns),)*
            ")"
        )
    };
}

/// An UPDATE of actor and metadata of a table whose rows belong to no wallet. An erasure in one
/// wallet leaves them.
macro_rules! erase_in_all {
    ($table:literal) => {
        erase_in!(@where "$3::text[] IS NULL", $table, text "actor", json "metadata")
    };
}

/// Declares the statements, and the list of them with their tables.
macro_rules! tables {
    ($($name:ident $table:literal: $sql:expr;)*) => {
        $(statement!($name, [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID], $sql);)*

        /// Every statement with its table.
        const TABLES: &[(&str, &std::thread::LocalKey<Statement>)] = &[$(($table, &$name)),*];
    };
}

tables! {
    WALLETS "wallets": erase_in!("wallets", text "status_reason", json "metadata");
    CARRIED "carried_forward": erase_in!("carried_forward", text "actor");
    UNREAD "unread_paths": erase_in!("unread_paths", json "example");
    FUNDINGS "funding_requests": erase_in!("funding_requests", text "reason", text "actor", json "metadata");
    BONUSES "bonus_rules": erase_in!("bonus_rules", text "actor", json "metadata");
    OUTBOX "outbox": erase_in!("outbox", json "payload", text "last_error");
    RECURRING "recurring_grants": erase_in!("recurring_grants", text "actor", json "metadata");
    TOPUP_RULES "topup_rules": erase_in!("topup_rules", json "rule", text "refused");
    TOPUPS "topup_requests": erase_in!("topup_requests", text "reason");
    // Nobody can act as the pseudonym, which reports show.
    MEMBERS "members": erase_in!("members", id "user_id"; "blocked = true");
    // The secret of a person who is gone spends nothing.
    KEYS "api_keys": erase_in!(
        "api_keys", id "user_id", text "name";
        "revoked_at = CASE WHEN t.user_id = $1 THEN coalesce(t.revoked_at, statement_timestamp()) ELSE t.revoked_at END,
         allowed_ips = CASE WHEN t.user_id = $1 THEN NULL ELSE t.allowed_ips END,
         devices = CASE WHEN t.user_id = $1 THEN NULL ELSE t.devices END"
    );
    MODEL_RULES "model_rules": erase_in!(
        @where "($3::text[] IS NULL OR t.wallet_id = ANY ($3)) AND t.scope = 'user'", "model_rules", id "subject"
    );
    HOLDS "reservations": erase_in!(
        "reservations", id "user_id", text "actor", text "reason", json "tags", json "usage", json "metadata";
        "fingerprint = NULL"
    );
    ROLLUPS "usage_rollups": erase_in!("usage_rollups", id "user_id");
    AUDIT "audit_log": erase_in!(
        "audit_log", text "subject", text "actor", json "before", json "after", json "metadata";
        "client_address = CASE WHEN t.actor = $1 THEN NULL ELSE t.client_address END"
    );
    // The fingerprint of a call that names users is a hash of their names.
    REQUESTS "requests": erase_in!("requests", json "result"; "fingerprint = NULL");
    DESTINATIONS "destinations": erase_in!("destinations", text "address", text "actor", json "metadata");
    DELIVERIES "deliveries": erase_in!("deliveries", text "last_error");
    PLANS "plan_versions": erase_in_all!("plan_versions");
    PRICES "prices": erase_in_all!("prices");
    MARKUPS "markups": erase_in_all!("markups");
    RATES "fx_rates": erase_in_all!("fx_rates");
    VOUCHERS "vouchers": erase_in_all!("vouchers");
    MAPPINGS "usage_mappings": erase_in_all!("usage_mappings");
    METRICS "metric_weights": erase_in_all!("metric_weights");
}

/// Erases the identifier in the tables of this list. Returns the number of changed rows by table.
pub fn erase(person: &Person<'_>) -> Result<Vec<(&'static str, i64)>> {
    permit::with(Permit::Erasure, || {
        TABLES
            .iter()
            .map(|(table, statement)| Ok((*table, statement.run(&person.values())?.len() as i64)))
            .collect()
    })
}
