//! The usage that a mapping reads from an object. Pure.

use rust_decimal::Decimal;

use crate::error::Result;
use crate::pricing::normalize::attributes::Stated;
use crate::pricing::normalize::meters::{Meters, check_digits};
use crate::pricing::normalize::reading::{Reading, Role};
use crate::pricing::normalize::refusals;
use crate::pricing::usage::Usage;

impl Reading<'_> {
    /// Reads the object, or says why it is refused. The order matters: the total is compared with
    /// the sum of all meters, and `unread` comes last, because it reports the numbers that no step
    /// before it has read.
    pub fn read(&self) -> Result<Usage> {
        let body = self.fit.body;
        let mut meters = Meters::default();
        let mut outside = Decimal::ZERO;
        for node in &body.meters {
            let value = self.node(node, &mut meters, Role::Meter)?;
            if node.outside_total && node.meter.ends_with("_tokens") {
                outside += value.map_or(Decimal::ZERO, |found| found.value);
            }
        }
        self.check_total(&mut meters, outside)?;
        for (meter, quantity) in &meters.0 {
            check_digits(meter, *quantity)?;
        }
        let service_tier = self.attribute("service_tier", &body.service_tier)?;
        let reported_cost = self.cost();
        if self.fit.shape.at.is_some()
            && let Some(stranger) = self.stranger()
        {
            return Err(refusals::outside_object(stranger, &self.fit.mapping.name));
        }
        Ok(Usage {
            model: self.attribute("model", &body.model)?.name(),
            provider: self.attribute("provider", &body.provider)?.name(),
            region: self.attribute("region", &body.region)?.name(),
            is_standard_tier: service_tier == Stated::Ordinary,
            service_tier: service_tier.name(),
            numbers: meters
                .0
                .into_iter()
                .map(|(meter, quantity)| (meter.to_owned(), Ok(quantity.normalize())))
                .collect(),
            object: self.facts(),
            is_mapped: true,
            is_plain: false,
            extra: Vec::new(),
            reported_cost,
            mapping: Some(self.fit.mapping.name.clone()),
            unread: self.unread(),
        })
    }
}
