//! Members and model rules: the rows.

use crate::access::spending_policy::Role;
use crate::args;
use crate::error::Result;
use crate::storage::plan::{Run, Value, statement};

statement!(
    pub ROLE_OF,
    [TEXTOID, TEXTOID],
    "SELECT role FROM wallet.members WHERE wallet_id = $1 AND user_id = $2"
);

statement!(
    pub SET,
    [TEXTOID, TEXTOID, TEXTOID, TEXTOID, TEXTARRAYOID, BOOLOID, TIMESTAMPTZOID],
    "INSERT INTO wallet.members AS m
        (wallet_id, user_id, role, team, allowed_models, blocked, created_at)
     VALUES ($1, $2, $3, nullif($4, ''), nullif($5, '{}'), coalesce($6, false), $7)
     ON CONFLICT (wallet_id, user_id) DO UPDATE
        SET role = excluded.role,
            team = CASE WHEN $4 IS NULL THEN m.team ELSE excluded.team END,
            allowed_models = CASE WHEN $5 IS NULL THEN m.allowed_models ELSE excluded.allowed_models END,
            blocked = coalesce($6, m.blocked)"
);

statement!(
    pub DROP,
    [TEXTOID, TEXTOID],
    "DELETE FROM wallet.members WHERE wallet_id = $1 AND user_id = $2"
);

statement!(
    pub SET_RULE,
    [
        TEXTOID,
        TEXTOID,
        TEXTOID,
        TEXTARRAYOID,
        TEXTARRAYOID,
        TIMESTAMPTZOID
    ],
    "INSERT INTO wallet.model_rules (wallet_id, scope, subject, allowed, blocked, created_at)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (wallet_id, scope, subject) DO UPDATE
        SET allowed = excluded.allowed, blocked = excluded.blocked"
);

statement!(
    pub DROP_RULE,
    [TEXTOID, TEXTOID, TEXTOID],
    "DELETE FROM wallet.model_rules WHERE wallet_id = $1 AND scope = $2 AND subject = $3"
);

/// A list of names, without NULLs or empty ones.
pub fn names(argument: &str, list: Option<Vec<Option<String>>>) -> Result<Option<Vec<String>>> {
    let Some(list) = list else {
        return Ok(None);
    };
    list.into_iter()
        .map(|name| args::required(argument, name.as_deref()).map(str::to_owned))
        .collect::<Result<Vec<String>>>()
        .map(Some)
}

/// A list for a fingerprint.
pub fn listed(list: Option<&Vec<String>>) -> Option<String> {
    list.map(|list| list.join("\n"))
}

pub fn is_owner(wallet: &str, user: &str) -> Result<bool> {
    let rows = ROLE_OF.run(&[Value::Text(wallet), Value::Text(user)])?;
    Ok(!rows.is_empty() && rows.need::<String>(0, 0)? == Role::Owner.as_str())
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum RuleScope {
    Wallet,
    Team,
    User,
}

impl RuleScope {
    pub const ALL: &'static [RuleScope] = &[RuleScope::Wallet, RuleScope::Team, RuleScope::User];

    pub fn as_str(self) -> &'static str {
        match self {
            RuleScope::Wallet => "wallet",
            RuleScope::Team => "team",
            RuleScope::User => "user",
        }
    }
}
