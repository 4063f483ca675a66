//! `set_bonus`: the rules for bonuses on payments.

use crate::access::rights::ALL_WALLETS;
use crate::error::{Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::config;
use crate::pg::clock;
use crate::pg::document::Document;
use crate::pg::jsonb::Jsonb;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::wallet_row::lock_wallet;

// Setting the same rule again changes nothing.
statement!(
    SET,
    [
        TEXTOID,
        TEXTOID,
        JSONBOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTOID,
        JSONBOID
    ],
    "INSERT INTO wallet.bonus_rules AS r
        (wallet_id, currency, tiers, expires_in, created_at, actor, metadata)
     VALUES ($1, $2, $3, $4::interval, $5, $6, $7)
     ON CONFLICT (wallet_id, currency) DO UPDATE
        SET tiers = excluded.tiers, expires_in = excluded.expires_in, created_at = excluded.created_at,
            actor = excluded.actor, metadata = excluded.metadata
      WHERE (r.tiers, r.expires_in::text) IS DISTINCT FROM (excluded.tiers, excluded.expires_in::text)"
);

statement!(
    TAKE_BACK,
    [TEXTOID, TEXTOID],
    "DELETE FROM wallet.bonus_rules WHERE wallet_id = $1 AND currency = $2"
);

/// The arguments of `set_bonus`.
pub struct NewBonus<'a> {
    /// The wallet, or `*` for all wallets.
    pub wallet: &'a str,
    /// The currency, if it was given. It always is for `*`.
    pub currency: Option<&'a str>,
    /// The checked tiers; `None` removes the bonus.
    pub tiers: Option<Jsonb>,
    /// How long a bonus can be spent, as an interval; `None` if it does not expire.
    pub expires_in: Option<&'a str>,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// The caller's own data.
    pub metadata: Option<Document>,
}

/// Sets or removes the bonus.
pub fn set(new: &NewBonus<'_>, call: IdempotentCall<'_>) -> Result<()> {
    let is_of_all = new.wallet == ALL_WALLETS;
    if !is_of_all {
        lock_wallet(new.wallet)?;
    }
    if call.answered()?.is_some() {
        return Ok(());
    }
    let own = match is_of_all {
        true => None,
        false => {
            let rules = config::read(new.wallet)?;
            // The bonus of a closed wallet may still be removed.
            if new.tiers.is_some() {
                rules.require_open(new.wallet)?;
            }
            Some(rules.currency)
        }
    };
    let currency = match (own.as_deref(), new.currency) {
        (Some(own), Some(given)) if own != given => {
            return Err(Error::argument("currency is not the wallet's")
                .detail(format!(
                    "The wallet {} is in {own}; the call says {given}.",
                    quoted(new.wallet)
                ))
                .hint("Leave the currency out: a wallet has one."));
        }
        (Some(currency), _) | (None, Some(currency)) => currency,
        (None, None) => return Err(Error::internal("a bonus for all wallets has no currency")),
    };
    let (wallet, currency) = (Value::Text(new.wallet), Value::Text(currency));
    match new.tiers {
        None => TAKE_BACK.run(&[wallet, currency])?,
        Some(tiers) => SET.run(&[
            wallet,
            currency,
            Value::Jsonb(tiers),
            Value::OptText(new.expires_in),
            Value::Time(clock::now()),
            Value::OptText(new.actor),
            Value::OptJsonb(new.metadata.as_ref().map(|document| document.value)),
        ])?,
    };
    call.remember(None)
}
