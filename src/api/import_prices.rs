//! The SQL function that imports price feeds.

use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level};
use crate::args;
use crate::idempotency::fingerprint::canonical;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pricing::import::apply::{Import, Row};
use crate::pricing::import::source::{self, Source};
use crate::pricing::lists::list_name;
use pgrx::prelude::*;
use pgrx::{AnyNumeric, default};
use std::str::FromStr;

/// Maximum size of a feed, in bytes. The complete feed of LiteLLM has less than two megabytes.
const MAX_FEED_BYTES: usize = 64 << 20;

/// Updates a price list from a published price feed, and returns the changes.
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
        let list = list_name(price_list)?;
        let currency = args::currency("currency", currency)?;
        let from = args::kept_time("effective_from", effective_from)?;
        let (dry_run, force) = (dry_run.unwrap_or(false), force.unwrap_or(false));
        // A dry run books nothing, so its key has no result to return.
        let key = args::name("idempotency_key", idempotency_key)?.filter(|_| !dry_run);
        let actor = args::name("actor", actor)?;
        let prices =
            prices.ok_or_else(|| args::missing("prices").hint("Pass the price file as jsonb."))?;
        let call = Call::new("import_prices", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(key)?
            .with("source", source.as_str())
            .with("prices", key.and_then(|_| canonical(prices)))
            .with("price_list", list)
            .with("effective_from", from.map(|from| from.0))
            .with("force", force)
            .with("currency", currency);
        call.enter(Level::Admin, |once| {
            let document = prices.read("prices", MAX_FEED_BYTES)?;
            let import = Import {
                source: source.as_str(),
                list,
                currency,
                from,
                dry_run,
                force,
                actor,
                metadata: source.note(),
            };
            source::import(&import, source, &document, &call.act(), once)
        })
    };
    TableIterator::new(work().or_raise().into_iter().map(columns))
}

/// The columns of a row of `import_prices`.
#[allow(clippy::type_complexity)]
fn columns(
    row: Row,
) -> (
    String,
    String,
    String,
    Option<AnyNumeric>,
    Option<AnyNumeric>,
    Option<String>,
) {
    let number = |text: Option<String>| text.and_then(|text| AnyNumeric::from_str(&text).ok());
    (
        row.action.to_owned(),
        row.model,
        row.meter,
        number(row.old),
        number(row.new),
        Some(row.note),
    )
}
