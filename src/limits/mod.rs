//! Spending limits: their rules, their periods, and the windows in which they count.

pub mod as_default;
pub mod defaults;
pub mod lane_windows;
pub mod last_window;
pub mod limit;
pub mod metric;
pub mod period;
pub mod scope;
pub mod slices;
pub mod stored;
pub mod surely;
pub mod warning;
pub mod window;
pub mod window_id;
