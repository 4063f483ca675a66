//! SQL functions on keys, networks and devices.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::keys::{self, KeyArgs, NewKey};
use crate::access::proven_key;
use crate::access::rights::{Level, has_grant};
use crate::args;
use crate::error::Result;
use crate::idempotency::call::lost;
use crate::idempotency::fingerprint::canonical;
use crate::items::{Item, Items};
use crate::ledger::wallets::change::{change, change_each, change_for_id, change_once};
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::{OrRaise, or_raise_keeping};
use crate::storage::rows::uuid_text;
use crate::storage::session::as_owner;
use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

/// A key's id, its secret if the secret is new, and whether the result is that of an earlier call.
type KeyRows = TableIterator<'static, (Uuid, Option<String>, bool)>;

fn rows((id, secret): ([u8; 16], Option<String>)) -> KeyRows {
    let replayed = secret.is_none();
    TableIterator::once((Uuid::from_bytes(id), secret, replayed))
}

/// Implements `create_key`, with networks as text.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn write_key(
    wallet: Option<&str>,
    user_id: Option<&str>,
    name: Option<&str>,
    expires_at: Option<TimestampWithTimeZone>,
    allowed_models: Option<Vec<Option<String>>>,
    allowed_ips: Option<Vec<Option<String>>>,
    devices: Option<Vec<Option<String>>>,
    idempotency_key: Option<&str>,
    actor: Option<&str>,
    metadata: Option<Jsonb>,
) -> TableIterator<
    'static,
    (
        name!(key_id, Uuid),
        name!(secret, Option<String>),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let new = NewKey::of(KeyArgs {
            user_id,
            name,
            expires_at: expires_at.map(Timestamp::from),
            allowed_models,
            allowed_ips,
            devices,
        })?;
        let call = Call::new("create_key", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("user_id", user_id)
            .with("name", name)
            .with("expires_at", new.expires_at.map(|at| at.0))
            .with("allowed_models", new.models.as_deref())
            .with("allowed_ips", new.networks.as_deref())
            .with("devices", new.devices.as_deref());
        call.change(Level::Admin, Of::Key(new.id), |call| {
            change_for_id(call, new.id, || keys::create(wallet, &new, actor))
        })
    };
    rows(work().or_raise())
}

/// The items of `create_keys`.
static KEYS: Items = Items {
    argument: "keys",
    path: "",
    single: "create_key",
    keys: &[
        "user_id",
        "name",
        "expires_at",
        "allowed_models",
        "allowed_ips",
        "devices",
    ],
};

fn key(item: &Item) -> Result<NewKey<'_>> {
    item.told(NewKey::of(KeyArgs {
        user_id: item.text("user_id", None)?,
        name: item.text("name", None)?,
        expires_at: item.time("expires_at")?,
        allowed_models: item.texts("allowed_models")?,
        allowed_ips: item.networks("allowed_ips")?,
        devices: item.texts("devices")?,
    }))
}

/// Creates many keys and returns their secrets: all of them or none.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn create_keys(
    wallet: Option<&str>,
    keys: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(item, i32),
        name!(key_id, Uuid),
        name!(secret, Option<String>),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let items = KEYS.read(keys)?;
        let new = items.iter().map(key).collect::<Result<Vec<_>>>()?;
        let ids: Vec<[u8; 16]> = new.iter().map(|new| new.id).collect();
        let call = Call::new("create_keys", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("keys", keys.and_then(canonical));
        let mut secrets = Vec::new();
        let done = change_each(&call, Level::Admin, Of::Keys(&ids), || {
            secrets = change(wallet, |_| {
                let new = new.iter().map(|new| keys::create(wallet, new, actor));
                new.collect::<Result<Vec<String>>>()
            })?;
            Ok(ids.iter().map(|id| uuid_text(*id)).collect())
        })?;
        let ids = done.items.iter();
        let ids = ids.map(|(id, _)| uuid::Uuid::parse_str(id).map_err(|_| lost()));
        Ok((ids.collect::<Result<Vec<_>>>()?, secrets, done.replayed))
    };
    let (ids, secrets, replayed) = work().or_raise();
    let mut secrets = secrets.into_iter();
    TableIterator::new((1..).zip(ids).map(move |(item, id)| {
        (
            item,
            Uuid::from_bytes(id.into_bytes()),
            secrets.next(),
            replayed,
        )
    }))
}

pub fn key_id(value: Option<Uuid>) -> Result<[u8; 16]> {
    let hint = "Pass the id that create_key() returned; wallet.keys shows them.";
    args::id("key_id", value, hint)
}

/// Replaces a key's secret. The old secret stays valid for the overlap.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn rotate_key(
    wallet: Option<&str>,
    key_id: Option<Uuid>,
    overlap: default!(Option<Interval>, "'1 day'"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(key_id, Uuid),
        name!(secret, Option<String>),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::key_id(key_id)?;
        let overlap = args::duration("overlap", overlap)?;
        let call = Call::new("rotate_key", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("key_id", id)
            .with("overlap", overlap);
        call.change(Level::Admin, Of::Key(id), |call| {
            change_for_id(call, id, || keys::rotate(wallet, id, overlap, actor))
        })
    };
    rows(work().or_raise())
}

/// The valid key with a secret; no row if there is none, or if the caller has no grant on its
/// wallet.
#[pg_extern(schema = "wallet", stable)]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn key_owner(
    secret: Option<&str>,
) -> TableIterator<
    'static,
    (
        name!(wallet, String),
        name!(key_id, Uuid),
        name!(user_id, Option<String>),
        name!(name, Option<String>),
        name!(expires_at, Option<TimestampWithTimeZone>),
    ),
> {
    let work = || {
        let secret = args::required("secret", secret)?;
        as_owner(|session| {
            let found = proven_key::find(secret.as_bytes())?;
            let is_visible = match &found {
                Some(key) => has_grant(session, Level::Reader, &key.wallet)?,
                None => false,
            };
            Ok(found.filter(|_| is_visible))
        })
    };
    let row = or_raise_keeping(secret, work).map(|key| {
        let expires_at = key
            .expires_at
            .map(|at| TimestampWithTimeZone::try_from(at.0));
        (
            key.wallet,
            Uuid::from_bytes(key.id),
            key.user_id,
            key.name,
            expires_at.and_then(std::result::Result::ok),
        )
    });
    TableIterator::new(row)
}

/// Revokes a key permanently.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn revoke_key(
    wallet: Option<&str>,
    key_id: Option<Uuid>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let id = self::key_id(key_id)?;
        let call = Call::new("revoke_key", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("key_id", id);
        call.change(Level::Admin, Of::Key(id), |call| {
            change_once(call, || keys::revoke(wallet, id))
        })
    };
    work().or_raise();
}

/// Implements `set_ip_rules`, with networks as text.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn write_ip_rules(
    wallet: Option<&str>,
    cidrs: Option<Vec<Option<String>>>,
    idempotency_key: Option<&str>,
    actor: Option<&str>,
    metadata: Option<Jsonb>,
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let cidrs = args::names("cidrs", cidrs)?;
        let call = Call::new("set_ip_rules", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("cidrs", cidrs.as_deref());
        call.change(Level::Admin, Of::Origins, |call| {
            change_once(call, || keys::set_networks(wallet, cidrs.as_deref()))
        })
    };
    work().or_raise();
}

/// Sets the devices from which a wallet may be used.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn set_devices(
    wallet: Option<&str>,
    devices: Option<Vec<Option<String>>>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let devices = args::names("devices", devices)?;
        let call = Call::new("set_devices", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("devices", devices.as_deref());
        call.change(Level::Admin, Of::Origins, |call| {
            change_once(call, || keys::set_devices(wallet, devices.as_deref()))
        })
    };
    work().or_raise();
}
