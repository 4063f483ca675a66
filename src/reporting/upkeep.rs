//! What keeps the tables small: expired holds, ended windows; and rules of reports.

use crate::args;
use crate::error::{Error, Result};
use crate::money::Amount;
use crate::pg::jsonb::{Json, Jsonb};
use crate::storage::plan::statement;

statement!(
    pub EXISTS,
    [TEXTOID],
    "SELECT FROM wallet.wallets WHERE wallet_id = $1"
);

statement!(
    pub SET_RULE,
    [TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.chargeback_rules (wallet_id, rule, shares, changed_at)
     VALUES ($1, $2, coalesce($3, '{}'), $4)
     ON CONFLICT (wallet_id) DO UPDATE
        SET rule = excluded.rule, shares = excluded.shares, changed_at = excluded.changed_at"
);

statement!(
    pub PRUNE,
    [TIMESTAMPTZOID],
    "WITH gone AS (
        DELETE FROM wallet.allowances
         WHERE limit_id IS NOT NULL AND held = 0 AND window_end < $1 - interval '1 month'
     RETURNING 1)
     SELECT count(*) FROM gone"
);

/// The fractions of the teams, which are at most one together.
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

// Jumps from wallet to wallet, however many holds each has.
statement!(
    pub WITH_EXPIRED_HOLDS,
    [TIMESTAMPTZOID, TEXTOID],
    "SELECT r.wallet_id FROM wallet.reservations r
      WHERE r.status = 'open' AND r.expires_at <= $1 AND ($2 IS NULL OR r.wallet_id > $2)
      ORDER BY r.wallet_id LIMIT 1"
);

statement!(
    pub WITH_DUE_GRANTS,
    [TIMESTAMPTZOID, INT8OID],
    "SELECT wallet_id FROM wallet.wallets WHERE grants_due <= $1 ORDER BY 1 LIMIT $2"
);

/// Holds that a sweep gives back at once.
pub const PORTION: i64 = 2000;
