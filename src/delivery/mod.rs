//! The delivery of events to webhooks, chat services and e-mail addresses. Other programs make the
//! requests; this part says what is to be delivered, and records what became of it.

pub mod destinations;
pub mod queue;
pub mod target;
pub mod usage;
