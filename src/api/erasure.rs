//! The SQL functions that erase a person's identifier.

use crate::access::call::Call;
use crate::access::rights::{ALL_WALLETS, Level};
use crate::args;
use crate::erasure::documents::{Form, without};
use crate::erasure::erase::{self, object};
use crate::erasure::person::Person;
use crate::error::Error;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::pg::row::composite;
use crate::storage::wallet_row::require_wallet;
use pgrx::datum::IntoDatum;
use pgrx::default;
use pgrx::prelude::*;

composite!(
    /// The result of `erase_user`.
    ErasureRow,
    "wallet.erasure_result"
);

/// Replaces the identifier of a user by a random pseudonym, in one wallet or in all of them.
#[pg_extern(schema = "wallet", requires = ["results"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn erase_user(
    user_id: Option<&str>,
    wallet: default!(Option<&str>, "'*'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> ErasureRow {
    let work = || {
        let user = args::required("user_id", user_id)?;
        let wallet = args::required("wallet", wallet)?;
        erase::check_key(user, idempotency_key)?;
        let one = (wallet != ALL_WALLETS).then_some(wallet);
        // The identifier is no argument of the fingerprint, which would confirm a guess.
        let call = Call::new("erase_user", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?;
        let person = Person::new(user, one);
        call.enter(Level::Admin, |once| {
            one.map_or(Ok(()), require_wallet)?;
            erase::erase(&person, &call.act(), once)
        })
    };
    let erased = work().or_raise();
    let rows: i64 = erased.places.iter().map(|(_, count)| count).sum();
    ErasureRow(vec![
        erased.pseudonym.into_datum(),
        rows.into_datum(),
        object(&erased.places).into_datum(),
        object(&erased.kept).into_datum(),
        erased.replayed.into_datum(),
    ])
}

/// A value of that form in which a pseudonym takes the place of an identifier.
#[pg_extern(schema = "wallet", immutable, strict, parallel_safe)]
#[search_path(pg_catalog, wallet, pg_temp)]
fn without_person(value: &str, person: &str, pseudonym: &str, form: &str) -> String {
    let broken = || Error::internal(format!("a {form} cannot be read"));
    let person = Person::known(person, pseudonym.to_owned());
    Form::parse(form)
        .and_then(|form| without(form, value, &person))
        .ok_or_else(broken)
        .or_raise()
}
