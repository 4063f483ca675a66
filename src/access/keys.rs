//! API keys, and a wallet's rules on networks and devices: the rows.

use crate::access::members::is_owner;
use crate::access::rights::require_owner;
use crate::access::spending_policy::refused;
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

statement!(
    /// 244 random bits from the server's own generator.
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
    "SELECT revoked_at, user_id FROM wallet.api_keys WHERE wallet_id = $1 AND key_id = $2"
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

/// The arguments of `create_key` about a key.
#[derive(Default)]
pub struct KeyArgs<'a> {
    /// The user for whom it makes requests.
    pub user_id: Option<&'a str>,
    /// A name for people.
    pub name: Option<&'a str>,
    /// When the key expires.
    pub expires_at: Option<Timestamp>,
    /// The models that it may use.
    pub allowed_models: Option<Vec<Option<String>>>,
    /// The networks from which it may be used, as text.
    pub allowed_ips: Option<Vec<Option<String>>>,
    /// The devices from which it may be used.
    pub devices: Option<Vec<Option<String>>>,
}

/// A new API key.
pub struct NewKey<'a> {
    /// UUIDv7 of the key.
    pub id: [u8; 16],
    /// The user for whom it makes requests, if it is bound to one.
    pub user_id: Option<&'a str>,
    /// A name for people, if one was given.
    pub name: Option<&'a str>,
    /// When the key expires; `None` for a key that does not.
    pub expires_at: Option<Timestamp>,
    /// The models that it may use; all if `None`.
    pub models: Option<Vec<String>>,
    /// The networks from which it may be used, as text; all if `None`.
    pub networks: Option<Vec<String>>,
    /// The devices from which it may be used; all if `None`.
    pub devices: Option<Vec<String>>,
}

impl<'a> NewKey<'a> {
    /// Checks the arguments, and gives the key an id.
    pub fn of(args: KeyArgs<'a>) -> Result<NewKey<'a>> {
        Ok(NewKey {
            id: uuid::Uuid::now_v7().into_bytes(),
            user_id: args::name("user_id", args.user_id)?,
            name: args::name("name", args.name)?,
            expires_at: args::kept("expires_at", args.expires_at)?,
            models: args::names("allowed_models", args.allowed_models)?,
            networks: args::names("allowed_ips", args.allowed_ips)?,
            devices: args::names("devices", args.devices)?,
        })
    }
}

/// A new secret. Only the caller gets it. The table stores its hash.
fn new_secret() -> Result<String> {
    NEW_SECRET.run(&[])?.need(0, 0)
}

/// Only owners may make a key for an owner: it has the rights of its user.
fn require_right_to(wallet: &str, user: Option<&str>, actor: Option<&str>) -> Result<()> {
    match user {
        Some(user) if is_owner(wallet, user)? => {
            require_owner(wallet, actor, "make a key for an owner")
        }
        _ => Ok(()),
    }
}

/// Adds a key and returns its secret.
pub fn create(wallet: &str, new: &NewKey<'_>, actor: Option<&str>) -> Result<String> {
    require_right_to(wallet, new.user_id, actor)?;
    let secret = new_secret()?;
    CREATE.run(&[
        Value::Text(wallet),
        Value::Uuid(new.id),
        Value::OptText(new.user_id),
        Value::OptText(new.name),
        Value::Text(&secret),
        Value::OptTime(new.expires_at),
        Value::OptTexts(new.models.as_deref()),
        Value::OptTexts(new.networks.as_deref()),
        Value::OptTexts(new.devices.as_deref()),
        Value::Time(clock::now()),
    ])?;
    Ok(secret)
}

/// When the key was revoked; `None` if it was not; and its user. The error 42704 if the wallet does
/// not have the key.
fn find(wallet: &str, id: [u8; 16]) -> Result<(Option<Timestamp>, Option<String>)> {
    let found = FIND.run(&[Value::Text(wallet), Value::Uuid(id)])?;
    if found.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such key", quoted(wallet)),
        )
        .detail(format!("There is no key {}.", uuid_text(id)))
        .hint("Pass a key_id that create_key() returned; wallet.keys shows them."));
    }
    Ok((found.get(0, 0), found.get(0, 1)))
}

/// Replaces a key's secret and returns the new one. The old secret stays valid for `overlap`
/// microseconds.
pub fn rotate(wallet: &str, id: [u8; 16], overlap: i64, actor: Option<&str>) -> Result<String> {
    let (revoked_at, user) = find(wallet, id)?;
    require_right_to(wallet, user.as_deref(), actor)?;
    if revoked_at.is_some() {
        return Err(refused("key was revoked")
            .detail("A revoked key stays revoked.")
            .hint("Make another one with create_key()."));
    }
    let secret = new_secret()?;
    let now = clock::now();
    ROTATE.run(&[
        Value::Text(wallet),
        Value::Uuid(id),
        Value::Text(&secret),
        Value::Time(Timestamp(now.0.saturating_add(overlap))),
        Value::Time(now),
    ])?;
    Ok(secret)
}

/// Revokes a key permanently.
pub fn revoke(wallet: &str, id: [u8; 16]) -> Result<()> {
    find(wallet, id)?;
    let now = Value::Time(clock::now());
    REVOKE
        .run(&[Value::Text(wallet), Value::Uuid(id), now])
        .map(drop)
}

/// Sets the networks from which a wallet may be used.
pub fn set_networks(wallet: &str, networks: Option<&[String]>) -> Result<()> {
    SET_NETWORKS
        .run(&[Value::Text(wallet), Value::OptTexts(networks)])
        .map(drop)
}

/// Sets the devices from which a wallet may be used.
pub fn set_devices(wallet: &str, devices: Option<&[String]>) -> Result<()> {
    SET_DEVICES
        .run(&[Value::Text(wallet), Value::OptTexts(devices)])
        .map(drop)
}
