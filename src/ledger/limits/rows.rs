//! Finds the limits of a wallet, and the default limits, whose wallet is `*`.

use crate::access::rights::ALL_WALLETS;
use crate::error::{Code, Error, Result, quoted};
use crate::limits::scope::{EACH, Scope};
use crate::limits::stored::{limit_query, row_of};
use crate::storage::plan::{Rows, Run, Value, statement};
use crate::storage::rows::{LimitRow, uuid_text};

statement!(
    /// In the order of `limit_subject`, so that no other index fits.
    FIND,
    [TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTOID],
    limit_query!(
        " AND scope = $2 AND subject = $3 AND period = $4 AND metric >= $5 AND metric <= $5 ORDER BY metric"
    )
);

statement!(
    /// In the order of the primary key.
    BY_ID,
    [TEXTOID, UUIDOID],
    limit_query!(" AND limit_id >= $2 AND limit_id <= $2 ORDER BY limit_id")
);

statement!(OF_WALLET, [TEXTOID], limit_query!(" ORDER BY limit_id"));

statement!(
    /// In the order of `limit_subject`, so that no other index fits.
    OF_SCOPE,
    [TEXTOID, TEXTOID],
    limit_query!(" AND scope = $2 ORDER BY subject, period, metric")
);

/// The four names that tell a limit from the others of its wallet.
pub struct Key<'a> {
    /// The scope, by name.
    pub scope: &'a str,
    /// The subject, as it is stored.
    pub subject: &'a str,
    /// The period, by name.
    pub period: &'a str,
    /// The metric, by name.
    pub metric: &'a str,
}

impl<'a> Key<'a> {
    /// The names of a limit.
    pub fn of(row: &'a LimitRow) -> Key<'a> {
        Key {
            scope: &row.scope,
            subject: &row.subject,
            period: &row.period,
            metric: &row.metric,
        }
    }
}

/// The limit with that key, dropped or not, as a row of a `limit_query`. None of the rows if there
/// is no such limit.
pub fn with_key(wallet: &str, key: &Key<'_>) -> Result<Rows> {
    FIND.run_in_order(&[
        Value::Text(wallet),
        Value::Text(key.scope),
        Value::Text(key.subject),
        Value::Text(key.period),
        Value::Text(key.metric),
    ])
}

/// The limits of a scope, period and metric that one on a named subject may replace.
pub fn possibly_replaced(wallet: &str, scope: &Scope, key: &Key<'_>) -> Result<Vec<LimitRow>> {
    let rows = match scope {
        Scope::Wallet => return Ok(Vec::new()),
        Scope::One(_) => {
            let subject = EACH;
            with_key(wallet, &Key { subject, ..*key })?
        }
        Scope::Several(_) => {
            OF_SCOPE.run_in_order(&[Value::Text(wallet), Value::Text(key.scope)])?
        }
    };
    (0..rows.len()).map(|row| row_of(&rows, row)).collect()
}

/// All limits of a wallet, under the snapshot of the running query.
pub fn of_wallet(wallet: &str) -> Result<Vec<LimitRow>> {
    let rows = OF_WALLET.read(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| row_of(&rows, row)).collect()
}

/// The limit with that id. The error 42704 unless the wallet has it.
pub fn find(wallet: &str, limit_id: [u8; 16]) -> Result<LimitRow> {
    match by_id(wallet, limit_id)? {
        Some(row) => Ok(row),
        None => Err(missing(wallet, limit_id)?),
    }
}

fn by_id(wallet: &str, limit_id: [u8; 16]) -> Result<Option<LimitRow>> {
    let rows = BY_ID.run_in_order(&[Value::Text(wallet), Value::Uuid(limit_id)])?;
    match rows.is_empty() || rows.need(0, 19)? {
        true => Ok(None),
        false => row_of(&rows, 0).map(Some),
    }
}

fn missing(wallet: &str, limit_id: [u8; 16]) -> Result<Error> {
    let id = uuid_text(limit_id);
    if wallet == ALL_WALLETS {
        let message = "there is no such default limit".to_owned();
        return Ok(Error::new(Code::ObjectNotFound, message)
            .detail(format!("There is no default limit {id}."))
            .hint("Pass a limit_id that set_limit() returned; default_limits shows them."));
    }
    let error = Error::new(
        Code::ObjectNotFound,
        format!("wallet {} has no such limit", quoted(wallet)),
    );
    Ok(match by_id(ALL_WALLETS, limit_id)? {
        Some(_) => error
            .detail(format!("Limit {id} is a default limit of all wallets."))
            .hint("Set a limit of the wallet with set_limit(): it takes the place of the default limit. To change all wallets, pass '*' as the wallet."),
        None => error
            .detail(format!("There is no limit {id}."))
            .hint("Pass a limit_id that set_limit() returned; limits_status shows them."),
    })
}
