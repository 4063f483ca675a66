//! Thin safe wrappers around PostgreSQL; nearly all unsafe code of the extension is here.

pub mod canonical;
pub mod cards;
pub mod clock;
pub mod cursor;
pub mod direct;
pub mod event_at;
mod giving_way;
pub mod hold_rows;
pub mod invalidation;
pub mod jsonb;
pub mod jsonb_parts;
pub mod jsonb_rows;
pub mod lock;
pub mod numeric;
pub mod plan;
mod raw;
pub mod report;
pub mod row;
pub mod rows;
pub mod session;
pub mod spi;
pub mod store;
pub mod subtransaction;
mod varlena;
pub mod version;
pub mod wallet_row;
pub mod writable;
