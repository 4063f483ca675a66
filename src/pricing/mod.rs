//! Prices: usage in, exact lines out.

pub mod api;
pub mod book;
pub mod chains;
pub mod compare;
pub mod conditions;
pub mod exchange;
pub mod import;
pub mod lines;
pub mod lists;
pub mod markup;
pub mod normalize;
pub mod rate;
pub mod rates;
pub mod rates_api;
pub mod reported;
pub mod select;
pub mod stored;
pub mod unknown;
pub mod unread;
pub mod usage;
