//! The guard of a wallet as its tables have it.

use ipnet::IpNet;

use crate::error::{Error, Result};
use crate::ledger::guard::{Guard, Key, Member, ModelRule, Role};
use crate::statement;
use crate::storage::plan::{Run, Value};

statement!(
    MEMBERS,
    [TEXTOID],
    "SELECT user_id, role, team, allowed_models, blocked FROM wallet.members WHERE wallet_id = $1"
);
statement!(
    KEYS,
    [TEXTOID],
    "SELECT key_id, user_id, expires_at, revoked_at, secret_hash, previous_hash, previous_until,
            allowed_models, allowed_ips::text[], devices
       FROM wallet.api_keys WHERE wallet_id = $1"
);
statement!(
    ORIGINS,
    [TEXTOID],
    "SELECT cidrs::text[], devices FROM wallet.origin_rules WHERE wallet_id = $1"
);
statement!(
    MODELS,
    [TEXTOID],
    "SELECT scope, subject, allowed, blocked FROM wallet.model_rules WHERE wallet_id = $1"
);

/// Reads it.
pub fn read(wallet: &str, members_only: bool) -> Result<Guard> {
    let wallet = [Value::Text(wallet)];
    let mut guard = Guard {
        members_only,
        ..Guard::default()
    };
    let rows = MEMBERS.run(&wallet)?;
    for row in 0..rows.len() {
        let role: String = rows.need(row, 1)?;
        let member = Member {
            role: Role::parse(&role)
                .ok_or_else(|| Error::internal(format!("unknown role {role:?}")))?,
            team: rows.get(row, 2),
            allowed_models: rows.get(row, 3).unwrap_or_default(),
            blocked: rows.need(row, 4)?,
        };
        guard.members.insert(rows.need(row, 0)?, member);
    }
    let rows = KEYS.run(&wallet)?;
    for row in 0..rows.len() {
        let previous: Option<Vec<u8>> = rows.get(row, 5);
        guard.keys.push(Key {
            id: rows.need(row, 0)?,
            user_id: rows.get(row, 1),
            expires_at: rows.get(row, 2),
            revoked_at: rows.get(row, 3),
            hash: rows.need(row, 4)?,
            previous: previous.zip(rows.get(row, 6)),
            allowed_models: rows.get(row, 7).unwrap_or_default(),
            allowed_ips: networks(rows.get(row, 8))?,
            devices: rows.get(row, 9).unwrap_or_default(),
        });
    }
    let rows = ORIGINS.run(&wallet)?;
    if !rows.is_empty() {
        guard.networks = networks(rows.get(0, 0))?;
        guard.devices = rows.get(0, 1).unwrap_or_default();
    }
    let rows = MODELS.run(&wallet)?;
    for row in 0..rows.len() {
        let rule = ModelRule {
            allowed: rows.get(row, 2).unwrap_or_default(),
            blocked: rows.get(row, 3).unwrap_or_default(),
        };
        guard
            .models
            .insert((rows.need(row, 0)?, rows.need(row, 1)?), rule);
    }
    Ok(guard)
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
