//! Decides who may spend from a wallet: its members, keys, networks, devices and models.
//!
//! A wallet may have any number of members, keys and model rules. A request names at most one user,
//! one key and one team. So each row is read when a request names it first, and then cached.

use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::access::kept_by_key::{Known, Outside};
use crate::attribution::{Attribution, UseContext};
use crate::error::{Code, Error, Result, quoted};
use crate::pattern::matches;
use crate::pg::clock::Timestamp;

/// What a member of a wallet may do with its money and its other members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// All rights.
    Owner,
    /// All rights except naming owners and closing the wallet.
    Admin,
    /// Adds and returns money; does not spend.
    Billing,
    /// May spend.
    Member,
    /// May only look.
    Viewer,
}

impl Role {
    /// All roles.
    pub const ALL: &'static [Role] = &[
        Role::Owner,
        Role::Admin,
        Role::Billing,
        Role::Member,
        Role::Viewer,
    ];

    /// The role's name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Billing => "billing",
            Role::Member => "member",
            Role::Viewer => "viewer",
        }
    }

    /// The role with that name; `None` if there is none.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.iter().copied().find(|role| role.as_str() == name)
    }

    /// Whether the role may spend.
    pub fn spends(self) -> bool {
        matches!(self, Role::Owner | Role::Admin | Role::Member)
    }
}

/// What the policy knows of a user who was added to the wallet.
#[derive(Debug)]
pub struct Member {
    /// The member's role.
    pub role: Role,
    /// The member's team, if there is one.
    pub team: Option<String>,
    /// The models that the member may use; all if empty.
    pub allowed_models: Vec<String>,
    /// Whether the member is blocked.
    pub blocked: bool,
}

/// An API key without its secret, of which only a hash is stored.
#[derive(Debug)]
pub struct Key {
    /// UUIDv7 of the key.
    pub id: [u8; 16],
    /// The user to whom it is bound, if any.
    pub user_id: Option<String>,
    /// When it expires; `None` for a key that does not.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked; `None` if it was not.
    pub revoked_at: Option<Timestamp>,
    /// Until when the secret in use is valid, if it is the one before the last rotation.
    pub good_until: Option<Timestamp>,
    /// The models that it may use; all if empty.
    pub allowed_models: Vec<String>,
    /// The networks from which it may be used; all if empty.
    pub allowed_ips: Vec<IpNet>,
    /// The devices from which it may be used; all if empty.
    pub devices: Vec<String>,
}

/// The models that are allowed or blocked.
#[derive(Debug, Default)]
pub struct ModelRule {
    /// If not empty, only these models are allowed.
    pub allowed: Vec<String>,
    /// These models are blocked.
    pub blocked: Vec<String>,
}

impl Outside for Member {
    fn outside(&self) -> usize {
        self.team.outside() + self.allowed_models.outside()
    }
}

impl Outside for Key {
    fn outside(&self) -> usize {
        self.user_id.outside()
            + self.allowed_models.outside()
            + self.devices.outside()
            + size_of_val(&self.allowed_ips[..])
    }
}

impl Outside for ModelRule {
    fn outside(&self) -> usize {
        self.allowed.outside() + self.blocked.outside()
    }
}

/// SHA-256 of a secret.
pub type Hash = [u8; 32];

/// Reads members, keys and model rules of a wallet.
pub trait Source {
    /// The member with that user id, if there is one.
    fn member(&self, user: &str) -> Result<Option<Member>>;

    /// The key whose secret has that hash.
    ///
    /// The hash is looked up. It is not compared with the hash of each key in constant time. The
    /// duration may reveal something about hashes, but even half of the hash of 244 random bits
    /// brings nobody closer to the secret.
    fn key(&self, hash: &Hash) -> Result<Option<Key>>;

    /// The model rule of a scope for exactly that subject.
    fn model_rule(&self, scope: &str, subject: &str) -> Result<Option<ModelRule>>;
}

/// The rules that decide who may spend from a wallet: those that concern every request, and the
/// others that have been read so far.
#[derive(Debug, Default)]
pub struct SpendingPolicy {
    /// Whether only members may spend.
    pub members_only: bool,
    /// Whether the wallet has any member.
    pub has_members: bool,
    /// Whether the wallet has any model rule.
    pub has_model_rules: bool,
    /// The networks from which the wallet may be used; all if empty.
    pub networks: Vec<IpNet>,
    /// The devices from which the wallet may be used; all if empty.
    pub devices: Vec<String>,
    /// Members by user id; `None` for users who are not members.
    pub(crate) members: Known<String, Option<Member>>,
    /// Keys by the hash of a valid secret. Secrets without a key are not cached, because there is
    /// no limit to their number.
    pub(crate) keys: Known<Hash, Key>,
    /// Model rules by subject, for each scope.
    pub(crate) model_rules: [Known<String, Option<ModelRule>>; 3],
}

/// The scopes of model rules.
const SCOPES: [&str; 3] = ["wallet", "team", "user"];

/// The caller who asks to spend, as the call says.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    /// The user and team that the call names.
    pub attribution: Attribution<'a>,
    /// The use that is asked for.
    pub context: UseContext<'a>,
    /// The secret of an API key, if the call has one.
    pub secret: Option<&'a str>,
    /// The address from which the request comes.
    pub client_ip: Option<IpAddr>,
    /// The device from which the request comes.
    pub device: Option<&'a str>,
    /// The actor: the person or program that makes the call.
    pub actor: Option<&'a str>,
    /// Whether the secret is that of `wallet.key`, so that the key's user is the actor.
    pub acts_by_key: bool,
}

/// The error WL009 for a request that a rule refuses.
pub fn refused(message: impl Into<String>) -> Error {
    Error::new(Code::NotPermitted, message)
}

/// The error WL009 for an actor who is not the user of the key in `wallet.key`.
pub fn other_actor(actor: &str) -> Error {
    refused("the key in wallet.key belongs to another user")
        .detail(format!("The call names the actor {}.", quoted(actor)))
        .hint("Leave actor out, or name the key's user.")
}

/// The error WL009 for a secret that matches no key of the wallet.
pub fn unknown_key() -> Error {
    refused("key is not a key of the wallet")
        .detail("No key of the wallet matches the given secret.")
        .hint("Leave the key out, or pass one that the wallet has.")
}

impl SpendingPolicy {
    /// Admits the caller and returns to whom the usage is attributed. Otherwise the error WL009
    /// names the rule.
    pub fn admit<'a>(
        &'a self,
        source: &impl Source,
        caller: &Caller<'a>,
        now: Timestamp,
    ) -> Result<Attribution<'a>> {
        let key = caller
            .secret
            .map(|secret| self.key(source, secret, now))
            .transpose()?;
        let user_id = match (
            key.and_then(|key| key.user_id.as_deref()),
            caller.attribution.user_id,
        ) {
            (Some(owner), Some(given)) if owner != given => {
                return Err(refused("key belongs to another user")
                    .detail(format!("The call names user {}.", quoted(given)))
                    .hint("Leave user_id out: the key says whose it is."));
            }
            (owner, given) => owner.or(given),
        };
        self.origin(key, caller)?;
        if let Some(actor) = caller.actor {
            match key.and_then(|key| key.user_id.as_deref()) {
                Some(user) if caller.acts_by_key && user != actor => {
                    return Err(other_actor(actor));
                }
                _ => self.may_act(source, actor)?,
            }
        }
        let member = self.member(source, user_id, key.is_some())?;
        let team = team(member, user_id, caller.attribution.team)?;
        self.may_use_model(source, caller, team, user_id)?;
        if let Some(member) = member {
            may_use(caller, &member.allowed_models, &[], "member")?;
        }
        if let Some(key) = key {
            may_use(caller, &key.allowed_models, &[], "key")?;
        }
        Ok(Attribution {
            user_id,
            team,
            key_id: key.map(|key| key.id),
        })
    }

    /// Admits a use that a child passes on. The child has decided who may spend there. The wallet
    /// itself decides for which models, and from which networks and devices, its money is spent.
    pub fn admit_passed<'a>(
        &'a self,
        source: &impl Source,
        caller: &Caller<'a>,
    ) -> Result<Attribution<'a>> {
        self.origin(None, caller)?;
        let Attribution { user_id, team, .. } = caller.attribution;
        self.may_use_model(source, caller, team, user_id)?;
        Ok(caller.attribution)
    }

    /// WL009 if a model rule of the wallet, the team or the user does not allow the model.
    fn may_use_model(
        &self,
        source: &impl Source,
        caller: &Caller<'_>,
        team: Option<&str>,
        user_id: Option<&str>,
    ) -> Result<()> {
        if !self.has_model_rules {
            return Ok(());
        }
        for (scope, subject) in [Some("*"), team, user_id].into_iter().enumerate() {
            if let Some(rule) = self.model_rule(source, scope, subject)? {
                may_use(caller, &rule.allowed, &rule.blocked, SCOPES[scope])?;
            }
        }
        Ok(())
    }

    /// The key with that secret.
    fn key(&self, source: &impl Source, secret: &str, now: Timestamp) -> Result<&Key> {
        let hash: Hash = Sha256::digest(secret.as_bytes()).into();
        let key = self
            .keys
            .get_or_read(&hash, || source.key(&hash)?.ok_or_else(unknown_key))?;
        if key.revoked_at.is_some() {
            return Err(refused("key was revoked")
                .detail("A revoked key stays revoked.")
                .hint("Make another one with create_key()."));
        }
        if key.good_until.is_some_and(|until| until <= now) {
            return Err(refused("key was rotated")
                .detail("The overlap in which the old secret was good is over.")
                .hint("Use the secret that rotate_key() returned."));
        }
        if key.expires_at.is_some_and(|expires| expires <= now) {
            return Err(refused("key has expired")
                .detail("Its expires_at has passed.")
                .hint("Make another one with create_key()."));
        }
        Ok(key)
    }

    /// Both the wallet's list and the key's must allow the call; an empty list allows everything.
    /// Where there is a list, a call without an address or device is refused. Otherwise a caller
    /// could avoid the list by leaving out the argument.
    fn origin(&self, key: Option<&Key>, caller: &Caller<'_>) -> Result<()> {
        let of_key = key.map_or(&[][..], |key| &key.allowed_ips);
        for (networks, whose) in [(&self.networks[..], "wallet"), (of_key, "key")] {
            if networks.is_empty() {
                continue;
            }
            let Some(address) = caller.client_ip else {
                return Err(
                    refused(format!("the {whose} may be used from some addresses only"))
                        .detail("The call gives no address.")
                        .hint("Pass client_ip, the address that the request came from."),
                );
            };
            let address = address.to_canonical();
            if !networks.iter().any(|network| network.contains(&address)) {
                return Err(refused(format!("the {whose} may not be used from address {address}"))
                    .detail(format!("None of the {whose}'s networks has it."))
                    .hint("An administrator can change the networks: set_ip_rules() for a wallet, create_key() for a key."));
            }
        }
        let of_key = key.map_or(&[][..], |key| &key.devices);
        for (devices, whose) in [(&self.devices[..], "wallet"), (of_key, "key")] {
            if devices.is_empty() {
                continue;
            }
            let Some(device) = caller.device else {
                return Err(
                    refused(format!("the {whose} may be used from some devices only"))
                        .detail("The call gives no device.")
                        .hint("Pass device, the name of the device that the request came from."),
                );
            };
            if !devices.iter().any(|known| known == device) {
                return Err(refused(format!(
                    "the {whose} may not be used from device {}",
                    quoted(device)
                ))
                .detail(format!("The {whose}'s list of devices does not have it."))
                .hint("An administrator can change the devices: set_devices() for a wallet, create_key() for a key."));
            }
        }
        Ok(())
    }

    /// The member with that user id, if the user is one.
    fn known(&self, source: &impl Source, user: &str) -> Result<Option<&Member>> {
        if !self.has_members {
            return Ok(None);
        }
        let member = self.members.get_or_read(user, || source.member(user))?;
        Ok(member.as_ref())
    }

    /// An actor who is a member needs a role that may spend, even to act for another user.
    fn may_act(&self, source: &impl Source, actor: &str) -> Result<()> {
        match self.known(source, actor)? {
            Some(member) if member.blocked => Err(blocked(actor)),
            Some(member) if !member.role.spends() => Err(may_not(member.role, "spend")),
            _ => Ok(()),
        }
    }

    fn member(
        &self,
        source: &impl Source,
        user_id: Option<&str>,
        has_key: bool,
    ) -> Result<Option<&Member>> {
        let Some(user) = user_id else {
            if self.members_only && !has_key {
                return Err(refused("only members may spend")
                    .detail("The call names no user.")
                    .hint("Pass user_id, or a key of the wallet."));
            }
            return Ok(None);
        };
        match self.known(source, user)? {
            Some(member) if member.blocked => Err(blocked(user)),
            Some(member) if !member.role.spends() => Err(may_not(member.role, "spend")),
            Some(member) => Ok(Some(member)),
            None if self.members_only => Err(refused("only members may spend")
                .detail(format!("User {} is not a member.", quoted(user)))
                .hint("An administrator can call set_member().")),
            None => Ok(None),
        }
    }

    /// The model rule for that subject, or the rule for each subject without one of its own.
    fn model_rule(
        &self,
        source: &impl Source,
        scope: usize,
        subject: Option<&str>,
    ) -> Result<Option<&ModelRule>> {
        let Some(subject) = subject else {
            return Ok(None);
        };
        let of = |subject: &str| {
            let read = || source.model_rule(SCOPES[scope], subject);
            self.model_rules[scope].get_or_read(subject, read)
        };
        match of(subject)? {
            Some(rule) => Ok(Some(rule)),
            None => of("*").map(Option::as_ref),
        }
    }
}

/// The error WL009 for a blocked member.
pub fn blocked(user: &str) -> Error {
    refused(format!("user {} is blocked", quoted(user)))
        .detail("A blocked member may do nothing.")
        .hint("An administrator can call set_member() with blocked => false.")
}

/// The error WL009 for a member role that does not allow the call.
pub fn may_not(role: Role, what: &str) -> Error {
    refused(format!("role {} may not {what}", role.as_str()))
        .detail("The reference of set_member() lists what each role may do.")
        .hint("An administrator can give another role with set_member().")
}

/// The team of a member. The wallet's rows decide, not the call.
fn team<'a>(
    member: Option<&'a Member>,
    user_id: Option<&str>,
    given: Option<&'a str>,
) -> Result<Option<&'a str>> {
    let own = member.and_then(|member| member.team.as_deref());
    match (own, given) {
        (Some(own), Some(given)) if own != given => Err(refused(format!(
            "user {} is not in team {}",
            quoted(user_id.unwrap_or_default()),
            quoted(given)
        ))
        .detail(format!("The member's team is {}.", quoted(own)))
        .hint("Leave team out: the wallet knows it.")),
        (own, given) => Ok(own.or(given)),
    }
}

/// The error WL009 unless the lists allow the caller's model.
fn may_use(caller: &Caller<'_>, allowed: &[String], blocked: &[String], whose: &str) -> Result<()> {
    let Some(model) = caller.context.model else {
        if allowed.is_empty() {
            return Ok(());
        }
        return Err(refused(format!("the {whose} may use some models only"))
            .detail("The call names no model.")
            .hint("Pass model, or a usage that names it."));
    };
    let full = caller
        .context
        .provider
        .map(|provider| format!("{provider}/{model}"));
    let named = |pattern: &String| {
        matches(pattern, model) || full.as_deref().is_some_and(|full| matches(pattern, full))
    };
    // Otherwise a provider's prefix would let a blocked name pass.
    let bare = model.rsplit('/').next().unwrap_or(model);
    let is_blocked = blocked
        .iter()
        .any(|pattern| named(pattern) || matches(pattern, bare));
    if !is_blocked && (allowed.is_empty() || allowed.iter().any(named)) {
        return Ok(());
    }
    let detail = if is_blocked {
        format!("The {whose}'s rule blocks it.")
    } else {
        format!("The {whose}'s rule allows {}.", allowed.join(", "))
    };
    Err(
        refused(format!("the {whose} may not use model {}", quoted(model)))
            .detail(detail)
            .hint("An administrator can change the rule: set_model_rules(), set_member(), create_key()."),
    )
}

#[cfg(test)]
mod tests;
