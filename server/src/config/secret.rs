//! A text that no log and no message shows.

use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// A secret, such as a connection string with a password, or the key of a request.
#[derive(Clone, Default, Serialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text. Pass it on only to what needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("********")
    }
}

/// Reads a secret, or several. Its errors never have the value, as those of serde would: they are
/// printed, and systemd stores them.
struct Hidden<T> {
    /// The secret of a text.
    one: fn(String) -> T,
    /// The secrets of a list, if there may be one.
    many: Option<fn(Vec<Secret>) -> T>,
}

const QUOTED: &str = "a secret is a text: put it in quotes, also in an environment variable";

macro_rules! refuse {
    ($($method:ident: $type:ty,)*) => {
        $(fn $method<E: Error>(self, _: $type) -> Result<T, E> {
            Err(E::custom(QUOTED))
        })*
    };
}

impl<'de, T> Visitor<'de> for Hidden<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.one)(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let many = self.many.ok_or_else(|| A::Error::custom(QUOTED))?;
        let mut secrets = Vec::new();
        while let Some(secret) = list.next_element()? {
            secrets.push(secret);
        }
        Ok(many(secrets))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<T, A::Error> {
        Err(A::Error::custom(QUOTED))
    }

    refuse! {
        visit_bool: bool,
        visit_i64: i64,
        visit_i128: i128,
        visit_u64: u64,
        visit_u128: u128,
        visit_f64: f64,
        visit_bytes: &[u8],
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Secret, D::Error> {
        source.deserialize_any(Hidden {
            one: Secret,
            many: None,
        })
    }
}

/// Reads a list of secrets. A text alone is a list of one.
pub fn several<'de, D: Deserializer<'de>>(source: D) -> Result<Vec<Secret>, D::Error> {
    source.deserialize_any(Hidden {
        one: |text| vec![Secret(text)],
        many: Some(|secrets| secrets),
    })
}
