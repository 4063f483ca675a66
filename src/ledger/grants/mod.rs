//! Grants: lots of credit with an expiry, a priority, paid or promotional.
//!
//! Every funding is a lot. Charges know nothing of lots: what was spent since lots were settled last
//! is what they have together less the balance, and it is spread in burn order ([`burn`]) when the next
//! grant event happens, under the wallet's row and all lanes ([`locked_lots`]). A plain funding comes last in
//! the order, so it is added without that.
//!
//! Time needs no worker: the wallet's rules know when the next grant ends, and the first call after
//! it books what is due ([`due`]).
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
pub mod scope;
pub mod terms;
mod usage_marks;
pub mod void;
