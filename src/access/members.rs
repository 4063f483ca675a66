//! Members and model rules: the rows.

use crate::access::rights::require_owner;
use crate::access::spending_policy::Role;
use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::pg::clock;
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

/// Whether the user is an owner of the wallet.
pub fn is_owner(wallet: &str, user: &str) -> Result<bool> {
    let rows = ROLE_OF.read_latest(&[Value::Text(wallet), Value::Text(user)])?;
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

/// The arguments of `set_member` about a member.
#[derive(Default)]
pub struct MemberArgs<'a> {
    /// The user id.
    pub user_id: Option<&'a str>,
    /// The role.
    pub role: Option<&'a str>,
    /// The team.
    pub team: Option<&'a str>,
    /// The models that the member may use.
    pub allowed_models: Option<Vec<Option<String>>>,
    /// Whether the member is blocked.
    pub blocked: Option<bool>,
}

/// The role of a member if the call names none.
pub const DEFAULT_ROLE: &str = "member";

/// The new values of a member.
pub struct NewMember<'a> {
    /// The user id of the member.
    pub user: &'a str,
    /// The role that replaces the current one.
    pub role: Role,
    /// The team; empty for no team, `None` to keep the current one.
    pub team: Option<&'a str>,
    /// The models that the member may use; `None` to keep the current ones.
    pub models: Option<Vec<String>>,
    /// Whether the member is blocked; `None` to keep the current state.
    pub blocked: Option<bool>,
}

impl<'a> NewMember<'a> {
    /// Checks the arguments.
    pub fn of(args: MemberArgs<'a>) -> Result<NewMember<'a>> {
        let user = args::required("user_id", args.user_id)?;
        let role = args::word("role", args.role, Role::ALL, |role| role.as_str(), &[])?;
        if args.team != Some("") {
            args::name("team", args.team)?;
        }
        Ok(NewMember {
            user,
            role,
            team: args.team,
            models: args::names("allowed_models", args.allowed_models)?,
            blocked: args.blocked,
        })
    }
}

/// Adds or changes a member. Only owners may add or change an owner.
pub fn set(wallet: &str, new: &NewMember<'_>, actor: Option<&str>) -> Result<()> {
    if new.role == Role::Owner || is_owner(wallet, new.user)? {
        require_owner(wallet, actor, "name or change an owner")?;
    }
    SET.run(&[
        Value::Text(wallet),
        Value::Text(new.user),
        Value::Text(new.role.as_str()),
        Value::OptText(new.team),
        Value::OptTexts(new.models.as_deref()),
        new.blocked.map_or(Value::Null, Value::Bool),
        Value::Time(clock::now()),
    ])
    .map(drop)
}

/// Removes a member. The error 42704 if there is no such member. Only owners may remove an owner.
pub fn remove(wallet: &str, user: &str, actor: Option<&str>) -> Result<()> {
    if is_owner(wallet, user)? {
        require_owner(wallet, actor, "drop an owner")?;
    }
    let values = [wallet, user].map(Value::Text);
    if ROLE_OF.read_latest(&values)?.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("wallet {} has no such member", quoted(wallet)),
        )
        .detail(format!("User {} is not a member.", quoted(user)))
        .hint("See wallet.members."));
    }
    DROP.run(&values).map(drop)
}

/// The arguments of `set_model_rules`.
pub struct NewModelRule<'a> {
    /// Whose models they are.
    pub scope: RuleScope,
    /// The team or user; `*` for each one without a rule of its own, and for the wallet.
    pub subject: &'a str,
    /// The only models that are allowed.
    pub allowed: Option<Vec<String>>,
    /// Models that are not allowed.
    pub blocked: Option<Vec<String>>,
}

impl<'a> NewModelRule<'a> {
    /// Checks the arguments about a rule of a wallet.
    pub fn of(
        wallet: &str,
        scope: Option<&str>,
        subject: Option<&'a str>,
        allowed: Option<Vec<Option<String>>>,
        blocked: Option<Vec<Option<String>>>,
    ) -> Result<NewModelRule<'a>> {
        let scope = args::word("scope", scope, RuleScope::ALL, RuleScope::as_str, &[])?;
        let subject = match args::name("subject", subject)? {
            // A rule with the scope `wallet` has no other subject than the wallet.
            Some(name) if scope == RuleScope::Wallet && name == wallet => "*",
            Some(name) if scope == RuleScope::Wallet && name != "*" => {
                return Err(Error::argument("scope wallet takes no subject")
                    .detail(format!("The subject is {}.", quoted(name)))
                    .hint("Leave subject out, or choose scope team or user.")
                    .about("subject"));
            }
            name => name.unwrap_or("*"),
        };
        Ok(NewModelRule {
            scope,
            subject,
            allowed: args::names("allowed", allowed)?,
            blocked: args::names("blocked", blocked)?,
        })
    }

    /// True if the rule has no list, which removes it.
    pub fn is_none(&self) -> bool {
        self.allowed.is_none() && self.blocked.is_none()
    }
}

/// Sets the models that a wallet, a team or a user may use. Without lists, removes the rule.
pub fn set_model_rule(wallet: &str, rule: &NewModelRule<'_>) -> Result<()> {
    let key = [wallet, rule.scope.as_str(), rule.subject].map(Value::Text);
    let [allowed, blocked] = [&rule.allowed, &rule.blocked].map(Option::as_deref);
    if rule.is_none() {
        return DROP_RULE.run(&key).map(drop);
    }
    let lists = [allowed, blocked].map(Value::OptTexts);
    let now = [Value::Time(clock::now())];
    SET_RULE
        .run(&[&key[..], &lists[..], &now[..]].concat())
        .map(drop)
}
