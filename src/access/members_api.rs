//! SQL functions on members and model rules.

use pgrx::default;
use pgrx::prelude::*;

use crate::access::audit::{Act, Of, enter_audited};
use crate::access::rights::{Level, require_owner};
use crate::access::spending_policy::Role;
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::idempotency::call::IdempotentCall;
use crate::idempotency::fingerprint::{fingerprint, owned};
use crate::ledger::wallets::change::change_once;
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use crate::storage::plan::{Run, Value, statement};

statement!(
    ROLE_OF,
    [TEXTOID, TEXTOID],
    "SELECT role FROM wallet.members WHERE wallet_id = $1 AND user_id = $2"
);
statement!(
    SET,
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
    DROP,
    [TEXTOID, TEXTOID],
    "DELETE FROM wallet.members WHERE wallet_id = $1 AND user_id = $2"
);
statement!(
    SET_RULE,
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
    DROP_RULE,
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

/// Makes somebody a member of a wallet, or changes what is given of one.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_member(
    wallet: Option<&str>,
    user_id: Option<&str>,
    role: default!(Option<&str>, "'member'"),
    team: default!(Option<&str>, "NULL"),
    allowed_models: default!(Option<Vec<Option<String>>>, "NULL"),
    blocked: default!(Option<bool>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let user = args::required("user_id", user_id)?;
        let role = args::word("role", role, Role::ALL, |role| role.as_str(), &[])?;
        if team != Some("") {
            args::name("team", team)?;
        }
        let models = names("allowed_models", allowed_models)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "set_member",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("user_id", owned(user_id)),
                ("role", Some(role.as_str().to_owned())),
                ("team", owned(team)),
                ("allowed_models", listed(models.as_ref())),
                ("blocked", blocked.map(|blocked| blocked.to_string())),
            ]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "set_member",
                actor,
                metadata,
            },
            Of::Member(user),
            |_| {
                change_once(call, || {
                    if role == Role::Owner || is_owner(wallet, user)? {
                        require_owner(wallet, actor, "name or change an owner")?;
                    }
                    SET.run(&[
                        Value::Text(wallet),
                        Value::Text(user),
                        Value::Text(role.as_str()),
                        Value::OptText(team),
                        Value::OptTexts(models.as_deref()),
                        blocked.map_or(Value::Null, Value::Bool),
                        Value::Time(clock::now()),
                    ])
                    .map(drop)
                })
            },
        )
    };
    work().or_raise();
}

fn is_owner(wallet: &str, user: &str) -> Result<bool> {
    let rows = ROLE_OF.run(&[Value::Text(wallet), Value::Text(user)])?;
    Ok(!rows.is_empty() && rows.need::<String>(0, 0)? == Role::Owner.as_str())
}

/// Takes a member out of a wallet.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
fn drop_member(
    wallet: Option<&str>,
    user_id: Option<&str>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let user = args::required("user_id", user_id)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "drop_member",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[("user_id", owned(user_id))]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "drop_member",
                actor,
                metadata,
            },
            Of::Member(user),
            |_| {
                change_once(call, || {
                    if is_owner(wallet, user)? {
                        require_owner(wallet, actor, "drop an owner")?;
                    }
                    let values = [Value::Text(wallet), Value::Text(user)];
                    if ROLE_OF.run(&values)?.is_empty() {
                        return Err(Error::new(
                            Code::ObjectNotFound,
                            format!("wallet {} has no such member", quoted(wallet)),
                        )
                        .detail(format!("User {} is not a member.", quoted(user)))
                        .hint("See wallet.members."));
                    }
                    DROP.run(&values).map(drop)
                })
            },
        )
    };
    work().or_raise();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum RuleScope {
    Wallet,
    Team,
    User,
}

impl RuleScope {
    const ALL: &'static [RuleScope] = &[RuleScope::Wallet, RuleScope::Team, RuleScope::User];

    fn as_str(self) -> &'static str {
        match self {
            RuleScope::Wallet => "wallet",
            RuleScope::Team => "team",
            RuleScope::User => "user",
        }
    }
}

/// Says which models a wallet, a team or a user may use.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::too_many_arguments)]
fn set_model_rules(
    wallet: Option<&str>,
    scope: default!(Option<&str>, "'wallet'"),
    subject: default!(Option<&str>, "'*'"),
    allowed: default!(Option<Vec<Option<String>>>, "NULL"),
    blocked: default!(Option<Vec<Option<String>>>, "NULL"),
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let scope = args::word("scope", scope, RuleScope::ALL, RuleScope::as_str, &[])?;
        let subject = match args::name("subject", subject)? {
            // A wallet has no subject but itself.
            Some(name) if scope == RuleScope::Wallet && name == wallet => "*",
            Some(name) if scope == RuleScope::Wallet && name != "*" => {
                return Err(Error::argument("scope wallet takes no subject")
                    .detail(format!("The subject is {}.", quoted(name)))
                    .hint("Leave subject out, or choose scope team or user."));
            }
            name => name.unwrap_or("*"),
        };
        let allowed = names("allowed", allowed)?;
        let blocked = names("blocked", blocked)?;
        args::name("actor", actor)?;
        args::document("metadata", metadata)?;
        let call = IdempotentCall {
            wallet,
            call: "set_model_rules",
            key: args::name("idempotency_key", idempotency_key)?,
            fingerprint: fingerprint(&[
                ("scope", Some(scope.as_str().to_owned())),
                ("subject", Some(subject.to_owned())),
                ("allowed", listed(allowed.as_ref())),
                ("blocked", listed(blocked.as_ref())),
            ]),
        };
        enter_audited(
            Level::Admin,
            &Act {
                wallet,
                action: "set_model_rules",
                actor,
                metadata,
            },
            Of::ModelRule([scope.as_str(), subject]),
            |_| {
                change_once(call, || {
                    let key = [wallet, scope.as_str(), subject].map(Value::Text);
                    if allowed.is_none() && blocked.is_none() {
                        return DROP_RULE.run(&key).map(drop);
                    }
                    let [wallet, scope, subject] = key;
                    SET_RULE
                        .run(&[
                            wallet,
                            scope,
                            subject,
                            Value::OptTexts(allowed.as_deref()),
                            Value::OptTexts(blocked.as_deref()),
                            Value::Time(clock::now()),
                        ])
                        .map(drop)
                })
            },
        )
    };
    work().or_raise();
}
