//! Spending limits: their rules, their periods, and the windows in which they count.

pub mod lane_windows;
pub mod limit;
pub mod metric;
pub mod period;
pub mod scope;
pub mod slices;
pub mod warning;
pub mod window;
