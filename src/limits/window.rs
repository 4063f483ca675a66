//! Taking from the windows of limits.

use crate::error::{Code, Error, Result, quoted};
use crate::limits::limit::{Applied, Scope};
use crate::money::Amount;
use crate::statement;
use crate::storage::plan::{Run, Value};
use crate::storage::rows::Window;
use crate::storage::store::{self, NewWindow};

statement!(
    TIME_TEXT,
    [TIMESTAMPTZOID, TEXTOID],
    "SELECT to_char(timezone($2, $1), 'YYYY-MM-DD HH24:MI:SS')"
);

/// A limit that applies and what is left of it.
pub struct Status<'a> {
    /// The limit and its window.
    pub applied: Applied<'a>,
    /// What was used of it.
    pub window: Window,
}

impl Status<'_> {
    /// What can still be spent in the window.
    pub fn remaining(&self) -> Amount {
        let Window {
            allotted,
            spent,
            held,
        } = &self.window;
        Amount::from_units(allotted.units() - spent.units() - held.units()).unwrap_or_default()
    }

    /// True when the window has that much left.
    pub fn allows(&self, amount: Amount) -> bool {
        self.remaining() >= amount
    }
}

/// The window as it stands, or as it would be made.
pub fn status<'a>(wallet: &str, applied: Applied<'a>) -> Result<Status<'a>> {
    let window = match store::read_window(wallet, applied.window_id)? {
        Some(window) => window,
        None => Window {
            allotted: applied.limit.max,
            spent: Amount::ZERO,
            held: Amount::ZERO,
        },
    };
    Ok(Status { applied, window })
}

/// Makes the window's row if it is not there. A window that is missing is one in which nothing
/// was spent: `set_limit` makes the rows of the running windows of a new limit.
pub fn open(wallet: &str, applied: &Applied<'_>, spent: Amount) -> Result<()> {
    store::open_window(
        wallet,
        &NewWindow {
            id: applied.window_id,
            max: applied.limit.max,
            spent,
            limit_id: applied.limit.id,
            subject: &applied.subject,
            start: applied.start,
            end: applied.end,
        },
    )
}

/// Looks at a window that is being made or given back to before a call gives up.
const MAX_TRIES: usize = 50;

/// What became of taking from several windows.
pub enum Taken {
    /// All had enough.
    All,
    /// One refused; those before it have been taken from, which the error undoes when it is raised.
    Refused {
        /// How many were taken from.
        taken: usize,
        /// WL002.
        error: Error,
    },
}

/// Takes the amount from every window, in the order of their ids, until one refuses.
pub fn take(wallet: &str, applied: &[Applied<'_>], amount: Amount) -> Result<Taken> {
    for (taken, one) in applied.iter().enumerate() {
        if let Some(error) = take_from(wallet, applied, one, amount)? {
            return Ok(Taken::Refused { taken, error });
        }
    }
    Ok(Taken::All)
}

/// Takes the amount from one window, or gives the error that names the limit which refuses.
fn take_from(
    wallet: &str,
    applied: &[Applied<'_>],
    one: &Applied<'_>,
    amount: Amount,
) -> Result<Option<Error>> {
    for _ in 0..MAX_TRIES {
        if store::take(wallet, one.window_id, amount)? {
            return Ok(None);
        }
        if store::read_window(wallet, one.window_id)?.is_none() {
            open(wallet, one, Amount::ZERO)?;
        } else if let Some(refusal) = refusal(wallet, applied, amount, one)? {
            return Ok(Some(refusal));
        }
        // Made by another transaction, or given back, since we looked: look again.
    }
    Ok(Some(
        Error::new(
            Code::SerializationFailure,
            "a limit changed whenever it was checked",
        )
        .detail("Other transactions take from it and give back to it all the time.")
        .hint("Run the transaction again."),
    ))
}

/// Gives back what [`take`] took in this transaction.
pub fn give_back(wallet: &str, applied: &[Applied<'_>], amount: Amount) -> Result<()> {
    applied
        .iter()
        .try_for_each(|one| store::give_back(wallet, one.window_id, amount))
}

/// WL002 that names one limit: of those that refuse the one that frees last. Nothing when none
/// refuses any more.
fn refusal(
    wallet: &str,
    applied: &[Applied<'_>],
    amount: Amount,
    first: &Applied<'_>,
) -> Result<Option<Error>> {
    let mut blocking: Option<Status<'_>> = None;
    // Windows that were taken from already do not block: they had enough.
    for one in applied
        .iter()
        .filter(|one| one.window_id >= first.window_id)
    {
        let status = status(wallet, one.clone())?;
        let later = |other: &Status<'_>| match (status.applied.end, other.applied.end) {
            (None, Some(_)) => true,
            (Some(mine), Some(theirs)) => mine > theirs,
            _ => false,
        };
        if !status.allows(amount) && blocking.as_ref().is_none_or(later) {
            blocking = Some(status);
        }
    }
    let Some(status) = blocking else {
        return Ok(None);
    };
    let limit = status.applied.limit;
    let whose = match limit.scope {
        Scope::Wallet => format!("wallet {}", quoted(wallet)),
        Scope::User => {
            format!(
                "user {} of wallet {}",
                quoted(&status.applied.subject),
                quoted(wallet)
            )
        }
    };
    let period = limit.period.as_str();
    let resets = match status.applied.end {
        None => "It never resets.".to_owned(),
        Some(end) => {
            let zone = limit.zone.iana_name().unwrap_or("UTC");
            let text: String = TIME_TEXT
                .run(&[Value::Time(end), Value::Text(zone)])?
                .need(0, 0)?;
            format!("It resets at {text} {zone}.")
        }
    };
    let error = Error::new(Code::LimitExceeded, format!("{period} limit exceeded for {whose}"))
        .detail(format!(
            "The request asks for {amount}; of the maximum {} per {period}, {} is used, {} is held and {} remains. {resets}",
            limit.max,
            status.window.spent,
            status.window.held,
            status.remaining(),
        ))
        .hint(match status.applied.end {
            Some(_) => "Wait for the reset, or raise the limit with set_limit().",
            None => "Raise the limit with set_limit().",
        })
        .rule("limits", crate::storage::rows::uuid_text(limit.id));
    Ok(Some(error))
}
