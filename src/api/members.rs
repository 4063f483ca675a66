//! SQL functions on members and model rules.

use crate::access::audit::Of;
use crate::access::call::Call;
use crate::access::members::{self, DEFAULT_ROLE, MemberArgs, NewMember, NewModelRule};
use crate::access::rights::Level;
use crate::args;
use crate::error::Result;
use crate::idempotency::fingerprint::canonical;
use crate::items::{Item, Items};
use crate::ledger::wallets::change::{change, change_each, change_once};
use crate::ledger::wallets::model_rules;
use crate::pg::jsonb::Jsonb;
use crate::pg::raise::OrRaise;
use pgrx::default;
use pgrx::prelude::*;

/// Adds a member to a wallet, or changes the given attributes of a member.
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
        let new = NewMember::of(MemberArgs {
            user_id,
            role,
            team,
            allowed_models,
            blocked,
        })?;
        let call = Call::new("set_member", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("user_id", user_id)
            .with("role", new.role.as_str())
            .with("team", team)
            .with("allowed_models", new.models.as_deref())
            .with("blocked", blocked);
        call.change(Level::Admin, Of::Member(new.user), |call| {
            change_once(call, || members::set(wallet, &new, actor))
        })
    };
    work().or_raise();
}

/// The items of `set_members`.
static MEMBERS: Items = Items {
    argument: "members",
    path: "",
    single: "set_member",
    keys: &["user_id", "role", "team", "allowed_models", "blocked"],
};

fn member(item: &Item) -> Result<NewMember<'_>> {
    item.told(NewMember::of(MemberArgs {
        user_id: item.text("user_id", None)?,
        role: item.text("role", Some(DEFAULT_ROLE))?,
        team: item.text("team", None)?,
        allowed_models: item.texts("allowed_models")?,
        blocked: item.flag("blocked")?,
    }))
}

/// Adds many members to a wallet, or changes the given attributes of them: all of them or none.
#[pg_extern(schema = "wallet", requires = ["access"])]
#[search_path(pg_catalog, wallet, pg_temp)]
#[allow(clippy::type_complexity)]
fn set_members(
    wallet: Option<&str>,
    members: Option<Jsonb>,
    idempotency_key: default!(Option<&str>, "NULL"),
    actor: default!(Option<&str>, "NULL"),
    metadata: default!(Option<Jsonb>, "NULL"),
) -> TableIterator<
    'static,
    (
        name!(item, i32),
        name!(user_id, String),
        name!(outcome, &'static str),
        name!(replayed, bool),
    ),
> {
    let work = || {
        let wallet = args::required("wallet", wallet)?;
        let items = MEMBERS.read(members)?;
        let new = items.iter().map(member).collect::<Result<Vec<_>>>()?;
        let users: Vec<String> = new.iter().map(|new| new.user.to_owned()).collect();
        MEMBERS.require_distinct(
            Some("user_id"),
            users.iter().map(|user| (user, user.clone())),
        )?;
        let call = Call::new("set_members", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("members", members.and_then(canonical));
        change_each(&call, Level::Admin, Of::Members(&users), || {
            change(wallet, |_| {
                let mut set = items.iter().zip(&new);
                set.try_for_each(|(item, new)| item.told(members::set(wallet, new, actor)))
            })?;
            Ok(users.clone())
        })
    };
    let done = work().or_raise();
    TableIterator::new(
        (1..)
            .zip(done.items)
            .map(move |(item, (user, outcome))| (item, user, outcome.as_str(), done.replayed)),
    )
}

/// Removes a member from a wallet.
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
        let call = Call::new("drop_member", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("user_id", user_id);
        call.change(Level::Admin, Of::Member(user), |call| {
            change_once(call, || members::remove(wallet, user, actor))
        })
    };
    work().or_raise();
}

/// Sets the models that a wallet, a team or a user may use.
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
        let rule = NewModelRule::of(wallet, scope, subject, allowed, blocked)?;
        let call = Call::new("set_model_rules", wallet)
            .by(actor)?
            .noting(metadata)?
            .once(idempotency_key)?
            .with("scope", rule.scope.as_str())
            .with("subject", rule.subject)
            .with("allowed", rule.allowed.as_deref())
            .with("blocked", rule.blocked.as_deref());
        let of = Of::ModelRule([rule.scope.as_str(), rule.subject]);
        call.change(Level::Admin, of, |call| model_rules::set(&rule, call))
    };
    work().or_raise();
}
