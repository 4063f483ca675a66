//! Grants: lots of credit with an expiry and a priority, paid or promotional.
//!
//! Every funding is a lot. Charges do not read lots. The spending since the lots were last settled
//! is their total minus the balance. The next grant event allocates it in burn order ([`burn`]),
//! with the wallet's row and all lanes locked ([`locked_lots`]). A plain funding comes last in burn
//! order, so it is added without allocating first.
//!
//! Expiry needs no worker. The wallet's rules contain the time when the next grant ends, and the
//! first call after it books what is due ([`due`]).
//!
//! Lots with a scope are kept apart, because not every charge may use them ([`pools`]).

pub mod asof;
pub mod burn;
mod burns;
mod catching_up;
pub mod course;
pub mod debts;
pub mod due;
mod give_back;
pub mod kept;
pub mod locked_lots;
pub mod lot_end;
pub mod lots;
pub mod pools;
pub mod recurrence;
pub mod recurring;
pub mod recurring_args;
pub mod scope;
pub mod terms;
mod usage_marks;
pub mod void;
