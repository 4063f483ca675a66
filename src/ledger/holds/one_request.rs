//! Limits on a single request, for the settlements of a hold, which are one request together.

use crate::allowance::lanes::range;
use crate::error::Result;
use crate::ledger::charges::job::Job;
use crate::ledger::holds::expiry_job::estimated;
use crate::ledger::holds::row::Hold;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::Applied;
use crate::limits::metric::Metric;
use crate::limits::window;
use crate::money::Amount;
use crate::storage::rows::AllowanceId;

/// WL002 if a settlement takes its hold above a limit on a single request. The amount and the
/// quantities for which the hold was made were allowed then, whatever the limit is now.
///
/// Money counts over all settlements of the hold, other quantities in each of them.
pub fn require_fits(job: &Job<'_>, rules: &WalletConfig, hold: &Hold) -> Result<()> {
    let mut above = Vec::new();
    let mut made_for: Option<Vec<(AllowanceId, Amount)>> = None;
    for one in job.per_request.iter().filter(|one| !one.need.is_zero()) {
        let mut one = one.clone();
        let allowed = if one.limit.metric == Metric::Amount {
            one.need = one.need.plus(hold.settled).map_err(range)?;
            hold.amount
        } else if one.need > one.max {
            let made_for = match &mut made_for {
                Some(made_for) => made_for,
                none => none.insert(quantities(job, rules, hold)?),
            };
            let mut made_for = made_for.iter();
            let found = made_for.find(|(id, _)| *id == one.window_id);
            found.map_or(Amount::ZERO, |(_, quantity)| *quantity)
        } else {
            one.need
        };
        if one.need > allowed {
            above.push(one);
        }
    }
    window::refusal_of_request(job.wallet(), above.iter())?.map_or(Ok(()), Err)
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
