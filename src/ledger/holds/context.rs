//! The context that a settlement inherits from its hold: everything that pricing, limits and
//! attribution need and the settlement does not contain.

use std::rc::Rc;

use crate::attribution::Attribution;
use crate::error::Result;
use crate::ledger::charges::request::{Asked, Request};
use crate::ledger::holds::row::About;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pricing::book::MatchedPrices;
use crate::pricing::usage::Usage;
use crate::storage::plan::{Rows, Run, Value, statement};

// The values of the settlement come last, so they take precedence.
statement!(
    MERGE,
    [JSONBOID, TEXTARRAYOID, TEXTOID, JSONBOID],
    "SELECT coalesce((SELECT jsonb_object_agg(e.key, e.value)
                        FROM jsonb_each($1) e WHERE e.key = ANY ($2)), '{}')
            || jsonb_strip_nulls(jsonb_build_object('provider', $3))
            || $4"
);

/// The request, completed with the hold's values where it has none. The returned rows own the
/// combined usage object and keep it alive.
pub fn complete<'a>(
    request: &'a Request<'_>,
    hold: &'a About,
    list: &str,
) -> Result<(Request<'a>, Option<Rows>)> {
    if request.passed.is_some() {
        // The child has completed it.
        return Ok((request.again(), None));
    }
    let or = |given: Option<&'a str>, held: &'a Option<String>| given.or(held.as_deref());
    let mut completed = Request {
        wallet: request.wallet,
        asked: request.asked.again(),
        model: request.model.clone().or_else(|| hold.stored.model.clone()),
        priced_as: None,
        attribution: Attribution {
            user_id: or(request.attribution.user_id, &hold.stored.user_id),
            team: or(request.attribution.team, &hold.stored.team),
            key_id: request.attribution.key_id.or(hold.stored.key_id),
        },
        service: or(request.service, &hold.stored.service),
        region: request.region.clone(),
        service_tier: request.service_tier.clone(),
        tags: request.tags.clone().or_else(|| hold.stored.tags.clone()),
        event_at: request.event_at.or(hold.event_at),
        key: request.key,
        secret: None,
        client_ip: None,
        device: None,
        actor: request.actor,
        metadata: request.metadata.clone(),
        reported: request.reported,
        passed: request.passed,
    };
    let Asked::Usage(usage, object, canonical) = &request.asked else {
        completed.region = completed.region.or_else(|| hold.stored.region.clone());
        completed.service_tier = completed
            .service_tier
            .or_else(|| hold.stored.service_tier.clone());
        return Ok((completed, None));
    };
    let (usage, rows) = complete_usage(usage, *object, hold, list)?;
    let merged = rows.as_ref().and_then(|rows| rows.datum(0, 0));
    let object = merged.map_or(*object, Jsonb);
    completed.model = usage.model.clone();
    completed.region = usage.region.clone();
    completed.service_tier = usage.service_tier.clone();
    completed.asked = Asked::Usage(usage, object, canonical.clone());
    Ok((completed, rows))
}

/// The usage, completed with the estimate. An entry has columns for model, region and tier. If more
/// is added, the stored usage object must contain it too; the returned row owns that object.
fn complete_usage(
    usage: &Rc<Usage>,
    object: Jsonb,
    hold: &About,
    list: &str,
) -> Result<(Rc<Usage>, Option<Rows>)> {
    let lacks = |own: &Option<String>, held: &Option<String>| own.is_none() && held.is_some();
    let tier = !usage.is_standard_tier && lacks(&usage.service_tier, &hold.stored.service_tier);
    let provider = lacks(&usage.provider, &hold.stored.provider);
    // A response names the model version that answered. The hold may have named the model that sets
    // the price.
    let priced_as = hold.priced_as.as_ref().filter(|_| usage.is_mapped);
    let priced_as = priced_as.filter(|model| usage.model.as_ref() != Some(model));
    let keys = missing_keys(usage, hold, list)?;
    if !tier
        && !provider
        && keys.is_empty()
        && priced_as.is_none()
        && !lacks(&usage.model, &hold.stored.model)
        && !lacks(&usage.region, &hold.stored.region)
    {
        return Ok((usage.clone(), None));
    }
    let mut completed = Usage::clone(usage);
    completed.model = priced_as
        .cloned()
        .or(completed.model)
        .or_else(|| hold.stored.model.clone());
    completed.fill_in(
        hold.stored.region.as_deref(),
        hold.stored.service_tier.as_deref(),
    );
    let mut rows = None;
    if provider || !keys.is_empty() {
        let names: Vec<String> = keys.iter().map(|(key, _)| key.clone()).collect();
        rows = Some(MERGE.run(&[
            Value::OptJsonb(hold.usage),
            Value::OptTexts(Some(&names)),
            Value::OptText(hold.stored.provider.as_deref().filter(|_| provider)),
            Value::Jsonb(object),
        ])?);
        completed.provider = completed.provider.or_else(|| hold.stored.provider.clone());
        completed.object.extend(keys);
    }
    Ok((Rc::new(completed), rows))
}

/// The keys of the estimate that are not quantities and that the usage does not contain. Empty
/// unless a price of the model depends on such keys.
fn missing_keys(usage: &Usage, hold: &About, list: &str) -> Result<Vec<(String, Json)>> {
    let priced_as = hold.priced_as.as_deref().filter(|_| usage.is_mapped);
    let model = priced_as
        .or(usage.model.as_deref())
        .or(hold.stored.model.as_deref());
    let provider = usage
        .provider
        .as_deref()
        .or(hold.stored.provider.as_deref());
    let (Some(estimate), Some(model)) = (hold.usage, model) else {
        return Ok(Vec::new());
    };
    if !MatchedPrices::of(list, model, provider)?.asks_for_keys() {
        return Ok(Vec::new());
    }
    let Json::Object(mut keys) = estimate.reread("usage")? else {
        return Ok(Vec::new());
    };
    keys.retain(|(key, value)| {
        matches!(value, Json::String(_) | Json::Bool(_))
            && !matches!(&**key, "model" | "provider" | "region" | "service_tier")
            && !usage.object.iter().any(|(own, _)| own == key)
    });
    Ok(keys)
}
