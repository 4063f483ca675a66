//! Access to the hot tables through SPI, with the same results as
//! [`direct`](crate::storage::direct).

mod lanes;
mod ledger;
mod prices;
mod rules;
mod thresholds;
mod unread;
mod windows;

pub use lanes::{
    credited_elsewhere, lock_lane, new_lane, read_lane, read_lanes, try_lane, write_lane,
};
pub use ledger::{append, taken_keys};
pub use prices::{read_mappings, read_markups, read_pattern_prices, read_prices, read_rates};
pub use rules::read_rules;
pub use thresholds::read_thresholds;
pub use unread::is_noted;
pub use windows::{
    change_window, give_back, lock_window, open_window, read_counted, read_window, release_window,
    set_levels, take, write_window,
};
