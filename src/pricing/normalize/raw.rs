//! The JSON of a mapping, as serde parses it. Pure.
//!
//! It is parsed in two steps: the header, which says for which objects the mapping is, and the
//! body. Most backends need the bodies of only a few mappings.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One value or a list.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> Default for OneOrMany<T> {
    fn default() -> OneOrMany<T> {
        OneOrMany::Many(Vec::new())
    }
}

impl<T> OneOrMany<T> {
    pub fn all(&self) -> &[T] {
        match self {
            OneOrMany::One(one) => std::slice::from_ref(one),
            OneOrMany::Many(many) => many,
        }
    }
}

/// The header, which says for which objects a mapping is. Keys of the body are ignored.
#[derive(Deserialize)]
pub struct Header {
    #[serde(default)]
    pub providers: Vec<String>,
    #[serde(default)]
    pub dotted: bool,
    #[serde(default)]
    pub by_name: bool,
    pub shapes: Vec<Shape>,
    #[serde(default)]
    pub otherwise: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    #[serde(default)]
    pub at: String,
    #[serde(default)]
    pub all: Vec<String>,
    #[serde(default)]
    pub any: Vec<String>,
    #[serde(default)]
    pub none: Vec<String>,
}

/// A whole mapping. It repeats the header's keys because unknown keys are refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Body {
    #[serde(default, rename = "about")]
    _about: serde::de::IgnoredAny,
    #[serde(default, rename = "providers")]
    _providers: serde::de::IgnoredAny,
    #[serde(default)]
    pub dotted: bool,
    #[serde(default, rename = "by_name")]
    _by_name: serde::de::IgnoredAny,
    #[serde(rename = "shapes")]
    _shapes: serde::de::IgnoredAny,
    #[serde(default, rename = "otherwise")]
    _otherwise: serde::de::IgnoredAny,
    #[serde(default)]
    pub model: Attribute,
    #[serde(default)]
    pub provider: Attribute,
    #[serde(default)]
    pub region: Attribute,
    #[serde(default)]
    pub service_tier: Attribute,
    #[serde(default)]
    pub conditions: BTreeMap<String, OneOrMany<String>>,
    #[serde(default)]
    pub join: Vec<String>,
    #[serde(default)]
    pub cost: OneOrMany<Cost>,
    pub meters: Vec<Node>,
    pub total: Option<Total>,
    #[serde(default)]
    pub not_billed: Vec<NotBilled>,
    #[serde(default)]
    pub also: OneOrMany<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attribute {
    #[serde(default)]
    pub path: OneOrMany<String>,
    #[serde(default, rename = "as")]
    pub names: BTreeMap<String, Option<String>>,
    pub is: Option<String>,
    /// Names that follow from numbers in the usage object.
    #[serde(default, rename = "where")]
    pub told_by: BTreeMap<String, OneOrMany<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
pub enum Cost {
    Path(String),
    Scaled(ScaledCost),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScaledCost {
    pub path: String,
    pub times: Option<String>,
    #[serde(default)]
    pub plus: Vec<CostPart>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostPart {
    pub path: String,
    #[serde(default)]
    pub when: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub path: OneOrMany<String>,
    pub meter: String,
    #[serde(default)]
    pub less: OneOrMany<String>,
    #[serde(default)]
    pub first: bool,
    #[serde(default)]
    pub text: bool,
    pub times: Option<String>,
    #[serde(default)]
    pub implied: bool,
    #[serde(default)]
    pub overlaps: bool,
    #[serde(default)]
    pub outside_total: bool,
    #[serde(default)]
    pub when: Vec<String>,
    #[serde(default)]
    pub unless: Vec<String>,
    #[serde(default)]
    pub why: String,
    #[serde(default)]
    pub parts: Vec<Node>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Total {
    pub path: OneOrMany<String>,
    pub rest: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotBilled {
    pub path: OneOrMany<String>,
    pub why: String,
}
