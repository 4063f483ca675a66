//! The job that charges an expired hold, and what the charge counts in limits.

use std::rc::Rc;

use rust_decimal::Decimal;

use crate::allowance::lanes::range;
use crate::error::{Code, Result};
use crate::ledger::charges::job::Job;
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::holds::context;
use crate::ledger::holds::row::Hold;
use crate::ledger::wallets::config::WalletConfig;
use crate::limits::limit::Applied;
use crate::limits::metric::Metric;
use crate::limits::window;
use crate::money::Amount;
use crate::pricing::rate::{Priced, PricedBy};
use crate::pricing::usage::Usage;

/// The job that books the amount of a hold. It has the provider and the service of the estimate, as
/// the hold had, and takes from each limit what the hold reserves there.
pub fn charge_job<'a>(
    request: &'a Request<'a>,
    rules: &'a WalletConfig,
    hold: &Hold,
) -> Result<Job<'a>> {
    let estimate = estimated(request.wallet, rules, hold, |job| job.priced.clone())?.flatten();
    let priced = estimate.map(|estimate| Priced {
        lines: Vec::new(),
        total_tokens: 0,
        mark: PricedBy::Own,
        read: Vec::new(),
        ..estimate
    });
    let attribution = request.attribution;
    let mut job = Job::priced(request, rules, attribution, hold.created_at, priced)?;
    count_reserved(&mut job, hold);
    Ok(job)
}

/// Makes a job take from each limit the quantity that the hold reserves there.
pub fn count_reserved(job: &mut Job<'_>, hold: &Hold) {
    for applied in &mut job.applied {
        if applied.limit.metric != Metric::Amount {
            applied.need = quantity(hold, applied);
        }
    }
}

/// The result of `take` for the job of a hold's estimate, priced again. `None` if there is no
/// estimate, or if it cannot be priced now.
pub fn estimated<T>(
    wallet: &str,
    rules: &WalletConfig,
    hold: &Hold,
    take: impl Fn(&Job<'_>) -> T,
) -> Result<Option<T>> {
    let Some(object) = hold.about.usage else {
        return Ok(None);
    };
    let usage = Usage::of_entry(object.reread("usage")?)?;
    // The estimate may have had a cost that its provider reported, and no price.
    for reported in [None, Some(Decimal::ZERO)] {
        let asked = Request {
            asked: Asked::Usage(Rc::new(usage.clone()), object, "".into()),
            reported,
            ..Request::of_amount(wallet, Amount::ZERO)
        };
        let (request, _kept) = context::complete(&asked, &hold.about, &rules.price_list)?;
        match Job::at(&request, rules, hold.created_at) {
            Ok(job) => return Ok(Some(take(&job))),
            Err(error) if error.code == Code::SerializationFailure => return Err(error),
            // The amount is charged all the same.
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The quantity of a hold that a limit counts. A limit that is newer than the hold counts one
/// request.
fn quantity(hold: &Hold, applied: &Applied<'_>) -> Amount {
    let mut windows = hold.windows.iter();
    let reserved = windows.find(|(id, _)| *id == applied.window_id);
    match reserved {
        Some((_, amount)) => *amount,
        None => applied.limit.metric.weight_of_request(),
    }
}

/// Makes a settlement take from limits only the quantities beyond those of the charge, and returns
/// the quantities that it does not use. The refund has returned the money.
pub fn count_beyond(
    wallet: &str,
    job: &mut Job<'_>,
    rules: &WalletConfig,
    hold: &mut Hold,
) -> Result<()> {
    let about = hold.about.clone();
    let amount = Request::of_amount(wallet, Amount::ZERO);
    let (request, _kept) = context::complete(&amount, &about, &rules.price_list)?;
    let charged = charge_job(&request, rules, hold)?;
    let mut unused = Vec::new();
    for mut counted in charged.applied {
        if counted.limit.metric == Metric::Amount {
            continue;
        }
        let mut applied = job.applied.iter_mut();
        if let Some(applied) = applied.find(|applied| applied.window_id == counted.window_id) {
            let both = applied.need.min(counted.need);
            applied.need = applied.need.minus(both).map_err(range)?;
            counted.need = counted.need.minus(both).map_err(range)?;
        }
        if !counted.need.is_zero() {
            unused.push(counted);
        }
    }
    for (_, amount) in &mut hold.windows {
        *amount = Amount::ZERO;
    }
    window::give_back_charged(wallet, &unused)
}
