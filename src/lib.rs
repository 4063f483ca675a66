//! `wallet`: a prepaid, pay-per-use wallet for AI services inside PostgreSQL.
//!
//! Charge, price, limits, ledger entry and event commit in one transaction, together with the
//! application's own rows. From top to bottom, each folder or file using only those below it: `api`
//! (the SQL functions), `reporting`, `plans`, `delivery`, `alerts`, `ledger`, `allowance`,
//! `pricing`, `limits`, `access`, `outbox`, `idempotency`, `args`, `storage` (the tables), `pg`
//! (values, errors and state of the backend), and pure files such as `money` and `error`.
//! `tests/tidy/main.rs` checks the order.
#![deny(missing_docs, unsafe_op_in_unsafe_fn)]

use pgrx::prelude::*;

mod access;
mod alerts;
mod allowance;
mod api;
mod args;
mod attribution;
mod cards;
mod currency;
mod delivery;
mod erasure;
mod error;
mod idempotency;
mod items;
mod ledger;
mod limits;
mod money;
mod outbox;
mod pattern;
mod pg;
mod plans;
mod pricing;
mod reporting;
mod storage;

#[cfg(any(test, feature = "pg_test"))]
#[allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)] // Tests fail by panicking.
mod tests;

::pgrx::pg_module_magic!();

/// Tells pgrx the schema of the functions. Its `CREATE SCHEMA IF NOT EXISTS` comes after the plain
/// `CREATE SCHEMA` of `bootstrap.sql`, which fails if another user has already created the schema.
#[pg_schema]
mod wallet {}

// The order of the installation script. Functions come after the types that they return.
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
    "../sql/schema/entry_form.sql",
    name = "entry_form",
    requires = ["archive"]
);
extension_sql_file!(
    "../sql/schema/grants.sql",
    name = "grants",
    requires = ["entry_form"]
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
    "../sql/schema/metrics.sql",
    name = "metrics",
    requires = ["limits"]
);
extension_sql_file!(
    "../sql/schema/holds.sql",
    name = "holds",
    requires = ["metrics"]
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
        api::charges::entry_lines,
        api::charges::entry_usage,
        api::due::due_entries,
        api::due::due_lots,
        api::due::due_balance,
        api::due::expired_held,
        api::limits_view::limits_now,
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
        api::charge_batch::charge_batch,
        api::charge_batch::charge_batch_over_wallets
    ]
);
extension_sql_file!(
    "../sql/schema/members.sql",
    name = "members",
    requires = [
        "batch",
        api::keys::write_key,
        api::keys::write_ip_rules,
        api::keys::set_devices,
        api::keys::rotate_key,
        api::keys::revoke_key,
        api::keys::create_keys,
        api::members::set_member,
        api::members::set_members,
        api::members::drop_member,
        api::members::set_model_rules,
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
        api::charges::entry_lines,
        api::charges::entry_tokens,
        api::reports::readable_wallet
    ]
);
extension_sql_file!(
    "../sql/schema/transactions.sql",
    name = "transactions",
    requires = ["usage"]
);
extension_sql_file!(
    "../sql/schema/changes.sql",
    name = "changes",
    requires = ["transactions", api::reports::reported_wallets]
);
extension_sql_file!(
    "../sql/schema/currencies.sql",
    name = "currencies",
    requires = [
        "changes",
        "usage",
        api::currencies::balances_in,
        api::currencies::balances_at,
        api::currencies::exchange_rates,
        api::currencies::exchanged,
    ]
);
extension_sql_file!(
    "../sql/schema/usage_groups.sql",
    name = "usage_groups",
    requires = ["currencies", api::reports::reported_wallets]
);
extension_sql_file!(
    "../sql/schema/usage_by.sql",
    name = "usage_by",
    requires = ["usage_groups", api::reports::readable_wallet]
);
extension_sql_file!(
    "../sql/schema/tree.sql",
    name = "tree",
    requires = ["usage_by"]
);
extension_sql_file!(
    "../sql/schema/chargeback.sql",
    name = "chargeback",
    requires = ["tree"]
);
extension_sql_file!(
    "../sql/schema/journal_summary.sql",
    name = "journal_summary",
    requires = ["chargeback"]
);
extension_sql_file!(
    "../sql/schema/balances_at.sql",
    name = "balances_at",
    requires = ["journal_summary"]
);
extension_sql_file!(
    "../sql/schema/statement.sql",
    name = "statement",
    requires = ["balances_at"]
);
extension_sql_file!(
    "../sql/schema/forecast.sql",
    name = "forecast",
    requires = [
        "statement",
        api::forecast::forecast,
        api::run_out::set_run_out_alert,
        api::run_out::announce_run_outs,
    ]
);
extension_sql_file!(
    "../sql/schema/savings.sql",
    name = "savings",
    requires = ["forecast", api::repricing::compare_charges]
);
extension_sql_file!(
    "../sql/schema/report.sql",
    name = "report",
    requires = ["savings"]
);
extension_sql_file!(
    "../sql/schema/focus.sql",
    name = "focus",
    requires = ["report"]
);
extension_sql_file!(
    "../sql/schema/retention.sql",
    name = "retention",
    requires = ["focus"]
);
extension_sql_file!(
    "../sql/schema/periods.sql",
    name = "periods",
    requires = ["retention"]
);
extension_sql_file!(
    "../sql/schema/upkeep.sql",
    name = "upkeep",
    requires = [
        "periods",
        api::retention::drop_old,
        api::reports::prune_windows,
        api::reports::sweep_expired,
        api::rollups::roll_up,
    ]
);
extension_sql_file!(
    "../sql/schema/statement_html.sql",
    name = "statement_html",
    requires = ["upkeep"]
);
extension_sql_file!(
    "../sql/schema/proof.sql",
    name = "proof",
    requires = ["statement_html", api::proof::recount]
);
extension_sql_file!(
    "../sql/schema/destinations.sql",
    name = "destinations",
    requires = ["proof"]
);
extension_sql_file!(
    "../sql/schema/admin.sql",
    name = "admin",
    requires = ["destinations"]
);
extension_sql_file!(
    "../sql/schema/plans.sql",
    name = "plans",
    requires = ["admin", api::plans::rules_of]
);
// After the last table.
extension_sql_file!(
    "../sql/schema/security.sql",
    name = "security",
    requires = [
        "plans",
        api::access::readable_wallets,
        api::access::readable_price_lists,
    ]
);
extension_sql_file!(
    "../sql/schema/dump.sql",
    name = "dump",
    requires = ["security"]
);
extension_sql_file!("../sql/schema/finalize.sql", name = "finalize", finalize);

/// PostgreSQL calls it when a backend loads the library.
#[pg_guard]
pub extern "C-unwind" fn _PG_init() {
    pg::invalidation::register();
    pg::role::register();
    pg::secret_setting::register();
    access::claims::register();
    storage::store::register();
    outbox::register();
    pg::cards::register();
    storage::event_at::register();
    plans::take_over::register();
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
