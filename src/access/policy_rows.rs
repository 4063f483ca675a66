//! The guard of a wallet as its tables have it.
//!
//! A guard belongs to rules of one epoch, and so must all that is read into it later, one by one. A charge is let in
//! first, and locks its lane then; the lane's epoch says whether the rules hold. What could go wrong, and why it does not:
//!
//! - **A member is read after another change has committed.** It is of a later epoch then than the rules are. Each look-up
//!   reads the epoch of the wallet's first lane in the same statement, hence under the same snapshot: a change writes both
//!   in one transaction. What is of another epoch is not kept and not used; the caller reads the rules again.
//! - **A change commits between the look-up and the lock.** The lane has another epoch, and the charge reads the rules
//!   again, as ever. A change waits for the charges that have a lane, and epochs are random and never come back: a lane that
//!   has the epoch of the rules had it all the time since they were read.
//! - **A transaction reads what it has changed itself, and rolls back.** The rules and what was read into them have an epoch
//!   that no lane has any more. The rules of before, where they are still known, have nothing of the change in them: it
//!   had moved the epoch that is read with each look-up.
//! - **A transaction changes members, knows its own rules and is prepared** (two-phase commit). Its backend does not see
//!   the change until it is committed, and reads no member under the older epoch into the rules of the new one.
//! - **A transaction has one snapshot** (REPEATABLE READ), older than the lane. Then epoch and members are those of the
//!   snapshot, and the write of the lane fails with 40001 if it has changed since.
//!
//! `tests/isolation/specs/set_member_vs_first_charge.spec` has these in turn.

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
    /// By the hash alone, which has an index of its own each: no statistics can lead to another one, such as that of
    /// the wallet's keys by id.
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

/// Reads what concerns every request.
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

/// The rest, as long as it is of the epoch of the rules that are known.
pub struct Tables<'a> {
    /// The wallet.
    pub wallet: &'a str,
    /// The first lane of its balance.
    pub lane: i16,
    /// The epoch of the rules that are known.
    pub epoch: i64,
}

impl Tables<'_> {
    fn lane(&self) -> Value<'_> {
        Value::Int2(self.lane)
    }

    /// 40001 unless the rows were read with the epoch of the rules.
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
