//! Takes from the windows of limits, and releases amounts in them.

mod carry;
mod refusal;
mod status;

use crate::error::{Code, Error, Result};
use crate::limits::lane_windows;
use crate::limits::limit::Applied;
use crate::limits::warning::Warning;
use crate::limits::window::status::{aged, total};
use crate::money::Amount;
use crate::pg::numeric::overflow;
use crate::storage::rows::{AllowanceId, Changed, NewWindow, Part, Taking, Window};
use crate::storage::store;

pub use carry::{add_carries, add_carry_in_query};
pub use refusal::{refusal, refusal_of_request};
pub use status::{Status, status, status_with};

/// Creates the window's row; false if it exists. A missing row means that nothing was used:
/// `set_limit` creates the rows of the current windows of a new limit.
pub fn open(wallet: &str, applied: &Applied<'_>, window: &Window) -> Result<bool> {
    let opened = store::open_window(
        wallet,
        &NewWindow {
            id: applied.window_id,
            cap: applied.cap(),
            levels: applied.limit.levels_stored(window.levels),
            window,
            limit_id: applied.limit.id,
            subject: &applied.subject,
            start: applied.start,
            end: applied.end,
        },
    )?;
    if let Some(carry) = &applied.carry
        && opened
    {
        carry::store_carry(wallet, applied.window_id, carry)?;
    }
    Ok(opened)
}

/// How often a call retries a window that others create or release at the same time.
const MAX_TRIES: usize = 50;

/// The ids of the windows of `applied`.
pub fn ids(applied: &[Applied<'_>]) -> Vec<AllowanceId> {
    applied.iter().map(|one| one.window_id).collect()
}

/// The result of taking from several windows.
pub enum Taken<'a> {
    /// Every window had enough. Contains the warnings for the levels reached.
    All(Vec<Warning<'a>>),
    /// One window refused. The windows before it were taken from, which raising the error undoes.
    Refused {
        /// The number of windows that were taken from.
        taken: usize,
        /// The error WL002, or 40001.
        error: Error,
    },
}

/// Takes from every window the quantity that the request needs, in the order of their ids, until
/// one refuses. `places` says which row of each window to take from.
pub fn take<'a>(
    wallet: &str,
    applied: &'a [Applied<'a>],
    part: Part,
    places: &[i16],
) -> Result<Taken<'a>> {
    let mut warnings = Vec::new();
    for (taken, one) in applied.iter().enumerate() {
        if one.need.is_zero() {
            continue;
        }
        let way = TakeMode {
            part,
            forced: one.may_exceed,
            lane: places.get(taken).copied().unwrap_or(0),
        };
        // A window that fails with 40001 has not been written either.
        match take_from(wallet, applied, one, way).and_then(|taken| taken) {
            Ok(warning) => warnings.extend(warning),
            Err(error) => return Ok(Taken::Refused { taken, error }),
        }
    }
    Ok(Taken::All(warnings))
}

/// How a window is taken from.
#[derive(Clone, Copy)]
struct TakeMode {
    part: Part,
    forced: bool,
    lane: i16,
}

/// Takes from one window, or returns the error that names the limit that refuses.
fn take_from<'a>(
    wallet: &str,
    applied: &[Applied<'_>],
    one: &'a Applied<'a>,
    way: TakeMode,
) -> Result<std::result::Result<Option<Warning<'a>>, Error>> {
    for _ in 0..MAX_TRIES {
        let attempt = match one.limit.period.slice() {
            None => take_fixed(wallet, one, way)?,
            Some(length) => take_rolling(wallet, one, way, length)?,
        };
        match attempt {
            Attempt::Taken(warning) => return Ok(Ok(warning)),
            // The window was gathered after its row was read. The slow path must decide.
            _ if way.lane > 0 => return Ok(Err(changed_meanwhile())),
            Attempt::NoRow => {
                if let Some(warning) = open_taken(wallet, one, way)? {
                    return Ok(Ok(warning));
                }
            }
            Attempt::TooLittle => {}
        }
        // Windows before this one had enough, so they do not refuse.
        let rest = applied
            .iter()
            .filter(|other| other.window_id >= one.window_id);
        if let Some(refusal) = refusal(wallet, rest, |_| Ok(Amount::ZERO))? {
            return Ok(Err(refusal));
        }
        // Another transaction has created the window or released an amount since it was read.
    }
    Ok(Err(changed_meanwhile()))
}

fn changed_meanwhile() -> Error {
    Error::new(
        Code::SerializationFailure,
        "could not serialize access to a limit",
    )
    .detail("Other transactions change the limit's window at the same time.")
    .hint("Run the transaction again.")
}

fn taking(one: &Applied<'_>, way: TakeMode) -> Taking {
    Taking {
        lane: way.lane,
        need: one.need,
        cap: one.cap(),
        part: way.part,
        forced: way.forced,
    }
}

/// The outcome of one attempt to take from a window.
enum Attempt<'a> {
    /// The quantity is taken. Contains the warning that is due.
    Taken(Option<Warning<'a>>),
    /// Not enough is left.
    TooLittle,
    /// The window has no row: nothing was used.
    NoRow,
}

/// Takes from a window that is not rolling.
fn take_fixed<'a>(wallet: &str, one: &'a Applied<'a>, way: TakeMode) -> Result<Attempt<'a>> {
    let used = match store::take(wallet, one.window_id, &taking(one, way))? {
        Changed::Done(used) => used,
        Changed::Unchanged => return Ok(Attempt::TooLittle),
        Changed::Missing => return Ok(Attempt::NoRow),
    };
    let levels = match (way.lane, one.limit.period.counts_use()) {
        (0, counts_use) => {
            let before = used.after.minus(one.need).map_err(overflow)?;
            match counts_use {
                true => one.limit.levels_reported(used.levels, before, one.max),
                // Held quantities rise and fall. A level warns each time it is reached.
                false => one.limit.levels_at(before, one.max),
            }
        }
        // A row below its watermark reaches no level.
        _ => return Ok(Attempt::Taken(None)),
    };
    let warning = Warning::between(one, levels, used.after);
    Ok(Attempt::Taken(warning))
}

fn take_rolling<'a>(
    wallet: &str,
    one: &'a Applied<'a>,
    way: TakeMode,
    length: i64,
) -> Result<Attempt<'a>> {
    let work = |window: &mut Window| take_slice(window, one, way, length);
    Ok(
        match store::change_window(wallet, one.window_id, one.cap(), work)? {
            Changed::Done(warning) => Attempt::Taken(warning),
            Changed::Unchanged => Attempt::TooLittle,
            Changed::Missing => Attempt::NoRow,
        },
    )
}

/// Creates the window with the quantity already taken, which writes one row version instead of two.
/// `None` if the quantity does not fit, or if another transaction created the window first.
fn open_taken<'a>(
    wallet: &str,
    one: &'a Applied<'a>,
    way: TakeMode,
) -> Result<Option<Option<Warning<'a>>>> {
    let mut window = Window::default();
    let warning = match one.limit.period.slice() {
        Some(length) => take_slice(&mut window, one, way, length)?,
        None if !way.forced && one.cap().is_some_and(|cap| one.need > cap) => None,
        None => {
            match way.part {
                Part::Spent => window.spent = one.need,
                Part::Held => window.held = one.need,
            }
            Some(Warning::between(one, 0, one.need))
        }
    };
    match warning {
        Some(warning) if open(wallet, one, &window)? => Ok(Some(warning)),
        _ => Ok(None),
    }
}

/// Takes from a rolling window in memory, before it is written. `None` if not enough is left.
fn take_slice<'a>(
    window: &mut Window,
    one: &'a Applied<'a>,
    way: TakeMode,
    length: i64,
) -> Result<Option<Option<Warning<'a>>>> {
    let mut slices = aged(window, length, one.at)?;
    let before = total(&slices)?.plus(window.held).map_err(overflow)?;
    let after = before.plus(one.need).map_err(overflow)?;
    if !way.forced && one.cap().is_some_and(|cap| after > cap) {
        return Ok(None);
    }
    match way.part {
        Part::Spent => slices.add(one.at.unix_micros(), one.need),
        Part::Held => window.held = window.held.plus(one.need).map_err(overflow)?,
    }
    // A rolling window never resets. A level warns again after the usage has fallen below it.
    let levels = match before.is_zero() {
        true => 0,
        false => one.limit.levels_at(before, one.max),
    };
    window.levels = one.limit.levels_at(after, one.max);
    window.spent = total(&slices)?;
    window.slices = Some(slices.to_bytes());
    Ok(Some(Warning::between(one, levels, after)))
}

/// The quantity of a window that a hold has just released.
#[derive(Clone, Copy, Debug)]
pub struct Released {
    /// Id of the window in `wallet.allowances`.
    pub window: AllowanceId,
    /// The released quantity.
    pub amount: Amount,
    /// The lane of the row in which it was released.
    pub lane: i16,
}

/// Releases the quantity that a hold reserves in a window, if the window still exists. `lane` is
/// the lane in which the hold was made.
pub fn release(wallet: &str, window: AllowanceId, amount: Amount, lane: i16) -> Result<Released> {
    if amount.is_zero() {
        return Ok(Released {
            window,
            amount,
            lane: 0,
        });
    }
    let mut released = store::release_window(wallet, window, amount, lane)?;
    if released.is_none() && lane != 0 {
        // Possibly no single row has the whole quantity any longer.
        lane_windows::gather_window(wallet, window)?;
        released = store::release_window(wallet, window, amount, 0)?;
    }
    Ok(Released {
        window,
        amount,
        lane: released.unwrap_or(0),
    })
}

/// Releases everything that a hold reserves in windows. `lane` is the lane in which the hold was
/// made.
pub fn release_all(
    wallet: &str,
    windows: &[(AllowanceId, Amount)],
    lane: i16,
) -> Result<Vec<Released>> {
    windows
        .iter()
        .map(|(window, amount)| release(wallet, *window, *amount, lane))
        .collect()
}

/// True if the hold's reservations in the windows cover everything that the request needs.
pub fn are_covered(applied: &[Applied<'_>], set_aside: &[(AllowanceId, Amount)]) -> bool {
    applied.iter().all(|one| {
        one.need.is_zero()
            || set_aside
                .iter()
                .any(|(window, amount)| *window == one.window_id && *amount >= one.need)
    })
}

/// The windows from which the request needs more than the hold has just released.
pub fn uncovered<'a>(applied: &[Applied<'a>], released: &[Released]) -> Vec<Applied<'a>> {
    let is_covered = |one: &&Applied<'a>| covering(one, released).is_none();
    applied.iter().filter(is_covered).cloned().collect()
}

fn covering<'a>(one: &Applied<'_>, released: &'a [Released]) -> Option<&'a Released> {
    let mut released = released.iter();
    released.find(|released| released.window == one.window_id && released.amount >= one.need)
}

/// Books the usage of a settled hold in the windows. The quantity that the hold has just released
/// covers the need. Beyond that, the limits refuse if `refuse` is set; their windows have been
/// gathered.
pub fn settle<'a>(
    wallet: &str,
    applied: &'a [Applied<'a>],
    released: &[Released],
    refuse: bool,
) -> Result<Vec<Warning<'a>>> {
    let mut warnings = Vec::new();
    for one in applied.iter().filter(|one| !one.need.is_zero()) {
        // The released quantity always fits in the row from which it came.
        let covered = covering(one, released);
        let way = TakeMode {
            part: Part::Spent,
            forced: covered.is_some() || !refuse,
            lane: covered.map_or(0, |released| released.lane),
        };
        warnings.extend(take_from(wallet, applied, one, way)??);
    }
    Ok(warnings)
}

/// Returns the quantities that [`take`] took, in the windows that still contain them.
pub fn give_back(wallet: &str, applied: &[Applied<'_>], part: Part, places: &[i16]) -> Result<()> {
    for (index, one) in applied.iter().enumerate() {
        if one.need.is_zero() {
            continue;
        }
        let way = TakeMode {
            part,
            forced: false,
            lane: places.get(index).copied().unwrap_or(0),
        };
        match (one.limit.period.slice(), part) {
            (Some(length), Part::Spent) => give_back_slice(wallet, one, length)?,
            _ => store::give_back(wallet, one.window_id, &taking(one, way))?,
        }
    }
    Ok(())
}

/// Returns quantities that were charged earlier, in whatever row they were counted.
pub fn give_back_charged(wallet: &str, applied: &[Applied<'_>]) -> Result<()> {
    // One window after the other, so that rows are locked in the order of the windows.
    for one in applied {
        if one.limit.can_spread() {
            let whole = store::read_counted(wallet, one.window_id, 0)?;
            if whole.is_some_and(|whole| whole.spent < one.need) {
                lane_windows::gather_window(wallet, one.window_id)?;
            }
        }
        give_back(wallet, std::slice::from_ref(one), Part::Spent, &[])?;
    }
    Ok(())
}

fn give_back_slice(wallet: &str, one: &Applied<'_>, length: i64) -> Result<()> {
    let work = |window: &mut Window| {
        let mut slices = aged(window, length, crate::pg::clock::now())?;
        slices.take_back(one.at.unix_micros(), one.need);
        window.spent = total(&slices)?;
        window.slices = Some(slices.to_bytes());
        Ok(Some(()))
    };
    store::change_window(wallet, one.window_id, one.cap(), work).map(drop)
}
