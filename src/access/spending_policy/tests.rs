//! Tests of the decision who may spend, with rules in memory.

use std::cell::Cell;
use std::collections::HashMap;

use super::*;

const NOW: Timestamp = Timestamp(1_000);

fn member(role: Role) -> Member {
    Member {
        role,
        team: None,
        allowed_models: Vec::new(),
        blocked: false,
    }
}

/// The rules of a wallet, and how often they were read.
#[derive(Default)]
struct WalletConfig {
    members: HashMap<&'static str, fn() -> Member>,
    keys: HashMap<Hash, fn() -> Key>,
    model_rules: HashMap<(&'static str, &'static str), fn() -> ModelRule>,
    reads: Cell<usize>,
}

impl WalletConfig {
    fn read<T>(&self, found: Option<&fn() -> T>) -> Result<Option<T>> {
        self.reads.set(self.reads.get() + 1);
        Ok(found.map(|make| make()))
    }
}

impl Source for WalletConfig {
    fn member(&self, user: &str) -> Result<Option<Member>> {
        self.read(self.members.get(user))
    }

    fn key(&self, hash: &Hash) -> Result<Option<Key>> {
        self.read(self.keys.get(hash))
    }

    fn model_rule(&self, scope: &str, subject: &str) -> Result<Option<ModelRule>> {
        self.read(self.model_rules.get(&(scope, subject)))
    }
}

/// The spending policy of a wallet with members and model rules.
fn guard() -> SpendingPolicy {
    SpendingPolicy {
        has_members: true,
        has_model_rules: true,
        ..SpendingPolicy::default()
    }
}

fn user(user_id: &str) -> Attribution<'_> {
    Attribution {
        user_id: Some(user_id),
        ..Attribution::default()
    }
}

fn of_model(model: &str) -> UseContext<'_> {
    UseContext {
        model: Some(model),
        ..UseContext::default()
    }
}

#[test]
fn only_roles_that_spend_are_admitted() {
    for (role, make) in [
        (Role::Owner, (|| member(Role::Owner)) as fn() -> Member),
        (Role::Admin, || member(Role::Admin)),
        (Role::Billing, || member(Role::Billing)),
        (Role::Member, || member(Role::Member)),
        (Role::Viewer, || member(Role::Viewer)),
    ] {
        let rules = WalletConfig {
            members: [("ana", make)].into(),
            ..WalletConfig::default()
        };
        let caller = Caller {
            attribution: user("ana"),
            ..Caller::default()
        };
        assert_eq!(guard().admit(&rules, &caller, NOW).is_ok(), role.spends());
        assert_eq!(Role::parse(role.as_str()), Some(role));
    }
}

#[test]
fn a_key_says_whose_it_is_until_it_ends() {
    fn key() -> Key {
        Key {
            id: [7; 16],
            user_id: Some("ana".to_owned()),
            expires_at: Some(Timestamp(2_000)),
            revoked_at: None,
            good_until: None,
            allowed_models: Vec::new(),
            allowed_ips: vec!["10.0.0.0/8".parse().expect("a network")],
            devices: Vec::new(),
        }
    }
    let rotated = || Key {
        good_until: Some(Timestamp(1_500)),
        ..key()
    };
    let hash = |secret: &str| -> Hash { Sha256::digest(secret).into() };
    let rules = WalletConfig {
        keys: [(hash("secret"), key as fn() -> Key), (hash("old"), rotated)].into(),
        ..WalletConfig::default()
    };
    let guard = SpendingPolicy::default();
    let caller = Caller {
        secret: Some("secret"),
        client_ip: Some("::ffff:10.1.2.3".parse().expect("an address")),
        ..Caller::default()
    };
    let admit = |caller: &Caller<'_>, now| {
        let who = guard.admit(&rules, caller, now);
        who.map(|who| (who.user_id.map(str::to_owned), who.key_id))
            .map_err(|error| error.message)
    };
    let good = Ok((Some("ana".to_owned()), Some([7; 16])));
    let refused = |why: &str| Err(why.to_owned());
    assert_eq!(admit(&caller, NOW), good);
    assert_eq!(admit(&caller, Timestamp(2_000)), refused("key has expired"));
    let old = Caller {
        secret: Some("old"),
        ..caller
    };
    assert_eq!(admit(&old, NOW), good);
    assert_eq!(admit(&old, Timestamp(1_500)), refused("key was rotated"));
    let wrong = Caller {
        secret: Some("wrong"),
        ..caller
    };
    assert_eq!(
        admit(&wrong, NOW),
        refused("key is not a key of the wallet")
    );
    let far = Caller {
        client_ip: Some("11.0.0.1".parse().expect("an address")),
        ..caller
    };
    assert_eq!(
        admit(&far, NOW),
        refused("the key may not be used from address 11.0.0.1")
    );
    // Each key is read once, and a secret without a key each time.
    assert_eq!(rules.reads.get(), 3);
    assert!(admit(&wrong, NOW).is_err() && admit(&caller, NOW).is_ok());
    assert_eq!(rules.reads.get(), 4);
}

#[test]
fn a_prefix_does_not_get_past_a_blocked_name() {
    let rules = WalletConfig {
        model_rules: [(
            ("wallet", "*"),
            (|| ModelRule {
                allowed: Vec::new(),
                blocked: vec!["gpt-4*".to_owned()],
            }) as fn() -> ModelRule,
        )]
        .into(),
        ..WalletConfig::default()
    };
    let guard = guard();
    let is_let_in = |model| {
        let caller = Caller {
            context: of_model(model),
            ..Caller::default()
        };
        guard.admit(&rules, &caller, NOW).is_ok()
    };
    assert!(!is_let_in("gpt-4o"));
    assert!(!is_let_in("openai/gpt-4o"));
    assert!(is_let_in("gpt-3.5"));
}

#[test]
fn a_users_own_rule_replaces_that_of_each_user() {
    fn only(model: &str) -> ModelRule {
        ModelRule {
            allowed: vec![model.to_owned()],
            blocked: Vec::new(),
        }
    }
    let rules = WalletConfig {
        members: [(
            "ana",
            (|| Member {
                team: Some("blue".to_owned()),
                ..member(Role::Member)
            }) as fn() -> Member,
        )]
        .into(),
        model_rules: [
            (("user", "*"), (|| only("small")) as fn() -> ModelRule),
            (("user", "ana"), || only("large")),
            (("team", "blue"), || only("l*")),
        ]
        .into(),
        ..WalletConfig::default()
    };
    let guard = guard();
    let is_let_in = |name, model| {
        let caller = Caller {
            attribution: user(name),
            context: of_model(model),
            ..Caller::default()
        };
        guard.admit(&rules, &caller, NOW).is_ok()
    };
    assert!(is_let_in("ana", "large") && !is_let_in("ana", "small"));
    assert!(is_let_in("bob", "small") && !is_let_in("bob", "large"));
    // The member and the user who is not one, the rule of the wallet, that of the team, those of
    // the users and that of each user: all are read once.
    assert_eq!(rules.reads.get(), 2 + 1 + 1 + 2 + 1);
    assert!(is_let_in("ana", "large") && is_let_in("bob", "small"));
    assert_eq!(rules.reads.get(), 7);
}
