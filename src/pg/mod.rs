//! PostgreSQL as Rust sees it: values in their binary form, errors, time and the backend's state.
//!
//! Nothing here knows a table. Unsafe code that is not table access is here.
pub mod cards;
pub mod clock;
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
pub mod subtransaction;
pub mod varlena;
pub mod version;
pub mod writable;
