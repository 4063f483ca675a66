//! Durations and sizes as people write them: `10s`, `256 KiB`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A duration, such as `15s` or `500ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// A number of seconds.
    pub const fn seconds(seconds: u64) -> Span {
        Span(Duration::from_secs(seconds))
    }

    /// The duration.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Span, D::Error> {
        let text = String::deserialize(source)?;
        humantime::parse_duration(&text)
            .map(Span)
            .map_err(|error| de::Error::custom(format!("{text:?} is not a duration: {error}")))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_str(&humantime::format_duration(self.0))
    }
}

/// A number of bytes, such as `256 KiB`, `1 MiB` or `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(usize);

const UNITS: [(&str, usize); 3] = [("KiB", 1024), ("MiB", 1024 * 1024), ("B", 1)];

impl Size {
    /// A number of KiB.
    pub const fn kib(number: usize) -> Size {
        Size(number * 1024)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> usize {
        self.0
    }

    fn read(text: &str) -> Option<Size> {
        let (number, unit) = UNITS
            .iter()
            .find_map(|(name, unit)| Some((text.strip_suffix(name)?, *unit)))
            .unwrap_or((text, 1));
        let number: usize = number.trim().parse().ok()?;
        number.checked_mul(unit).map(Size)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Size, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(usize),
            Text(String),
        }
        match Written::deserialize(source)? {
            Written::Number(bytes) => Ok(Size(bytes)),
            Written::Text(text) => Size::read(&text).ok_or_else(|| {
                de::Error::custom(format!("{text:?} is not a size such as \"256 KiB\""))
            }),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.collect_str(&format_args!("{} B", self.0))
    }
}
