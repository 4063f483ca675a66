//! Compares a feed with a price list and adds the differences. Old rows are never changed: a change
//! is a new row with a date.

use serde_json::{Value as Json, json};

use crate::currency::Currency;
use crate::error::Result;
use crate::pg::clock;
use crate::pg::clock::Timestamp;
use crate::pg::jsonb::Jsonb;
use crate::pricing::import::{Fault, Feed, Quote, refused};
use crate::storage::plan::{Run, Value, statement};
use crate::storage::rows::uuid_text;

/// A price of this many times the old one, or a fraction as small, is probably wrong.
const WILD: i64 = 1000;

statement!(
    /// Two imports at once would both find the same prices missing. Readers need not wait.
    LOCK,
    [],
    "LOCK TABLE wallet.prices IN SHARE ROW EXCLUSIVE MODE"
);

statement!(
    /// The latest beginning of a price after the start of this transaction, if the import begins at
    /// that start.
    BEGUN_MEANWHILE,
    [TEXTOID, TIMESTAMPTZOID],
    "SELECT max(effective_from)
       FROM wallet.prices
      WHERE price_list = $1 AND effective_from > $2 AND effective_from <= clock_timestamp() AND $2 = now()"
);

statement!(
    /// Each quote with the price that is in force at its time.
    COMPARE,
    [TEXTOID, TIMESTAMPTZOID, TEXTOID, INT8OID, TEXTOID],
    "SELECT q.n,
            CASE WHEN q.unit_price IS NULL
                 THEN CASE WHEN o.is_there AND o.unit_price IS NULL THEN 'unchanged' ELSE 'ended' END
                 WHEN o.unit_price IS NULL THEN 'added'
                 WHEN o.unit_price * q.per = q.unit_price * o.per
                  AND o.service IS NOT DISTINCT FROM q.service AND o.currency = $5 THEN 'unchanged'
                 ELSE 'changed' END,
            trim_scale(o.unit_price / o.per)::text,
            trim_scale(q.unit_price / q.per)::text,
            o.unit_price > 0 AND o.currency = $5 AND (q.unit_price * o.per >= $4 * o.unit_price * q.per
                               OR q.unit_price * o.per * $4 <= o.unit_price * q.per AND q.unit_price > 0)
       FROM jsonb_to_recordset($3::jsonb) AS q(
                n integer, model text, meter text, provider text, service text, region text,
                service_tier text, above_input_tokens bigint, conditions jsonb, unit_price numeric,
                per numeric, effective_from timestamptz)
       LEFT JOIN LATERAL (
            SELECT p.unit_price, p.per, p.service, p.currency, true AS is_there
              FROM wallet.prices p
             WHERE p.price_list = $1 AND p.model = q.model AND p.meter = q.meter
               AND p.provider IS NOT DISTINCT FROM q.provider
               AND p.region IS NOT DISTINCT FROM q.region
               AND p.service_tier IS NOT DISTINCT FROM q.service_tier
               AND p.above_input_tokens IS NOT DISTINCT FROM q.above_input_tokens
               AND p.conditions = q.conditions
               AND p.effective_from <= coalesce(q.effective_from, $2)
             ORDER BY p.effective_from DESC, p.created_at DESC, p.price_id DESC
             LIMIT 1) o ON true
      ORDER BY q.n"
);

statement!(
    /// Prices that the source gave earlier, that are still in force, and that its feed no longer
    /// has. `NOT IN` hashes the quotes, however few the planner expects.
    VANISHED,
    [TEXTOID, TIMESTAMPTZOID, TEXTOID, TEXTOID, TEXTARRAYOID],
    "SELECT h.model, h.meter, trim_scale(h.unit_price / h.per)::text,
            jsonb_build_object('provider', h.provider, 'service', h.service, 'region', h.region,
                               'service_tier', h.service_tier,
                               'above_input_tokens', h.above_input_tokens,
                               'conditions', h.conditions, 'per', h.per)::text
       FROM (SELECT DISTINCT ON (p.model, p.meter, p.provider, p.region, p.service_tier,
                                 p.above_input_tokens, p.conditions) p.*
               FROM wallet.prices p
              WHERE p.price_list = $1 AND p.effective_from <= $2
              ORDER BY p.model, p.meter, p.provider, p.region, p.service_tier, p.above_input_tokens,
                       p.conditions, p.effective_from DESC, p.created_at DESC, p.price_id DESC) h
      WHERE h.unit_price IS NOT NULL
        AND h.metadata ->> 'source' = $3
        AND h.model <> ALL ($5)
        AND jsonb_build_array(h.model, h.meter, h.provider, h.region, h.service_tier,
                              h.above_input_tokens, h.conditions)::text NOT IN (
            SELECT jsonb_build_array(q.model, q.meter, q.provider, q.region, q.service_tier,
                                     q.above_input_tokens, q.conditions)::text
              FROM jsonb_to_recordset($4::jsonb) AS q(
                        model text, meter text, provider text, region text, service_tier text,
                        above_input_tokens bigint, conditions jsonb))
      ORDER BY h.model, h.meter"
);

statement!(
    ADD,
    [
        TEXTOID,
        TIMESTAMPTZOID,
        TEXTOID,
        TEXTOID,
        JSONBOID,
        TIMESTAMPTZOID,
        TEXTOID
    ],
    "INSERT INTO wallet.prices
        (price_id, price_list, model, meter, unit_price, per, provider, service, region, service_tier,
         above_input_tokens, conditions, effective_from, created_at, actor, metadata, currency)
     SELECT q.id, $1, q.model, q.meter, q.unit_price, q.per, q.provider, q.service, q.region,
            q.service_tier, q.above_input_tokens, q.conditions, coalesce(q.effective_from, $2), $6,
            $4, $5, $7
       FROM jsonb_to_recordset($3::jsonb) AS q(
                id uuid, model text, meter text, provider text, service text, region text,
                service_tier text, above_input_tokens bigint, conditions jsonb, unit_price numeric,
                per numeric, effective_from timestamptz)"
);

/// A row of `import_prices`.
pub struct Row {
    /// The action: `added`, `changed`, `ended`, `unchanged` or `skipped`.
    pub action: &'static str,
    /// The model, as the feed names it.
    pub model: String,
    /// The meter, or the field of the feed that was skipped.
    pub meter: String,
    /// Price of one unit before the import.
    pub old: Option<String>,
    /// Price of one unit after the import.
    pub new: Option<String>,
    /// The origin of the price, or the reason why it was skipped.
    pub note: String,
}

/// The arguments of an import.
pub struct Import<'a> {
    /// The source's name.
    pub source: &'a str,
    /// The price list that gets the prices.
    pub list: &'a str,
    /// Currency of the feed's prices.
    pub currency: Currency,
    /// When prices begin for which the feed gives no date; `None` for the time of the import.
    pub from: Option<Timestamp>,
    /// True if nothing must be changed.
    pub dry_run: bool,
    /// True to import even if prices are probably wrong.
    pub force: bool,
    /// The person or program that makes the call.
    pub actor: Option<&'a str>,
    /// Metadata of every new row.
    pub metadata: Jsonb,
}

/// Makes other imports wait until this transaction ends.
pub fn lock() -> Result<()> {
    LOCK.run(&[]).map(drop)
}

/// Compares the feed with the list and adds the differences. The caller holds the lock, unless it
/// is a dry run.
pub fn apply(import: &Import<'_>, feed: Feed) -> Result<Vec<Row>> {
    if !feed.faults.is_empty() && !import.force {
        return Err(refused(&feed.faults));
    }
    // While this import waited for the lock, another one may have added prices that begin later
    // than this transaction. The new prices must come after these.
    let from = match import.from {
        None => clock::now(),
        Some(from) => {
            let meanwhile = BEGUN_MEANWHILE.run(&[Value::Text(import.list), Value::Time(from)])?;
            meanwhile.get(0, 0).unwrap_or(from)
        }
    };
    let quotes: Vec<Json> = feed.quotes.iter().enumerate().map(json_of).collect();
    let text = Json::Array(quotes.clone()).to_string();
    let (mut rows, added) = compare(import, from, &feed, quotes, &text)?;
    let ended = vanished(import, from, &feed, &text, &mut rows)?;
    let skipped = |model, meter, note| Row {
        action: "skipped",
        model,
        meter,
        old: None,
        new: None,
        note,
    };
    rows.extend((feed.skips.into_iter()).map(|skip| skipped(skip.model, skip.field, skip.reason)));
    rows.extend((feed.faults.into_iter()).map(|one| skipped(one.model, one.field, one.wrong)));
    let all: Vec<Json> = added.into_iter().chain(ended).collect();
    if !import.dry_run && !all.is_empty() {
        ADD.run(&[
            Value::Text(import.list),
            Value::Time(from),
            Value::Text(&Json::Array(all).to_string()),
            Value::OptText(import.actor),
            Value::Jsonb(import.metadata),
            Value::Time(clock::now()),
            Value::Text(&import.currency),
        ])?;
    }
    rows.sort_by(|a, b| (&a.model, &a.meter).cmp(&(&b.model, &b.meter)));
    Ok(rows)
}

/// A quote as a row of the statements, with its number.
fn json_of((n, quote): (usize, &Quote)) -> Json {
    json!({
        "n": n,
        "model": quote.model,
        "meter": quote.meter,
        "provider": quote.provider,
        "service": quote.service,
        "region": quote.region,
        "service_tier": quote.service_tier,
        "above_input_tokens": quote.above_input_tokens,
        "conditions": quote.conditions,
        "unit_price": quote.unit_price.map(|price| price.to_string()),
        "per": quote.per.to_string(),
        "effective_from": quote.effective_from.map(|at| {
            jiff::Timestamp::from_microsecond(at).map_or_else(|_| String::new(), |at| at.to_string())
        }),
    })
}

fn with_id(mut row: Json) -> Json {
    row["id"] = Json::from(uuid_text(uuid::Uuid::now_v7().into_bytes()));
    row
}

/// The rows of all quotes, and the quotes that must be added. One statement compares all quotes and
/// returns them in their order. An import with wild changes is refused only after all of them are
/// found, so that the error can list them.
fn compare(
    import: &Import<'_>,
    from: Timestamp,
    feed: &Feed,
    quotes: Vec<Json>,
    text: &str,
) -> Result<(Vec<Row>, Vec<Json>)> {
    let found = COMPARE.run(&[
        Value::Text(import.list),
        Value::Time(from),
        Value::Text(text),
        Value::Int8(WILD),
        Value::Text(&import.currency),
    ])?;
    let (mut rows, mut added, mut wild) = (Vec::new(), Vec::new(), Vec::new());
    for (n, (quote, object)) in feed.quotes.iter().zip(quotes).enumerate() {
        let action: String = found.need(n, 1)?;
        let (old, new): (Option<String>, Option<String>) = (found.get(n, 2), found.get(n, 3));
        let action = match action.as_str() {
            "unchanged" => "unchanged",
            "changed" => "changed",
            "ended" => "ended",
            _ => "added",
        };
        if found.get(n, 4) == Some(true) {
            wild.push(Fault {
                model: quote.model.clone(),
                field: quote.meter.clone(),
                wrong: format!(
                    "the price goes from {} to {}",
                    old.as_deref().unwrap_or("nothing"),
                    new.as_deref().unwrap_or("nothing")
                ),
            });
        }
        if action != "unchanged" {
            added.push(with_id(object));
        }
        rows.push(Row {
            action,
            model: quote.model.clone(),
            meter: quote.meter.clone(),
            old,
            new,
            note: quote.note.clone(),
        });
    }
    if !wild.is_empty() && !import.force {
        return Err(refused(&wild));
    }
    Ok((rows, added))
}

/// Ends the prices that the feed no longer has. A model with a fault keeps its prices.
fn vanished(
    import: &Import<'_>,
    from: Timestamp,
    feed: &Feed,
    text: &str,
    rows: &mut Vec<Row>,
) -> Result<Vec<Json>> {
    let kept: Vec<String> = feed
        .faults
        .iter()
        .map(|fault| fault.model.clone())
        .chain(feed.kept.iter().cloned())
        .collect();
    let found = VANISHED.run(&[
        Value::Text(import.list),
        Value::Time(from),
        Value::Text(import.source),
        Value::Text(text),
        Value::OptTexts(Some(&kept)),
    ])?;
    let mut ended = Vec::new();
    for n in 0..found.len() {
        let (model, meter): (String, String) = (found.need(n, 0)?, found.need(n, 1)?);
        let row: String = found.need(n, 3)?;
        let mut row: Json = serde_json::from_str(&row)
            .map_err(|_| crate::error::Error::internal("a price is no JSON"))?;
        row["model"] = Json::from(model.clone());
        row["meter"] = Json::from(meter.clone());
        ended.push(with_id(row));
        rows.push(Row {
            action: "ended",
            model,
            meter,
            old: found.get(n, 2),
            new: None,
            note: "no longer in the feed".to_owned(),
        });
    }
    Ok(ended)
}
