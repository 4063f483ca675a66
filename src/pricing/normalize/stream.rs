//! Combines the chunks of a stream into one object. Pure.

use rust_decimal::Decimal;

use crate::error::{Error, Result};
use crate::pg::jsonb::Json;
use crate::pricing::normalize::apply::choose;
use crate::pricing::normalize::extra::take_extra;
use crate::pricing::normalize::mapping::Mappings;
use crate::pricing::normalize::path::{Object, member};
use crate::pricing::normalize::wrapped::batch_of;
use crate::pricing::usage::{Usage, invalid};

/// An event of a stream.
pub type Event = Vec<(String, Json)>;

/// The events of a stream, and the meters of their keys `extra`.
pub fn events_of(chunks: Vec<Json>) -> Result<(Vec<Event>, Event)> {
    let (mut events, mut extra) = (Vec::with_capacity(chunks.len()), Vec::new());
    for chunk in chunks {
        match chunk {
            Json::Object(mut event) => {
                extra.append(&mut take_extra(&mut event)?);
                events.push(event_of(event));
            }
            // The end of a stream of server-sent events.
            Json::String(text) if text == "[DONE]" => {}
            Json::Null => {}
            _ => {
                return Err(invalid("usage is an array of values that are not objects")
                    .detail("An array stands for the chunks of one stream, each of which is a JSON object.")
                    .hint("Pass the chunks as the provider sent them, or the last one that has a usage."));
            }
        }
    }
    Ok((events, extra))
}

/// Makes one object of the events of a stream. The last usage counts everything so far. Anthropic's
/// usage is in two events.
pub fn join(events: &mut [Event], provider: Option<&str>, mappings: &Mappings) -> Result<Event> {
    for event in &*events {
        if batch_of(event)?.is_some() {
            return Err(invalid("usage is an array of lines of a batch")
                .detail("Each line is a request of its own.")
                .hint(
                    "Charge every line in a call of its own, or all of them with charge_batch().",
                ));
        }
    }
    match message_of(events)? {
        Some(message) => Ok(message),
        None => last_of(events, provider, mappings),
    }
}

/// The data of a server-sent event, if the event is wrapped with its name.
fn event_of(mut event: Event) -> Event {
    let is_named = matches!(member(&event, "event"), Some(Json::String(_)));
    let data = event
        .iter()
        .position(|(key, json)| key == "data" && matches!(json, Json::Object(_)));
    match data {
        Some(place) if is_named && event.len() <= 4 => match event.swap_remove(place).1 {
            Json::Object(data) => data,
            _ => Vec::new(),
        },
        _ => event,
    }
}

fn is_type(event: &Object, name: &str) -> bool {
    matches!(member(event, "type"), Some(Json::String(text)) if text == name)
}

/// Sets a key of an object, replacing its value.
fn set(object: &mut Vec<(String, Json)>, key: &str, value: Json) {
    match object.iter_mut().find(|(name, _)| name == key) {
        Some((_, there)) => *there = value,
        None => object.push((key.to_owned(), value)),
    }
}

/// The message of an Anthropic stream: the first event, with the changes of the later ones.
fn message_of(events: &[Event]) -> Result<Option<Event>> {
    let mut starts = events
        .iter()
        .filter(|event| is_type(event, "message_start"));
    let Some(start) = starts.next() else {
        return Ok(None);
    };
    if starts.next().is_some() {
        return Err(several("they begin more than one message"));
    }
    let Some(Json::Object(message)) = member(start, "message") else {
        return Ok(None);
    };
    let mut message = message.clone();
    let mut is_whole = false;
    for event in events {
        if is_type(event, "message_delta")
            && let Some(Json::Object(changed)) = member(event, "usage")
        {
            is_whole = true;
            let mut usage = match member(&message, "usage") {
                Some(Json::Object(usage)) => usage.clone(),
                _ => Vec::new(),
            };
            for (key, json) in changed {
                change(&mut usage, key, json)?;
            }
            set(&mut message, "usage", Json::Object(usage));
        }
    }
    if is_whole {
        return Ok(Some(message));
    }
    Err(invalid("usage is a part of a stream only")
        .detail("It begins a message, and has no message_delta that says what the whole message used.")
        .hint("Pass all events of the stream. Of a stream that broke off, charge what was received as meters of the flat form."))
}

/// Changes a key of a cumulative usage. A zero changes nothing, and a smaller number contradicts
/// the one before.
fn change(usage: &mut Event, key: &str, json: &Json) -> Result<()> {
    let before = match member(usage, key) {
        Some(Json::Number(before)) => before.to_decimal().unwrap_or_default(),
        _ => Decimal::ZERO,
    };
    match json {
        Json::Null => return Ok(()),
        Json::Number(after) => {
            let after = after.to_decimal();
            if after.is_some_and(|after| after.is_zero() && before > after) {
                return Ok(());
            }
            if after.is_some_and(|after| after < before) {
                return Err(goes_down(after.unwrap_or_default(), before, key));
            }
        }
        _ => {}
    }
    set(usage, key, json.clone());
    Ok(())
}

fn goes_down(after: Decimal, before: Decimal, of: &str) -> Error {
    invalid("usage of the stream goes down")
        .detail(format!(
            "A chunk counts {after} {of}, one before it {before}; the last one should count all."
        ))
        .hint("Pass the chunks of one response in the order in which they came.")
}

/// The last event that has a usage, with strings and joined arrays of the other events. Its length
/// comes from the ways in which chunks may be incomplete.
fn last_of(events: &mut [Event], provider: Option<&str>, mappings: &Mappings) -> Result<Event> {
    // A sum over the steps of a run replaces the usage of the steps.
    let total = events
        .iter()
        .rposition(|event| is_type(event, "finish") && member(event, "totalUsage").is_some());
    let counting: Vec<usize> = match total {
        Some(place) => vec![place],
        None => (0..events.len()).collect(),
    };
    let (mut last, mut refused): (Option<Counted>, Option<Error>) = (None, None);
    for place in counting {
        let event = &events[place];
        let (fit, usage) = match choose(mappings, event, provider) {
            Ok(Some(read)) => read,
            Ok(None) => continue,
            // An early chunk may contradict itself if a later one does not.
            Err(error) => {
                refused = Some(error);
                continue;
            }
        };
        refused = None;
        let counted = Counted {
            place,
            id: id_of(event),
            counts: counts_of(&usage, fit.body.join.is_empty()),
            join: fit.body.join.clone(),
        };
        if let Some(before) = &last {
            before.check_continued_by(&counted, events)?;
        }
        last = Some(counted);
    }
    if let Some(refused) = refused {
        return Err(refused);
    }
    let Some(last) = last else {
        return Err(invalid("usage has no known shape")
            .detail(format!(
                "None of the {} chunks of the stream has a usage that a mapping knows.",
                events.len()
            ))
            .hint("Ask for usage in streams (of OpenAI: stream_options with include_usage), and pass all chunks."));
    };
    let mut object = events[last.place].clone();
    add_items(&mut object, events);
    for key in &last.join {
        let mut all = Vec::new();
        for event in &mut *events {
            if let Some((_, Json::Array(items))) = event.iter_mut().find(|(name, _)| name == key) {
                all.append(items);
            }
        }
        if !all.is_empty() {
            set(&mut object, key, Json::Array(all));
        }
    }
    for event in events.iter().rev() {
        for (key, json) in event {
            let is_missing = matches!(member(&object, key), None | Some(Json::Null));
            if is_missing && matches!(json, Json::String(_)) {
                set(&mut object, key, json.clone());
            }
        }
    }
    Ok(object)
}

/// Adds the items of an OpenAI response's output that only events of their own contain.
fn add_items(object: &mut Event, events: &[Event]) {
    let response = object.iter_mut().find(|(key, _)| key == "response");
    let Some((_, Json::Object(response))) = response else {
        return;
    };
    if !matches!(member(response, "output"), Some(Json::Array(items)) if items.is_empty()) {
        return;
    }
    let done = events
        .iter()
        .filter(|event| is_type(event, "response.output_item.done"));
    let items = done.filter_map(|event| member(event, "item").cloned());
    let items = items.collect();
    set(response, "output", Json::Array(items));
}

/// Counts that must not decrease from chunk to chunk: input and output of all kinds, and every
/// other meter, unless each chunk has only a part of the array that it is counted from.
fn counts_of(usage: &Usage, is_whole: bool) -> Vec<(String, Decimal)> {
    let mut counts = vec![
        ("input tokens".to_owned(), usage.input_tokens()),
        ("output tokens".to_owned(), usage.output_tokens()),
    ];
    let numbers = usage.numbers.iter().filter(|_| is_whole);
    for (meter, quantity) in numbers {
        if let (false, Ok(quantity)) = (meter.ends_with("_tokens"), quantity) {
            counts.push((meter.clone(), *quantity));
        }
    }
    counts
}

/// A chunk that has a usage.
struct Counted {
    place: usize,
    id: Option<String>,
    counts: Vec<(String, Decimal)>,
    join: Vec<String>,
}

impl Counted {
    fn count(&self, of: &str) -> Decimal {
        let count = self.counts.iter().find(|(name, _)| name == of);
        count.map_or(Decimal::ZERO, |(_, count)| *count)
    }

    /// WL007 unless the other one is a later chunk of the same response, which counts at least as
    /// much.
    fn check_continued_by(&self, later: &Counted, events: &[Event]) -> Result<()> {
        let is_one = match (&self.id, &later.id) {
            (Some(one), Some(other)) if one != other => {
                return Err(several("these have usages of responses with different ids"));
            }
            (one, other) => one.is_some() && one == other,
        };
        for (name, before) in &self.counts {
            let after = later.count(name);
            if after < *before {
                return Err(goes_down(after, *before, name));
            }
        }
        // Chunks without an id belong to one response only if the prompt is the same and no chunk
        // but the last says that it is the end.
        let (before, after) = (self.count("input tokens"), later.count("input tokens"));
        let has_same_prompt = before == after || before.is_zero();
        if is_one || is_part(&events[self.place]) && has_same_prompt {
            return Ok(());
        }
        Err(several(
            "more than one of them has a usage, and nothing says that they belong together",
        ))
    }
}

/// Whether a chunk without an id is a part of a response other than its end.
fn is_part(event: &Object) -> bool {
    let is_chunk = |json: &Json| matches!(json, Json::String(text) if text.ends_with(".chunk"));
    if member(event, "object").is_some_and(is_chunk) {
        return true;
    }
    let Some(Json::Array(candidates)) = member(event, "candidates") else {
        return false;
    };
    let ends = |candidate: &Json| {
        let reason = candidate
            .as_object()
            .and_then(|one| member(one, "finishReason").or_else(|| member(one, "finish_reason")));
        matches!(reason, Some(Json::String(_)))
    };
    !candidates.iter().any(ends)
}

/// The id of the response that a chunk belongs to, if it has one.
fn id_of(event: &Object) -> Option<String> {
    let within = ["response", "message"].iter();
    let within = within.filter_map(|key| member(event, key)?.as_object());
    std::iter::once(event)
        .chain(within)
        .flat_map(|object| {
            [
                "id",
                "responseId",
                "response_id",
                "request_id",
                "generation_id",
            ]
            .map(|key| member(object, key))
        })
        .find_map(|id| match id {
            Some(Json::String(id)) => Some(id.clone()),
            _ => None,
        })
}

fn several(why: &str) -> Error {
    invalid("usage is an array of several responses")
        .detail(format!(
            "An array stands for the chunks of one stream; {why}."
        ))
        .hint("Charge every response in a call of its own, or all of them with charge_batch().")
}
