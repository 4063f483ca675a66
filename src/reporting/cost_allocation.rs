//! The rule by which the cost that no team caused is distributed over the teams, and the same for
//! the values of a tag (`chargeback`).

use crate::args;
use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::jsonb::{Json, Jsonb};
use crate::storage::plan::{Run, Value, statement};

statement!(
    SET_RULE,
    [TEXTOID, TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.chargeback_rules (wallet_id, dimension, rule, shares, changed_at)
     VALUES ($1, $2, $3, coalesce($4, '{}'), $5)
     ON CONFLICT (wallet_id, dimension) DO UPDATE
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

/// Sets the rule of a wallet.
pub fn set(wallet: &str, dimension: &str, rule: &str, shares: Option<Jsonb>) -> Result<()> {
    SET_RULE
        .run(&[
            Value::Text(wallet),
            Value::Text(dimension),
            Value::Text(rule),
            Value::OptJsonb(shares),
            Value::Time(clock::now()),
        ])
        .map(drop)
}
