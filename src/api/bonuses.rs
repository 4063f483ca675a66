//! The SQL function on bonuses.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level};
use crate::api::wallets::currency;
use crate::args;
use crate::error::Error;
use crate::idempotency::fingerprint::canonical;
use crate::ledger::funding::bonus_rules::{self, NewBonus};
use crate::ledger::funding::tiers;
use crate::ledger::grants::recurring_args::lifetime;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::datum::Interval;
use pgrx::default;
use pgrx::prelude::*;

/// The default currency of a bonus for all wallets. It is also the default of a new wallet.
const CURRENCY: &str = "USD";

/// Sets the bonus that a wallet, or all wallets in a currency, get in addition to payments. No
/// tiers remove the bonus. Returns the tiers.
#[pg_extern(schema = "wallet", requires = ["ledger"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_bonus(
    wallet: Option<&str>,
    tiers: Option<Jsonb>,
    currency: default!(Option<&str>, "NULL"),
    expires_in: default!(Option<Interval>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> Option<Jsonb> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let is_of_all = wallet == ALL_WALLETS;
        let given = currency
            .map(|value| self::currency("currency", Some(value)))
            .transpose()?;
        let tiers = match tiers {
            Some(given) => {
                tiers::check(&given.read("tiers", args::MAX_DOCUMENT_BYTES)?)?.then_some(given)
            }
            None => None,
        };
        let expires_in = lifetime("expires_in", expires_in)?;
        if tiers.is_none() && expires_in.is_some() {
            return Err(Error::argument("expires_in is given without tiers")
                .detail("Without tiers there is no bonus that could end.")
                .hint("Give the tiers too, or leave expires_in out to take the bonus back."));
        }
        let new = NewBonus {
            wallet,
            currency: given.or(is_of_all.then_some(CURRENCY)),
            tiers,
            expires_in: expires_in.as_deref(),
            actor: args::name("actor", actor)?,
            metadata: args::document("metadata", metadata)?,
        };
        let call = Call::new("set_bonus", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("tiers", new.tiers.and_then(canonical))
            .with("currency", new.currency)
            .with("expires_in", new.expires_in);
        call.change(Level::Admin, Of::Bonus(new.currency), |call| {
            bonus_rules::set(&new, call)
        })?;
        Ok(new.tiers)
    };
    work().or_raise()
}
