//! Chooses the first of several models that a request may use, with the code of `check_limits`.
//!
//! A reason that another model may not have refuses one candidate, in a row. A reason that every
//! model has is raised: no choice mends it.

use std::collections::HashSet;

use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::charges::request::Request;
use crate::ledger::limits::check::{Answer, Checked, Checking, Ground, under_current_rules};
use crate::limits::limit::Mode;
use crate::limits::metric::Metric;
use crate::limits::period::Period;
use crate::money::Amount;

/// The maximum number of candidates of one call.
const MAX_CANDIDATES: usize = 100;

/// The decision on one candidate.
pub struct Choice {
    /// The candidate.
    pub model: String,
    /// The cost. `None` if the candidate cannot be priced.
    pub cost: Option<Amount>,
    /// The reason for a refusal. `None` if the candidate is allowed.
    pub reason: Option<&'static str>,
    /// The money that is left for the candidate. `None` if the candidate cannot be priced, because
    /// only the price says which limits apply.
    pub remaining: Option<Amount>,
    /// True for the first candidate that is allowed.
    pub chosen: bool,
}

/// Checks the request with each candidate in turn. Books nothing.
pub fn choose(request: &Request<'_>, candidates: &[String]) -> Result<Vec<Choice>> {
    let mut choices = under_current_rules(|| {
        let mut ground = Ground::read(request.wallet)?;
        candidates
            .iter()
            .map(|model| decide(&mut ground, request, model))
            .collect::<Result<Vec<_>>>()
    })?;
    if let Some(first) = choices.iter_mut().find(|choice| choice.reason.is_none()) {
        first.chosen = true;
    }
    Ok(choices)
}

fn decide(ground: &mut Ground<'_>, request: &Request<'_>, model: &str) -> Result<Choice> {
    // A usage object may be large: each copy is dropped before the next one is made.
    let request = request.for_model(model);
    let (cost, reason, remaining) = match ground.check(&request, Checking::Charge) {
        Ok(Answer { cost, rows }) => {
            let refusing = rows.iter().find(|row| !row.allowed);
            let remaining = cost.and_then(|_| least_money(&rows));
            (cost, refusing.and_then(|row| row.reason), remaining)
        }
        Err(error) => (None, Some(unpriceable(ground, &request, error)?), None),
    };
    Ok(Choice {
        model: model.to_owned(),
        cost,
        reason,
        remaining,
        chosen: false,
    })
}

/// The least money that the balance and the limits on amounts leave.
fn least_money(rows: &[Checked]) -> Option<Amount> {
    rows.iter()
        .filter(|row| row.mode != Mode::Soft.as_str() && row.metric == Metric::Amount)
        .filter(|row| row.period.as_deref() != Some(Period::OPEN))
        .map(|row| row.remaining)
        .min()
}

/// The reason why the prices of the request's model do not fit the usage. An error that every model
/// would cause is returned as it is.
fn unpriceable(ground: &Ground<'_>, request: &Request<'_>, error: Error) -> Result<&'static str> {
    match error.code {
        Code::PriceNotFound => Ok("no_price"),
        // A reported cost has one currency, whatever the model.
        Code::RateNotFound if request.reported.is_none() => Ok("no_rate"),
        Code::InvalidUsage if !ground.refuses_usage(request) => Ok("invalid_usage"),
        Code::InvalidAmount => Ok("invalid_amount"),
        _ => Err(error),
    }
}

/// The candidates, in the given order.
pub fn candidates(models: Option<Vec<Option<String>>>) -> Result<Vec<String>> {
    let wrong = |message: &str, detail: String| {
        Error::argument(message)
            .detail(detail)
            .hint("Pass each model once, the preferred one first, such as '{gpt-4o,gpt-4o-mini}'.")
    };
    let named = || "Every element is the name of a model.".to_owned();
    let models = models.ok_or_else(|| wrong("models must not be null", named()))?;
    if models.is_empty() {
        let detail = "There is no model to choose from.".to_owned();
        return Err(wrong("models is empty", detail));
    }
    if models.len() > MAX_CANDIDATES {
        let detail = format!(
            "It has {}; at most {MAX_CANDIDATES} are allowed.",
            models.len()
        );
        return Err(wrong("models has too many elements", detail));
    }
    let mut seen = HashSet::with_capacity(models.len());
    for model in &models {
        let Some(model) = model.as_deref() else {
            return Err(wrong("models has a NULL element", named()));
        };
        if model.is_empty() {
            return Err(wrong("models has an empty element", named()));
        }
        args::name("models", Some(model))?;
        if !seen.insert(model) {
            let detail = format!("Model {} is in it twice.", quoted(model));
            return Err(wrong("models has a duplicate", detail));
        }
    }
    Ok(models.into_iter().flatten().collect())
}
