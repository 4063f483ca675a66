//! What is handed over as usage, made into one object that a mapping can read: the chunks of a stream, a line of a batch's
//! output file, meters beside an object. Pure.

use std::collections::HashSet;

use crate::error::{Error, Result, quoted};
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
    (&["request", "response.usageMetadata"], "response"),
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
                Ok(Whole {
                    object: join(chunks, provider, &mappings)?,
                    extra: Vec::new(),
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
        let Some(at) = batch_of(&object)? else {
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
            is_batch: true,
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
    let path = |text: &str| Path::parse(text).map_err(Error::internal);
    for (keys, at) in BATCHES {
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

/// Takes the meters out that stand beside a usage. A key of that name that has no number is the provider's own.
fn take_extra(object: &mut Vec<(String, Json)>) -> Result<Vec<(String, Json)>> {
    let Some(place) = object.iter().position(|(key, _)| key == EXTRA) else {
        return Ok(Vec::new());
    };
    let is_number = |(_, json): &(String, Json)| matches!(json, Json::Number(_));
    match &object[place].1 {
        Json::Object(meters) if meters.iter().any(is_number) => {}
        _ => return Ok(Vec::new()),
    }
    let Json::Object(mut meters) = object.remove(place).1 else {
        return Ok(Vec::new());
    };
    meters.retain(|(_, json)| *json != Json::Null);
    if let Some((meter, _)) = meters.iter().find(|meter| !is_number(meter)) {
        return Err(invalid(format!(
            "usage key {} is not a number",
            quoted(format!("extra.{meter}"))
        ))
        .detail("The key extra has meters that are charged beside the rest of the usage.")
        .hint("Name meters and their quantities: {\"extra\": {\"gpu_seconds\": 5}}."));
    }
    Ok(meters)
}

/// Makes one object of the chunks of a stream. The usage is the last one, which counts everything so far; Anthropic's stands
/// in two events.
fn join(
    chunks: Vec<Json>,
    provider: Option<&str>,
    mappings: &Mappings,
) -> Result<Vec<(String, Json)>> {
    let mut events = Vec::with_capacity(chunks.len());
    for chunk in chunks {
        match chunk {
            Json::Object(event) => events.push(event_of(event)),
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
    for event in &events {
        if batch_of(event)?.is_some() {
            return Err(invalid("usage is an array of lines of a batch")
                .detail("Each line is a request of its own.")
                .hint(
                    "Charge every line in a call of its own, or all of them with charge_batch().",
                ));
        }
    }
    let message = message_of(&events)?;
    match message {
        Some(message) => Ok(message),
        None => last_of(events, provider, mappings),
    }
}

/// The data of a server-sent event, where an event is handed over with its name.
fn event_of(mut event: Vec<(String, Json)>) -> Vec<(String, Json)> {
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
fn message_of(events: &[Vec<(String, Json)>]) -> Result<Option<Vec<(String, Json)>>> {
    let mut starts = events
        .iter()
        .filter(|event| is_type(event, "message_start"));
    let Some(start) = starts.next() else {
        return Ok(None);
    };
    if starts.next().is_some() {
        return Err(several());
    }
    let Some(Json::Object(message)) = member(start, "message") else {
        return Ok(None);
    };
    let mut message = message.clone();
    for event in events {
        if is_type(event, "message_delta")
            && let Some(Json::Object(changed)) = member(event, "usage")
        {
            let mut usage = match member(&message, "usage") {
                Some(Json::Object(usage)) => usage.clone(),
                _ => Vec::new(),
            };
            for (key, json) in changed {
                if *json != Json::Null {
                    set(&mut usage, key, json.clone());
                }
            }
            set(&mut message, "usage", Json::Object(usage));
        }
    }
    Ok(Some(message))
}

/// The last chunk that has a usage, with what the others say beside it.
fn last_of(
    mut events: Vec<Vec<(String, Json)>>,
    provider: Option<&str>,
    mappings: &Mappings,
) -> Result<Vec<(String, Json)>> {
    let mut last = None;
    let mut ids = HashSet::new();
    let mut most = rust_decimal::Decimal::ZERO;
    for (place, event) in events.iter().enumerate() {
        let Some((_, usage)) = choose(mappings, event, provider)? else {
            continue;
        };
        ids.extend(id_of(event));
        if ids.len() > 1 {
            return Err(several());
        }
        let tokens = usage.input_tokens() + usage.output_tokens();
        if tokens < most {
            return Err(invalid("usage of the stream goes down")
                .detail(format!(
                    "A chunk counts {tokens} tokens, one before it {most}; the last one should count all."
                ))
                .hint("Pass the chunks of one response in the order in which they came."));
        }
        most = tokens;
        last = Some(place);
    }
    let Some(place) = last else {
        return Err(invalid("usage has no known shape")
            .detail(format!(
                "None of the {} chunks of the stream has a usage that a mapping knows.",
                events.len()
            ))
            .hint("Ask for usage in streams (of OpenAI: stream_options with include_usage), and pass all chunks."));
    };
    let mut object = events[place].clone();
    let joined: Vec<String> = match choose(mappings, &object, provider)? {
        Some((fit, _)) => fit.body.join.clone(),
        None => Vec::new(),
    };
    for key in joined {
        let mut all = Vec::new();
        for event in &mut events {
            if let Some((_, Json::Array(items))) = event.iter_mut().find(|(name, _)| *name == key) {
                all.append(items);
            }
        }
        set(&mut object, &key, Json::Array(all));
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

fn several() -> Error {
    invalid("usage is an array of several responses")
        .detail("An array stands for the chunks of one stream; these have usages of responses with different ids.")
        .hint("Charge every response in a call of its own, or all of them with charge_batch().")
}
