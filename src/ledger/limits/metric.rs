//! The metric of a new limit.

use crate::error::{Error, Result, quoted};
use crate::limits::metric::Metric;
use crate::pricing::normalize::set::is_meter;

/// 22023 unless the metric is known. A meter is known if usage can have it or if it has a price.
pub fn require_known(metric: &Metric) -> Result<()> {
    if let Metric::Meter(meter) = metric
        && !is_meter(meter)?
    {
        return Err(
            Error::argument(format!("unrecognized metric {}", quoted(meter)))
                .detail("It is no meter that usage can have, and no price has it as its meter.")
                .hint("Valid values are: amount, requests, tokens, and the names of meters such as output_tokens."),
        );
    }
    Ok(())
}
