//! The balance: credits, and the balance locked as a whole.
pub mod chain;
pub mod credit;
pub mod locked;
