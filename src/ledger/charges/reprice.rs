//! `reprice`: the cost of past charges under another price list.

use crate::error::Result;
use crate::ledger::charges::past_usage;
use crate::ledger::charges::past_usage::{How, Span};
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pricing::book::MatchedPrices;

/// A charge and its cost under the other price list.
pub struct Repriced {
    /// The charge's entry.
    pub entry_id: [u8; 16],
    /// The model of the charge.
    pub model: String,
    /// The cost that was booked.
    pub cost: Amount,
    /// The cost under the other list. `None` if the list has no price for the charge.
    pub new_cost: Option<Amount>,
}

/// Reprices the charges by usage of a span. Each is priced as of its own time, at the exchange rate
/// of that time. The prices come from `list`, or from the wallet's own list without one.
pub fn reprice(wallet: &str, span: Span, list: Option<&str>) -> Result<Vec<Repriced>> {
    let rules = config::read(wallet)?;
    let mut repriced = Vec::new();
    past_usage::charges(wallet, span, |charge| {
        // A late price is part of the cost of the charge that it prices.
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
