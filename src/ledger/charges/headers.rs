//! The usage headers of an entry.

use crate::attribution::StoredUse;
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::grants::asof;
use crate::ledger::holds::expired::Expired;
use crate::ledger::wallets::config::{self, WalletConfig};
use crate::limits::limit::{Applied, Mode, Spending, applicable};
use crate::limits::metric::Metric;
use crate::limits::window;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::pricing::rate::tokens;
use crate::pricing::usage::Usage;
use crate::pricing::{lines, stored};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

statement!(
    ENTRY,
    [TEXTOID, UUIDOID],
    "SELECT amount, model, lines, user_id, usage, team, service, key_id, tags FROM wallet.ledger_all
      WHERE wallet_id = $1 AND entry_id = $2"
);

/// The entry's cost, tokens and model, and the current balance and tightest limit of the entry's
/// user. A header without a value is left out.
pub fn headers(wallet: &str, entry_id: [u8; 16]) -> Result<Vec<(String, String)>> {
    let rules = config::read(wallet)?;
    let rows = ENTRY.run(&[Value::Text(wallet), Value::Uuid(entry_id)])?;
    if rows.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such entry", quoted(wallet)),
        )
        .detail(format!("There is no entry {}.", uuid_text(entry_id)))
        .hint("Pass the entry_id that charge() returned."));
    }
    let mut headers = vec![
        ("X-Usage-Cost", rows.amount(0, 0)?.negated().to_string()),
        ("X-Usage-Currency", rules.currency.to_string()),
    ];
    if let Some(bytes) = rows.get::<Vec<u8>>(0, 2) {
        let lines = stored::read(&bytes)?;
        let total = match rows.datum(0, 4) {
            // An entry has no lines if no meter was used or none had a price.
            Some(usage) if lines.is_empty() => {
                tokens(&Usage::of_entry(Jsonb(usage).reread("usage")?)?)
            }
            _ => lines::total_tokens(
                lines
                    .iter()
                    .map(|line| (line.meter.as_str(), line.quantity)),
            ),
        };
        headers.push(("X-Total-Tokens", total.to_string()));
    }
    if let Some(model) = rows.get::<String>(0, 1) {
        headers.push(("X-Model", model));
    }
    let balance = asof::balance(wallet, &rules)?;
    headers.push(("X-Wallet-Balance", balance.to_string()));
    let text = |column: i32| rows.get::<String>(0, column);
    let stored = StoredUse {
        model: text(1),
        user_id: text(3),
        team: text(5),
        service: text(6),
        key_id: rows.get(0, 7),
        tags: rows.datum(0, 8).map(|tags| Document::of(Jsonb(tags))),
        ..StoredUse::default()
    };
    let spending = Spending {
        attribution: stored.attribution(),
        context: stored.context(),
        ..Spending::default()
    };
    let remaining = least_remaining(wallet, &rules, &spending)?;
    if let Some(remaining) = remaining {
        headers.push(("X-Limit-Remaining", remaining.to_string()));
    }
    Ok(headers
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect())
}

/// The least that is left of the hard limits on money that apply. `None` if none applies.
fn least_remaining(
    wallet: &str,
    rules: &WalletConfig,
    spending: &Spending<'_>,
) -> Result<Option<Amount>> {
    let mut remaining: Option<Amount> = None;
    let applied = applicable(&rules.limits, spending, clock::now())?.counted;
    let in_money = |applied: &Applied<'_>| {
        applied.limit.metric == Metric::Amount && applied.limit.mode != Mode::Soft
    };
    let mut applied: Vec<Applied<'_>> = applied.into_iter().filter(in_money).collect();
    window::add_carries(wallet, &mut applied)?;
    let mut expired = Expired::look(wallet, clock::now())?;
    expired.ask_in(&applied)?;
    for applied in applied {
        let freed = expired.of(applied.window_id)?;
        let left = window::status_with(wallet, applied, freed)?.remaining();
        remaining = Some(remaining.map_or(left, |least| least.min(left)));
    }
    Ok(remaining)
}
