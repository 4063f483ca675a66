//! Access to the extension's tables, in two ways. With `pg` the only place of unsafe code.

pub mod canonical;
pub mod cursor;
pub mod direct;
pub mod entry_form;
pub mod entry_proof;
pub mod event_at;
mod giving_way;
pub mod hold_rows;
pub mod lock;
pub mod plan;
pub mod rows;
pub mod session;
pub mod spi;
pub mod store;
pub mod wallet_row;
pub mod window_holds;
