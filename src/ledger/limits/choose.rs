//! Chooses the first of several models that a request may use, with the code of `check_limits`.
//!
//! A reason that another model may not have refuses one candidate, in a row. A reason that every
//! model has is raised: no choice mends it.

use std::collections::HashSet;

use crate::args;
use crate::error::{Code, Error, Result, quoted};
use crate::ledger::charges::request::Request;
use crate::ledger::limits::check::{Answer, Checked, Checking, Ground, under_current_rules};
use crate::limits::metric::Metric;
use crate::money::Amount;
use crate::storage::session::Session;

/// The maximum number of candidates of one call.
const MAX_CANDIDATES: usize = 100;

/// The decision on one candidate.
pub struct Choice {
    /// The candidate.
    pub model: String,
    /// The cost. `None` if the candidate cannot be priced.
    pub cost: Option<Amount>,
    /// Whether the candidate is allowed.
    pub allowed: bool,
    /// The reason for a refusal, or for a wait. `None` if the candidate is allowed at once.
    pub reason: Option<&'static str>,
    /// The money that is left for the candidate. `None` if the candidate cannot be priced, because
    /// only the price says which limits apply.
    pub remaining: Option<Amount>,
    /// True for the first candidate that is allowed at once. If there is none, for the first one
    /// that is allowed after an approval.
    pub chosen: bool,
}

/// Checks the request with each candidate in turn. Books nothing.
pub fn choose(
    session: &Session,
    request: &Request<'_>,
    candidates: &[String],
    checking: Checking,
) -> Result<Vec<Choice>> {
    let mut choices = under_current_rules(|| {
        let mut ground = Ground::read(session, request.wallet)?;
        candidates
            .iter()
            .map(|model| decide(&mut ground, request, model, checking))
            .collect::<Result<Vec<_>>>()
    })?;
    let at_once = choices.iter().position(|choice| choice.reason.is_none());
    let chosen = at_once.or_else(|| choices.iter().position(|choice| choice.allowed));
    if let Some(chosen) = chosen {
        choices[chosen].chosen = true;
    }
    Ok(choices)
}

fn decide(
    ground: &mut Ground<'_>,
    request: &Request<'_>,
    model: &str,
    checking: Checking,
) -> Result<Choice> {
    // A usage object may be large: each copy is dropped before the next one is made.
    let request = request.for_model(model);
    let mut choice = Choice {
        model: model.to_owned(),
        cost: None,
        allowed: false,
        reason: None,
        remaining: None,
        chosen: false,
    };
    match ground.check(&request, checking) {
        Ok(Answer { cost, rows }) => {
            let refusing = rows.iter().find(|row| !row.allowed);
            let waiting = || rows.iter().find(|row| row.reason.is_some());
            choice.allowed = refusing.is_none();
            choice.reason = refusing.or_else(waiting).and_then(|row| row.reason);
            choice.remaining = cost.and_then(|_| least_money(&rows));
            choice.cost = cost;
        }
        Err(error) => choice.reason = Some(unpriceable(ground, &request, error)?),
    }
    Ok(choice)
}

/// The least money that the balance and the limits on amounts leave, as far as they can refuse the
/// request.
fn least_money(rows: &[Checked]) -> Option<Amount> {
    rows.iter()
        .filter(|row| row.metric == Metric::Amount && row.can_refuse)
        .filter_map(|row| row.remaining)
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
