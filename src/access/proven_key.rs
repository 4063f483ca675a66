//! The key whose secret is in the setting `wallet.key`.
//!
//! It is looked up at each call, so a revocation applies from its commit on. Unknown, revoked,
//! rotated and expired secrets are the same to the caller. A secret never appears in an error.

use std::borrow::Cow;

use sha2::{Digest, Sha256};

use crate::access::spending_policy::{Hash, Role, other_actor, refused};
use crate::error::{Error, Result};
use crate::pg::clock::{self, Timestamp};
use crate::pg::secret_setting;
use crate::storage::plan::{Run, Value, statement};

statement!(
    /// Looks the key up by the hash of its secret alone, like the spending policy.
    KEY,
    [BYTEAOID, TIMESTAMPTZOID],
    "SELECT k.wallet_id, k.key_id, k.user_id, k.name, k.expires_at, m.role, m.blocked
       FROM (SELECT *, NULL::timestamptz AS good_until FROM wallet.api_keys WHERE secret_hash = $1
              UNION ALL
             SELECT *, previous_until AS good_until FROM wallet.api_keys WHERE previous_hash = $1) k
       LEFT JOIN wallet.members m ON m.wallet_id = k.wallet_id AND m.user_id = k.user_id
      WHERE k.revoked_at IS NULL
        AND (k.expires_at > $2) IS NOT FALSE
        AND (k.good_until > $2) IS NOT FALSE"
);

/// A valid key.
#[derive(Debug)]
pub struct ProvenKey {
    /// The wallet of the key.
    pub wallet: String,
    /// UUIDv7 of the key.
    pub id: [u8; 16],
    /// The user to whom it is bound, if any.
    pub user_id: Option<String>,
    /// A name for people, if it has one.
    pub name: Option<String>,
    /// When it expires; `None` for a key that does not.
    pub expires_at: Option<Timestamp>,
    /// The member role of its user, and whether the user is blocked; `None` if the user is not a
    /// member.
    pub member: Option<(Role, bool)>,
}

impl ProvenKey {
    /// The error WL009 unless the actor is the key's user, if the key has one.
    pub fn require_user(&self, actor: &str) -> Result<()> {
        match self.user_id.as_deref() {
            Some(user) if user != actor => Err(other_actor(actor)),
            _ => Ok(()),
        }
    }
}

/// The valid key with that secret.
///
/// The hash is looked up, so that the duration says nothing about the secret: see the spending
/// policy.
pub fn find(secret: &[u8]) -> Result<Option<ProvenKey>> {
    let hash: Hash = Sha256::digest(secret).into();
    let rows = KEY.read_latest(&[Value::Bytes(&hash), Value::Time(clock::now())])?;
    if rows.is_empty() {
        return Ok(None);
    }
    let role = rows.get::<String>(0, 5);
    let role = role.map(|role| {
        Role::parse(&role).ok_or_else(|| Error::internal(format!("unknown role {role:?}")))
    });
    Ok(Some(ProvenKey {
        wallet: rows.need(0, 0)?,
        id: rows.need(0, 1)?,
        user_id: rows.get(0, 2),
        name: rows.get(0, 3),
        expires_at: rows.get(0, 4),
        member: role.transpose()?.zip(rows.get(0, 6)),
    }))
}

/// Whether the setting has a secret, valid or not.
pub fn is_given() -> bool {
    secret_setting::key().is_some()
}

/// The valid key in the setting.
pub fn current() -> Result<Option<ProvenKey>> {
    match secret_setting::key() {
        Some(secret) => find(secret.as_bytes()),
        None => Ok(None),
    }
}

/// The secret with which a call spends: that of the setting, otherwise its argument. The error
/// WL009 if they differ.
pub fn spending(argument: Option<&str>) -> Result<Option<Cow<'_, str>>> {
    let Some(setting) = secret_setting::key() else {
        return Ok(argument.map(Cow::Borrowed));
    };
    if argument.is_some_and(|secret| secret.as_bytes() != setting.as_bytes()) {
        return Err(refused("key is not the key of the transaction")
            .detail("The setting wallet.key has another secret.")
            .hint("Leave key out: the call spends with the key in wallet.key."));
    }
    Ok(Some(Cow::Owned(setting.to_string_lossy().into_owned())))
}
