//! The arguments of `set_limit`, of one limit or of each item of `set_limits`.

use crate::args;
use crate::error::{Error, Result, quoted};
use crate::items::{Item, Items};
use crate::ledger::limits::limit_subjects;
use crate::ledger::limits::set::NewLimit;
use crate::limits::limit::{Mode, WHOLE};
use crate::limits::metric::Metric;
use crate::limits::period::{NotAPeriod, Period};
use crate::money::Amount;
use crate::pg::numeric::Number;
use rust_decimal::Decimal;

/// The most windows whose maximum can be carried.
const MAX_CARRIED: i128 = 1000;

/// The error 22023, which lists the valid periods.
fn not_a_period(text: &str, anchor: Option<i32>, why: NotAPeriod) -> Error {
    let hint = format!(
        "Valid values are: {}, and rolling ones such as \"rolling 5 hours\".",
        Period::NAMES.join(", ")
    );
    let argument = match why {
        NotAPeriod::Anchor => "anchor",
        _ => "period",
    };
    let error = match why {
        NotAPeriod::Unknown => Error::argument(format!("unrecognized period {}", quoted(text)))
            .detail("No period has that name.")
            .hint(hint),
        NotAPeriod::NotALength => Error::argument(format!("period {} is not a length of time", quoted(text)))
            .detail("A rolling period has a length that is always the same: months and years have not.")
            .hint("Give it in seconds, minutes, hours, days or weeks, such as \"rolling 30 days\"."),
        NotAPeriod::OutOfRange => Error::argument(format!("period {} is out of range", quoted(text)))
            .detail("A rolling period lasts from one second to ten years.")
            .hint(hint),
        NotAPeriod::Anchor => Error::argument(format!(
            "anchor {} does not fit the period {}",
            anchor.map_or("NULL".to_owned(), |day| day.to_string()),
            quoted(text)
        ))
        .detail("A week begins on day 1 (Monday) to 7 (Sunday), a month on day 1 to 31; other periods have no anchor.")
        .hint("Leave anchor out, or give a day that the period has."),
    };
    error.about(argument)
}

/// The fractions of the maximum at which a limit warns, ascending and less than one.
fn warn_levels(values: Option<Vec<Option<Number>>>) -> Result<Vec<Amount>> {
    let mut levels = args::amounts("warn_at", &values.unwrap_or_default())?;
    if let Some(level) = levels
        .iter()
        .find(|level| level.is_zero() || level.units() > WHOLE)
    {
        return Err(Error::argument("warn_at is not a fraction of the maximum")
            .detail(format!("It has the element {level}."))
            .hint("Give fractions above 0 and up to 1, such as {0.5,0.8}.")
            .about("warn_at"));
    }
    levels.retain(|level| level.units() < WHOLE);
    levels.sort();
    levels.dedup();
    Ok(levels)
}

/// Microseconds after midnight at which windows begin; `None` for midnight.
fn anchor_time_of(micros: Option<i64>, period: Period, name: &str) -> Result<Option<i64>> {
    let Some(micros) = micros else {
        return Ok(None);
    };
    if !period.takes_time() {
        return Err(Error::argument(format!(
            "anchor_time does not fit the period {}",
            quoted(name)
        ))
        .detail("Windows of days, weeks, months, quarters and years begin at a time of day.")
        .hint("Leave anchor_time out, or choose one of these periods.")
        .about("anchor_time"));
    }
    Ok((micros != 0).then_some(micros))
}

/// The most that is carried into the next window; `None` for nothing.
fn rollover_of(
    most: Option<&Number>,
    max: Amount,
    period: Period,
    name: &str,
) -> Result<Option<Amount>> {
    let Some(most) = most else {
        return Ok(None);
    };
    let most = args::amount("rollover_max", Some(most))?;
    if !period.carries() {
        return Err(Error::argument(format!(
            "rollover_max does not fit the period {}",
            quoted(name)
        ))
        .detail("Only windows from minutes to years follow each other.")
        .hint("Leave rollover_max out, or choose a period from minute to year.")
        .about("rollover_max"));
    }
    if most.units() > max.units().saturating_mul(MAX_CARRIED) {
        return Err(Error::argument("rollover_max is too large")
            .detail(format!(
                "It is {most}, more than {MAX_CARRIED} times the maximum {max}."
            ))
            .hint(format!("Give at most {MAX_CARRIED} times max."))
            .about("rollover_max"));
    }
    Ok((!most.is_zero()).then_some(most))
}

/// The arguments about a limit.
pub struct LimitArgs<'a> {
    /// The maximum per window.
    pub max: Option<Number>,
    /// The period as text.
    pub period: Option<&'a str>,
    /// The kind of subject.
    pub scope: Option<&'a str>,
    /// The subject.
    pub subject: Option<&'a str>,
    /// The quantity that the limit counts.
    pub metric: Option<&'a str>,
    /// The consequence for a request that exceeds the limit.
    pub mode: Option<&'a str>,
    /// The fractions of the maximum at which an event is written.
    pub warn_at: Option<Vec<Option<Number>>>,
    /// The limit's time zone.
    pub time_zone: Option<&'a str>,
    /// The first day of the week or month.
    pub anchor: Option<i32>,
    /// Whether the limit is paused.
    pub paused: Option<bool>,
    /// Microseconds after midnight at which windows begin.
    pub anchor_time: Option<i64>,
    /// The most that is carried into the next window.
    pub rollover_max: Option<Number>,
}

/// Checks the arguments about a limit of a wallet.
pub fn limit_of<'a>(wallet: &'a str, args: LimitArgs<'a>) -> Result<NewLimit<'a>> {
    let max = args::amount("max", args.max.as_ref())?;
    let text = args::required("period", args.period)?;
    let (period, period_name) =
        Period::parse(text, args.anchor).map_err(|why| not_a_period(text, args.anchor, why))?;
    let scope = limit_subjects::scope_of(args.scope);
    let (scope, order) = scope.map_err(|error| error.about("scope"))?;
    let mode = args::word("mode", args.mode, Mode::ALL, Mode::as_str, &[])?;
    let warn_at = warn_levels(args.warn_at)?;
    let subject = limit_subjects::subject_of(&scope, &order, args.subject)
        .map_err(|error| error.about("subject"))?;
    let metric = Metric::parse(args::required("metric", args.metric)?);
    Ok(NewLimit {
        wallet,
        scope,
        subject,
        anchor_time: anchor_time_of(args.anchor_time, period, &period_name)?,
        rollover_max: rollover_of(args.rollover_max.as_ref(), max, period, &period_name)?,
        period,
        period_name,
        metric,
        mode,
        max,
        warn_at,
        time_zone: args::name("time_zone", args.time_zone)?,
        paused: args.paused,
    })
}

/// The items of `set_limits`.
pub static LIMITS: Items = Items {
    argument: "limits",
    path: "",
    single: "set_limit",
    keys: &[
        "max",
        "period",
        "scope",
        "subject",
        "metric",
        "mode",
        "warn_at",
        "time_zone",
        "anchor",
        "paused",
        "anchor_time",
        "rollover_max",
    ],
};

/// Checks an item.
pub fn limit<'a>(wallet: &'a str, item: &'a Item) -> Result<NewLimit<'a>> {
    let warn_at = match item.has("warn_at") {
        true => item.numbers("warn_at")?,
        false => Some(vec![Some(Number::of(Decimal::new(8, 1)))]),
    };
    item.told(limit_of(
        wallet,
        LimitArgs {
            max: item.number("max", None)?,
            period: item.text("period", None)?,
            scope: item.text("scope", Some("wallet"))?,
            subject: item.text("subject", Some("*"))?,
            metric: item.text("metric", Some("amount"))?,
            mode: item.text("mode", Some("hard"))?,
            warn_at,
            time_zone: item.text("time_zone", None)?,
            anchor: item.whole("anchor", None)?,
            paused: item.flag("paused")?,
            anchor_time: item.time_of_day("anchor_time")?,
            rollover_max: item.number("rollover_max", None)?,
        },
    ))
}
