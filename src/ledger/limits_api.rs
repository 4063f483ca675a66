//! SQL functions on limits.

use pgrx::prelude::*;
use pgrx::{AnyNumeric, Uuid, default};

use crate::access::rights::{Level, enter};
use crate::args;
use crate::error::{Code, Error, OrRaise, Result};
use crate::ledger::limits::{self, Asked, Check, NewLimit};
use crate::ledger::once::Once;
use crate::ledger::request::Fingerprint;
use crate::limits::limit::Scope;
use crate::limits::period::Period;
use crate::money::Amount;
use crate::pricing::usage::{MAX_USAGE_BYTES, Usage};
use crate::storage::clock::Timestamp;
use crate::storage::jsonb::Jsonb;
use crate::storage::numeric::Number;

fn not_yet(argument: &str, detail: &str) -> Error {
    Error::new(
        Code::FeatureNotSupported,
        format!("{argument} is not supported"),
    )
    .detail(detail.to_owned())
    .hint(format!("Leave {argument} out."))
}

/// Sets a limit, or changes the one on the same scope, subject, period and metric, and returns
/// its id.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_limit(
    wallet: Option<&str>,
    max: Option<Number>,
    period: Option<&str>,
    scope: default!(Option<&str>, "'wallet'"),
    subject: default!(Option<&str>, "'*'"),
    metric: default!(Option<&str>, "'amount'"),
    mode: default!(Option<&str>, "'hard'"),
    warn_at: default!(Option<Vec<Option<AnyNumeric>>>, "'{0.8}'"),
    time_zone: default!(Option<&str>, "NULL"),
    anchor: default!(Option<i32>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    #[allow(unused)] metadata: default!(Option<Jsonb>, "NULL"),
) -> Uuid {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let max = args::amount("max", max.as_ref())?;
        let period = args::word(
            "period",
            period,
            Period::ALL,
            Period::as_str,
            &["minute", "hour", "week", "quarter", "year", "rolling"],
        )?;
        let scope = args::word(
            "scope",
            scope,
            Scope::ALL,
            Scope::as_str,
            &["team", "model", "service", "key", "tag:"],
        )?;
        args::word(
            "metric",
            metric,
            &["amount"],
            |word| word,
            &[
                "requests",
                "tokens",
                "input_tokens",
                "output_tokens",
                "images",
            ],
        )?;
        args::word("mode", mode, &["hard"], |word| word, &["soft"])?;
        args::amounts("warn_at", &warn_at.unwrap_or_default())?;
        if anchor.is_some() {
            return Err(not_yet(
                "anchor",
                "Days begin at midnight and months on the first.",
            ));
        }
        let subject = args::required("subject", subject)?;
        if scope == Scope::Wallet && subject != "*" {
            return Err(Error::argument("a limit of scope wallet has no subject")
                .detail(format!("The subject is {}.", crate::error::quoted(subject)))
                .hint("Leave subject out, or choose scope user."));
        }
        args::name("actor", actor)?;
        let time_zone = args::name("time_zone", time_zone)?;
        let mut fingerprint = Fingerprint::new(0);
        fingerprint.field("max", Some(&max.to_fixed()));
        fingerprint.field("period", Some(period.as_str()));
        fingerprint.field("scope", Some(scope.as_str()));
        fingerprint.field("subject", Some(subject));
        fingerprint.field("time_zone", time_zone);
        let call = Once {
            wallet,
            call: "set_limit",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint.finish(),
        };
        let new = NewLimit {
            wallet,
            scope,
            subject,
            period,
            max,
            time_zone,
        };
        enter(limits::LEVEL, wallet, |_| limits::set(&new, call))
    };
    Uuid::from_bytes(work().or_raise())
}

/// What the balance and every limit that applies would say to a request; books nothing.
#[pg_extern(schema = "wallet", stable, parallel_restricted)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn check_limits(
    wallet: Option<&str>,
    user_id: default!(Option<&str>, "NULL"),
    model: default!(Option<&str>, "NULL"),
    team: default!(Option<&str>, "NULL"),
    service: default!(Option<&str>, "NULL"),
    tags: default!(Option<Jsonb>, "NULL"),
    key: default!(Option<&str>, "NULL"),
    amount: default!(Option<Number>, "0"),
    usage: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(limit_id, Option<Uuid>),
        name!(scope, String),
        name!(subject, String),
        name!(period, Option<String>),
        name!(metric, String),
        name!(mode, String),
        name!(max, Option<Amount>),
        name!(used, Option<Amount>),
        name!(held, Amount),
        name!(remaining, Amount),
        name!(resets_at, Option<TimestampWithTimeZone>),
        name!(allowed, bool),
        name!(reason, Option<String>),
    ),
> {
    let work = || -> Result<_> {
        let wallet = args::required("wallet", wallet)?;
        let model = args::name("model", model)?;
        for (name, value) in [("team", team), ("service", service), ("user_id", user_id)] {
            args::name(name, value)?;
        }
        args::document("tags", tags)?;
        if key.is_some() {
            return Err(
                Error::new(Code::NotPermitted, "key is not a key of the wallet")
                    .detail("The wallet has no key that this could be.")
                    .hint("Leave the key out, or pass one that the wallet has."),
            );
        }
        let asked = match usage {
            Some(object) => {
                let mut usage = Usage::read(object.read("usage", MAX_USAGE_BYTES)?)?;
                usage.model = usage.model_or(model)?;
                Asked::Usage(Box::new(usage))
            }
            None => Asked::Amount(match amount {
                None => Amount::ZERO,
                Some(number) => args::amount("amount", Some(&number))?,
            }),
        };
        let check = Check {
            wallet,
            user_id,
            asked,
        };
        enter(Level::Reader, wallet, |_| limits::check(&check))
    };
    let time = |at: Timestamp| TimestampWithTimeZone::try_from(at.0).ok();
    let rows: Vec<_> = work()
        .or_raise()
        .into_iter()
        .map(|row| {
            (
                row.limit_id.map(Uuid::from_bytes),
                row.scope.to_owned(),
                row.subject,
                row.period.map(str::to_owned),
                "amount".to_owned(),
                "hard".to_owned(),
                row.max,
                row.used,
                row.held,
                row.remaining,
                row.resets_at.and_then(time),
                row.allowed,
                row.reason.map(str::to_owned),
            )
        })
        .collect();
    TableIterator::new(rows)
}
