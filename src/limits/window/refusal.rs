//! The error WL002: which limit refuses a request, and when the request fits.

use std::cmp::Reverse;

use crate::error::{Code, Error, Result, quoted};
use crate::limits::limit::Applied;
use crate::limits::period::Period;
use crate::limits::scope::Scope;
use crate::limits::window::status::{Status, status_with};
use crate::money::Amount;
use crate::pg::clock::{self, Timestamp};
use crate::pg::numeric::overflow;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;
use crate::storage::window_holds;

statement!(
    TIME_TEXT,
    [TIMESTAMPTZOID, TEXTOID],
    "SELECT to_char(timezone($2, $1), 'YYYY-MM-DD HH24:MI:SS')"
);

/// The error WL002 for the limit that frees last among those that refuse; `None` if none refuses.
/// A limit in which the request never fits comes after all others. Of two that free at the same
/// time, the older one is named. `freed` returns the held quantity of a window that no longer
/// counts.
pub fn refusal<'a>(
    wallet: &str,
    applied: impl Iterator<Item = &'a Applied<'a>>,
    freed: impl Fn(AllowanceId) -> Result<Amount>,
) -> Result<Option<Error>> {
    let mut blocking = Vec::new();
    for one in applied {
        let status = status_with(wallet, one.clone(), freed(one.window_id)?)?;
        if !status.allows() {
            let never_fits = one.need > one.most()?;
            let resets_at = status.resets_at.unwrap_or(Timestamp(i64::MAX));
            blocking.push(((never_fits, resets_at, Reverse(one.limit.id)), status));
        }
    }
    let last = blocking.into_iter().max_by_key(|(order, _)| *order);
    last.map(|(_, status)| exceeded(wallet, &status))
        .transpose()
}

/// The error WL002 if one of the limits on a single request refuses the request.
pub fn refusal_of_request<'a>(
    wallet: &str,
    per_request: impl Iterator<Item = &'a Applied<'a>>,
) -> Result<Option<Error>> {
    refusal(wallet, per_request, |_| Ok(Amount::ZERO))
}

/// The error WL002 for one limit. PostgreSQL writes the time, in the time zone of the limit.
fn exceeded(wallet: &str, status: &Status<'_>) -> Result<Error> {
    let applied = &status.applied;
    let limit = applied.limit;
    let (period, metric) = (&limit.period_name, &limit.metric);
    let kind = match (limit.period, metric.as_str()) {
        (Period::Open, "amount") => "limit of open holds".to_owned(),
        (Period::Open, metric) => format!("limit of {metric} in open holds"),
        (_, "amount") => format!("{period} limit"),
        (_, metric) => format!("{period} limit of {metric}"),
    };
    // A request above the most that any window allows does not fit even if nothing else is used.
    let never_fits = applied.need > applied.most()?;
    let fits_at = match limit.period {
        Period::Open if !never_fits => frees_at(wallet, status)?,
        _ => status.resets_at,
    };
    Ok(Error::new(
        Code::LimitExceeded,
        format!("{kind} exceeded for {}", whose(wallet, applied)),
    )
    .detail(detail(status, fits_at, never_fits)?)
    .hint(hint(applied, fits_at, never_fits))
    .constraint("limits", crate::storage::rows::uuid_text(limit.id)))
}

fn detail(status: &Status<'_>, fits_at: Option<Timestamp>, never_fits: bool) -> Result<String> {
    let applied = &status.applied;
    let limit = applied.limit;
    let period = &limit.period_name;
    let show = |amount| limit.metric.show(amount);
    let (need, max) = (show(applied.need), show(applied.max));
    let (held, remaining) = (show(status.held), show(status.remaining()));
    let resets = resets(applied, fits_at, never_fits)?;
    Ok(match limit.period {
        Period::Request => {
            format!("The request asks for {need}; the maximum is {max} per request.")
        }
        Period::Open => format!(
            "The request asks for {need}; of the maximum {max} at a time, {held} is held and {remaining} remains. {resets}"
        ),
        _ => format!(
            "The request asks for {need}; of the maximum {max} per {period}, {} is used, {held} is held and {remaining} remains. {resets}",
            show(status.spent),
        ),
    })
}

/// The sentence that says when the request fits.
fn resets(applied: &Applied<'_>, fits_at: Option<Timestamp>, never_fits: bool) -> Result<String> {
    let limit = applied.limit;
    let Some(at) = fits_at else {
        return Ok(match limit.period {
            _ if never_fits => "A request of that size never fits.",
            Period::Open => "Each hold that ends frees a part.",
            _ => "It never resets.",
        }
        .to_owned());
    };
    let zone = limit.zone.iana_name().unwrap_or("UTC");
    let text: String = TIME_TEXT
        .run(&[Value::Time(at), Value::Text(zone)])?
        .need(0, 0)?;
    Ok(match limit.period {
        Period::Open | Period::Rolling(_) => format!("Enough of it is free at {text} {zone}."),
        _ => format!("It resets at {text} {zone}."),
    })
}

/// The hint. A request above the maximum never fits, whenever the window resets, so the hint does
/// not say to wait.
fn hint(applied: &Applied<'_>, fits_at: Option<Timestamp>, never_fits: bool) -> &'static str {
    match fits_at {
        _ if applied.asks_approval() => {
            "Make a hold with hold(); above this limit it waits for approve_hold()."
        }
        _ if never_fits && applied.max > Amount::ZERO => {
            "Split the request into smaller ones, or raise the limit with set_limit()."
        }
        _ if applied.limit.period == Period::Open && applied.max > Amount::ZERO => {
            "Wait until a hold is settled, voided or expires, or raise the limit with set_limit()."
        }
        Some(_) if !never_fits => "Wait for the reset, or raise the limit with set_limit().",
        _ => "Raise the limit with set_limit().",
    }
}

/// When enough holds have expired that the request fits, if none ends before. `None` if that is not
/// known.
fn frees_at(wallet: &str, status: &Status<'_>) -> Result<Option<Timestamp>> {
    let applied = &status.applied;
    let missing = applied.need.minus(status.remaining()).map_err(overflow)?;
    window_holds::frees_at(wallet, applied.window_id, missing, clock::now())
}

/// The owner of a limit, for messages.
fn whose(wallet: &str, applied: &Applied<'_>) -> String {
    let wallet = quoted(wallet);
    match &applied.limit.scope {
        Scope::Wallet => format!("wallet {wallet}"),
        scope => format!("{} of wallet {wallet}", scope.describe(&applied.subject)),
    }
}
