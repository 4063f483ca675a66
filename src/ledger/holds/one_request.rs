//! Limits on a single request, for the settlements of a hold, which are one request together.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::charges::job::Job;
use crate::ledger::holds::expiry_job::estimated;
use crate::ledger::holds::row::Hold;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::Applied;
use crate::limits::metric::Metric;
use crate::limits::warning::{self, Warning};
use crate::limits::window;
use crate::money::Amount;
use crate::storage::rows::AllowanceId;

/// The limits on a single request above which a settlement takes its hold, with the quantity of
/// the whole request. The amount and the quantities for which the hold was made were allowed then,
/// whatever the limit is now.
///
/// Money counts over all settlements of the hold, other quantities in each of them.
pub fn exceeded<'a>(job: &Job<'a>, rules: &WalletConfig, hold: &Hold) -> Result<Vec<Applied<'a>>> {
    let mut above = Vec::new();
    let mut made_for: Option<Vec<(AllowanceId, Amount)>> = None;
    for one in job.per_request.iter().filter(|one| !one.need.is_zero()) {
        let is_money = one.limit.metric == Metric::Amount;
        let mut one = one.clone();
        if is_money {
            one.need = one.need.plus(hold.settled).map_err(range)?;
        }
        if one.need <= one.max {
            continue;
        }
        let allowed = if is_money {
            taken_before(hold)
        } else {
            let made_for = match &mut made_for {
                Some(made_for) => made_for,
                none => none.insert(quantities(job, rules, hold)?),
            };
            let mut made_for = made_for.iter();
            let found = made_for.find(|(id, _)| *id == one.window_id);
            found.map_or(Amount::ZERO, |(_, quantity)| *quantity)
        };
        if one.need > allowed {
            above.push(one);
        }
    }
    Ok(above)
}

/// WL002 if one of the limits that a settlement exceeds refuses it.
pub fn require_allowed(wallet: &str, exceeded: &[Applied<'_>]) -> Result<()> {
    window::refusal_of_request(wallet, exceeded.iter())?.map_or(Ok(()), Err)
}

/// Writes an event for each limit that a settlement exceeds. A limit that the request exceeded
/// before has its event already.
pub fn announce(wallet: &str, exceeded: &[Applied<'_>], hold: &Hold) -> Result<()> {
    let before = taken_before(hold);
    let is_first = |one: &&Applied<'_>| one.limit.metric != Metric::Amount || before <= one.max;
    let warnings: Vec<_> = exceeded
        .iter()
        .filter(is_first)
        .filter_map(Warning::of_request)
        .collect();
    warning::announce(wallet, &warnings)
}

/// The money for which the request was allowed before this settlement.
fn taken_before(hold: &Hold) -> Amount {
    hold.amount.max(hold.settled)
}

/// The quantities of the hold's estimate in the limits on a single request.
fn quantities(
    job: &Job<'_>,
    rules: &WalletConfig,
    hold: &Hold,
) -> Result<Vec<(AllowanceId, Amount)>> {
    let need = |one: &Applied<'_>| (one.window_id, one.need);
    let all = |job: &Job<'_>| job.per_request.iter().map(need).collect();
    Ok(estimated(job.wallet(), rules, hold, all)?.unwrap_or_default())
}
