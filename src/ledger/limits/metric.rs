//! The metric of a new limit.

use crate::args;
use crate::error::{Error, Result, quoted};
use crate::limits::metric::Metric;
use crate::pricing::lines::is_known_meter;
use crate::storage::plan::{Run, Value, statement};

statement!(
    HAS_PRICE,
    [TEXTOID],
    "SELECT FROM wallet.prices WHERE meter = $1 LIMIT 1"
);

/// The metric of that name: a meter counts if usage can have it or if it has a price.
pub fn metric_of(metric: Option<&str>) -> Result<Metric> {
    let name = args::required("metric", metric)?;
    let metric = Metric::parse(name);
    if let Metric::Meter(meter) = &metric
        && !is_known_meter(meter)
        && HAS_PRICE.run(&[Value::Text(meter)])?.is_empty()
    {
        return Err(Error::argument(format!("metric {} is not known", quoted(name)))
            .detail("It is neither amount, requests or tokens, nor a meter that is known or has a price.")
            .hint("Give amount, requests, tokens, or the name of a meter such as output_tokens."));
    }
    Ok(metric)
}
