//! API keys, and the networks and devices of a wallet: the rows.

use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::change::change;
use crate::pg::clock::Timestamp;
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
    pub CREATE,
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
    pub ROTATE,
    [TEXTOID, UUIDOID, TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID],
    "UPDATE wallet.api_keys
        SET previous_hash = secret_hash, previous_until = $4,
            secret_hash = sha256(convert_to($3, 'UTF8')), rotated_at = $5
      WHERE wallet_id = $1 AND key_id = $2"
);

statement!(
    pub REVOKE,
    [TEXTOID, UUIDOID, TIMESTAMPTZOID],
    "UPDATE wallet.api_keys SET revoked_at = coalesce(revoked_at, $3)
      WHERE wallet_id = $1 AND key_id = $2"
);

statement!(
    pub SET_NETWORKS,
    [TEXTOID, TEXTARRAYOID],
    "INSERT INTO wallet.origin_rules (wallet_id, cidrs) VALUES ($1, nullif($2, '{}')::cidr[])
     ON CONFLICT (wallet_id) DO UPDATE SET cidrs = excluded.cidrs"
);

statement!(
    pub SET_DEVICES,
    [TEXTOID, TEXTARRAYOID],
    "INSERT INTO wallet.origin_rules (wallet_id, devices) VALUES ($1, nullif($2, '{}'))
     ON CONFLICT (wallet_id) DO UPDATE SET devices = excluded.devices"
);

/// What the calls that make a secret answer.
pub struct Made {
    pub id: [u8; 16],
    pub secret: Option<String>,
}

/// Makes a secret once; the same call again answers without it, as nobody kept it.
pub fn with_secret(
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

/// When the key was revoked; 42704 unless the wallet has the key.
pub fn find(wallet: &str, id: [u8; 16]) -> Result<Option<Timestamp>> {
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
