//! Which rules of a wallet come from its plan, and which settings are the wallet's own.
//!
//! A rule that a plan has set is an ordinary row, and has a mark. The mark contains the values that
//! the plan gave it, so that a new version leaves rules alone that it does not change. A call that
//! sets the rule for the wallet alone removes the mark: the rule is then the wallet's own, and
//! overrides the plan.

use std::collections::HashMap;

use crate::error::{Error, Result, quoted};
use crate::storage::plan::{Run, Value, statement};

statement!(
    MARK,
    [TEXTOID, TEXTOID, TEXTARRAYOID, TEXTARRAYOID],
    "INSERT INTO wallet.plan_rules (wallet_id, kind, name, form)
     SELECT $1, $2, u.name, u.form FROM unnest($3, $4) u(name, form)
     ON CONFLICT (wallet_id, kind, name) DO UPDATE SET form = excluded.form"
);

statement!(
    UNMARK,
    [TEXTOID, TEXTOID, TEXTARRAYOID],
    "DELETE FROM wallet.plan_rules WHERE wallet_id = $1 AND kind = $2 AND name = ANY ($3)"
);

statement!(
    OF_WALLET,
    [TEXTOID],
    "SELECT kind, name, form FROM wallet.plan_rules WHERE wallet_id = $1"
);

statement!(
    IS_MARKED,
    [TEXTOID, TEXTOID, TEXTOID],
    "SELECT w.plan FROM wallet.plan_rules p JOIN wallet.wallets w ON w.wallet_id = p.wallet_id
      WHERE p.wallet_id = $1 AND p.kind = $2 AND p.name = $3"
);

statement!(
    /// The marks become those of a plan, with values that no plan has.
    FORGET,
    [TEXTOID],
    "WITH own AS (
        DELETE FROM wallet.plan_rules WHERE wallet_id = $1 AND kind = 'own_setting' RETURNING name)
     INSERT INTO wallet.plan_rules (wallet_id, kind, name, form)
     SELECT $1, 'setting', o.name, E'\\n' FROM own o"
);

/// A kind of rule that a plan may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RuleKind {
    /// A limit; its name is the id of its row.
    Limit,
    /// A recurring grant, by name.
    RecurringGrant,
    /// A top-up rule, by name.
    TopupRule,
    /// A model rule; its name is its scope and its subject.
    ModelRule,
    /// A setting of the wallet, by the name of the argument.
    Setting,
    /// A setting that a call has set for the wallet alone.
    OwnSetting,
}

impl RuleKind {
    const ALL: [RuleKind; 6] = [
        RuleKind::Limit,
        RuleKind::RecurringGrant,
        RuleKind::TopupRule,
        RuleKind::ModelRule,
        RuleKind::Setting,
        RuleKind::OwnSetting,
    ];

    /// The kind with that name; `None` if there is none.
    pub fn parse(name: &str) -> Option<RuleKind> {
        RuleKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// The name in SQL.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleKind::Limit => "limit",
            RuleKind::RecurringGrant => "recurring_grant",
            RuleKind::TopupRule => "topup_rule",
            RuleKind::ModelRule => "model_rule",
            RuleKind::Setting => "setting",
            RuleKind::OwnSetting => "own_setting",
        }
    }
}

/// The marks of a wallet.
#[derive(Default)]
pub struct Marks(HashMap<(RuleKind, String), String>);

impl Marks {
    /// The marks of a wallet now.
    pub fn of(wallet: &str) -> Result<Marks> {
        let rows = OF_WALLET.run(&[Value::Text(wallet)])?;
        let mut marks = HashMap::new();
        for row in 0..rows.len() {
            let kind: String = rows.need(row, 0)?;
            let kind = RuleKind::parse(&kind)
                .ok_or_else(|| Error::internal(format!("unknown kind {kind:?} of a mark")))?;
            marks.insert((kind, rows.need(row, 1)?), rows.need(row, 2)?);
        }
        Ok(Marks(marks))
    }

    /// The values that the plan gave a rule; `None` if the rule is not the plan's.
    pub fn form(&self, kind: RuleKind, name: &str) -> Option<&str> {
        self.0.get(&(kind, name.to_owned())).map(String::as_str)
    }

    /// The names of the rules of a kind, in alphabetical order.
    pub fn names(&self, kind: RuleKind) -> Vec<String> {
        let of_kind = self.0.keys().filter(|(known, _)| *known == kind);
        let mut names: Vec<String> = of_kind.map(|(_, name)| name.clone()).collect();
        names.sort_unstable();
        names
    }
}

/// Marks rules as the plan's, each with its values.
pub fn mark(wallet: &str, kind: RuleKind, rules: &[(String, String)]) -> Result<()> {
    if rules.is_empty() {
        return Ok(());
    }
    let (names, forms): (Vec<String>, Vec<String>) = rules.iter().cloned().unzip();
    let [names, forms] = [&names, &forms].map(|texts| Value::OptTexts(Some(texts)));
    MARK.run(&[
        Value::Text(wallet),
        Value::Text(kind.as_str()),
        names,
        forms,
    ])
    .map(drop)
}

/// Removes the marks of rules: they are the wallet's own, or gone.
pub fn unmark(wallet: &str, kind: RuleKind, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let of = [wallet, kind.as_str()].map(Value::Text);
    UNMARK
        .run(&[of[0], of[1], Value::OptTexts(Some(names))])
        .map(drop)
}

/// Records that settings were set for the wallet alone.
pub fn own_settings(wallet: &str, names: &[&str]) -> Result<()> {
    let texts: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    unmark(wallet, RuleKind::Setting, &texts)?;
    let own: Vec<(String, String)> = texts
        .into_iter()
        .map(|name| (name, String::new()))
        .collect();
    mark(wallet, RuleKind::OwnSetting, &own)
}

/// Forgets which settings were set for the wallet alone. The version that is taken over next sets
/// them: to its own values, or to the built-in ones.
pub fn forget_own_settings(wallet: &str) -> Result<()> {
    FORGET.run(&[Value::Text(wallet)]).map(drop)
}

/// 22023 if the rule is the plan's: it can be overridden, but not dropped.
pub fn require_own(wallet: &str, kind: RuleKind, name: &str, hint: &'static str) -> Result<()> {
    let of = [wallet, kind.as_str(), name].map(Value::Text);
    let rows = IS_MARKED.run(&of)?;
    if rows.is_empty() {
        return Ok(());
    }
    let plan: Option<String> = rows.get(0, 0);
    Err(
        Error::argument("a rule of the plan cannot be dropped for one wallet")
            .detail(format!(
                "It comes from the plan {} of wallet {}.",
                quoted(plan.as_deref().unwrap_or_default()),
                quoted(wallet)
            ))
            .hint(hint),
    )
}
