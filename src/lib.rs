//! `wallet`: a prepaid, pay-per-use wallet for AI services inside PostgreSQL.
use pgrx::prelude::*;

::pgrx::pg_module_magic!();

extension_sql!("CREATE SCHEMA wallet;", name = "bootstrap", bootstrap);

#[cfg(test)]
pub mod pg_test {
    pub fn setup(_options: Vec<&str>) {}
    pub fn postgresql_conf_options() -> Vec<&'static str> {
        vec![]
    }
}
