//! The SQL function on markups of price lists.

use crate::access::audit_making::Making;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level};
use crate::args;
use crate::idempotency::call::begins;
use crate::money::AMOUNT_SCALE;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pricing::lists::{NewMarkup, list_name, percentage, set};
use pgrx::prelude::*;
use pgrx::{Uuid, default};
use rust_decimal::Decimal;

/// Sets what a price list adds to the prices of the default list from a date on. Returns the
/// markup's id.
#[pg_extern(schema = "wallet")]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_markup(
    price_list: Option<&str>,
    percent: default!(Option<Number>, "NULL"),
    fixed: default!(Option<Number>, "NULL"),
    effective_from: default!(Option<TimestampWithTimeZone>, "now()"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
    currency: default!(Option<&str>, "'USD'"),
) -> Uuid {
    let work = || {
        let list = list_name(price_list)?;
        let percent = percent.map(|number| percentage(&number)).transpose()?;
        let fixed = fixed
            .map(|number| args::amount("fixed", Some(&number)))
            .transpose()?
            .map(|fixed| Decimal::from_i128_with_scale(fixed.units(), AMOUNT_SCALE).normalize());
        let currency = args::currency("currency", currency)?;
        let effective_from = args::effective_from(effective_from)?;
        let call = Call::new("set_markup", ALL_WALLETS)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("price_list", price_list)
            .with("percent", percent)
            .with("fixed", fixed)
            .with("effective_from", begins(effective_from))
            .with("currency", currency);
        let new = NewMarkup {
            list,
            percent,
            fixed,
            currency,
            effective_from,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        call.make(Level::Admin, Making::Markup, |call| call.id(|| set(&new)))
    };
    Uuid::from_bytes(work().or_raise())
}
