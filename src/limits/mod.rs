//! Spending limits: periods, rules, and the windows in which they count.

pub mod limit;
pub mod period;
pub mod window;
