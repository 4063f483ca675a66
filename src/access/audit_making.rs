//! New rows that have an id of their own, for the audit trail.

use crate::error::Result;
use crate::storage::plan::{Rows, Run, Value, statement};

statement!(
    PRICE,
    [UUIDOID],
    "SELECT jsonb_build_object(price_id, to_jsonb(t)) FROM wallet.prices t WHERE t.price_id = $1"
);
statement!(
    MARKUP,
    [UUIDOID],
    "SELECT jsonb_build_object(markup_id, to_jsonb(t)) FROM wallet.markups t WHERE t.markup_id = $1"
);
statement!(
    RATE,
    [UUIDOID],
    "SELECT jsonb_build_object(rate_id, to_jsonb(t)) FROM wallet.fx_rates t WHERE t.rate_id = $1"
);
statement!(
    VOUCHER,
    [UUIDOID],
    "SELECT jsonb_build_object(voucher_id, to_jsonb(t) - 'code_hash' - 'hash') FROM wallet.vouchers t WHERE t.voucher_id = $1"
);

/// The kind of a new row that has an id of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Making {
    /// A price.
    Price,
    /// A markup.
    Markup,
    /// An exchange rate.
    Rate,
    /// A voucher, without its code.
    Voucher,
}

impl Making {
    /// The new row.
    pub fn picture(self, id: [u8; 16]) -> Result<Rows> {
        let id = [Value::Uuid(id)];
        match self {
            Making::Price => PRICE.run(&id),
            Making::Markup => MARKUP.run(&id),
            Making::Rate => RATE.run(&id),
            Making::Voucher => VOUCHER.run(&id),
        }
    }
}
