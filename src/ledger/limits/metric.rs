//! The metrics that limits may have: the built-in ones, meters, and weighted sums of meters.
//!
//! The weights of a sum are in the view `wallet.metrics`. A limit keeps the weights that its metric
//! had when the limit was set, so a charge does not read them there.

use crate::error::{Code, Error, Result, quoted};
use crate::limits::metric::Metric;
use crate::money::Amount;
use crate::pg::clock;
use crate::pg::jsonb::{Json, Jsonb};
use crate::pg::numeric::Number;
use crate::pricing::normalize::set::is_meter;
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::weights_of;

statement!(
    WEIGHTS,
    [TEXTOID],
    "SELECT weights FROM wallet.metrics WHERE name = $1"
);

statement!(
    SAME,
    [TEXTOID, JSONBOID],
    "SELECT weights = $2 FROM wallet.metrics WHERE name = $1"
);

statement!(
    SET,
    [TEXTOID, JSONBOID, TIMESTAMPTZOID, TEXTOID, JSONBOID],
    "INSERT INTO wallet.metric_weights (name, weights, created_at, actor, metadata)
     VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (name) DO UPDATE
        SET weights = excluded.weights, created_at = excluded.created_at,
            actor = excluded.actor, metadata = excluded.metadata"
);

statement!(
    DROP,
    [TEXTOID],
    "DELETE FROM wallet.metric_weights WHERE name = $1 RETURNING name"
);

statement!(
    /// A plan that has a limit on the metric, now or in a version that is still to begin.
    IN_PLAN,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT p.plan FROM wallet.plan_versions p
      WHERE p.definition @> jsonb_build_object('limits', jsonb_build_array(jsonb_build_object('metric', $1)))
        AND NOT EXISTS (SELECT FROM wallet.plan_versions n
                         WHERE n.plan = p.plan AND n.effective_from <= $2
                           AND (n.effective_from, n.version) > (p.effective_from, p.version))
      ORDER BY p.plan LIMIT 1"
);

/// The maximum number of meters in a metric.
const MOST_METERS: usize = 32;
/// The maximum size of the weights, in bytes of `jsonb`.
const MAX_WEIGHTS_BYTES: usize = 1 << 14;
/// The smallest weight that is too large.
const TOO_LARGE: i128 = 1_000_000_000;
/// The maximum length of a metric's name, in characters.
const MAX_NAME: usize = 64;
/// A meter whose name a metric may take, because people also call weighted sums by that word.
const CREDITS: &str = "credits";

/// The HINT that shows the weights.
pub const EXAMPLE: &str = "Pass an object such as {\"input_tokens\": 1, \"output_tokens\": 4}.";

/// The metric of that name, with its weights. 22023 unless the metric is known. A meter is known if
/// usage can have it or if it has a price.
pub fn find(name: &str) -> Result<Metric> {
    let metric = Metric::parse(name);
    let Metric::Meter(meter) = &metric else {
        return Ok(metric);
    };
    let rows = WEIGHTS.run(&[Value::Text(meter)])?;
    if !rows.is_empty() {
        let weights = weights_of(rows.datum(0, 0).map(Jsonb))?;
        return Ok(Metric::of_row(name, weights));
    }
    if !is_meter(meter)? {
        return Err(Error::argument(format!("unrecognized metric {}", quoted(meter)))
            .detail("It is no meter that usage can have, no price has it as its meter, and set_metric() has not set it.")
            .hint("Valid values are: amount, requests, tokens, the names of meters such as output_tokens, and of metrics that set_metric() sets."));
    }
    Ok(metric)
}

/// Checks the name of a metric that is set, except that it is no meter.
pub fn check_name(name: &str) -> Result<()> {
    let length = name.chars().count();
    if length > MAX_NAME {
        return Err(Error::argument("name is too long")
            .detail(format!(
                "It has {length} characters; at most {MAX_NAME} are allowed."
            ))
            .hint("Use a shorter name."));
    }
    if !matches!(Metric::parse(name), Metric::Meter(_)) {
        return Err(Error::argument(format!("metric {} is built in", quoted(name)))
            .detail("The metrics amount, requests and tokens always count what they are named after.")
            .hint("Choose another name."));
    }
    Ok(())
}

/// Reads the weights of a metric, and checks everything except that the meters are known.
pub fn read_weights(weights: Jsonb) -> Result<Vec<(String, Amount)>> {
    let json = weights.read("weights", MAX_WEIGHTS_BYTES)?;
    let Json::Object(members) = &json else {
        return Err(Error::argument("weights is not an object")
            .detail("It must be a JSON object with one number per meter.")
            .hint(EXAMPLE));
    };
    if members.is_empty() || members.len() > MOST_METERS {
        return Err(Error::argument(match members.is_empty() {
            true => "weights has no meter",
            false => "weights has too many meters",
        })
        .detail(format!(
            "It has {}; a metric has 1 to {MOST_METERS} meters.",
            members.len()
        ))
        .hint(EXAMPLE));
    }
    let weight = |(meter, json): &(String, Json)| match json {
        Json::Number(number) => Ok((meter.clone(), weight(meter, number)?)),
        _ => Err(
            Error::argument(format!("the weight of {} is not a number", quoted(meter)))
                .detail("Weights are JSON numbers.")
                .hint(EXAMPLE),
        ),
    };
    members.iter().map(weight).collect()
}

fn weight(meter: &str, number: &Number) -> Result<Amount> {
    number
        .to_amount()
        .ok()
        .filter(|weight| *weight > Amount::ZERO && weight.units() / Amount::ONE.units() < TOO_LARGE)
        .ok_or_else(|| {
            Error::argument(format!("the weight of {} is out of range", quoted(meter)))
                .detail("A weight is above 0 and below 1000000000, and has at most 12 decimals.")
                .hint(EXAMPLE)
        })
}

/// 22023 if the name is that of a meter, so that it would be unclear what a limit counts.
fn require_free(name: &str) -> Result<()> {
    if name != CREDITS && is_meter(name)? {
        return Err(
            Error::argument(format!("metric {} has the name of a meter", quoted(name)))
                .detail("A limit on that meter and a limit on the metric could not be told apart.")
                .hint("Choose another name."),
        );
    }
    Ok(())
}

/// 22023 unless a metric can count the meter.
fn require_meter(meter: &str) -> Result<()> {
    let is_counted = match Metric::parse(meter) {
        Metric::Amount => false,
        Metric::Meter(_) => is_meter(meter)?,
        _ => true,
    };
    if !is_counted {
        return Err(
            Error::argument(format!("unrecognized meter {}", quoted(meter)))
                .detail("It is no meter that usage can have, and no price has it as its meter.")
                .hint("Weigh meters such as output_tokens, or requests and tokens."),
        );
    }
    Ok(())
}

/// Sets the weights of a metric, and says what that changed. `meters` are those of the weights.
pub fn set(
    name: &str,
    weights: Jsonb,
    meters: &[(String, Amount)],
    actor: Option<&str>,
    metadata: Option<Jsonb>,
) -> Result<&'static str> {
    require_free(name)?;
    meters
        .iter()
        .try_for_each(|(meter, _)| require_meter(meter))?;
    let before = SAME.run(&[Value::Text(name), Value::Jsonb(weights)])?;
    let action = match before.is_empty() {
        true => "added",
        false if before.get(0, 0) == Some(true) => return Ok("unchanged"),
        false => "changed",
    };
    SET.run(&[
        Value::Text(name),
        Value::Jsonb(weights),
        Value::Time(clock::now()),
        Value::OptText(actor),
        Value::OptJsonb(metadata),
    ])?;
    Ok(action)
}

/// Drops the weights of a metric. Limits keep those that they have. 42704 if none were set; 22023
/// if wallets may still take over limits on the metric.
pub fn drop_metric(name: &str) -> Result<()> {
    let plans = IN_PLAN.run(&[Value::Text(name), Value::Time(clock::now())])?;
    if !plans.is_empty() {
        let plan: String = plans.need(0, 0)?;
        return Err(
            Error::argument(format!("metric {} is used by a plan", quoted(name)))
                .detail(format!("Plan {} has a limit on it.", quoted(&plan)))
                .hint("Set a version of the plan without the limit first."),
        );
    }
    if DROP.run(&[Value::Text(name)])?.is_empty() {
        return Err(Error::new(
            Code::ObjectNotFound,
            format!("metric {} is not set", quoted(name)),
        )
        .detail("No call of set_metric() has set it, or it was dropped.")
        .hint("The view metrics shows all metrics; one without created_at is built in."));
    }
    Ok(())
}
