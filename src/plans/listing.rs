//! Lists the rules that apply to a wallet with its next call, and where each of them comes from.

use std::collections::HashSet;

use crate::error::Result;
use crate::ledger::limits::set;
use crate::ledger::wallets::plan_marks::{Marks, RuleKind};
use crate::ledger::wallets::{config, model_rules};
use crate::pg::clock;
use crate::pg::jsonb::Jsonb;
use crate::plans::definition::{Definition, PlanSettings};
use crate::plans::versions;
use crate::storage::plan::{Run, Value, statement};

statement!(
    /// The rules of a wallet and the default limits: kind, name among the marks, name for people,
    /// and the rule.
    RULES,
    [TEXTOID],
    "SELECT CASE wallet_id WHEN '*' THEN 'default' ELSE 'limit' END, limit_id::text,
            concat_ws(' ', scope, subject, period, metric),
            jsonb_strip_nulls(jsonb_build_object(
                'max', trim_scale(max), 'mode', mode, 'warn_at', to_jsonb(warn_at), 'time_zone', time_zone,
                'anchor', anchor, 'anchor_time', anchor_time, 'rollover_max', trim_scale(rollover_max),
                'paused', paused))::text
       FROM wallet.limits WHERE wallet_id IN ($1, '*') AND dropped_at IS NULL
     UNION ALL
     SELECT 'recurring_grant', r.name, r.name,
            jsonb_strip_nulls(jsonb_build_object(
                'amount', trim_scale(amount), 'period', p.spans[1], 'expires_after', p.spans[2],
                'rollover_max', trim_scale(rollover_max), 'scope', scope))::text
       FROM wallet.recurring_grants r
      CROSS JOIN LATERAL (
            -- The text of an interval depends on a setting.
            SELECT array_agg(nullif(concat_ws(' ', nullif(extract(year FROM s.span) * 12 + extract(month FROM s.span), 0) || ' months',
                                       nullif(extract(day FROM s.span), 0) || ' days',
                                       nullif(trim_scale(extract(epoch FROM s.span - date_trunc('day', s.span))), 0) || ' seconds'), '')
                             ORDER BY s.n)
                   FROM (VALUES (1, r.period), (2, r.expires_after)) s(n, span)) p(spans)
      WHERE wallet_id = $1
     UNION ALL
     SELECT 'topup_rule', name, name, rule::text FROM wallet.topup_rules WHERE wallet_id = $1
     UNION ALL
     SELECT 'model_rule', scope || ' ' || subject, scope || ' ' || subject,
            jsonb_strip_nulls(jsonb_build_object('allowed', allowed, 'blocked', blocked))::text
       FROM wallet.model_rules WHERE wallet_id = $1
     UNION ALL
     SELECT 'setting', s.name, s.name, s.value::text
       FROM wallet.wallets w
      CROSS JOIN LATERAL (VALUES
            ('price_list', to_jsonb(w.price_list)), ('low_balance', to_jsonb(w.low_balance)),
            ('lanes', to_jsonb(w.lanes)), ('unknown_price', to_jsonb(w.unknown_price)),
            ('unread_usage', to_jsonb(w.unread_usage))) s(name, value)
      WHERE w.wallet_id = $1"
);

statement!(
    LISTS,
    [TEXTARRAYOID, TEXTARRAYOID],
    "SELECT jsonb_strip_nulls(jsonb_build_object('allowed', $1, 'blocked', $2))::text"
);

statement!(
    /// A part of a definition as JSON text.
    PART,
    [JSONBOID, TEXTOID],
    "SELECT ($1 -> $2)::text"
);

/// A rule that applies to a wallet.
pub struct Listed {
    /// `limit`, `recurring_grant`, `topup_rule`, `model_rule` or `setting`.
    pub kind: &'static str,
    /// The name of the rule.
    pub name: String,
    /// The rule, as JSON.
    pub rule: String,
    /// `own`, `plan` or `default`.
    pub source: &'static str,
    /// The plan that has the rule.
    pub plan: Option<String>,
    /// The version of the plan.
    pub version: Option<i64>,
}

/// The row of a rule that the wallet has, or of a default limit.
struct Row {
    kind: String,
    mark: String,
    name: String,
    rule: String,
}

/// The names of the rules of a definition, by kind.
fn names_of(definition: &Definition) -> Result<Vec<(RuleKind, String, String)>> {
    let text = |given: Jsonb| given.to_text();
    let mut names = Vec::new();
    for (limit, given) in definition
        .limits("", None)?
        .iter()
        .zip(definition.limit_items())
    {
        names.push((RuleKind::Limit, set::name_of(limit).join(" "), text(given)));
    }
    for (grant, given) in definition.grants()?.iter().zip(definition.grant_items()) {
        names.push((
            RuleKind::RecurringGrant,
            grant.name().to_owned(),
            text(given),
        ));
    }
    for (name, rule, _) in definition.topups()? {
        names.push((RuleKind::TopupRule, name.to_owned(), text(rule.given)));
    }
    for rule in definition.model_rules()? {
        let lists = [&rule.allowed, &rule.blocked].map(|list| Value::OptTexts(list.as_deref()));
        let lists = LISTS.run(&lists)?.need(0, 0)?;
        names.push((RuleKind::ModelRule, model_rules::name_of(&rule), lists));
    }
    let settings = definition.settings()?;
    for name in PlanSettings::NAMES {
        if settings.form(name).is_some() {
            let part = PART.run(&[Value::Jsonb(definition.given()), Value::Text(name)])?;
            names.push((RuleKind::Setting, name.to_owned(), part.need(0, 0)?));
        }
    }
    Ok(names)
}

fn rows_of(wallet: &str) -> Result<Vec<Row>> {
    let rows = RULES.run(&[Value::Text(wallet)])?;
    let row = |row| {
        Ok(Row {
            kind: rows.need(row, 0)?,
            mark: rows.need(row, 1)?,
            name: rows.need(row, 2)?,
            rule: rows.need(row, 3)?,
        })
    };
    (0..rows.len()).map(row).collect()
}

/// The rules that apply to a wallet with its next call. WL003 if there is no such wallet.
pub fn list(wallet: &str) -> Result<Vec<Listed>> {
    let (plan, in_force) = versions::of_wallet(wallet, clock::now())?;
    let version = in_force.as_ref().map(|one| one.version);
    let marks = Marks::of(wallet)?;
    let rows = rows_of(wallet)?;
    let planned = match &in_force {
        Some(one) => names_of(&one.definition)?,
        None => Vec::new(),
    };
    let mut listed = Vec::new();
    let mut taken: HashSet<(&str, &str)> = HashSet::new();
    for row in rows.iter().filter(|row| row.kind != "default") {
        let Some(kind) = RuleKind::parse(&row.kind) else {
            continue;
        };
        let is_own = match kind {
            RuleKind::Setting => marks.form(RuleKind::OwnSetting, &row.mark).is_some(),
            _ => marks.form(kind, &row.mark).is_none(),
        };
        if is_own {
            taken.insert((kind.as_str(), &row.name));
            listed.push(own(kind, row, "own"));
        }
    }
    let is_pooled = config::read_basis(wallet)?.pool.is_some();
    for (kind, name, rule) in planned {
        // The parent pays, so nothing brings the wallet money.
        let brings = matches!(kind, RuleKind::RecurringGrant | RuleKind::TopupRule);
        if is_pooled && brings {
            continue;
        }
        if !taken.contains(&(kind.as_str(), &*name)) {
            listed.push(Listed {
                kind: kind.as_str(),
                name,
                rule,
                source: "plan",
                plan: plan.clone(),
                version,
            });
        }
    }
    // Rules that come neither from the wallet nor from the plan.
    let said: HashSet<(&str, String)> = listed
        .iter()
        .map(|one| (one.kind, one.name.clone()))
        .collect();
    for row in &rows {
        let kind = match row.kind.as_str() {
            "default" => RuleKind::Limit,
            "setting" => RuleKind::Setting,
            _ => continue,
        };
        if said.contains(&(kind.as_str(), row.name.clone())) {
            continue;
        }
        let is_left = kind == RuleKind::Setting && marks.form(kind, &row.mark).is_some();
        let mut default = own(kind, row, "default");
        if is_left {
            // The plan has left the setting to the wallets, which is not taken over yet.
            default.rule = built_in(&row.name);
        }
        listed.push(default);
    }
    listed.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    Ok(listed)
}

fn own(kind: RuleKind, row: &Row, source: &'static str) -> Listed {
    Listed {
        kind: kind.as_str(),
        name: row.name.clone(),
        rule: row.rule.clone(),
        source,
        plan: None,
        version: None,
    }
}

/// The setting of a wallet whose plan does not have it, as JSON.
fn built_in(name: &str) -> String {
    let form = PlanSettings::BUILT_IN.form(name).unwrap_or_default();
    match name {
        "lanes" => form,
        "low_balance" => format!("[{form}]"),
        _ => serde_json::Value::from(form).to_string(),
    }
}
