//! The spending policy of a wallet, read from its tables.
//!
//! A spending policy belongs to the rules of one epoch. All rows that are later added to it, one by
//! one, must belong to the same epoch. A charge is admitted first and locks its lane afterwards.
//! The lane's epoch then says whether the rules are still valid. These cases are critical, and
//! handled as follows:
//!
//! - **A member is read after another change has committed.** The member then belongs to a later
//!   epoch than the rules. Each look-up reads the epoch of the wallet's first lane in the same
//!   statement, and so under the same snapshot. A change writes both in one transaction. A row of
//!   another epoch is neither cached nor used; the caller reads the rules again.
//! - **A change commits between the look-up and the lock.** The lane has another epoch, and the
//!   charge reads the rules again, as usual. A change waits for the charges that have locked a
//!   lane. Epochs are random and never repeat: a lane with the epoch of the rules has had it ever
//!   since they were read.
//! - **A transaction reads its own changes and rolls back.** The rules and the rows added to them
//!   have an epoch that no lane has any longer. The earlier rules, if they are still cached,
//!   contain nothing of the change, because it had changed the epoch that is read with each
//!   look-up.
//! - **A transaction changes members, caches its own rules and is prepared** (two-phase commit).
//!   Its backend does not see the change until it is committed. It adds no member of the older
//!   epoch to the rules of the new one.
//! - **A transaction has a single snapshot** (REPEATABLE READ) that is older than the lane. Epoch
//!   and members then belong to the snapshot, and the write of the lane fails with 40001 if the
//!   lane has changed since.
//!
//! `tests/isolation/specs/set_member_vs_first_charge.spec` tests these cases.

use ipnet::IpNet;

use crate::access::spending_policy::{Hash, Key, Member, ModelRule, Role, Source, SpendingPolicy};
use crate::error::{Code, Error, Result, quoted};
use crate::storage::plan::{Rows, Run, Value, statement};

statement!(
    WHOLE,
    [TEXTOID],
    "SELECT EXISTS (SELECT FROM wallet.members WHERE wallet_id = $1),
            EXISTS (SELECT FROM wallet.model_rules WHERE wallet_id = $1),
            o.cidrs::text[], o.devices
       FROM (VALUES ($1)) w (id) LEFT JOIN wallet.origin_rules o ON o.wallet_id = $1"
);

macro_rules! with_epoch_query {
    ($columns:literal, $from:literal) => {
        concat!(
            "SELECT l.epoch, ", $columns,
            "  FROM wallet.allowances l LEFT JOIN ", $from,
            " WHERE l.wallet_id = $1 AND l.allowance_id = '00000000-0000-0000-0000-000000000000' AND l.lane = $2"
        )
    };
}

statement!(
    MEMBER,
    [TEXTOID, INT2OID, TEXTOID],
    with_epoch_query!(
        "m.role, m.team, m.allowed_models, m.blocked",
        "wallet.members m ON m.wallet_id = $1 AND m.user_id = $3"
    )
);
statement!(
    /// Looks the key up by the hash alone. Each of the two hashes has an index of its own, so no
    /// statistics can make the planner choose another one, such as the index of the wallet's keys
    /// by id.
    KEY,
    [TEXTOID, INT2OID, BYTEAOID],
    with_epoch_query!(
        "k.wallet_id, k.key_id, k.user_id, k.expires_at, k.revoked_at, k.good_until, k.allowed_models,
         k.allowed_ips::text[], k.devices",
        "(SELECT *, NULL::timestamptz AS good_until FROM wallet.api_keys WHERE secret_hash = $3
          UNION ALL
          SELECT *, previous_until AS good_until FROM wallet.api_keys WHERE previous_hash = $3) k ON true"
    )
);
statement!(
    MODEL_RULE,
    [TEXTOID, INT2OID, TEXTOID, TEXTOID],
    with_epoch_query!(
        "r.subject, r.allowed, r.blocked",
        "wallet.model_rules r ON r.wallet_id = $1 AND r.scope = $3 AND r.subject = $4"
    )
);

/// Reads the parts that concern every request.
pub fn read(wallet: &str, members_only: bool) -> Result<SpendingPolicy> {
    let rows = WHOLE.run(&[Value::Text(wallet)])?;
    Ok(SpendingPolicy {
        members_only,
        has_members: rows.need(0, 0)?,
        has_model_rules: rows.need(0, 1)?,
        networks: networks(rows.get(0, 2))?,
        devices: rows.get(0, 3).unwrap_or_default(),
        ..SpendingPolicy::default()
    })
}

/// Reads the other parts, if they still belong to the epoch of the cached rules.
pub struct Tables<'a> {
    /// The wallet's id.
    pub wallet: &'a str,
    /// The first lane of its balance.
    pub lane: i16,
    /// The epoch of the cached rules.
    pub epoch: i64,
}

impl Tables<'_> {
    fn lane(&self) -> Value<'_> {
        Value::Int2(self.lane)
    }

    /// The error 40001 unless the rows were read with the epoch of the rules.
    fn of_epoch(&self, rows: Rows) -> Result<Rows> {
        if rows.is_empty() || rows.need::<i64>(0, 0)? != self.epoch {
            return Err(Error::new(
                Code::SerializationFailure,
                format!(
                    "could not serialize access to wallet {}",
                    quoted(self.wallet)
                ),
            )
            .detail("Its rules changed while they were read.")
            .hint("Run the transaction again."));
        }
        Ok(rows)
    }
}

impl Source for Tables<'_> {
    fn member(&self, user: &str) -> Result<Option<Member>> {
        let rows = MEMBER.run(&[Value::Text(self.wallet), self.lane(), Value::Text(user)])?;
        let rows = self.of_epoch(rows)?;
        let Some(role) = rows.get::<String>(0, 1) else {
            return Ok(None);
        };
        Ok(Some(Member {
            role: Role::parse(&role)
                .ok_or_else(|| Error::internal(format!("unknown role {role:?}")))?,
            team: rows.get(0, 2),
            allowed_models: rows.get(0, 3).unwrap_or_default(),
            blocked: rows.need(0, 4)?,
        }))
    }

    fn key(&self, hash: &Hash) -> Result<Option<Key>> {
        let rows = KEY.run(&[Value::Text(self.wallet), self.lane(), Value::Bytes(hash)])?;
        let rows = self.of_epoch(rows)?;
        if rows.get::<String>(0, 1).as_deref() != Some(self.wallet) {
            return Ok(None);
        }
        Ok(Some(Key {
            id: rows.need(0, 2)?,
            user_id: rows.get(0, 3),
            expires_at: rows.get(0, 4),
            revoked_at: rows.get(0, 5),
            good_until: rows.get(0, 6),
            allowed_models: rows.get(0, 7).unwrap_or_default(),
            allowed_ips: networks(rows.get(0, 8))?,
            devices: rows.get(0, 9).unwrap_or_default(),
        }))
    }

    fn model_rule(&self, scope: &str, subject: &str) -> Result<Option<ModelRule>> {
        let [wallet, scope, subject] = [self.wallet, scope, subject].map(Value::Text);
        let rows = self.of_epoch(MODEL_RULE.run(&[wallet, self.lane(), scope, subject])?)?;
        Ok(rows.get::<String>(0, 1).map(|_| ModelRule {
            allowed: rows.get(0, 2).unwrap_or_default(),
            blocked: rows.get(0, 3).unwrap_or_default(),
        }))
    }
}

fn networks(texts: Option<Vec<String>>) -> Result<Vec<IpNet>> {
    texts
        .unwrap_or_default()
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|_| Error::internal(format!("{text:?} is no network")))
        })
        .collect()
}
