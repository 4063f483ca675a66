//! The rows with a person's identifier, table by table.
//!
//! A test compares this list with the catalog: a new column with texts is either here, or it is a
//! key or a name that cannot be changed (`kept.rs`), or it cannot name a person.

use crate::erasure::person::Person;
use crate::error::Result;
use crate::ledger::permit::{self, Permit};
use crate::storage::plan::{Run, Statement, statement};

/// The condition that a column has the identifier: `id` as a whole, the others inside, by the form
/// of the text or document.
macro_rules! found {
    (id $column:literal) => {
        concat!("t.", $column, " = $1")
    };
    (name $column:literal) => {
        found!(@text $column, "name")
    };
    (text $column:literal) => {
        found!(@text $column, "text")
    };
    (@text $column:literal, $form:literal) => {
        concat!(
            "(strpos(t.",
            $column,
            ", $1) > 0 OR strpos(t.",
            $column,
            ", $4) > 0) AND wallet.without_person(t.",
            $column,
            ", $1, $2, '",
            $form,
            "') <> t.",
            $column
        )
    };
    ($form:ident $column:literal) => {
        concat!(
            "(strpos(t.",
            $column,
            "::text, $4) > 0 OR strpos(t.",
            $column,
            "::text, $5) > 0) AND wallet.without_person(t.",
            $column,
            "::text, $1, $2, '",
            stringify!($form),
            "')::jsonb <> t.",
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
    (name $column:literal) => {
        concat!("wallet.without_person(t.", $column, ", $1, $2, 'name')")
    };
    (text $column:literal) => {
        concat!("wallet.without_person(t.", $column, ", $1, $2, 'text')")
    };
    ($form:ident $column:literal) => {
        concat!(
            "wallet.without_person(t.",
            $column,
            "::text, $1, $2, '",
            stringify!($form),
            "')::jsonb"
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
        erase_in!(@where "$3::text[] IS NULL", $table, name "actor", metadata "metadata")
    };
}

/// Declares the statements, and the list of them with their tables.
macro_rules! tables {
    ($($name:ident $table:literal: $sql:expr;)*) => {
        $(statement!($name, [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTOID, TEXTOID], concat!($sql));)*

        /// Every statement with its table.
        const TABLES: &[(&str, &std::thread::LocalKey<Statement>)] = &[$(($table, &$name)),*];
    };
}

tables! {
    WALLETS "wallets": erase_in!("wallets", text "status_reason", metadata "metadata");
    CARRIED "carried_forward": erase_in!("carried_forward", name "actor");
    UNREAD "unread_paths": erase_in!("unread_paths", document "example");
    FUNDINGS "funding_requests": erase_in!("funding_requests", text "reason", name "actor", metadata "metadata");
    BONUSES "bonus_rules": erase_in!("bonus_rules", name "actor", metadata "metadata");
    PERIODS "closed_periods": erase_in!("closed_periods", name "actor", metadata "metadata");
    OUTBOX "outbox": erase_in!("outbox", document "payload", text "last_error");
    RECURRING "recurring_grants": erase_in!("recurring_grants", name "actor", metadata "metadata");
    TOPUP_RULES "topup_rules": erase_in!("topup_rules", document "rule", text "refused");
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
        "reservations", id "user_id", name "actor", text "reason", tags "tags", document "usage", metadata "metadata";
        "fingerprint = NULL"
    );
    ROLLUPS "usage_rollups": erase_in!("usage_rollups", id "user_id");
    AUDIT "audit_log": erase_in!(
        "audit_log", text "subject", name "actor", document "before", document "after", metadata "metadata";
        "client_address = CASE WHEN t.actor = $1 THEN NULL ELSE t.client_address END"
    );
    // The fingerprint of a call that names users is a hash of their names.
    REQUESTS "requests": erase_in!("requests", document "result"; "fingerprint = NULL");
    DESTINATIONS "destinations": erase_in!("destinations", text "address", name "actor", metadata "metadata");
    DELIVERIES "deliveries": erase_in!("deliveries", text "last_error");
    PLANS "plan_versions": erase_in!(
        @where "$3::text[] IS NULL", "plan_versions", name "actor", metadata "metadata", definition "definition"
    );
    // The mark of a rule on a person has the rule's name.
    PLAN_RULES "plan_rules": "UPDATE wallet.plan_rules t SET name = 'user ' || $2
          WHERE ($3::text[] IS NULL OR t.wallet_id = ANY ($3)) AND t.kind = 'model_rule' AND t.name = 'user ' || $1
            AND num_nonnulls($4, $5) = 2";
    // The names of the shares are values of the tag.
    SHARES "chargeback_rules": "UPDATE wallet.chargeback_rules t SET shares = n.shares
           FROM (SELECT o.wallet_id, o.dimension, o.effective_from,
                        wallet.without_person(jsonb_build_object(substr(o.dimension, 5), o.shares)::text, $1, $2, 'shares')::jsonb
                            -> substr(o.dimension, 5) AS shares
                   FROM wallet.chargeback_rules o
                  WHERE ($3::text[] IS NULL OR o.wallet_id = ANY ($3)) AND o.dimension LIKE 'tag:%'
                    AND (strpos(o.shares::text, $4) > 0 OR strpos(o.shares::text, $5) > 0)
                 OFFSET 0) n
          WHERE t.wallet_id = n.wallet_id AND t.dimension = n.dimension AND t.effective_from = n.effective_from
            AND t.shares <> n.shares";
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
