//! The error WL002: which limit refuses a request, and when the request fits.

use crate::error::{Code, Error, Result, quoted};
use crate::limits::limit::{Applied, Scope};
use crate::limits::window::status::{Status, status_with};
use crate::money::Amount;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::AllowanceId;

statement!(
    TIME_TEXT,
    [TIMESTAMPTZOID, TEXTOID],
    "SELECT to_char(timezone($2, $1), 'YYYY-MM-DD HH24:MI:SS')"
);

/// The error WL002 for the limit that frees last among those that refuse; `None` if none refuses.
/// `freed` returns the held quantity of a window that no longer counts.
pub fn refusal<'a>(
    wallet: &str,
    applied: impl Iterator<Item = &'a Applied<'a>>,
    freed: impl Fn(AllowanceId) -> Result<Amount>,
) -> Result<Option<Error>> {
    let mut blocking: Option<Status<'_>> = None;
    for one in applied {
        let status = status_with(wallet, one.clone(), freed(one.window_id)?)?;
        let later = |other: &Status<'_>| match (status.resets_at, other.resets_at) {
            (None, Some(_)) => true,
            (Some(mine), Some(theirs)) => mine > theirs,
            _ => false,
        };
        if !status.allows() && blocking.as_ref().is_none_or(later) {
            blocking = Some(status);
        }
    }
    blocking.map(|status| exceeded(wallet, &status)).transpose()
}

/// The error WL002 for one limit. A request above the maximum never fits, whenever the window
/// resets, so the hint does not say to wait. PostgreSQL writes the time, in the time zone of the
/// limit.
fn exceeded(wallet: &str, status: &Status<'_>) -> Result<Error> {
    let applied = &status.applied;
    let limit = applied.limit;
    let (period, metric) = (&limit.period_name, &limit.metric);
    let kind = match metric.as_str() {
        "amount" => format!("{period} limit"),
        metric => format!("{period} limit of {metric}"),
    };
    let never_fits = applied.need > applied.most()?;
    let resets = match status.resets_at {
        None if never_fits => "A request of that size never fits.".to_owned(),
        None => "It never resets.".to_owned(),
        Some(at) => {
            let zone = limit.zone.iana_name().unwrap_or("UTC");
            let text: String = TIME_TEXT
                .run(&[Value::Time(at), Value::Text(zone)])?
                .need(0, 0)?;
            match limit.period.slice() {
                None => format!("It resets at {text} {zone}."),
                Some(_) => format!("Enough of it is free at {text} {zone}."),
            }
        }
    };
    let show = |amount| metric.show(amount);
    Ok(Error::new(
        Code::LimitExceeded,
        format!("{kind} exceeded for {}", whose(wallet, applied)),
    )
    .detail(format!(
        "The request asks for {}; of the maximum {} per {period}, {} is used, {} is held and {} remains. {resets}",
        show(applied.need),
        show(applied.max),
        show(status.spent),
        show(status.held),
        show(status.remaining()),
    ))
    .hint(match status.resets_at {
        _ if never_fits && applied.max > Amount::ZERO => {
            "Split the request into smaller ones, or raise the limit with set_limit()."
        }
        Some(_) if !never_fits => "Wait for the reset, or raise the limit with set_limit().",
        _ => "Raise the limit with set_limit().",
    })
    .constraint("limits", crate::storage::rows::uuid_text(limit.id)))
}

/// The owner of a limit, for messages.
fn whose(wallet: &str, applied: &Applied<'_>) -> String {
    let wallet = quoted(wallet);
    let subject = quoted(&applied.subject);
    match &applied.limit.scope {
        Scope::Wallet => format!("wallet {wallet}"),
        Scope::Tag(name) => format!("tag {} {subject} of wallet {wallet}", quoted(name)),
        scope => format!("{} {subject} of wallet {wallet}", scope.as_str()),
    }
}
