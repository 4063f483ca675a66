//! SQL functions on keys, addresses and devices.

use pgrx::datum::Interval;
use pgrx::prelude::*;
use pgrx::{Uuid, default};

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::members_api::{listed, names};
use crate::access::rights::Level;
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{fingerprint, owned};
use crate::ledger::wallets::change::{change, change_once};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;
use crate::storage::wallet_row::lock_wallet;

statement!(
    /// 244 random bits of the server's own generator.
    NEW_SECRET,
    [],
    "SELECT 'wk_' || replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '')"
);
statement!(
    CREATE,
    [
        TEXTOID,
        UUIDOID,
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTARRAYOID,
        TEXTARRAYOID,
        TEXTARRAYOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.api_keys
        (wallet_id, key_id, user_id, name, secret_hash, expires_at, allowed_models, allowed_ips,
         devices, created_at)
     VALUES ($1, $2, $3, $4, sha256(convert_to($5, 'UTF8')), $6, nullif($7, '{}'),
             nullif($8, '{}')::cidr[], nullif($9, '{}'), $10)"
);
statement!(
    FIND,
    [TEXTOID, UUIDOID],
    "SELECT revoked_at FROM wallet.api_keys WHERE wallet_id = $1 AND key_id = $2"
);
statement!(
    ROTATE,
    [TEXTOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "UPDATE wallet.api_keys
        SET previous_hash = secret_hash, previous_until = $4,
            secret_hash = sha256(convert_to($3, 'UTF8')), rotated_at = $5
      WHERE wallet_id = $1 AND key_id = $2"
);
statement!(
    REVOKE,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.api_keys SET revoked_at = coalesce(revoked_at, $3)
      WHERE wallet_id = $1 AND key_id = $2"
);
statement!(
    SET_NETWORKS,
    [TEXTOID, TEXTARRAYOID],
    "INSERT INTO wallet.origin_rules (wallet_id, cidrs) VALUES ($1, nullif($2, '{}')::cidr[])
     ON CONFLICT (wallet_id) DO UPDATE SET cidrs = excluded.cidrs"
);
statement!(
    SET_DEVICES,
    [TEXTOID, TEXTARRAYOID],
    "INSERT INTO wallet.origin_rules (wallet_id, devices) VALUES ($1, nullif($2, '{}'))
     ON CONFLICT (wallet_id) DO UPDATE SET devices = excluded.devices"
);

/// A key's id, its secret where it is new, and whether an earlier call made it.
type KeyRows = TableIterator<'static, (Uuid, Option<String>, bool)>;

/// What the calls that make a secret answer.
struct Made {
    id: [u8; 16],
    secret: Option<String>,
}

fn rows(made: Made) -> KeyRows {
    let replayed = made.secret.is_none();
    TableIterator::once((Uuid::from_bytes(made.id), made.secret, replayed))
}

/// Makes a secret once; the same call again answers without it, as nobody kept it.
fn with_secret(
    call: IdempotentCall<'_>,
    work: impl FnOnce(&str) -> Result<[u8; 16]>,
) -> Result<Made> {
    lock_wallet(call.wallet)?;
    if let Some(answer) = call.answered()? {
        return Ok(Made {
            id: answer.id()?,
            secret: None,
        });
    }
    let secret: String = NEW_SECRET.run(&[])?.need(0, 0)?;
    let id = change(call.wallet, |_| work(&secret))?;
    call.remember_text("key_id", &uuid_text(id))?;
    Ok(Made {
        id,
        secret: Some(secret),
    })
}

/// What `create_key` does, with networks as text.
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
        args::name("user_id", user_id)?;
        args::name("name", name)?;
        let expires = args::kept_time("expires_at", expires_at)?;
        let models = names("allowed_models", allowed_models)?;
        let networks = names("allowed_ips", allowed_ips)?;
        let devices = names("devices", devices)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "create_key",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("user_id", owned(user_id)),
                ("name", owned(name)),
                ("expires_at", expires.map(|at| at.0.to_string())),
                ("allowed_models", listed(models.as_ref())),
                ("allowed_ips", listed(networks.as_ref())),
                ("devices", listed(devices.as_ref())),
            ]),
        };
        let id = uuid::Uuid::now_v7().into_bytes();
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "create_key",
                actor,
                metadata,
            },
            Of::Key(id),
            |_| {
                with_secret(call, |secret| {
                    CREATE.run(&[
                        Value::Text(wallet),
                        Value::Uuid(id),
                        Value::OptText(user_id),
                        Value::OptText(name),
                        Value::Text(secret),
                        Value::OptTime(expires),
                        Value::OptTexts(models.as_deref()),
                        Value::OptTexts(networks.as_deref()),
                        Value::OptTexts(devices.as_deref()),
                        Value::Time(clock::now()),
                    ])?;
                    Ok(id)
                })
            },
        )
    };
    rows(work().or_raise())
}

fn key_id(value: Option<Uuid>) -> Result<[u8; 16]> {
    value.map(|id| *id.as_bytes()).ok_or_else(|| {
        Error::argument("key_id is missing")
            .detail("The argument key_id is NULL or was not given.")
            .hint("Pass the id that create_key() returned; wallet.keys shows them.")
    })
}

/// When the key was revoked; 42704 unless the wallet has the key.
fn find(wallet: &str, id: [u8; 16]) -> Result<Option<Timestamp>> {
    let found = FIND.run(&[Value::Text(wallet), Value::Uuid(id)])?;
    if found.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such key", quoted(wallet)),
        )
        .detail(format!("There is no key {}.", uuid_text(id)))
        .hint("Pass a key_id that create_key() returned; wallet.keys shows them."));
    }
    Ok(found.get(0, 0))
}

/// Gives a key a new secret; the old one stays good for the overlap.
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
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "rotate_key",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("key_id", Some(uuid_text(id))),
                ("overlap", Some(overlap.to_string())),
            ]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "rotate_key",
                actor,
                metadata,
            },
            Of::Key(id),
            |_| {
                with_secret(call, |secret| {
                    if find(wallet, id)?.is_some() {
                        return Err(crate::access::spending_policy::refused("key was revoked")
                            .detail("A revoked key stays revoked.")
                            .hint("Make another one with create_key()."));
                    }
                    let now = clock::now();
                    ROTATE.run(&[
                        Value::Text(wallet),
                        Value::Uuid(id),
                        Value::Text(secret),
                        Value::Time(Timestamp(now.0.saturating_add(overlap))),
                        Value::Time(now),
                    ])?;
                    Ok(id)
                })
            },
        )
    };
    rows(work().or_raise())
}

/// Ends a key for good.
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
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "revoke_key",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[("key_id", Some(uuid_text(id)))]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "revoke_key",
                actor,
                metadata,
            },
            Of::Key(id),
            |_| {
                change_once(call, || {
                    find(wallet, id)?;
                    REVOKE
                        .run(&[
                            Value::Text(wallet),
                            Value::Uuid(id),
                            Value::Time(clock::now()),
                        ])
                        .map(drop)
                })
            },
        )
    };
    work().or_raise();
}

/// What `set_ip_rules` does, with networks as text.
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
        let cidrs = names("cidrs", cidrs)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "set_ip_rules",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[("cidrs", listed(cidrs.as_ref()))]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "set_ip_rules",
                actor,
                metadata,
            },
            Of::Origins,
            |_| {
                change_once(call, || {
                    SET_NETWORKS
                        .run(&[Value::Text(wallet), Value::OptTexts(cidrs.as_deref())])
                        .map(drop)
                })
            },
        )
    };
    work().or_raise();
}

/// Says from which devices a wallet may be used.
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
        let devices = names("devices", devices)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "set_devices",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[("devices", listed(devices.as_ref()))]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "set_devices",
                actor,
                metadata,
            },
            Of::Origins,
            |_| {
                change_once(call, || {
                    SET_DEVICES
                        .run(&[Value::Text(wallet), Value::OptTexts(devices.as_deref())])
                        .map(drop)
                })
            },
        )
    };
    work().or_raise();
}
