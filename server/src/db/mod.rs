//! PostgreSQL: connections of three roles, the transaction of a tenant's request, and what can go
//! wrong with them.

mod conninfo;
mod deliveries;
mod error;
mod listen;
mod maintenance;
mod payments;
mod pool;
mod retry;
mod roles;
mod tenant;
mod tls;
mod worker;

pub use deliveries::{ClaimedDelivery, Failure};
pub use error::{DbError, Refusal};
pub use listen::Listener;
pub use payments::{Booking, ClaimedTopup, PaymentLedger};
pub use pool::Connections;
pub use roles::{Finding, look_at_page, look_at_tenants, look_at_worker};
pub use tenant::{Call, Tenants};
pub use tls::authorities;
pub use worker::{Figure, WalletFigure, Worker};
