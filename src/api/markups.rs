//! Markups of price lists.

use crate::access::audit::{Act, Making, enter_making};
use crate::access::rights::{ALL_WALLETS, Level};
use crate::args;
use crate::idempotency::call::{IdempotentCall, begins};
use crate::idempotency::fingerprint::{fingerprint, owned};
use crate::money::AMOUNT_SCALE;
use crate::pg::jsonb::Jsonb;
use crate::pg::numeric::Number;
use crate::pg::raise::OrRaise;
use crate::pricing::lists::{NewMarkup, percentage, set};
use pgrx::prelude::*;
use pgrx::{Uuid, default};
use rust_decimal::Decimal;

/// Says from a date on what a price list adds to the prices of the default list, and returns the
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
        let list = args::required("price_list", price_list)?;
        let percent = percent.map(|number| percentage(&number)).transpose()?;
        let fixed = fixed
            .map(|number| args::amount("fixed", Some(&number)))
            .transpose()?
            .map(|fixed| Decimal::from_i128_with_scale(fixed.units(), AMOUNT_SCALE).normalize());
        let currency = args::currency("currency", currency)?;
        let effective_from = args::effective_from(effective_from)?;
        let call = IdempotentCall {
            wallet: "",
            call: "set_markup",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("price_list", owned(price_list)),
                ("percent", percent.map(|percent| percent.to_string())),
                ("fixed", fixed.map(|fixed| fixed.to_string())),
                ("effective_from", begins(effective_from)),
                ("currency", Some(currency.to_string())),
            ]),
        };
        let new = NewMarkup {
            list,
            percent,
            fixed,
            currency,
            effective_from,
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        enter_making(
            Level::Admin,
            &Act {
                wallet: ALL_WALLETS,
                action: "set_markup",
                actor,
                metadata,
            },
            Making::Markup,
            |_| call.id(|| set(&new)),
        )
    };
    Uuid::from_bytes(work().or_raise())
}
