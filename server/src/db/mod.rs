//! PostgreSQL: connections of three roles, the transaction of a tenant's request, and what can go
//! wrong with them.

mod conninfo;
mod error;
mod pool;
mod retry;
mod roles;
mod tenant;
mod tls;
mod worker;

pub use error::{DbError, Refusal};
pub use pool::Connections;
pub use roles::{Finding, look_at_page, look_at_tenants, look_at_worker};
pub use tenant::{Call, Tenants};
pub use worker::{Figure, WalletFigure, Worker};
