//! The plan of a wallet, as its row has it.

use crate::pg::clock::Timestamp;

/// The plan of a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRow {
    /// The name of the plan; `None` if the wallet has none yet.
    pub name: Option<String>,
    /// The version of the plan that the wallet has taken over; `None` if none.
    pub version: Option<i64>,
    /// When the plan that the wallet is assigned begins; `None` if it is assigned no other one.
    pub next_at: Option<Timestamp>,
}

impl PlanRow {
    /// The columns of a wallet. `None` if it has no plan and is assigned none.
    pub fn of(
        name: Option<String>,
        version: Option<i64>,
        next_at: Option<Timestamp>,
    ) -> Option<Box<PlanRow>> {
        (name.is_some() || next_at.is_some()).then(|| {
            Box::new(PlanRow {
                name,
                version,
                next_at,
            })
        })
    }
}
