//! The rule by which the cost that no team caused is distributed over the teams, and the same for
//! the values of a tag (`chargeback`).

use crate::args;
use crate::error::{Error, Result};
use crate::ledger::wallets::closings;
use crate::ledger::wallets::config;
use crate::money::Amount;
use crate::pg::clock::{self, Timestamp};
use crate::pg::jsonb::{Json, Jsonb};
use crate::storage::plan::{Run, Value, statement};
use pgrx::datum::Date;

// The first open month begins at the closing or later, so a month that the closing cuts keeps its
// rule. A change of the time zone moves the closing by 26 hours at most, which is less than a
// month. So the rule of a month that was closed in the former zone cannot be replaced in the new
// one.
statement!(
    SET_RULE,
    [
        TEXTOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        TIMESTAMPTZOID,
        TIMESTAMPTZOID,
        DATEOID
    ],
    "WITH open AS (
         SELECT coalesce((CASE WHEN date_trunc('month', c.at) = c.at THEN c.at
                               ELSE date_trunc('month', c.at) + interval '1 month' END)::date,
                         '-infinity') AS month
           FROM (SELECT timezone(w.time_zone, $6) AS at
                   FROM wallet.wallets w WHERE w.wallet_id = $1) c
     ), start AS (
         SELECT coalesce(date_trunc('month', $7::timestamp)::date, o.month) AS month, o.month AS open
           FROM open o
     ), replaced AS (
         DELETE FROM wallet.chargeback_rules r USING start s
          WHERE $7 IS NULL AND r.wallet_id = $1 AND r.dimension = $2 AND r.effective_from > s.month
     )
     INSERT INTO wallet.chargeback_rules
         (wallet_id, dimension, rule, shares, changed_at, effective_from)
     SELECT $1, $2, $3, coalesce($4, '{}'), $5, s.month FROM start s WHERE s.month >= s.open
     ON CONFLICT (wallet_id, dimension, effective_from) DO UPDATE
        SET rule = excluded.rule, shares = excluded.shares, changed_at = excluded.changed_at"
);

/// Checks the fractions of the teams. Their sum is at most one.
pub fn check_shares(shares: Option<Jsonb>, is_fixed: bool) -> Result<()> {
    let wrong = |detail: String| {
        Error::argument("shares are not fractions of one")
            .detail(detail)
            .hint("Pass an object such as {\"research\": 0.6, \"sales\": 0.4} with the rule fixed.")
    };
    let Some(shares) = shares else {
        return match is_fixed {
            true => Err(wrong("The rule fixed needs shares.".to_owned())),
            false => Ok(()),
        };
    };
    if !is_fixed {
        return Err(wrong("Only the rule fixed has shares.".to_owned()));
    }
    let Json::Object(shares) = shares.read("shares", args::MAX_DOCUMENT_BYTES)? else {
        return Err(wrong("The argument shares is not an object.".to_owned()));
    };
    let mut sum = Amount::ZERO;
    for (team, share) in &shares {
        let share = match share {
            Json::Number(number) => number.amount(team)?,
            _ => return Err(wrong(format!("The share of {team} is not a number."))),
        };
        if share.is_negative() {
            return Err(wrong(format!("The share of {team} is negative.")));
        }
        sum = sum.plus(share).map_err(crate::pg::numeric::overflow)?;
    }
    if sum.units() > crate::limits::limit::WHOLE {
        return Err(wrong(format!("They add up to {sum}.")));
    }
    Ok(())
}

/// The name of the dimension by which cost is allocated: `team` or `tag:NAME`.
pub fn dimension(named: Option<&str>) -> Result<&str> {
    let named = args::required("dimension", named)?;
    match named.strip_prefix("tag:") {
        Some(tag) if !tag.is_empty() => Ok(named),
        _ if named == "team" => Ok(named),
        _ => Err(args::unrecognized(
            "dimension",
            named,
            &["team", "tag:NAME"],
        )),
    }
}

/// A rule of a wallet.
pub struct Rule<'a> {
    /// `team` or `tag:NAME`.
    pub dimension: &'a str,
    /// `none`, `even`, `use` or `fixed`.
    pub rule: &'a str,
    /// The fractions of `fixed`.
    pub shares: Option<Jsonb>,
    /// A day of the first month to which the rule applies. `None` for all months that are open: the
    /// rule then takes the place of all others that apply to them.
    pub effective_from: Option<Date>,
}

/// Sets a rule of a wallet, whose row is locked. Months that are closed keep their rule.
pub fn set(wallet: &str, rule: &Rule<'_>) -> Result<()> {
    let closed = closings::of(&config::read_basis(wallet)?)?;
    let set = SET_RULE.run(&[
        Value::Text(wallet),
        Value::Text(rule.dimension),
        Value::Text(rule.rule),
        Value::OptJsonb(rule.shares),
        Value::Time(clock::now()),
        Value::OptTime(closed),
        Value::OptDate(rule.effective_from),
    ])?;
    if set.is_empty() {
        let until = closed.map(Timestamp::to_json).unwrap_or_default();
        return Err(Error::argument("effective_from is in a closed month")
            .detail(format!("The period is closed until {until}."))
            .hint("Pass a day of an open month, or open the period with reopen_period().")
            .about("effective_from"));
    }
    Ok(())
}
