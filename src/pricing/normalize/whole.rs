//! What is handed over as usage, made into one object that a mapping can read: the chunks of a stream, a line of a batch's
//! output file, meters beside an object. Pure.

use rust_decimal::Decimal;

use crate::error::{Error, Result, quoted};
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::apply::choose;
use crate::pricing::normalize::mapping::Mappings;
use crate::pricing::normalize::path::{Object, Path, member};
use crate::pricing::usage::{Unread, invalid};
use crate::storage::jsonb::Json;

/// One object, and where it came from.
pub struct Whole {
    /// The object.
    pub object: Vec<(String, Json)>,
    /// Meters that were put beside it.
    pub extra: Vec<(String, Json)>,
    /// Whether it is of a batch, which has a service tier of its own.
    pub is_batch: bool,
    from: From,
}

/// Where the object stood in what was handed over.
enum From {
    Itself,
    Within(Path),
    Stream,
}

/// Where a batch's output file has the response in each line, by keys that a line has.
const BATCHES: &[(&[&str], &str)] = &[
    (&["custom_id", "response.body"], "response.body"),
    (&["custom_id", "result.message"], "result.message"),
    (&["recordId", "modelOutput"], "modelOutput"),
    (&["key", "response.usageMetadata"], "response"),
    (&["key", "response.usage_metadata"], "response"),
    (
        &[
            "request",
            "status",
            "processed_time",
            "response.usageMetadata",
        ],
        "response",
    ),
];

/// Where a framework keeps the provider's response as it came, beside a copy of some of its numbers.
const COPIES: &[(&[&str], &str)] = &[
    (&["message", "raw.usage"], "raw"),
    (&["message", "raw.usage_metadata"], "raw"),
    (&["message", "raw.usageMetadata"], "raw"),
    (&["text", "raw.usage"], "raw"),
    (&["text", "raw.usage_metadata"], "raw"),
    (&["text", "raw.usageMetadata"], "raw"),
];

/// The service tier of a batch.
pub const BATCH: &str = "batch";
/// The key of meters beside an object.
const EXTRA: &str = "extra";

impl Whole {
    /// What an object is, or a stream.
    pub fn of(
        json: Json,
        provider: Option<&str>,
        mappings: impl Fn() -> Result<std::rc::Rc<Mappings>>,
    ) -> Result<Whole> {
        match json {
            Json::Object(object) => Whole::of_object(object),
            Json::Array(chunks) => {
                let mappings = mappings()?;
                let (mut events, extra) = events_of(chunks)?;
                Ok(Whole {
                    object: join(&mut events, provider, &mappings)?,
                    extra,
                    is_batch: false,
                    from: From::Stream,
                })
            }
            _ => Err(invalid("usage is not an object")
                .detail("A usage names a model and what was used of it.")
                .hint(crate::pricing::usage::EXAMPLE)),
        }
    }

    fn of_object(mut object: Vec<(String, Json)>) -> Result<Whole> {
        let extra = take_extra(&mut object)?;
        let (at, is_batch) = match batch_of(&object)? {
            Some(at) => (Some(at), true),
            None if object.iter().any(|(key, _)| key == "raw") => {
                (place_of(COPIES, &object)?, false)
            }
            None => (None, false),
        };
        let Some(at) = at else {
            return Ok(Whole {
                object,
                extra,
                is_batch: false,
                from: From::Itself,
            });
        };
        let inner = at.first(&object).and_then(Json::as_object);
        Ok(Whole {
            object: inner.unwrap_or_default().to_vec(),
            extra,
            is_batch,
            from: From::Within(at),
        })
    }

    /// A path of the object as a path of what was handed over.
    pub fn locate(&self, unread: &mut Unread) {
        match &self.from {
            From::Itself => {}
            From::Stream => unread.jsonpath = unread.jsonpath.replacen('$', "$[*].**", 1),
            From::Within(at) => {
                let keys = at.keys().flatten();
                let within: String = keys.map(|key| format!(".\"{key}\"")).collect();
                unread.jsonpath = unread.jsonpath.replacen('$', &format!("${within}"), 1);
                unread.path = self.path(&unread.path);
            }
        }
    }

    /// The same for people.
    pub fn path(&self, path: &str) -> String {
        match &self.from {
            From::Within(at) => format!("{at}.{path}"),
            From::Itself | From::Stream => path.to_owned(),
        }
    }
}

/// Where the line of a batch has the response.
fn batch_of(object: &Object) -> Result<Option<Path>> {
    if !object
        .iter()
        .any(|(key, _)| matches!(&**key, "custom_id" | "recordId" | "key" | "request"))
    {
        return Ok(None);
    }
    place_of(BATCHES, object)
}

/// The place of the first of these whose keys are all there.
fn place_of(known: &[(&[&str], &str)], object: &Object) -> Result<Option<Path>> {
    let path = |text: &str| Path::parse(text).map_err(Error::internal);
    for (keys, at) in known {
        let mut is_it = true;
        for key in *keys {
            is_it &= path(key)?.is_present(object);
        }
        let at = path(at)?;
        if is_it && matches!(at.first(object), Some(Json::Object(_))) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Takes the meters out that stand beside a usage. A key of that name that has no number and no meter is the provider's own.
fn take_extra(object: &mut Vec<(String, Json)>) -> Result<Vec<(String, Json)>> {
    let Some(place) = object.iter().position(|(key, _)| key == EXTRA) else {
        return Ok(Vec::new());
    };
    if !may_count(&object[place].1) {
        return Ok(Vec::new());
    }
    let Json::Object(mut meters) = object.remove(place).1 else {
        return Err(invalid("usage key \"extra\" is not an object of meters")
            .detail(BESIDE)
            .hint(NAME_METERS));
    };
    meters.retain(|(_, json)| *json != Json::Null);
    let odd = meters
        .iter()
        .find(|(_, json)| !matches!(json, Json::Number(_)));
    if let Some((meter, _)) = odd {
        return Err(invalid(format!(
            "usage key {} is not a number",
            quoted(format!("extra.{meter}"))
        ))
        .detail(BESIDE)
        .hint(NAME_METERS));
    }
    Ok(meters)
}

const BESIDE: &str = "The key extra has meters and their quantities, which are charged beside the rest of the usage.";
const NAME_METERS: &str = "Name meters as in the flat form: {\"extra\": {\"gpu_seconds\": 5}}.";

/// Whether it has a number or the name of a meter anywhere.
fn may_count(json: &Json) -> bool {
    match json {
        Json::Number(_) => true,
        Json::Array(items) => items.iter().any(may_count),
        Json::Object(entries) => entries
            .iter()
            .any(|(key, json)| is_known_meter(key) || may_count(json)),
        Json::Null | Json::Bool(_) | Json::String(_) => false,
    }
}

/// An event of a stream.
type Event = Vec<(String, Json)>;

/// The events of a stream, and the meters that stand beside them.
fn events_of(chunks: Vec<Json>) -> Result<(Vec<Event>, Event)> {
    let (mut events, mut extra) = (Vec::with_capacity(chunks.len()), Vec::new());
    for chunk in chunks {
        match chunk {
            Json::Object(mut event) => {
                extra.append(&mut take_extra(&mut event)?);
                events.push(event_of(event));
            }
            // How streams of server-sent events end.
            Json::String(text) if text == "[DONE]" => {}
            Json::Null => {}
            _ => {
                return Err(invalid("usage is an array of something else than objects")
                    .detail("An array stands for the chunks of one stream, each of which is a JSON object.")
                    .hint("Pass the chunks as the provider sent them, or the last one that has a usage."));
            }
        }
    }
    Ok((events, extra))
}

/// Makes one object of the events of a stream. The usage is the last one, which counts everything so far; Anthropic's stands
/// in two events.
fn join(events: &mut [Event], provider: Option<&str>, mappings: &Mappings) -> Result<Event> {
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

/// The data of a server-sent event, where an event is handed over with its name.
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

/// Sets a key of an object; the value that is there gives way.
fn set(object: &mut Vec<(String, Json)>, key: &str, value: Json) {
    match object.iter_mut().find(|(name, _)| name == key) {
        Some((_, there)) => *there = value,
        None => object.push((key.to_owned(), value)),
    }
}

/// The message of an Anthropic stream: what its first event says, and then what the others changed.
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

/// Changes a key of a usage, which counts everything so far: a zero says nothing new, and a smaller number contradicts it.
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
                return Err(goes_down(after.unwrap_or_default(), before));
            }
        }
        _ => {}
    }
    set(usage, key, json.clone());
    Ok(())
}

fn goes_down(after: Decimal, before: Decimal) -> Error {
    invalid("usage of the stream goes down")
        .detail(format!(
            "A chunk counts {after} tokens, one before it {before}; the last one should count all."
        ))
        .hint("Pass the chunks of one response in the order in which they came.")
}

/// The last event that has a usage, with what the others say beside it.
fn last_of(events: &mut [Event], provider: Option<&str>, mappings: &Mappings) -> Result<Event> {
    // A sum over the steps of a run stands for them all.
    let total = events
        .iter()
        .rposition(|event| is_type(event, "finish") && member(event, "totalUsage").is_some());
    let counting: Vec<usize> = match total {
        Some(place) => vec![place],
        None => (0..events.len()).collect(),
    };
    let mut last: Option<Counted> = None;
    for place in counting {
        let event = &events[place];
        let Some((fit, usage)) = choose(mappings, event, provider)? else {
            continue;
        };
        let counted = Counted {
            place,
            id: id_of(event),
            input: usage.input_tokens(),
            output: usage.output_tokens(),
            join: fit.body.join.clone(),
        };
        if let Some(before) = &last {
            before.goes_on_with(&counted, events)?;
        }
        last = Some(counted);
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

/// A chunk that has a usage.
struct Counted {
    place: usize,
    id: Option<String>,
    input: Decimal,
    output: Decimal,
    join: Vec<String>,
}

impl Counted {
    /// WL007 unless the other one is a later chunk of the same response, which counts what this one counts and more.
    fn goes_on_with(&self, later: &Counted, events: &[Event]) -> Result<()> {
        let is_one = match (&self.id, &later.id) {
            (Some(one), Some(other)) if one != other => {
                return Err(several("these have usages of responses with different ids"));
            }
            (one, other) => one.is_some() && one == other,
        };
        let (before, after) = (self.input + self.output, later.input + later.output);
        if after < before {
            return Err(goes_down(after, before));
        }
        // What says no id is one response only if each of them is a part of one: the prompt is the same, and no part but
        // the last says that it is the end.
        let is_part = is_part(&events[self.place]);
        let has_same_prompt = self.input == later.input || self.input.is_zero();
        if is_one || is_part && has_same_prompt {
            return Ok(());
        }
        Err(several(
            "more than one of them has a usage, and nothing says that they belong together",
        ))
    }
}

/// Whether a chunk without an id is a part of a response, and not the end of it.
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

/// The response that a chunk is of, where it says so.
fn id_of(event: &Object) -> Option<String> {
    let within = ["response", "message"].iter();
    let within = within.filter_map(|key| member(event, key)?.as_object());
    std::iter::once(event)
        .chain(within)
        .flat_map(|object| ["id", "responseId", "response_id"].map(|key| member(object, key)))
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
