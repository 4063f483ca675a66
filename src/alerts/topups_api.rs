//! SQL functions on top-ups.

use jiff::{Span, SpanRelativeTo};
use pgrx::datum::IntoDatum;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{Level, enter_as, enter_some};
use crate::alerts::topups::{self, End, Rule, Topup};
use crate::args;
use crate::error::{Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{canonical, fingerprint};
use crate::money::Amount;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pg::row::{composite, text};
use crate::storage::rows::uuid_text;
use crate::storage::session::as_one_call;

composite!(
    /// What `complete_topup` and `fail_topup` return.
    TopupRow,
    "wallet.topup_result"
);

const KEYS: &[&str] = &[
    "event",
    "threshold",
    "action",
    "amount",
    "target_balance",
    "method",
    "cooldown",
    "back_off",
    "max_count",
    "max_amount",
    "period",
    "max_declines",
    "interval",
];

const PERIODS: &[&str] = &[
    "hour", "day", "week", "month", "quarter", "year", "lifetime",
];

/// The words for an interval, and what PostgreSQL calls it.
const INTERVALS: &[(&str, &str)] = &[
    ("daily", "1 day"),
    ("weekly", "7 days"),
    ("monthly", "1 month"),
    ("quarterly", "3 months"),
    ("yearly", "1 year"),
];

/// A rule's JSON object.
struct Object<'a>(&'a [(String, Json)]);

impl<'a> Object<'a> {
    fn get(&self, key: &str) -> Option<&'a Json> {
        let found = self.0.iter().find(|(name, _)| name == key);
        found
            .map(|(_, value)| value)
            .filter(|value| **value != Json::Null)
    }

    fn amount(&self, key: &str) -> Result<Option<Amount>> {
        let amount = match self.get(key) {
            None => return Ok(None),
            Some(Json::Number(number)) => args::amount(key, Some(number))?,
            Some(_) => return Err(wrong(key, "a number")),
        };
        Ok(Some(amount))
    }

    fn positive(&self, key: &str) -> Result<Option<Amount>> {
        match self.get(key) {
            Some(Json::Number(number)) => args::positive_amount(key, Some(number)).map(Some),
            _ => self.amount(key),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Json::String(text)) => args::name(key, Some(text)),
            Some(_) => Err(wrong(key, "a string")),
        }
    }

    fn count(&self, key: &str) -> Result<Option<i64>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let count = match value {
            Json::Number(number) => whole(number),
            _ => None,
        };
        match count {
            Some(count) => Ok(Some(count)),
            None => Err(wrong(key, "a whole number from 1 to a million")),
        }
    }

    /// Microseconds: a number of seconds, or words such as `10 minutes`.
    fn duration(&self, key: &str) -> Result<Option<i64>> {
        let micros = match self.get(key) {
            None => return Ok(None),
            Some(Json::Number(number)) => number.to_amount().ok().map(|n| n.units() / 1_000_000),
            Some(Json::String(text)) => text.parse::<Span>().ok().and_then(|span| {
                let days = SpanRelativeTo::days_are_24_hours();
                span.to_duration(days).ok().map(|d| d.as_micros())
            }),
            Some(_) => None,
        };
        let most = 366 * 24 * 3600 * 1_000_000_i128;
        match micros.filter(|micros| (0..=most).contains(micros)) {
            Some(micros) => Ok(Some(micros as i64)),
            None => Err(wrong(key, "a span of time, at most a year")),
        }
    }

    /// A key that may say one thing only.
    fn only(&self, key: &str, word: &str) -> Result<()> {
        match self.text(key)? {
            None => Ok(()),
            Some(text) if text == word => Ok(()),
            Some(text) => Err(Error::argument(format!(
                "{key} {} of a top-up rule is not known",
                quoted(text)
            ))
            .detail(format!("A top-up rule has the {key} {word}."))
            .hint(format!("Leave {key} out, or give {word}."))),
        }
    }
}

fn whole(number: &Number) -> Option<i64> {
    let decimal = number.to_decimal()?;
    let count = i64::try_from(decimal).ok()?;
    (decimal.is_integer() && (1..=1_000_000).contains(&count)).then_some(count)
}

fn wrong(key: &str, what: &str) -> Error {
    Error::argument(format!("{key} of a top-up rule is not {what}"))
        .detail(format!("The key {key} takes {what}."))
        .hint("See the reference for the keys of a rule.")
}

fn one_of(key: &str, value: &str, known: &[&str]) -> Error {
    Error::argument(format!(
        "{key} {} of a top-up rule is not known",
        quoted(value)
    ))
    .detail(format!("Known are: {}.", known.join(", ")))
    .hint(format!("Give one of these as {key}."))
}

fn read(given: Jsonb, json: &Json) -> Result<Rule<'_>> {
    let Some(entries) = json.as_object() else {
        return Err(Error::argument("rule is not a JSON object")
            .detail("A top-up rule is an object with threshold, amount and method.")
            .hint("Pass NULL to drop the rule."));
    };
    if let Some((key, _)) = entries
        .iter()
        .find(|(key, _)| !KEYS.contains(&key.as_str()))
    {
        return Err(one_of("key", key, KEYS));
    }
    let rule = Object(entries);
    rule.only("event", "wallet_balance_low")?;
    rule.only("action", "auto_top_up")?;
    let period = rule.text("period")?.unwrap_or("month");
    if !PERIODS.contains(&period) {
        return Err(one_of("period", period, PERIODS));
    }
    let step = match rule.text("interval")? {
        None => None,
        Some(word) => match INTERVALS.iter().find(|(known, _)| *known == word) {
            Some((_, step)) => Some(*step),
            None => {
                let known: Vec<&str> = INTERVALS.iter().map(|(known, _)| *known).collect();
                return Err(one_of("interval", word, &known));
            }
        },
    };
    let rule = Rule {
        given,
        threshold: rule.amount("threshold")?,
        amount: rule.positive("amount")?,
        target: rule.positive("target_balance")?,
        method: rule.text("method")?.unwrap_or("card"),
        cooldown: rule.duration("cooldown")?.unwrap_or(0),
        back_off: rule.duration("back_off")?.unwrap_or(60_000_000),
        max_count: rule.count("max_count")?,
        max_amount: rule.positive("max_amount")?,
        period,
        max_declines: rule.count("max_declines")?.unwrap_or(3),
        step,
    };
    let missing = |what: &str, hint: &str| {
        Error::argument(format!("top-up rule has no {what}"))
            .detail("A rule says when to ask for money and for how much.")
            .hint(hint.to_owned())
    };
    if rule.threshold.is_none() && rule.step.is_none() {
        return Err(missing("threshold", "Give a threshold, or an interval."));
    }
    if rule.amount.is_none() && rule.target.is_none() {
        return Err(missing("amount", "Give an amount, or a target_balance."));
    }
    if let (Some(threshold), Some(target)) = (rule.threshold, rule.target)
        && target < threshold
    {
        return Err(Error::argument("target_balance is below the threshold")
            .detail(format!(
                "The target is {target}, the threshold {threshold}."
            ))
            .hint("After a top-up the wallet would still be low: raise target_balance."));
    }
    Ok(rule)
}

/// Sets when a wallet asks for money by itself, and for how much; NULL drops the rule. Returns the
/// rule.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_topup_rule(
    wallet: Option<&str>,
    rule: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> Option<Jsonb> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        args::name("actor", actor)?;
        let json = match rule {
            Some(rule) => {
                args::document("rule", Some(rule))?;
                Some((rule, rule.read("rule", args::MAX_DOCUMENT_BYTES)?))
            }
            None => None,
        };
        let checked = match &json {
            Some((given, json)) => Some(read(*given, json)?),
            None => None,
        };
        let call = IdempotentCall {
            wallet,
            call: "set_topup_rule",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[("rule", rule.and_then(canonical))]),
        };
        enter_audited(
            Level::Billing,
            &Act {
                wallet,
                action: "set_topup_rule",
                actor,
                metadata,
            },
            Of::Topups,
            |_| topups::set(wallet, checked.as_ref(), call),
        )
    };
    work().or_raise();
    rule
}

fn end<'a>(
    call: &'static str,
    wallet: Option<&'a str>,
    topup_id: Option<Uuid>,
    [reference, reason, key, actor]: [Option<&'a str>; 4],
    metadata: Option<Jsonb>,
) -> Result<End<'a>> {
    let topup_id = topup_id.ok_or_else(|| {
        Error::argument("topup_id is missing")
            .detail("The argument topup_id is NULL or was not given.")
            .hint("Give the topup_id of the event topup_requested.")
    })?;
    let wallet = args::required("wallet", wallet)?;
    let topup_id = *topup_id.as_bytes();
    Ok(End {
        wallet,
        topup_id,
        reference: args::name("reference", reference)?,
        reason: args::text("reason", reason)?,
        actor: args::name("actor", actor)?,
        metadata: args::document("metadata", metadata)?,
        call: IdempotentCall {
            wallet,
            call,
            key: args::name("idempotency_key", key)?,
            fingerprint: fingerprint(&[
                ("topup_id", Some(uuid_text(topup_id))),
                ("reference", reference.map(str::to_owned)),
                ("reason", reason.map(str::to_owned)),
            ]),
        },
    })
}

fn time(at: Timestamp) -> Option<pg_sys::Datum> {
    Some(pg_sys::Datum::from(at.0))
}

fn row(end: &End<'_>, topup: Topup) -> TopupRow {
    TopupRow(vec![
        text(end.wallet),
        Uuid::from_bytes(end.topup_id).into_datum(),
        topup.amount.into_datum(),
        text(&topup.method),
        text(&topup.status),
        topup.reason.as_deref().and_then(text),
        topup.reference.as_deref().and_then(text),
        time(topup.created_at),
        topup.finished_at.and_then(time),
        topup
            .entry_id
            .and_then(|id| Uuid::from_bytes(id).into_datum()),
        topup.balance.into_datum(),
        topup.replayed.into_datum(),
    ])
}

/// Credits a top-up that was paid; safe to call twice, and late.
#[pg_extern(schema = "wallet", requires = ["topups"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn complete_topup(
    wallet: Option<&str>,
    topup_id: Option<Uuid>,
    reference: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TopupRow {
    let work = || {
        let texts = [reference, None, idempotency_key, actor];
        let end = end("complete_topup", wallet, topup_id, texts, metadata)?;
        let topup = enter_as(Level::Billing, end.wallet, actor, |_| {
            topups::complete(&end)
        })?;
        Ok(row(&end, topup))
    };
    work().or_raise()
}

/// Notes that a top-up was not paid.
#[pg_extern(schema = "wallet", requires = ["topups"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn fail_topup(
    wallet: Option<&str>,
    topup_id: Option<Uuid>,
    reason: default!(Option<&str>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TopupRow {
    let work = || {
        let texts = [None, reason, idempotency_key, actor];
        let end = end("fail_topup", wallet, topup_id, texts, metadata)?;
        let topup = enter_as(Level::Billing, end.wallet, actor, |_| topups::fail(&end))?;
        Ok(row(&end, topup))
    };
    work().or_raise()
}

/// Has the rules whose time has come ask for money, where no charge has done so; gives how many did.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn request_due_topups(wallet: default!(Option<&str>, "NULL")) -> i64 {
    let work = || {
        let wallet = args::name("wallet", wallet)?;
        enter_some(Level::Billing, |session| {
            topups::request_due(session, wallet)
        })
    };
    as_one_call(work).or_raise()
}
