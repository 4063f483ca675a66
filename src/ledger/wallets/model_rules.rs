//! Sets model rules, of a wallet's own or of its plan.

use crate::access::members::{NewModelRule, set_model_rule};
use crate::error::Result;
use crate::idempotency::call::IdempotentCall;
use crate::ledger::wallets::change::{change, change_knowing};
use crate::ledger::wallets::following;
use crate::ledger::wallets::plan_marks::{self, RuleKind};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::wallet_row::lock_wallet;

const OVERRIDE: &str = "Override it with lists of the wallet's own.";

/// The name of a model rule among the marks of a wallet.
pub fn name_of(rule: &NewModelRule<'_>) -> String {
    format!("{} {}", rule.scope.as_str(), rule.subject)
}

statement!(
    NAMES,
    [TEXTOID],
    "SELECT scope || ' ' || subject FROM wallet.model_rules WHERE wallet_id = $1"
);

/// The names of the model rules of a wallet.
pub fn names(wallet: &str) -> Result<Vec<String>> {
    let rows = NAMES.run(&[Value::Text(wallet)])?;
    (0..rows.len()).map(|row| rows.need(row, 0)).collect()
}

/// Sets a model rule for the wallet alone, or removes it, once per idempotency key. The rule of the
/// plan returns if one was removed.
pub fn set(rule: &NewModelRule<'_>, call: IdempotentCall<'_>) -> Result<()> {
    let wallet = call.wallet;
    lock_wallet(wallet)?;
    if call.answered()?.is_some() {
        return Ok(());
    }
    change_knowing(wallet, |_, has_plan| {
        let name = name_of(rule);
        if has_plan && rule.is_none() {
            plan_marks::require_own(wallet, RuleKind::ModelRule, &name, OVERRIDE)?;
        } else if has_plan {
            plan_marks::unmark(wallet, RuleKind::ModelRule, &[name])?;
        }
        set_model_rule(wallet, rule)?;
        following::restore(wallet, has_plan && rule.is_none())
    })?;
    call.remember(None)
}

/// Sets or removes model rules of the plan. The caller has locked the wallet's row.
pub fn set_of_plan(wallet: &str, rules: &[NewModelRule<'_>]) -> Result<()> {
    change(wallet, |_| {
        let mut rules = rules.iter();
        rules.try_for_each(|rule| set_model_rule(wallet, rule))
    })
}
