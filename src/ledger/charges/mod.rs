//! Charges: the request, its decision, its booking, its replay, and repricing.
pub mod charge;
pub mod decision;
pub mod headers;
pub mod job;
pub mod limit_take;
pub mod pass_on;
pub mod passed;
pub mod past_usage;
pub mod price_unpriced;
pub mod replay;
pub mod reprice;
pub mod request;
pub mod savings;
pub mod unpriced;
pub mod unread_usage;
pub mod window_queue;
