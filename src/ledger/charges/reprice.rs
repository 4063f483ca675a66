//! `reprice`: what the charges of a time would have cost with another price list.

use crate::error::Result;
use crate::ledger::charges::past_usage;
use crate::ledger::charges::past_usage::{How, Span};
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pricing::book::{MatchedPrices, require_list};

/// A charge and what it would have cost.
pub struct Repriced {
    /// The charge.
    pub entry_id: [u8; 16],
    /// Its model.
    pub model: String,
    /// What it cost.
    pub cost: Amount,
    /// What it would have cost; nothing where the list has no price for it.
    pub new_cost: Option<Amount>,
}

/// The charges by usage of a time, each priced as of when it was, at the exchange rate of that time: with the prices of the list that
/// is tried out or, without one, of the wallet's own.
pub fn reprice(wallet: &str, span: Span, list: Option<&str>) -> Result<Vec<Repriced>> {
    let rules = config::read(wallet)?;
    list.map_or(Ok(()), require_list)?;
    let mut repriced = Vec::new();
    past_usage::charges(wallet, span, |charge| {
        // What a charge that was booked without a price has been charged since belongs to that one.
        if charge.how == How::Late {
            return Ok(());
        }
        let provider = charge.usage.provider.as_deref();
        let matched = |model: &str| match list {
            Some(list) => MatchedPrices::tried_out(list, model, provider),
            None => MatchedPrices::of(&rules.price_list, model, provider),
        };
        let new_cost = charge.cost_by(matched, rules.currency)?;
        repriced.push(Repriced {
            entry_id: charge.entry_id,
            cost: charge.cost,
            new_cost,
            model: charge.model,
        });
        Ok(())
    })?;
    Ok(repriced)
}
