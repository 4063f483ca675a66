//! Who may spend from a wallet: its members, keys, addresses, devices and models.
//!
//! A wallet may have any number of members, keys and model rules, and a request names one user, one key, one team. So
//! each is read when a request names it first, and kept with the others.

use std::net::IpAddr;

use ipnet::IpNet;
use sha2::{Digest, Sha256};

use crate::access::kept_by_key::{Known, Outside};
use crate::error::{Code, Error, Result, quoted};
use crate::pattern::matches;
use crate::pg::clock::Timestamp;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Owner,
    /// Everything but naming owners and closing the wallet.
    Admin,
    /// Money in and back; does not spend.
    Billing,
    /// Spends.
    Member,
    /// Looks.
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

    /// Its name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Admin => "admin",
            Role::Billing => "billing",
            Role::Member => "member",
            Role::Viewer => "viewer",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Role> {
        Role::ALL.iter().copied().find(|role| role.as_str() == name)
    }

    /// Whether it may spend.
    pub fn spends(self) -> bool {
        matches!(self, Role::Owner | Role::Admin | Role::Member)
    }
}

/// One who belongs to the wallet.
#[derive(Debug)]
pub struct Member {
    /// What he may do.
    pub role: Role,
    /// His team.
    pub team: Option<String>,
    /// Models that he may use; all when there is none.
    pub allowed_models: Vec<String>,
    /// Whether he is shut out.
    pub blocked: bool,
}

/// A key that programs spend with.
#[derive(Debug)]
pub struct Key {
    /// Its id.
    pub id: [u8; 16],
    /// Whose it is.
    pub user_id: Option<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// Until when the secret is good by which the key was found, where it is the one before the last rotation.
    pub good_until: Option<Timestamp>,
    /// Models that it may use; all when there is none.
    pub allowed_models: Vec<String>,
    /// Networks that it may be used from; all when there is none.
    pub allowed_ips: Vec<IpNet>,
    /// Devices that it may be used from; all when there is none.
    pub devices: Vec<String>,
}

/// Models that are allowed or blocked.
#[derive(Debug, Default)]
pub struct ModelRule {
    /// Only these, where there is any.
    pub allowed: Vec<String>,
    /// None of these.
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

/// Where members, keys and model rules of a wallet are read.
pub trait Source {
    /// The member, if the user is one.
    fn member(&self, user: &str) -> Result<Option<Member>>;

    /// The key whose secret has that hash.
    ///
    /// It is looked up, and not compared in constant time to the hash of each key: how long that takes may say
    /// something of hashes, and whoever knows half of the hash of 244 random bits is no nearer to the secret.
    fn key(&self, hash: &Hash) -> Result<Option<Key>>;

    /// The model rule of a scope for that subject itself.
    fn model_rule(&self, scope: &str, subject: &str) -> Result<Option<ModelRule>>;
}

/// What decides who may spend from a wallet: what concerns every request, and what was read of the rest.
#[derive(Debug, Default)]
pub struct SpendingPolicy {
    /// Whether nobody but members may spend.
    pub members_only: bool,
    /// Whether there is any member.
    pub has_members: bool,
    /// Whether there is any model rule.
    pub has_model_rules: bool,
    /// Networks that the wallet may be used from; all when there is none.
    pub networks: Vec<IpNet>,
    /// Devices that the wallet may be used from; all when there is none.
    pub devices: Vec<String>,
    /// Members by user id, and who is none.
    pub(crate) members: Known<String, Option<Member>>,
    /// Keys by the hash of a secret that opens them. Secrets that open none are not kept: there is no end of them.
    pub(crate) keys: Known<Hash, Key>,
    /// Model rules by subject, of each scope.
    pub(crate) model_rules: [Known<String, Option<ModelRule>>; 3],
}

/// The scopes of model rules.
const SCOPES: [&str; 3] = ["wallet", "team", "user"];

/// Who asks to spend, as the call says.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    /// The user.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// The model's provider.
    pub provider: Option<&'a str>,
    /// The model.
    pub model: Option<&'a str>,
    /// A key's secret.
    pub secret: Option<&'a str>,
    /// Where the call comes from.
    pub client_ip: Option<IpAddr>,
    /// From which device.
    pub device: Option<&'a str>,
    /// Who acts.
    pub actor: Option<&'a str>,
}

/// To whom a use is attributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who<'a> {
    /// The user.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// The key.
    pub key_id: Option<[u8; 16]>,
}

/// WL009 of a rule.
pub fn refused(message: impl Into<String>) -> Error {
    Error::new(Code::NotPermitted, message)
}

/// WL009 for a secret that is none of the wallet's.
pub fn unknown_key() -> Error {
    refused("key is not a key of the wallet")
        .detail("The wallet has no key that this could be.")
        .hint("Leave the key out, or pass one that the wallet has.")
}

impl SpendingPolicy {
    /// Lets the caller in and says to whom the use is attributed; WL009 names the rule otherwise.
    pub fn admit<'a>(
        &'a self,
        source: &impl Source,
        caller: &Caller<'a>,
        now: Timestamp,
    ) -> Result<Who<'a>> {
        let key = caller
            .secret
            .map(|secret| self.key(source, secret, now))
            .transpose()?;
        let user_id = match (key.and_then(|key| key.user_id.as_deref()), caller.user_id) {
            (Some(owner), Some(given)) if owner != given => {
                return Err(refused("key belongs to another user")
                    .detail(format!("The call names user {}.", quoted(given)))
                    .hint("Leave user_id out: the key says whose it is."));
            }
            (owner, given) => owner.or(given),
        };
        self.origin(key, caller)?;
        if let Some(actor) = caller.actor {
            self.may_act(source, actor)?;
        }
        let member = self.member(source, user_id, key.is_some())?;
        let team = team(member, user_id, caller.team)?;
        if self.has_model_rules {
            for (scope, subject) in [Some("*"), team, user_id].into_iter().enumerate() {
                if let Some(rule) = self.model_rule(source, scope, subject)? {
                    may_use(caller, &rule.allowed, &rule.blocked, SCOPES[scope])?;
                }
            }
        }
        if let Some(member) = member {
            may_use(caller, &member.allowed_models, &[], "member")?;
        }
        if let Some(key) = key {
            may_use(caller, &key.allowed_models, &[], "key")?;
        }
        Ok(Who {
            user_id,
            team,
            key_id: key.map(|key| key.id),
        })
    }

    /// The key of that secret.
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

    /// The user as the wallet knows it.
    fn known(&self, source: &impl Source, user: &str) -> Result<Option<&Member>> {
        if !self.has_members {
            return Ok(None);
        }
        let member = self.members.get_or_read(user, || source.member(user))?;
        Ok(member.as_ref())
    }

    /// Whoever acts for somebody needs a role that spends, where it is a member.
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

    /// The rule for that subject, or the one for each that has none of its own.
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

/// WL009 for a member who is shut out.
pub fn blocked(user: &str) -> Error {
    refused(format!("user {} is blocked", quoted(user)))
        .detail("A blocked member may do nothing.")
        .hint("An administrator can call set_member() with blocked => false.")
}

/// WL009 for a role that is not enough.
pub fn may_not(role: Role, what: &str) -> Error {
    refused(format!("role {} may not {what}", role.as_str()))
        .detail("What each role may do stands in the reference of set_member().")
        .hint("An administrator can give another role with set_member().")
}

/// A member's team is the wallet's word.
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

/// WL009 unless the lists let the caller's model through.
fn may_use(caller: &Caller<'_>, allowed: &[String], blocked: &[String], whose: &str) -> Result<()> {
    let Some(model) = caller.model else {
        if allowed.is_empty() {
            return Ok(());
        }
        return Err(refused(format!("the {whose} may use some models only"))
            .detail("The call names no model.")
            .hint("Pass model, or a usage that names it."));
    };
    let full = caller
        .provider
        .map(|provider| format!("{provider}/{model}"));
    let named = |pattern: &String| {
        matches(pattern, model) || full.as_deref().is_some_and(|full| matches(pattern, full))
    };
    // Whom a provider's prefix would otherwise let past a blocked name.
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
