//! Reads the definition of a plan.
//!
//! Every part is checked by the code of the single call that sets such a rule, so that a wallet can
//! take over any version that was stored.

use crate::access::members::NewModelRule;
use crate::alerts::topup_rule;
use crate::alerts::topup_rules::Rule;
use crate::args::{self, MAX_DOCUMENT_BYTES};
use crate::error::{Error, Result};
use crate::idempotency::fingerprint::canonical;
use crate::items::{Item, Items};
use crate::ledger::grants::recurring::NewRecurring;
use crate::ledger::grants::recurring_args::{lifetime_text, period};
use crate::ledger::grants::scope::Scope;
use crate::ledger::limits::limit_args::{self, LIMITS};
use crate::ledger::limits::metric;
use crate::ledger::limits::set::{self, NewLimit};
use crate::ledger::wallets::model_rules;
use crate::ledger::wallets::setting_args;
use crate::ledger::wallets::settings::check_time_zone;
use crate::money::Amount;
use crate::pg::jsonb::{Json, Jsonb, empty_object};
use crate::pricing::book::{DEFAULT_LIST, require_list};
use crate::pricing::unread::UnreadUsage;

static DEFINITION: Items = Items {
    argument: "definition",
    path: "",
    single: "set_plan",
    keys: &[
        "limits",
        "recurring_grants",
        "topup_rule",
        "topup_rules",
        "allowed_models",
        "model_rules",
        "price_list",
        "low_balance",
        "lanes",
        "unknown_price",
        "unread_usage",
    ],
};

static PLAN_LIMITS: Items = Items {
    path: "limits",
    ..LIMITS
};

/// Without `starts_on`, because wallets take a plan over on different days.
static GRANTS: Items = Items {
    argument: "recurring_grants",
    path: "recurring_grants",
    single: "set_recurring_grant",
    keys: &[
        "name",
        "amount",
        "period",
        "expires_after",
        "rollover_max",
        "scope",
    ],
};

static TOPUPS: Items = Items {
    argument: "topup_rules",
    path: "topup_rules",
    single: "set_topup_rule",
    keys: &["name", "rule"],
};

static MODELS: Items = Items {
    argument: "model_rules",
    path: "model_rules",
    single: "set_model_rules",
    keys: &["scope", "subject", "allowed", "blocked"],
};

/// The name of a rule whose item has none.
const DEFAULT_NAME: &str = "default";

/// The most rules of a kind in a plan.
const MAX_RULES: usize = 100;

/// A definition whose keys are known.
pub struct Definition {
    whole: Item,
    limits: Vec<Item>,
    grants: Vec<Item>,
    topups: Vec<Topup>,
    models: Vec<Item>,
}

/// A top-up rule of a plan.
struct Topup {
    /// The item; `None` for the rule of the key `topup_rule`.
    item: Option<Item>,
    name: String,
    given: Jsonb,
    json: Json,
}

/// A recurring grant of a plan.
pub struct PlanGrant<'a> {
    name: &'a str,
    amount: Amount,
    period: String,
    expires_after: Option<String>,
    rollover_max: Option<Amount>,
    scope: Option<Jsonb>,
}

impl PlanGrant<'_> {
    /// The recurring grant for a wallet.
    pub fn of<'a>(&'a self, wallet: &'a str, actor: Option<&'a str>) -> NewRecurring<'a> {
        NewRecurring {
            wallet,
            name: self.name,
            starts_on: None,
            amount: self.amount,
            period: &self.period,
            expires_after: self.expires_after.as_deref(),
            rollover_max: self.rollover_max,
            scope: self.scope,
            actor,
            metadata: None,
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        self.name
    }

    /// The values as one text, which is the same for equal values.
    pub fn form(&self) -> String {
        format!(
            "{} {} {:?} {:?} {:?}",
            self.amount.to_fixed(),
            self.period,
            self.expires_after,
            self.rollover_max.map(Amount::to_fixed),
            self.scope.and_then(canonical)
        )
    }
}

/// The settings that a plan has; `None` for those that it leaves to the wallets.
#[derive(Default)]
pub struct PlanSettings<'a> {
    /// The price list.
    pub price_list: Option<&'a str>,
    /// The available amounts at which an event is written.
    pub low_balance: Option<Vec<Amount>>,
    /// The number of lanes.
    pub lanes: Option<i16>,
    /// The rule for usage without a price.
    pub unknown_price: Option<&'a str>,
    /// The rule for numbers that nothing reads.
    pub unread_usage: Option<UnreadUsage>,
}

impl PlanSettings<'static> {
    /// The settings of a wallet without a plan.
    pub const BUILT_IN: PlanSettings<'static> = PlanSettings {
        price_list: Some(DEFAULT_LIST),
        low_balance: Some(Vec::new()),
        lanes: Some(1),
        unknown_price: Some("reject"),
        unread_usage: Some(UnreadUsage::Note),
    };
}

impl PlanSettings<'_> {
    /// The names of all settings that a plan may have.
    pub const NAMES: [&'static str; 5] = [
        "price_list",
        "low_balance",
        "lanes",
        "unknown_price",
        "unread_usage",
    ];

    /// The value of a setting as text; `None` if the plan does not have it.
    pub fn form(&self, name: &str) -> Option<String> {
        match name {
            "price_list" => self.price_list.map(str::to_owned),
            "low_balance" => self.low_balance.as_ref().map(|amounts| {
                let amounts: Vec<String> = amounts.iter().map(|one| one.to_fixed()).collect();
                amounts.join(",")
            }),
            "lanes" => self.lanes.map(|lanes| lanes.to_string()),
            "unknown_price" => self.unknown_price.map(str::to_owned),
            "unread_usage" => self.unread_usage.map(|rule| rule.as_str().to_owned()),
            _ => None,
        }
    }
}

fn items(whole: &Item, key: &str, of: &'static Items) -> Result<Vec<Item>> {
    let Some(array) = whole.array(key)? else {
        return Ok(Vec::new());
    };
    let items = of.read(Some(array))?;
    if items.len() > MAX_RULES {
        return Err(Error::argument(format!("{key} has too many items"))
            .detail(format!(
                "It has {}; a plan has at most {MAX_RULES} rules of a kind.",
                items.len()
            ))
            .hint("Give fewer of them."));
    }
    Ok(items)
}

/// The name of an item.
fn name(item: &Item) -> Result<&str> {
    item.told(args::new_name(
        "name",
        item.text("name", Some(DEFAULT_NAME))?,
    ))
}

impl Definition {
    /// Reads a definition, and checks its keys. 22023 unless it is an object of known keys.
    pub fn read(definition: Jsonb) -> Result<Definition> {
        definition.read("definition", MAX_DOCUMENT_BYTES)?;
        let whole = DEFINITION.single(definition)?;
        let mut topups = Vec::new();
        for item in items(&whole, "topup_rules", &TOPUPS)? {
            let Some(rule) = item.json("rule")? else {
                return Err(item.missing("rule", "Give the rule as set_topup_rule() takes it."));
            };
            topups.push(Topup {
                name: name(&item)?.to_owned(),
                given: rule,
                json: rule.read("rule", MAX_DOCUMENT_BYTES)?,
                item: Some(item),
            });
        }
        if let Some(rule) = whole.json("topup_rule")? {
            topups.push(Topup {
                item: None,
                name: DEFAULT_NAME.to_owned(),
                given: rule,
                json: rule.read("topup_rule", MAX_DOCUMENT_BYTES)?,
            });
        }
        Ok(Definition {
            limits: items(&whole, "limits", &PLAN_LIMITS)?,
            grants: items(&whole, "recurring_grants", &GRANTS)?,
            models: items(&whole, "model_rules", &MODELS)?,
            topups,
            whole,
        })
    }

    /// The definition of no rules.
    pub fn empty() -> Result<Definition> {
        Definition::read(empty_object())
    }

    /// Checks every value as the single calls do. The price list must exist, and metrics be known.
    pub fn check(&self) -> Result<()> {
        let limits = self.limits("", None)?;
        for (item, limit) in self.limits.iter().zip(&limits) {
            item.told(metric::find(limit.metric.as_str()).map_err(|error| error.about("metric")))?;
            item.told(limit.time_zone.map_or(Ok(()), check_time_zone))?;
        }
        let names = limits.iter().map(set::name_of);
        PLAN_LIMITS.require_distinct(None, names.map(|name| (name.clone(), name.join(" "))))?;
        let grants = self.grants()?;
        let names = grants.iter().map(|grant| grant.name.to_owned());
        GRANTS.require_distinct(Some("name"), names.map(|name| (name.clone(), name)))?;
        self.topups()?;
        let names = self.topups.iter().map(|topup| topup.name.clone());
        TOPUPS.require_distinct(Some("name"), names.map(|name| (name.clone(), name)))?;
        let models = self.model_rules()?;
        let names = models.iter().map(model_rules::name_of);
        MODELS.require_distinct(None, names.map(|name| (name.clone(), name)))?;
        if let Some(list) = self.settings()?.price_list {
            self.whole
                .told(require_list(list).map_err(|error| error.about("price_list")))?;
        }
        Ok(())
    }

    /// The limits, for a wallet. A limit without a time zone gets that one.
    pub fn limits<'a>(
        &'a self,
        wallet: &'a str,
        zone: Option<&'a str>,
    ) -> Result<Vec<NewLimit<'a>>> {
        let limit = |item| {
            let new = limit_args::limit(wallet, item)?;
            Ok(NewLimit {
                time_zone: new.time_zone.or(zone),
                paused: Some(new.paused.unwrap_or(false)),
                ..new
            })
        };
        self.limits.iter().map(limit).collect()
    }

    /// The recurring grants.
    pub fn grants(&self) -> Result<Vec<PlanGrant<'_>>> {
        self.grants.iter().map(grant).collect()
    }

    /// The top-up rules, each with its name and with a text that is the same for equal values.
    pub fn topups(&self) -> Result<Vec<(&str, Rule<'_>, String)>> {
        let topups = self.topups.iter().map(|topup| {
            let rule = topup_rule::read(topup.given, &topup.json);
            let rule = match &topup.item {
                Some(item) => item.told(rule.map_err(|error| error.about("rule"))),
                None => self
                    .whole
                    .told(rule.map_err(|error| error.about("topup_rule"))),
            };
            let form = canonical(topup.given).unwrap_or_default();
            Ok((topup.name.as_str(), rule?, form))
        });
        topups.collect()
    }

    /// The limits as they were given.
    pub fn limit_items(&self) -> impl Iterator<Item = Jsonb> {
        self.limits.iter().map(Item::object)
    }

    /// The recurring grants as they were given.
    pub fn grant_items(&self) -> impl Iterator<Item = Jsonb> {
        self.grants.iter().map(Item::object)
    }

    /// The whole definition as it was given.
    pub fn given(&self) -> Jsonb {
        self.whole.object()
    }

    /// The model rules.
    pub fn model_rules(&self) -> Result<Vec<NewModelRule<'_>>> {
        let mut rules = Vec::with_capacity(self.models.len() + 1);
        for item in &self.models {
            let rule = NewModelRule::of(
                "*",
                item.text("scope", Some("wallet"))?,
                item.text("subject", Some("*"))?,
                item.texts("allowed")?,
                item.texts("blocked")?,
            );
            let rule = item.told(rule)?;
            if rule.is_none() {
                return Err(item.missing("allowed", "Give the models that are allowed or blocked."));
            }
            rules.push(rule);
        }
        if let Some(allowed) = self.whole.texts("allowed_models")? {
            let rule = NewModelRule::of("*", Some("wallet"), Some("*"), Some(allowed), None);
            rules.push(self.whole.told(rule)?);
        }
        Ok(rules)
    }

    /// The settings.
    pub fn settings(&self) -> Result<PlanSettings<'_>> {
        let whole = &self.whole;
        let lanes = whole.whole("lanes", None)?;
        Ok(PlanSettings {
            price_list: whole.told(args::name("price_list", whole.text("price_list", None)?))?,
            low_balance: whole.told(setting_args::low_balance(whole.numbers("low_balance")?))?,
            lanes: lanes
                .map(|lanes| whole.told(setting_args::lanes(Some(lanes))))
                .transpose()?,
            unknown_price: whole.told(setting_args::unknown_price(
                whole.text("unknown_price", None)?,
            ))?,
            unread_usage: whole.told(setting_args::unread_usage(
                whole.text("unread_usage", None)?,
            ))?,
        })
    }
}

/// A recurring grant of an item.
fn grant(item: &Item) -> Result<PlanGrant<'_>> {
    let rollover_max = item.number("rollover_max", None)?;
    let most = rollover_max.map(|most| args::amount("rollover_max", Some(&most)));
    let amount = args::positive_amount("amount", item.number("amount", None)?.as_ref());
    let span = |key: &str, default, read: fn(&str, Option<&str>) -> Result<String>| {
        let text = item.text(key, default)?;
        let span = text.map(|text| read(key, Some(text))).transpose();
        item.told(span.map_err(|error| error.about(key)))
    };
    let Some(period) = span("period", Some("month"), period)? else {
        return Err(item.missing("period", "Leave it out for a month."));
    };
    let scope = item.json("scope")?;
    Ok(PlanGrant {
        name: name(item)?,
        amount: item.told(amount.map_err(|error| error.about("amount")))?,
        period,
        expires_after: span("expires_after", None, lifetime_text)?,
        rollover_max: item.told(
            most.transpose()
                .map_err(|error| error.about("rollover_max")),
        )?,
        scope: item
            .told(
                scope
                    .map(Scope::given)
                    .transpose()
                    .map_err(|error| error.about("scope")),
            )?
            .and(scope),
    })
}

/// The values of a limit as one text, which is the same for equal values.
pub fn form_of(limit: &NewLimit<'_>) -> String {
    let amounts: Vec<String> = limit.warn_at.iter().map(|part| part.to_fixed()).collect();
    format!(
        "{} {} {} {:?} {:?} {:?} {:?} {:?}",
        limit.max.to_fixed(),
        limit.mode.as_str(),
        amounts.join(","),
        limit.time_zone,
        limit.period.anchor(),
        limit.paused,
        limit.anchor_time,
        limit.rollover_max.map(Amount::to_fixed)
    )
}

/// The values of a model rule as one text, which is the same for equal values.
pub fn form_of_models(rule: &NewModelRule<'_>) -> String {
    format!("{:?} {:?}", rule.allowed, rule.blocked)
}
