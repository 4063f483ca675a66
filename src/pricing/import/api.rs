//! SQL function on price feeds.

use std::str::FromStr;

use pgrx::prelude::*;
use pgrx::{AnyNumeric, default};

use crate::access::audit::{Act, note_down};
use crate::access::rights::{ALL_WALLETS, Level, enter_as};
use crate::args;
use crate::error::Error;
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{canonical, fingerprint};
use crate::pg::jsonb::{Builder, Jsonb};
use crate::pg::raise::OrRaise;
use crate::pricing::import::apply::{self, Import};
use crate::pricing::import::{answer, genai, litellm};

/// The whole feed of LiteLLM has less than two.
const MAX_FEED_BYTES: usize = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Litellm,
    Genai,
}

impl Source {
    const ALL: &'static [Source] = &[Source::Litellm, Source::Genai];

    fn as_str(self) -> &'static str {
        match self {
            Source::Litellm => litellm::SOURCE,
            Source::Genai => genai::SOURCE,
        }
    }
}

/// Brings a price list in line with a published price feed, and says what it did.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments, clippy::type_complexity)]
fn import_prices(
    source: Option<&str>,
    prices: Option<Jsonb>,
    price_list: default!(Option<&str>, "'default'"),
    effective_from: default!(Option<TimestampWithTimeZone>, "NULL"),
    dry_run: default!(Option<bool>, "false"),
    force: default!(Option<bool>, "false"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    currency: default!(Option<&str>, "'USD'"),
) -> TableIterator<
    'static,
    (
        name!(action, String),
        name!(model, String),
        name!(meter, String),
        name!(old_price, Option<AnyNumeric>),
        name!(new_price, Option<AnyNumeric>),
        name!(note, Option<String>),
    ),
> {
    let work = || {
        let source = args::word("source", source, Source::ALL, Source::as_str, &[])?;
        let list = args::required("price_list", price_list)?;
        let currency = args::currency("currency", currency)?;
        let from = args::kept_time("effective_from", effective_from)?;
        let (dry_run, force) = (dry_run.unwrap_or(false), force.unwrap_or(false));
        // A trial books nothing, so there is nothing that its key could stand for.
        let key = args::name("idempotency_key", idempotency_key)?.filter(|_| !dry_run);
        let actor = args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let prices = prices.ok_or_else(|| {
            Error::argument("prices is missing")
                .detail("The argument prices is NULL or was not given.")
                .hint("Pass the price file as jsonb.")
        })?;
        enter_as(Level::Admin, ALL_WALLETS, actor, |_| {
            let document = prices.read("prices", MAX_FEED_BYTES)?;
            if !dry_run {
                apply::lock()?;
            }
            // A call with the same key has waited for the first one, and finds its answer.
            let call = IdempotentCall {
                wallet: "",
                call: "import_prices",
                key,
                fingerprint: fingerprint(&[
                    ("source", Some(source.as_str().to_owned())),
                    ("prices", key.and_then(|_| canonical(prices))),
                    ("price_list", Some(list.to_owned())),
                    ("effective_from", from.map(|from| from.0.to_string())),
                    ("force", Some(force.to_string())),
                    ("currency", Some(currency.to_string())),
                ]),
            };
            if let Some(first) = call.answered()? {
                return answer::read(&first);
            }
            let feed = match source {
                Source::Litellm => litellm::read(&document)?,
                Source::Genai => genai::read(&document)?,
            };
            let mut origin = Builder::default();
            origin.begin_object();
            origin.text("source", Some(source.as_str()));
            let import = Import {
                source: source.as_str(),
                list,
                currency,
                from,
                dry_run,
                force,
                actor,
                metadata: origin.finish_object(),
            };
            let rows = apply::apply(&import, feed)?;
            let count = |action: &str| {
                rust_decimal::Decimal::from(rows.iter().filter(|row| row.action == action).count())
            };
            let changed = ["added", "changed", "ended"];
            if !import.dry_run && changed.iter().any(|action| !count(action).is_zero()) {
                let mut summary = Builder::default();
                summary.begin_object();
                summary.text("source", Some(import.source));
                summary.text("price_list", Some(list));
                for action in changed {
                    summary.decimal(action, count(action));
                }
                let act = Act {
                    wallet: ALL_WALLETS,
                    action: "import_prices",
                    actor,
                    metadata,
                };
                note_down(&act, list, summary.finish_object())?;
            }
            if key.is_some() {
                call.remember(Some(answer::write(&rows)))?;
            }
            Ok(rows)
        })
    };
    let number = |text: Option<String>| text.and_then(|text| AnyNumeric::from_str(&text).ok());
    let rows: Vec<_> = work()
        .or_raise()
        .into_iter()
        .map(|row| {
            (
                row.action.to_owned(),
                row.model,
                row.meter,
                number(row.old),
                number(row.new),
                Some(row.note),
            )
        })
        .collect();
    TableIterator::new(rows)
}
