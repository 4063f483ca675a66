//! Imports price feeds of others into a price list.
//!
//! A source reads its document into [`Quote`]s, which are price rows as the list should have them,
//! and [`Skip`]s, each with a reason. It knows nothing of PostgreSQL. [`apply`] compares the quotes
//! with the list and adds the differences. No price of a feed is dropped silently.

pub mod answer;
pub mod apply;
pub mod expand;
pub mod fields;
pub mod genai;
pub mod litellm;
pub mod matching;
pub mod number;
pub mod source;
pub mod table;

#[cfg(test)]
mod tests;

use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::error::{Code, Error, quoted};

/// A price as a feed quotes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote {
    /// The model, or a pattern.
    pub model: String,
    /// The meter that is priced, such as `input_tokens`.
    pub meter: String,
    /// Provider condition; `None` for any provider.
    pub provider: Option<String>,
    /// Service of a charge that names none; `None` if the price gives none.
    pub service: Option<String>,
    /// Region condition; `None` for any region.
    pub region: Option<String>,
    /// Service tier condition; `None` for any tier.
    pub service_tier: Option<String>,
    /// Threshold condition.
    pub above_input_tokens: Option<i64>,
    /// The other conditions: keys of the usage object, and times of the week.
    pub conditions: Map<String, Value>,
    /// Price of `per` units; `None` ends an earlier price.
    pub unit_price: Option<Decimal>,
    /// The number of units that the price pays for.
    pub per: Decimal,
    /// When the price begins, if the feed says so.
    pub effective_from: Option<i64>,
    /// The origin of the price, and the changes that were made to it.
    pub note: String,
}

/// A price of a feed that is not imported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// The model, as the feed names it.
    pub model: String,
    /// The feed's field.
    pub field: String,
    /// The reason, which the row of the report shows as its note.
    pub reason: String,
}

/// An error in one price of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The model, as the feed names it; its provider if the model has no id.
    pub model: String,
    /// The feed's field.
    pub field: String,
    /// The error, as the end of a sentence.
    pub wrong: String,
}

/// A feed after it was read.
#[derive(Clone, Debug, Default)]
pub struct Feed {
    /// The prices.
    pub quotes: Vec<Quote>,
    /// The prices that are not imported.
    pub skips: Vec<Skip>,
    /// The errors. They stop the import, unless it is forced.
    pub faults: Vec<Fault>,
    /// Other names of models with a fault. They keep their prices, as the models do.
    pub kept: Vec<String>,
}

/// The number of faults that an error lists.
const FAULTS_SHOWN: usize = 5;

impl Feed {
    /// Notes a field that is not imported. The import goes on.
    pub fn skip(&mut self, model: &str, field: &str, reason: impl Into<String>) {
        self.skips.push(Skip {
            model: model.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        });
    }

    /// Notes an error in a field.
    pub fn fault(&mut self, model: &str, field: &str, wrong: impl Into<String>) {
        self.faults.push(Fault {
            model: model.to_owned(),
            field: field.to_owned(),
            wrong: wrong.into(),
        });
    }
}

/// The error WL012 that lists the errors of a feed.
pub fn refused(faults: &[Fault]) -> Error {
    let mut detail: Vec<String> = faults
        .iter()
        .take(FAULTS_SHOWN)
        .map(|fault| {
            format!(
                "Model {}, field {}: {}.",
                quoted(&fault.model),
                quoted(&fault.field),
                fault.wrong
            )
        })
        .collect();
    if faults.len() > FAULTS_SHOWN {
        detail.push(format!("{} more.", faults.len() - FAULTS_SHOWN));
    }
    let many = match faults.len() {
        1 => "price that looks",
        _ => "prices that look",
    };
    Error::new(
        Code::InvalidAmount,
        format!("prices contain {} {many} wrong", faults.len()),
    )
    .detail(detail.join(" "))
    .hint("Nothing was changed. Correct the feed, or pass force => true to skip what is no price and to take the rest as it is.")
}

/// The error 22023 for a document that is not a feed of that source.
pub fn not_a_feed(source: &str, detail: &str) -> Error {
    Error::argument(format!("prices are no feed of {source}"))
        .detail(detail.to_owned())
        .hint("Pass the whole price file as it was published.")
}
