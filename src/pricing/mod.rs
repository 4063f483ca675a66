//! Prices: turns usage into exact price lines.

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
pub mod recorded;
pub mod reported;
pub mod select;
pub mod set_price;
pub mod stored;
pub mod unknown;
pub mod unread;
pub mod usage;
pub mod visible_lists;
pub mod wallet_pricing;
