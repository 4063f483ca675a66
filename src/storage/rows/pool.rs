//! Money that moves between a child and the parent that pays for it.

use crate::storage::rows::Call;

/// The share of a wallet whose parent pays for its use.
pub const POOL: &str = "pool";

impl Call {
    /// Whether the entry lends money for a use of a child.
    pub fn is_lent(self) -> bool {
        matches!(self, Call::Lend | Call::LendSettled | Call::LendPrice)
    }

    /// Whether the entry moves money between a child and its parent.
    pub fn is_pooled(self) -> bool {
        matches!(
            self,
            Call::Draw | Call::Lend | Call::LendSettled | Call::LendPrice | Call::Return
        )
    }
}
