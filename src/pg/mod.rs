//! PostgreSQL's values in their binary form, its errors, its time and the backend's state.
//!
//! This module knows no table. Unsafe code that does not access tables is here.
pub mod cards;
pub mod citus;
pub mod clock;
pub mod document;
pub mod invalidation;
pub mod jsonb;
pub mod jsonb_parts;
pub mod jsonb_rows;
pub mod numeric;
pub mod raise;
pub mod raw;
pub mod report;
pub mod role;
pub mod row;
pub mod secret_setting;
pub mod sql_types;
pub mod subtransaction;
pub mod varlena;
pub mod version;
pub mod writable;
