//! Which price lists a caller may see: the default list, those of the wallets that it may read, and
//! all for a role that may read all wallets. An administrator of one wallet does not see the prices
//! that others have negotiated.

use crate::access::rights::{Level, reach};
use crate::error::Result;
use crate::pricing::book::{DEFAULT_LIST, no_list, require_list};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::Session;

statement!(
    LISTS,
    [TEXTARRAYOID],
    "SELECT DISTINCT w.price_list FROM unnest($1) u (id) JOIN wallet.wallets w ON w.wallet_id = u.id"
);

/// The lists that the caller may see; `None` means all.
pub fn visible(session: &Session) -> Result<Option<Vec<String>>> {
    let Some(wallets) = reach(session, Level::Reader)? else {
        return Ok(None);
    };
    let rows = LISTS.run(&[Value::OptTexts(Some(&wallets))])?;
    let lists = (0..rows.len()).map(|row| rows.need(row, 0));
    let mut lists: Vec<String> = lists.collect::<Result<_>>()?;
    // Without a grant, or with one that needs a claim, the caller sees nothing at all.
    if !wallets.is_empty() {
        lists.push(DEFAULT_LIST.to_owned());
    }
    Ok(Some(lists))
}

/// The error 42704 unless the list exists and the caller may see it.
pub fn require_visible(session: &Session, list: &str) -> Result<()> {
    match visible(session)? {
        Some(lists) if !lists.iter().any(|one| one == list) => Err(no_list(list)),
        _ => require_list(list),
    }
}
