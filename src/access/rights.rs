//! Checks which database role may call which function on which wallet.

use pgrx::pg_sys;

use crate::access::claims;
use crate::access::family;
pub use crate::access::granted::ALL_WALLETS;
use crate::access::granted::{self, Grant, Proof};
pub use crate::access::level::{Level, Need};
use crate::access::proven_key::{self, ProvenKey};
use crate::access::spending_policy::{Role, blocked, may_not, refused};
use crate::error::{Code, Error, Result, literal, quoted};
use crate::pg::role::role_name;
use crate::pg::writable::require_writable;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::session::{Session, as_owner};

statement!(
    ROLE,
    [TEXTOID, TEXTOID],
    "SELECT role, blocked FROM wallet.members WHERE wallet_id = $1 AND user_id = $2"
);

statement!(
    HAS_OWNER,
    [TEXTOID],
    "SELECT 1 FROM wallet.members WHERE wallet_id = $1 AND role = 'owner' LIMIT 1"
);

/// Runs `work` as the owner after checking that the caller has the level on the wallet. A call with
/// a higher level than reader is refused in a read-only transaction, even if it would change
/// nothing.
pub fn enter<T>(
    need: impl Into<Need>,
    wallet: &str,
    work: impl FnOnce(&Session) -> Result<T>,
) -> Result<T> {
    let need = need.into();
    as_owner(|session| {
        require(session, need, wallet)?;
        if need != Need::Level(Level::Reader) {
            require_writable();
        }
        work(session)
    })
}

/// Like `enter`. If the actor is a member of the wallet, the member role must cover the level:
/// WL009 otherwise.
pub fn enter_as<T>(
    need: impl Into<Need>,
    wallet: &str,
    actor: Option<&str>,
    work: impl FnOnce(&Session) -> Result<T>,
) -> Result<T> {
    let need = need.into();
    enter(need, wallet, |session| {
        require_role(need.of_member(), wallet, actor)?;
        work(session)
    })
}

/// The error WL009 if the actor is a member of the wallet and the member role does not cover the
/// level, or if the actor is not the user of the key in `wallet.key`.
pub fn require_role(level: Level, wallet: &str, actor: Option<&str>) -> Result<()> {
    if let (Some(actor), Some(key)) = (actor, key_of(wallet)?) {
        key.require_user(actor)?;
    }
    match role_of(wallet, actor)? {
        Some(role) => require_cover(role, level),
        None => Ok(()),
    }
}

/// The error WL009 unless the member role covers the level.
fn require_cover(role: Role, level: Level) -> Result<()> {
    if role_covers(role, level) {
        return Ok(());
    }
    let what = match level {
        Level::Reader | Level::Auditor => "look",
        Level::Charger => "spend",
        Level::Billing | Level::Worker => "move money",
        Level::Admin => "change rules",
    };
    Err(may_not(role, what))
}

/// The key of the wallet that is in `wallet.key`, if it is valid.
fn key_of(wallet: &str) -> Result<Option<ProvenKey>> {
    let key = proven_key::current()?;
    Ok(key.filter(|key| key.wallet == wallet))
}

/// The error WL009 if the actor is a member of the wallet but not an owner. The user of a key in
/// `wallet.key` must be an owner if the wallet has one: nobody else vouches for a key.
pub fn require_owner(wallet: &str, actor: Option<&str>, what: &str) -> Result<()> {
    if let Some(key) = key_of(wallet)? {
        match key.member {
            Some((_, true)) => return Err(blocked(key.user_id.as_deref().unwrap_or_default())),
            Some((Role::Owner, false)) => {}
            Some((role, false)) => return Err(may_not(role, what)),
            None if HAS_OWNER.read_latest(&[Value::Text(wallet)])?.is_empty() => {}
            None => {
                return Err(refused(format!("the key may not {what}"))
                    .detail("The wallet has an owner, and the key in wallet.key is not one of an owner.")
                    .hint("Use a key of an owner."));
            }
        }
    }
    match role_of(wallet, actor)? {
        None | Some(Role::Owner) => Ok(()),
        Some(role) => Err(may_not(role, what)),
    }
}

/// The actor's member role; `None` if the actor is not a member. The error WL009 if the member is
/// blocked.
fn role_of(wallet: &str, actor: Option<&str>) -> Result<Option<Role>> {
    let Some(actor) = actor else {
        return Ok(None);
    };
    let rows = ROLE.read_latest(&[Value::Text(wallet), Value::Text(actor)])?;
    if rows.is_empty() {
        return Ok(None);
    }
    if rows.need(0, 1)? {
        return Err(blocked(actor));
    }
    let role: String = rows.need(0, 0)?;
    Role::parse(&role)
        .map(Some)
        .ok_or_else(|| Error::internal(format!("unknown role {role:?}")))
}

/// Whether a member role covers a level.
fn role_covers(role: Role, level: Level) -> bool {
    match level {
        Level::Reader | Level::Auditor => true,
        Level::Charger => role.spends(),
        Level::Billing | Level::Worker => {
            matches!(role, Role::Owner | Role::Admin | Role::Billing)
        }
        Level::Admin => matches!(role, Role::Owner | Role::Admin),
    }
}

/// Runs `work` as the owner after checking that the caller may read at least one wallet.
pub fn enter_any<T>(work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    enter(Level::Reader, "", work)
}

/// Like `enter_any`, for a caller that has `level` on at least one wallet. `work` checks each
/// wallet itself.
pub fn enter_some<T>(need: impl Into<Need>, work: impl FnOnce(&Session) -> Result<T>) -> Result<T> {
    enter(need, "", work)
}

/// The error 42501 unless the caller may do what the call needs on the wallet. An empty wallet
/// means any wallet.
///
/// A key in `wallet.key` restricts the caller to the key's wallet, and to what the member role of
/// the key's user covers: WL009 otherwise.
pub fn require(session: &Session, need: impl Into<Need>, wallet: &str) -> Result<()> {
    let need = need.into();
    if session.may_do_anything() {
        return Ok(());
    }
    let key = Key::current()?;
    if !is_allowed(session.caller, need, wallet, &key)? {
        return Err(refusal(session.caller, need, wallet, &key)?);
    }
    match key {
        Key::Valid(ProvenKey {
            member: Some((role, is_blocked)),
            user_id,
            ..
        }) => match is_blocked {
            true => Err(blocked(user_id.as_deref().unwrap_or_default())),
            false => require_cover(role, need.of_member()),
        },
        _ => Ok(()),
    }
}

/// The key in the setting `wallet.key`.
enum Key {
    /// The setting is empty.
    None,
    /// The setting has a secret that is no valid key.
    Invalid,
    Valid(ProvenKey),
}

impl Key {
    fn current() -> Result<Key> {
        if !proven_key::is_given() {
            return Ok(Key::None);
        }
        Ok(proven_key::current()?.map_or(Key::Invalid, Key::Valid))
    }
}

/// Whether the caller may do what the call needs on the wallet, or on any if the wallet is empty. A
/// wallet may also be read by those who may read one above it.
fn is_allowed(caller: pg_sys::Oid, need: Need, wallet: &str, key: &Key) -> Result<bool> {
    if reaches(caller, need, wallet, key)? {
        return Ok(true);
    }
    if need != Need::Level(Level::Reader) || wallet.is_empty() || wallet == ALL_WALLETS {
        return Ok(false);
    }
    for above in family::above(wallet)?.iter() {
        if reaches(caller, need, above, key)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Like [`is_allowed`], for this wallet alone.
fn reaches(caller: pg_sys::Oid, need: Need, wallet: &str, key: &Key) -> Result<bool> {
    match key {
        Key::None => {}
        Key::Valid(key) if wallet.is_empty() || wallet == key.wallet => {
            return is_granted(caller, need, &key.wallet, |_| Ok(true));
        }
        Key::Valid(_) | Key::Invalid => return Ok(false),
    }
    match wallet {
        "" => {
            let any = granted::anywhere(caller)?;
            let meets = |grant: &Grant| need.is_met_by(grant.level);
            if any.iter().any(|one| meets(one) && one.proof == Proof::None) {
                return Ok(true);
            }
            if !any
                .iter()
                .any(|one| meets(one) && one.proof == Proof::Claim)
            {
                return Ok(false);
            }
            for claim in claims::current()?.iter() {
                if is_claimed(caller, need, claim)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        wallet => is_granted(caller, need, wallet, |proof| match proof {
            Proof::None => Ok(true),
            // A call that concerns all wallets cannot be claimed.
            Proof::Claim => Ok(wallet != ALL_WALLETS && claims::name(wallet)?),
            Proof::Key => Ok(false),
        }),
    }
}

/// Whether a grant on the wallet or on all wallets is enough, and its proof is given.
fn is_granted(
    caller: pg_sys::Oid,
    need: Need,
    wallet: &str,
    is_proven: impl Fn(Proof) -> Result<bool>,
) -> Result<bool> {
    for on in [ALL_WALLETS, wallet] {
        for grant in granted::on(caller, on)?.iter() {
            if need.is_met_by(grant.level) && is_proven(grant.proof)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Whether the caller may reach the wallet if it is claimed.
fn is_claimed(caller: pg_sys::Oid, need: Need, wallet: &str) -> Result<bool> {
    let is_wallet = wallet != ALL_WALLETS && !wallet.is_empty();
    Ok(is_wallet && is_granted(caller, need, wallet, |proof| Ok(proof != Proof::Key))?)
}

/// Whether the role has a grant on the wallet, whatever must be proven.
pub fn has_grant(session: &Session, level: Level, wallet: &str) -> Result<bool> {
    Ok(
        session.may_do_anything()
            || is_granted(session.caller, level.into(), wallet, |_| Ok(true))?,
    )
}

/// The error 42501 unless the caller has the level admin on the wallet without proof. Otherwise a
/// role that reaches a wallet only by a claim or a key could free itself of that proof.
pub fn require_without_proof(session: &Session, wallet: &str) -> Result<()> {
    let is_free = |proof| Ok(proof == Proof::None);
    if session.may_do_anything()
        || is_granted(session.caller, Level::Admin.into(), wallet, is_free)?
    {
        return Ok(());
    }
    let role = role_name(session.caller);
    let on = match wallet {
        ALL_WALLETS => "all wallets".to_owned(),
        wallet => format!("wallet {}", quoted(wallet)),
    };
    Err(Error::new(
        Code::InsufficientPrivilege,
        format!("permission denied to change access to {on}"),
    )
    .detail(format!(
        "Role {} has the level admin there only with a claim or a key.",
        quoted(&role)
    ))
    .hint("Change access grants as a role whose grant is neither claimed nor keyed."))
}

/// The error 42501, which says what the caller lacks: a grant, a claim or a key.
fn refusal(caller: pg_sys::Oid, need: Need, wallet: &str, key: &Key) -> Result<Error> {
    let role = role_name(caller);
    let on = match wallet {
        "" => "any wallet".to_owned(),
        ALL_WALLETS => "all wallets".to_owned(),
        wallet => format!("wallet {}", quoted(wallet)),
    };
    let error = Error::new(
        Code::InsufficientPrivilege,
        format!("permission denied for {on}"),
    );
    let grants = match wallet {
        "" => granted::anywhere(caller)?.to_vec(),
        _ => [ALL_WALLETS, wallet]
            .iter()
            .map(|on| granted::on(caller, on))
            .collect::<Result<Vec<_>>>()?
            .concat(),
    };
    let has = |proof| {
        let mut grants = grants.iter();
        grants.any(|grant| need.is_met_by(grant.level) && grant.proof == proof)
    };
    let is_granted = [Proof::None, Proof::Claim, Proof::Key].into_iter().any(has);
    let level = need.lowest().as_str();
    let hint = match key {
        _ if !is_granted || wallet == ALL_WALLETS => format!(
            "An administrator can run: SELECT wallet.grant_access({}, '{level}', {});",
            literal(&role),
            literal(match wallet {
                "" => ALL_WALLETS,
                wallet => wallet,
            }),
        ),
        Key::None if has(Proof::Claim) => format!(
            "Run this in the same transaction first: SET LOCAL wallet.claim = {};",
            claims::literal_of(match wallet {
                "" => "acme",
                wallet => wallet,
            })
        ),
        _ => SET_KEY.to_owned(),
    };
    let role = quoted(&role);
    let detail = match key {
        _ if !is_granted => format!("Role {role} needs the level {level} on {on}."),
        Key::None if wallet == ALL_WALLETS => {
            format!("Role {role} has the level {level} only for wallets that a transaction names.")
        }
        Key::None if has(Proof::Claim) => unclaimed(&role)?,
        key => unproven(&role, &on, key),
    };
    Ok(error.detail(detail).hint(hint))
}

/// The DETAIL for a claim that does not name the wallet.
fn unclaimed(role: &str) -> Result<String> {
    let names = match claims::current()?.is_empty() {
        true => "names none",
        false => "does not name it",
    };
    Ok(format!(
        "Role {role} reaches only wallets that the setting wallet.claim names, and it {names}."
    ))
}

/// The DETAIL for a key that is missing, not valid, or of another wallet.
fn unproven(role: &str, on: &str, key: &Key) -> String {
    match key {
        Key::None => {
            format!("Role {role} reaches {on} only with a key of it in the setting wallet.key.")
        }
        Key::Invalid => {
            format!("The setting wallet.key has no valid key, so role {role} reaches no wallet.")
        }
        Key::Valid(_) => format!(
            "The setting wallet.key has a key of another wallet, so role {role} does not reach {on}."
        ),
    }
}

/// The HINT to act with a key. The secret is a parameter, so that no log has it.
const SET_KEY: &str = "Run this in the same transaction first, with the secret of a key as the parameter: SELECT set_config('wallet.key', $1, true);";

/// The wallets that the role may read; `*` means all.
pub fn readable_by(caller: pg_sys::Oid) -> Result<Vec<String>> {
    wallets_of(caller, Level::Reader.into())
}

/// The error without the numbers of a wallet that the caller may not read, but that pays for the
/// wallet of the call.
pub fn for_caller(session: &Session, error: Error) -> Error {
    let Some(payer) = &error.objects.payer else {
        return error;
    };
    let has_numbers = matches!(error.code, Code::InsufficientFunds | Code::LimitExceeded);
    if !has_numbers || may_read(session, payer).unwrap_or(false) {
        return error;
    }
    let detail = format!("Wallet {} pays for the use.", quoted(payer));
    error
        .detail(detail)
        .hint("Ask those who manage that wallet.")
}

/// Whether the caller of a session may read the wallet.
pub fn may_read(session: &Session, wallet: &str) -> Result<bool> {
    let need = Level::Reader.into();
    Ok(session.may_do_anything() || is_allowed(session.caller, need, wallet, &Key::current()?)?)
}

/// The wallets on which the role may do what the call needs; `*` means all. Those below a wallet
/// that it may read are among them.
pub fn wallets_of(caller: pg_sys::Oid, need: Need) -> Result<Vec<String>> {
    let mut wallets = reached(caller, need)?;
    if need == Need::Level(Level::Reader) && !wallets.iter().any(|one| one == ALL_WALLETS) {
        family::add_below(&mut wallets)?;
    }
    Ok(wallets)
}

/// Like [`wallets_of`], without wallets that are reached only because they are below others.
fn reached(caller: pg_sys::Oid, need: Need) -> Result<Vec<String>> {
    match Key::current()? {
        Key::None => {}
        Key::Invalid => return Ok(Vec::new()),
        key @ Key::Valid(_) => {
            let is_allowed = is_allowed(caller, need, "", &key)?;
            return Ok(match key {
                Key::Valid(key) if is_allowed && reaches_as_member(&key, need) => vec![key.wallet],
                _ => Vec::new(),
            });
        }
    }
    let mut wallets = granted::without_proof(caller, need)?.to_vec();
    if wallets.iter().any(|wallet| wallet == ALL_WALLETS) {
        return Ok(wallets);
    }
    for claim in claims::current()?.iter() {
        if is_claimed(caller, need, claim)? {
            wallets.push(claim.clone());
        }
    }
    wallets.sort_unstable();
    wallets.dedup();
    Ok(wallets)
}

/// Whether the member role of the key's user covers the need. A user who is not a member is
/// restricted only by the grants of the role.
fn reaches_as_member(key: &ProvenKey, need: Need) -> bool {
    key.member
        .is_none_or(|(role, blocked)| !blocked && role_covers(role, need.of_member()))
}

/// The wallets on which the caller of a session may do what the call needs; `None` means all.
pub fn reach(session: &Session, need: impl Into<Need>) -> Result<Option<Vec<String>>> {
    if session.may_do_anything() {
        return Ok(None);
    }
    let wallets = wallets_of(session.caller, need.into())?;
    Ok((!wallets.iter().any(|wallet| wallet == ALL_WALLETS)).then_some(wallets))
}
