//! Imports a price feed once per idempotency key.

use rust_decimal::Decimal;

use crate::access::audit::{Act, note_down};
use crate::error::Result;
use crate::idempotency::call::IdempotentCall;
use crate::pg::jsonb::{Builder, Json, Jsonb};
use crate::pricing::import::apply::{self, Import, Row};
use crate::pricing::import::{Feed, answer, genai, litellm};

/// A publisher of prices whose feed can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The price file of LiteLLM.
    Litellm,
    /// The data file of genai-prices.
    Genai,
}

impl Source {
    /// All sources.
    pub const ALL: &'static [Source] = &[Source::Litellm, Source::Genai];

    /// The source's name in arguments and rows.
    pub fn as_str(self) -> &'static str {
        match self {
            Source::Litellm => litellm::SOURCE,
            Source::Genai => genai::SOURCE,
        }
    }

    /// The metadata of the rows that an import adds.
    pub fn note(self) -> Jsonb {
        let mut note = Builder::default();
        note.begin_object();
        note.text("source", Some(self.as_str()));
        note.finish_object()
    }

    fn read(self, document: &Json) -> Result<Feed> {
        match self {
            Source::Litellm => litellm::read(document),
            Source::Genai => genai::read(document),
        }
    }
}

/// The actions of rows that change the list.
const CHANGES: [&str; 3] = ["added", "changed", "ended"];

/// Changes the list as the feed says. A replay returns the rows of the first call.
pub fn import(
    import: &Import<'_>,
    source: Source,
    document: &Json,
    act: &Act<'_>,
    call: IdempotentCall<'_>,
) -> Result<Vec<Row>> {
    if !import.dry_run {
        apply::lock()?;
    }
    // A call with the same key has waited for the first one, and now finds its answer.
    if let Some(first) = call.answered()? {
        return answer::read(&first);
    }
    let rows = apply::apply(import, source.read(document)?)?;
    let count =
        |action: &str| Decimal::from(rows.iter().filter(|row| row.action == action).count());
    if !import.dry_run && CHANGES.iter().any(|action| !count(action).is_zero()) {
        let mut summary = Builder::default();
        summary.begin_object();
        summary.text("source", Some(import.source));
        summary.text("price_list", Some(import.list));
        for action in CHANGES {
            summary.decimal(action, count(action));
        }
        note_down(act, import.list, summary.finish_object())?;
    }
    if call.key.is_some() {
        call.remember(Some(answer::write(&rows)))?;
    }
    Ok(rows)
}
