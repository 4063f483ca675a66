//! SQL functions that reports ask.

use pgrx::default;
use pgrx::prelude::*;

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{ALL_WALLETS, Level, enter};
use crate::args;
use crate::error::{Error, Result};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{canonical, fingerprint, owned};
use crate::ledger::balance::locked::Books;
use crate::ledger::grants::due;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::raise::OrRaise;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::as_one_call;
use crate::storage::wallet_row::lock_wallet;

statement!(
    EXISTS,
    [TEXTOID],
    "SELECT FROM wallet.wallets WHERE wallet_id = $1"
);

statement!(
    SET_RULE,
    [TEXTOID, TEXTOID, JSONBOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.chargeback_rules (wallet_id, rule, shares, changed_at)
     VALUES ($1, $2, coalesce($3, '{}'), $4)
     ON CONFLICT (wallet_id) DO UPDATE
        SET rule = excluded.rule, shares = excluded.shares, changed_at = excluded.changed_at"
);

statement!(
    PRUNE,
    [TIMESTAMPTZOID],
    "WITH gone AS (
        DELETE FROM wallet.allowances
         WHERE limit_id IS NOT NULL AND held = 0 AND window_end < $1 - interval '1 month'
     RETURNING 1)
     SELECT count(*) FROM gone"
);

/// The name of a wallet that the caller may read; raises otherwise. Reports ask it first.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn readable_wallet(wallet: Option<&str>) -> String {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        enter(Level::Reader, wallet, |_| {
            if EXISTS.run(&[Value::Text(wallet)])?.is_empty() {
                return Err(Error::wallet_not_found(wallet));
            }
            Ok(wallet.to_owned())
        })
    };
    work().or_raise()
}

/// The fractions of the teams, which are at most one together.
fn check_shares(shares: Option<Jsonb>, is_fixed: bool) -> Result<()> {
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

/// Says how what no team used is split over the teams of a wallet.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_chargeback_rule(
    wallet: Option<&str>,
    rule: Option<&str>,
    shares: default!(Option<Jsonb>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let rules = ["none", "even", "use", "fixed"];
        let rule = args::word("rule", rule, &rules, |word| word, &[])?;
        check_shares(shares, rule == "fixed")?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "set_chargeback_rule",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("rule", owned(Some(rule))),
                ("shares", shares.and_then(canonical)),
            ]),
        };
        enter_audited(
            Level::Billing,
            &Act {
                wallet,
                action: "set_chargeback_rule",
                actor,
                metadata,
            },
            Of::Chargeback,
            |_| {
                lock_wallet(wallet)?;
                if call.answered()?.is_some() {
                    return Ok(());
                }
                SET_RULE.run(&[
                    Value::Text(wallet),
                    Value::Text(rule),
                    Value::OptJsonb(shares),
                    Value::Time(clock::now()),
                ])?;
                call.remember(None)
            },
        )
    };
    work().or_raise();
}

/// Removes the windows of limits that ended a month ago, and says how many.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
fn prune_windows() -> i64 {
    let work = || {
        enter(Level::Admin, ALL_WALLETS, |_| {
            PRUNE.run(&[Value::Time(clock::now())])?.need(0, 0)
        })
    };
    as_one_call(work).or_raise()
}

// Jumps from wallet to wallet, however many holds each has.
statement!(
    WITH_EXPIRED_HOLDS,
    [TIMESTAMPTZOID, TEXTOID],
    "SELECT r.wallet_id FROM wallet.reservations r
      WHERE r.status = 'open' AND r.expires_at <= $1 AND ($2 IS NULL OR r.wallet_id > $2)
      ORDER BY r.wallet_id LIMIT 1"
);
statement!(
    WITH_DUE_GRANTS,
    [TIMESTAMPTZOID, INT8OID],
    "SELECT wallet_id FROM wallet.wallets WHERE grants_due <= $1 ORDER BY 1 LIMIT $2"
);

/// Holds that a sweep gives back at once.
const PORTION: i64 = 2000;

/// Books what expired in all wallets, so many holds and grants' ends of so many wallets at most, and says of how many
/// wallets. Calls do so by themselves when they need the money; this is for events that should not wait for a call.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn sweep_expired(most: default!(Option<i64>, "NULL")) -> i64 {
    let work = || {
        let most = most.unwrap_or(PORTION).max(1);
        enter(Level::Admin, ALL_WALLETS, |_| {
            let now = Value::Time(clock::now());
            let mut swept = 0;
            let due = WITH_DUE_GRANTS.run(&[now, Value::Int8(most)])?;
            for row in 0..due.len() {
                due::sweep(&due.need::<String>(row, 0)?)?;
                swept += 1;
            }
            let mut left = most;
            let mut last: Option<String> = None;
            while left > 0 {
                let next =
                    WITH_EXPIRED_HOLDS.run_in_order(&[now, Value::OptText(last.as_deref())])?;
                let Some(wallet) = next.get::<String>(0, 0) else {
                    break;
                };
                let mut books = Books::open_to_sweep(&wallet)?;
                let before = left;
                while left > 0 {
                    let some = books.sweep_some()?;
                    if some == 0 {
                        break;
                    }
                    left -= some;
                }
                books.close()?;
                // Those that are left may be in the hands of others.
                swept += i64::from(left < before);
                last = Some(wallet);
            }
            Ok(swept)
        })
    };
    as_one_call(work).or_raise()
}
