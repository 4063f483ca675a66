//! Values as they travel: exact numbers as strings, times, objects.

use std::borrow::Cow;
use std::fmt;

use jiff::Timestamp;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// An amount in a request: a string of digits, so that no program rounds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Amount(String);

/// The longest amount. The database refuses much shorter ones; this bounds its work.
const AMOUNT_MAX: usize = 60;
const AMOUNT_PATTERN: &str = r"^-?[0-9]+(\.[0-9]+)?$";

impl Amount {
    /// The digits, which PostgreSQL casts.
    pub fn into_text(self) -> String {
        self.0
    }

    fn is_one(text: &str) -> bool {
        let digits = text.strip_prefix('-').unwrap_or(text);
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let are_digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        text.len() <= AMOUNT_MAX && are_digits(whole) && are_digits(fraction)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Amount, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Amount;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an amount as a string of digits, such as \"1.25\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Amount, E> {
                match Amount::is_one(text) {
                    true => Ok(Amount(text.to_owned())),
                    false => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        source.deserialize_str(Text)
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        text_schema()
            .description(Some("An exact decimal number as a string."))
            .pattern(Some(AMOUNT_PATTERN))
            .max_length(Some(AMOUNT_MAX))
            .examples(["1.25"])
            .into()
    }
}

impl ToSchema for Amount {
    fn name() -> Cow<'static, str> {
        "Amount".into()
    }
}

/// An exact number in an answer: the digits of PostgreSQL, as a string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(String);

impl Decimal {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Decimal, D::Error> {
        // A number keeps its text: serde_json reads it with arbitrary precision.
        match Value::deserialize(source)? {
            Value::Number(number) => Ok(Decimal(number.to_string())),
            Value::String(text) => Ok(Decimal(text)),
            _ => Err(de::Error::custom("not a number")),
        }
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        target.serialize_str(&self.0)
    }
}

impl PartialSchema for Decimal {
    fn schema() -> RefOr<Schema> {
        text_schema()
            .description(Some("An exact decimal number as a string."))
            .pattern(Some(AMOUNT_PATTERN))
            .examples(["1.25"])
            .into()
    }
}

impl ToSchema for Decimal {
    fn name() -> Cow<'static, str> {
        "Decimal".into()
    }
}

/// A time in a request: RFC 3339, with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Time(Timestamp);

impl Time {
    /// The time in UTC, which PostgreSQL casts.
    pub fn into_text(self) -> String {
        self.0.to_string()
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        text_schema()
            .description(Some("A time of RFC 3339, with an offset."))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-03-01T12:00:00Z"])
            .into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

/// A JSON object, whose numbers keep all their digits.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Document(Map<String, Value>);

impl Document {
    /// The object as JSON, which PostgreSQL casts.
    pub fn into_text(self) -> String {
        Value::Object(self.0).to_string()
    }
}

impl PartialSchema for Document {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Object))
            .additional_properties(Some(
                utoipa::openapi::schema::AdditionalProperties::FreeForm(true),
            ))
            .into()
    }
}

impl ToSchema for Document {
    fn name() -> Cow<'static, str> {
        "Document".into()
    }
}

/// The word of SQL for a choice, which is its name in JSON.
pub fn word(choice: impl Serialize) -> Option<String> {
    let json = serde_json::to_value(choice).ok()?;
    json.as_str().map(str::to_owned)
}

fn text_schema() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(SchemaType::Type(Type::String))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_digits_and_nothing_else() {
        for text in ["0", "1.25", "-3", "000.100", "0.000000000001"] {
            let json = format!("\"{text}\"");
            let amount: Amount = serde_json::from_str(&json).unwrap();
            assert_eq!(amount.into_text(), text);
        }
        let long = format!("\"{}\"", "9".repeat(AMOUNT_MAX + 1));
        for json in [
            "1.25",
            "1",
            "\"\"",
            "\"-\"",
            "\".5\"",
            "\"5.\"",
            "\"1e3\"",
            "\"NaN\"",
            "\"Infinity\"",
            "\" 1\"",
            "\"1,5\"",
            "\"1.2.3\"",
            "\"+1\"",
            "\"١\"",
            "null",
            "true",
            &long,
        ] {
            assert!(serde_json::from_str::<Amount>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_number_of_the_database_keeps_its_digits() {
        for digits in [
            "0.100000000000000000000000001",
            "12345678901234567890.12",
            "-0.50",
            "0.00",
        ] {
            let decimal: Decimal = serde_json::from_str(digits).unwrap();
            assert_eq!(
                serde_json::to_string(&decimal).unwrap(),
                format!("\"{digits}\"")
            );
        }
        let usage = "{\"a\":0.1000000000000000000000001,\"b\":[1e400]}";
        let document: Document = serde_json::from_str(usage).unwrap();
        assert_eq!(document.into_text(), usage.replace("1e400", "1e+400"));
    }
}
