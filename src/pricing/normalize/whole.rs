//! Makes one object that a mapping can read of what the caller passes as usage: the chunks of a
//! stream, a line of a batch's output file, or an object with added meters. Pure.

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::extra::take_extra;
use crate::pricing::normalize::mapping::Mappings;
use crate::pricing::normalize::path::Path;
use crate::pricing::normalize::stream::{events_of, join};
use crate::pricing::normalize::wrapped::{batch_of, copy_of};
use crate::pricing::usage::{Unread, invalid};

/// One object, and its place in what the caller passed.
pub struct Whole {
    pub object: Vec<(String, Json)>,
    /// Meters that the caller added in the key `extra`.
    pub extra: Vec<(String, Json)>,
    /// True for the flat form if every key is an attribute or a known meter.
    pub is_plain: bool,
    /// Whether it is a response of a batch, which has a service tier of its own.
    pub is_batch: bool,
    from: From,
}

/// The place of the object in what the caller passed.
enum From {
    Itself,
    Within(Path),
    Stream,
}

/// The service tier of a batch.
pub const BATCH: &str = "batch";
impl Whole {
    /// Takes an object, or an array with the chunks of a stream.
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
                    is_plain: false,
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
        // Most objects are flat and need no other checks.
        if object.iter().all(is_flat) {
            return Ok(Whole {
                object,
                extra: Vec::new(),
                is_plain: true,
                is_batch: false,
                from: From::Itself,
            });
        }
        let extra = take_extra(&mut object)?;
        let (at, is_batch) = match batch_of(&object)? {
            Some(at) => (Some(at), true),
            None => (copy_of(&object)?, false),
        };
        let Some(at) = at else {
            return Ok(Whole {
                object,
                extra,
                is_plain: false,
                is_batch: false,
                from: From::Itself,
            });
        };
        let inner = at.first(&object).and_then(Json::as_object);
        Ok(Whole {
            object: inner.unwrap_or_default().to_vec(),
            extra,
            is_plain: false,
            is_batch,
            from: From::Within(at),
        })
    }

    /// Turns the paths of the object into paths of what the caller passed.
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

    /// The path in what the caller passed, for people.
    pub fn path(&self, path: &str) -> String {
        match &self.from {
            From::Within(at) => format!("{at}.{path}"),
            From::Itself | From::Stream => path.to_owned(),
        }
    }
}

/// Whether an entry of an object is an attribute or a known meter of the flat form.
fn is_flat((key, value): &(String, Json)) -> bool {
    !matches!(value, Json::Object(_) | Json::Array(_))
        && (matches!(&**key, "model" | "provider" | "region" | "service_tier")
            || is_known_meter(key))
}
