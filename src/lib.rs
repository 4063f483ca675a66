//! `wallet`: a prepaid, pay-per-use wallet for AI services inside PostgreSQL.
//!
//! Charge, price, limits, ledger line and alert commit in one transaction, together with the
//! application's own rows. Folders, each using only those below it: `reporting`, `alerts`, `ledger`,
//! `allowance`, `pricing`, `limits`, `access`, `idempotency`, `storage`, and single files such as `money`
//! and `error` at the bottom. `tests/tidy` has the order, and what does not keep to it yet.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

use pgrx::prelude::*;

mod access;
mod alerts;
mod allowance;
mod args;
mod cards;
mod currency;
mod error;
mod idempotency;
mod ledger;
mod limits;
mod money;
mod outbox;
mod pattern;
mod pg;
mod pricing;
mod reporting;
mod storage;

#[cfg(any(test, feature = "pg_test"))]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // Tests fail by panicking.
mod tests;

::pgrx::pg_module_magic!();

/// Tells pgrx the schema of the functions. Its `CREATE SCHEMA IF NOT EXISTS` comes after the plain
/// one of `bootstrap.sql`, which fails when somebody else has made the schema.
#[pg_schema]
mod wallet {}

// The order of the installation script. Functions come where what they return exists.
extension_sql_file!("../sql/schema/bootstrap.sql", name = "bootstrap", bootstrap);
extension_sql_file!(
    "../sql/schema/wallets.sql",
    name = "wallets",
    requires = ["bootstrap"]
);
extension_sql_file!(
    "../sql/schema/ledger.sql",
    name = "ledger",
    requires = ["wallets"]
);
extension_sql_file!(
    "../sql/schema/archive.sql",
    name = "archive",
    requires = ["ledger"]
);
extension_sql_file!(
    "../sql/schema/grants.sql",
    name = "grants",
    requires = ["archive"]
);
extension_sql_file!(
    "../sql/schema/topups.sql",
    name = "topups",
    requires = ["ledger"]
);
extension_sql_file!(
    "../sql/schema/prices.sql",
    name = "prices",
    requires = ["topups", "grants"]
);
extension_sql_file!(
    "../sql/schema/limits.sql",
    name = "limits",
    requires = ["prices"]
);
extension_sql_file!(
    "../sql/schema/holds.sql",
    name = "holds",
    requires = ["limits"]
);
extension_sql_file!(
    "../sql/schema/results.sql",
    name = "results",
    requires = ["holds"]
);
extension_sql_file!(
    "../sql/schema/access.sql",
    name = "access",
    requires = ["results"]
);
extension_sql_file!(
    "../sql/schema/views.sql",
    name = "views",
    requires = [
        "access",
        ledger::api::entry_lines,
        ledger::api::entry_usage,
        ledger::due_api::due_entries,
        ledger::due_api::due_lots,
        ledger::due_api::due_balance,
        ledger::due_api::expired_held,
        ledger::limits::view::limits_now,
    ]
);
extension_sql_file!(
    "../sql/schema/triggers.sql",
    name = "triggers",
    requires = ["views"]
);
extension_sql_file!(
    "../sql/schema/batch.sql",
    name = "batch",
    requires = [
        "triggers",
        ledger::batch_api::charge_batch,
        ledger::batch_api::charge_batch_over_wallets
    ]
);
extension_sql_file!(
    "../sql/schema/members.sql",
    name = "members",
    requires = [
        "batch",
        access::keys_api::write_key,
        access::keys_api::write_ip_rules,
        access::keys_api::set_devices,
        access::keys_api::rotate_key,
        access::keys_api::revoke_key,
        access::members_api::set_member,
        access::members_api::drop_member,
        access::members_api::set_model_rules,
    ]
);
extension_sql_file!(
    "../sql/schema/audit.sql",
    name = "audit",
    requires = ["members"]
);
extension_sql_file!(
    "../sql/schema/usage.sql",
    name = "usage",
    requires = [
        "audit",
        ledger::api::entry_lines,
        ledger::api::entry_tokens,
        reporting::api::readable_wallet
    ]
);
extension_sql_file!(
    "../sql/schema/reports.sql",
    name = "reports",
    requires = [
        "usage",
        reporting::api::readable_wallet,
        reporting::api::prune_windows,
        reporting::api::sweep_expired,
        reporting::currencies::balances_in,
        reporting::currencies::exchange_rates,
        reporting::currencies::exchanged,
        reporting::forecast::forecast,
        reporting::rollups::roll_up,
        reporting::run_out::set_run_out_alert,
        reporting::run_out::announce_run_outs,
        ledger::prices_api::compare_charges,
    ]
);
extension_sql_file!(
    "../sql/schema/upkeep.sql",
    name = "upkeep",
    requires = ["reports"]
);
extension_sql_file!(
    "../sql/schema/statement_html.sql",
    name = "statement_html",
    requires = ["upkeep"]
);
extension_sql_file!(
    "../sql/schema/proof.sql",
    name = "proof",
    requires = ["statement_html", ledger::proof_api::recount]
);
// Behind the last table.
extension_sql_file!(
    "../sql/schema/security.sql",
    name = "security",
    requires = ["proof", access::api::readable_wallets]
);
extension_sql_file!(
    "../sql/schema/dump.sql",
    name = "dump",
    requires = ["security"]
);
extension_sql_file!("../sql/schema/finalize.sql", name = "finalize", finalize);

/// Called when a backend loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::invalidation::register();
    storage::store::register();
    outbox::register();
    pg::cards::register();
    storage::event_at::register();
}

/// Hooks of the `#[pg_test]` framework.
#[cfg(test)]
pub mod pg_test {
    /// Runs once before the tests.
    pub fn setup(_options: Vec<&str>) {}

    /// Settings of the test server.
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
