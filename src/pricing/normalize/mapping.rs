//! A mapping: which shape of object it is for, and where the numbers stand. Pure.
//!
//! The form is JSON, the same for the built-in ones (the files in `builtin`) and for those of
//! `wallet.usage_mappings`; `docs/usage.md` describes it. It is read once in a backend.

use std::cell::{Cell, OnceCell};
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::pricing::lines::is_known_meter;
use crate::pricing::normalize::builtin::FILES;
use crate::pricing::normalize::path::{Object, Path};
use crate::storage::jsonb::Json;
use crate::storage::numeric::Number;

/// Most shapes, meters or alternatives that a mapping may have.
const MAX_ITEMS: usize = 256;
/// Parts of parts of parts: as deep as a mapping may go.
const MAX_PARTS: usize = 8;

/// One or several strings.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl Default for OneOrMany {
    fn default() -> OneOrMany {
        OneOrMany::Many(Vec::new())
    }
}

impl OneOrMany {
    fn paths(&self, dotted: bool) -> Result<Vec<Path>, String> {
        let texts = match self {
            OneOrMany::One(text) => std::slice::from_ref(text),
            OneOrMany::Many(texts) => texts,
        };
        if texts.len() > MAX_ITEMS {
            return Err(format!("a list of paths has more than {MAX_ITEMS}"));
        }
        let mut paths = Vec::new();
        for text in texts {
            let path = Path::parse(text)?;
            if dotted {
                paths.extend(path.dotted());
            } else {
                paths.push(path);
            }
        }
        Ok(paths)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMapping {
    #[serde(default)]
    providers: Vec<String>,
    #[serde(default)]
    dotted: bool,
    shapes: Vec<RawShape>,
    #[serde(default)]
    otherwise: Vec<String>,
    #[serde(default)]
    model: RawAttribute,
    #[serde(default)]
    provider: RawAttribute,
    #[serde(default)]
    region: RawAttribute,
    #[serde(default)]
    service_tier: RawAttribute,
    #[serde(default)]
    cost: OneOrMany,
    meters: Vec<RawNode>,
    total: Option<RawTotal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawShape {
    #[serde(default)]
    at: String,
    #[serde(default)]
    all: Vec<String>,
    #[serde(default)]
    any: Vec<String>,
    #[serde(default)]
    none: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAttribute {
    #[serde(default)]
    path: OneOrMany,
    #[serde(default, rename = "as")]
    names: BTreeMap<String, Option<String>>,
    is: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawNode {
    path: OneOrMany,
    meter: String,
    #[serde(default)]
    less: OneOrMany,
    #[serde(default)]
    implied: bool,
    #[serde(default)]
    outside_total: bool,
    #[serde(default)]
    parts: Vec<RawNode>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTotal {
    path: OneOrMany,
    rest: Option<String>,
}

/// A condition on the usage object: a path that is there, or a path that has a string.
struct Condition {
    path: Vec<Path>,
    is: Option<Box<str>>,
}

impl Condition {
    fn parse(text: &str, dotted: bool) -> Result<Condition, String> {
        // An equals sign behind the last bracket: those inside select elements.
        let tail = text.rfind(']').map_or(0, |at| at + 1);
        let (path, is) = match text[tail..].find('=') {
            Some(at) => (&text[..tail + at], Some(text[tail + at + 1..].into())),
            None => (text, None),
        };
        let path = OneOrMany::One(path.to_owned()).paths(dotted)?;
        Ok(Condition { path, is })
    }

    fn holds(&self, usage: &Object) -> bool {
        self.path.iter().any(|path| match &self.is {
            None => path.is_present(usage),
            Some(is) => matches!(path.first(usage), Some(Json::String(text)) if **text == **is),
        })
    }
}

/// Where the usage object stands, and how to know it.
pub struct Shape {
    /// The path of the usage object; none when it is the whole object.
    pub at: Option<Path>,
    all: Vec<Condition>,
    any: Vec<Condition>,
    none: Vec<Condition>,
}

impl Shape {
    fn parse(raw: &RawShape, dotted: bool) -> Result<Shape, String> {
        let conditions = |texts: &[String]| {
            texts
                .iter()
                .map(|text| Condition::parse(text, dotted))
                .collect::<Result<Vec<_>, _>>()
        };
        let shape = Shape {
            at: match raw.at.as_str() {
                "" => None,
                at => Some(Path::parse(at)?),
            },
            all: conditions(&raw.all)?,
            any: conditions(&raw.any)?,
            none: conditions(&raw.none)?,
        };
        if shape.all.is_empty() && shape.any.is_empty() {
            return Err("a shape has neither all nor any".to_owned());
        }
        if shape.at.is_none() && shape.telltales().next().is_none() {
            return Err(
                "a shape of the whole object asks for nothing but meters: that is the flat form"
                    .to_owned(),
            );
        }
        Ok(shape)
    }

    /// The usage object, when the whole object has this shape.
    fn usage<'a>(&self, root: &'a Object) -> Option<&'a Object> {
        let usage = match &self.at {
            None => root,
            Some(at) => at.first(root)?.as_object()?,
        };
        let fits = self.all.iter().all(|condition| condition.holds(usage))
            && (self.any.is_empty() || self.any.iter().any(|condition| condition.holds(usage)))
            && !self.none.iter().any(|condition| condition.holds(usage));
        fits.then_some(usage)
    }

    /// Keys of the whole object without which it cannot have this shape. A meter is none: the
    /// flat form has it too.
    fn telltales(&self) -> impl Iterator<Item = &str> {
        let inside = self
            .all
            .iter()
            .chain(&self.any)
            .flat_map(|condition| &condition.path)
            .map(Path::first_key)
            .filter(|key| !is_known_meter(key));
        let at = self.at.as_ref().map(Path::first_key);
        let is_root = at.is_none();
        at.into_iter().chain(inside.filter(move |_| is_root))
    }
}

/// Where model, provider, region or service tier stand.
#[derive(Default)]
pub struct Attribute {
    /// Paths in the whole object.
    pub path: Vec<Path>,
    /// What a name is called here: none where it means the ordinary case, empty where it says nothing.
    pub names: BTreeMap<String, Option<String>>,
    /// A name that holds for every object of this mapping.
    pub is: Option<String>,
}

impl Attribute {
    /// What a name is called here.
    pub fn here<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        if self.names.is_empty() {
            return Some(name);
        }
        match self.names.get(&name.to_ascii_lowercase()) {
            Some(here) => here.as_deref(),
            None => Some(name),
        }
    }

    fn parse(raw: RawAttribute, dotted: bool) -> Result<Attribute, String> {
        Ok(Attribute {
            path: raw.path.paths(dotted)?,
            names: raw
                .names
                .into_iter()
                .map(|(name, here)| (name.to_ascii_lowercase(), here))
                .collect(),
            is: raw.is,
        })
    }
}

/// A number of the usage object and what is inside it.
pub struct Node {
    /// Where it stands; the first that is there and not zero.
    pub path: Vec<Path>,
    /// The meter that gets what is left when the parts are taken out.
    pub meter: Box<str>,
    /// Numbers that it includes and that are counted elsewhere.
    pub less: Vec<Path>,
    /// True when it is the sum of its parts where it is not there itself.
    pub implied: bool,
    /// True when the provider's total does not have it.
    pub outside_total: bool,
    /// Numbers that it includes.
    pub parts: Vec<Node>,
}

impl Node {
    fn parse(raw: RawNode, dotted: bool, depth: usize) -> Result<Node, String> {
        let path = raw.path.paths(dotted)?;
        if path.is_empty() {
            return Err(format!("meter \"{}\" has no path", raw.meter));
        }
        if raw.meter.is_empty() || raw.meter.chars().count() > crate::args::MAX_NAME {
            return Err(format!(
                "the meter of path \"{}\" has no name, or one of more than {} characters",
                path[0],
                crate::args::MAX_NAME
            ));
        }
        if depth > MAX_PARTS {
            return Err(format!(
                "parts are nested more than {MAX_PARTS} levels deep"
            ));
        }
        Ok(Node {
            path,
            meter: raw.meter.into(),
            less: raw.less.paths(dotted)?,
            implied: raw.implied,
            outside_total: raw.outside_total,
            parts: nodes(raw.parts, dotted, depth + 1)?,
        })
    }

    fn reads(&self, key: &str) -> bool {
        self.path.iter().any(|path| path.first_key() == key)
            || self.parts.iter().any(|part| part.reads(key))
    }

    /// Every path, its own and those of its parts.
    #[cfg(test)]
    pub fn all_paths<'a>(&'a self, out: &mut Vec<(&'a Path, &'a str)>) {
        out.extend(self.path.iter().map(|path| (path, &*self.meter)));
        self.parts.iter().for_each(|part| part.all_paths(out));
    }
}

fn nodes(raw: Vec<RawNode>, dotted: bool, depth: usize) -> Result<Vec<Node>, String> {
    if raw.len() > MAX_ITEMS {
        return Err(format!("a list of meters has more than {MAX_ITEMS}"));
    }
    raw.into_iter()
        .map(|node| Node::parse(node, dotted, depth))
        .collect()
}

/// The provider's own sum of all tokens.
pub struct Total {
    /// Where it stands.
    pub path: Vec<Path>,
    /// The meter of what it has beyond the meters, where a provider names that nowhere else.
    pub rest: Option<Box<str>>,
}

/// A mapping: the shapes that it is for, and what it reads.
pub struct Mapping {
    /// Its name.
    pub name: String,
    /// Providers that choose it where several fit.
    pub providers: Vec<String>,
    /// Where usage objects of this kind stand.
    pub shapes: Vec<Shape>,
    /// Mappings that may stand in where the numbers contradict this one.
    pub otherwise: Vec<String>,
    /// Read when an object has one of the shapes for the first time: a backend needs few of all.
    body: OnceCell<Body>,
    raw: Cell<Option<RawBody>>,
}

/// What a mapping reads.
pub struct Body {
    /// The model.
    pub model: Attribute,
    /// The provider.
    pub provider: Attribute,
    /// The region.
    pub region: Attribute,
    /// The service tier.
    pub service_tier: Attribute,
    /// The cost that the provider reports, inside the usage object.
    pub cost: Vec<Path>,
    /// The numbers.
    pub meters: Vec<Node>,
    /// Their sum.
    pub total: Option<Total>,
}

/// The same as it stands in JSON.
struct RawBody {
    dotted: bool,
    model: RawAttribute,
    provider: RawAttribute,
    region: RawAttribute,
    service_tier: RawAttribute,
    cost: OneOrMany,
    meters: Vec<RawNode>,
    total: Option<RawTotal>,
}

impl Body {
    fn compile(raw: RawBody) -> Result<Body, String> {
        let dotted = raw.dotted;
        if raw.meters.is_empty() {
            return Err("meters has no element".to_owned());
        }
        Ok(Body {
            model: Attribute::parse(raw.model, dotted)?,
            provider: Attribute::parse(raw.provider, dotted)?,
            region: Attribute::parse(raw.region, dotted)?,
            service_tier: Attribute::parse(raw.service_tier, dotted)?,
            cost: raw.cost.paths(dotted)?,
            meters: nodes(raw.meters, dotted, 0)?,
            total: match raw.total {
                None => None,
                Some(total) => Some(Total {
                    path: total.path.paths(dotted)?,
                    rest: total.rest.map(String::into_boxed_str),
                }),
            },
        })
    }

    /// A meter's name with a number other than zero that the mapping does not read.
    pub fn stranger<'a>(&self, object: &'a Object) -> Option<&'a str> {
        object.iter().find_map(|(key, value)| {
            let counts = matches!(value, Json::Number(number) if !is_zero(number));
            let strange =
                counts && is_known_meter(key) && !self.meters.iter().any(|node| node.reads(key));
            strange.then_some(key.as_str())
        })
    }
}

/// An object that has a shape of a mapping.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The shape.
    pub shape: &'a Shape,
    /// The usage object in it.
    pub usage: &'a Object,
    /// What the mapping reads.
    pub body: &'a Body,
}

impl Mapping {
    /// Reads a whole mapping from JSON, or says what is wrong with it.
    pub fn parse(name: &str, json: &str) -> Result<Mapping, String> {
        let raw = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mapping = Mapping::compile(name, raw)?;
        mapping.body()?;
        Ok(mapping)
    }

    fn compile(name: &str, raw: RawMapping) -> Result<Mapping, String> {
        if raw.shapes.is_empty() || raw.shapes.len() > MAX_ITEMS {
            return Err(format!("shapes has no element, or more than {MAX_ITEMS}"));
        }
        Ok(Mapping {
            name: name.to_owned(),
            providers: raw.providers,
            shapes: raw
                .shapes
                .iter()
                .map(|shape| Shape::parse(shape, raw.dotted))
                .collect::<Result<_, _>>()?,
            otherwise: raw.otherwise,
            body: OnceCell::new(),
            raw: Cell::new(Some(RawBody {
                dotted: raw.dotted,
                model: raw.model,
                provider: raw.provider,
                region: raw.region,
                service_tier: raw.service_tier,
                cost: raw.cost,
                meters: raw.meters,
                total: raw.total,
            })),
        })
    }

    /// What it reads.
    pub fn body(&self) -> Result<&Body, String> {
        if let Some(body) = self.body.get() {
            return Ok(body);
        }
        let raw = self.raw.take();
        let body = Body::compile(raw.ok_or("its meters could not be read before")?)?;
        Ok(self.body.get_or_init(|| body))
    }

    /// The shape that the object has and the usage object in it, if it is one of this mapping's.
    ///
    /// A meter's name beside numbers of the provider's, which the mapping does not read, would be
    /// lost: such a usage object is none of this mapping's.
    pub fn fit<'a>(&'a self, root: &'a Object) -> Result<Option<Fit<'a>>, String> {
        for shape in &self.shapes {
            if let Some(usage) = shape.usage(root) {
                let body = self.body()?;
                if body.stranger(usage).is_none() {
                    return Ok(Some(Fit { shape, usage, body }));
                }
            }
        }
        Ok(None)
    }
}

fn is_zero(number: &Number) -> bool {
    matches!(number, Number::Finite { digits, .. } if digits.iter().all(|digit| *digit == 0))
}

/// The mappings of a backend, in the order in which they are tried.
pub struct Mappings {
    list: Vec<Mapping>,
    telltales: std::collections::HashSet<Box<str>>,
}

impl Mappings {
    /// The mappings in this order; of several with a name the first counts.
    pub fn new(all: Vec<Mapping>) -> Mappings {
        let mut list: Vec<Mapping> = Vec::with_capacity(all.len());
        for mapping in all {
            if list.iter().all(|known| known.name != mapping.name) {
                list.push(mapping);
            }
        }
        let telltales = list
            .iter()
            .flat_map(|mapping| &mapping.shapes)
            .flat_map(Shape::telltales)
            .map(Box::from)
            .collect();
        Mappings { list, telltales }
    }

    /// True when an object with that key may have the shape of a mapping.
    pub fn is_telltale(&self, key: &str) -> bool {
        self.telltales.contains(key)
    }

    /// True when the object has such a key.
    pub fn may_fit(&self, object: &Object) -> bool {
        object.iter().any(|(key, _)| self.is_telltale(key))
    }

    /// The mapping of that name.
    pub fn named(&self, name: &str) -> Option<&Mapping> {
        self.list.iter().find(|mapping| mapping.name == name)
    }

    /// The mappings in the order in which they are tried for a provider.
    pub fn for_provider<'a>(
        &'a self,
        provider: Option<&'a str>,
    ) -> impl Iterator<Item = &'a Mapping> {
        let is_named = move |mapping: &&Mapping| {
            provider.is_some_and(|provider| mapping.providers.iter().any(|name| name == provider))
        };
        let rest = move |mapping: &&Mapping| !is_named(mapping);
        self.list
            .iter()
            .filter(is_named)
            .chain(self.list.iter().filter(rest))
    }

    /// All of them.
    #[cfg(test)]
    pub fn all(&self) -> &[Mapping] {
        &self.list
    }
}

/// Reads the mappings that come with the extension.
pub fn builtin() -> Result<Vec<Mapping>, String> {
    FILES
        .iter()
        .map(|(name, text)| {
            serde_json::from_str(text)
                .map_err(|error| error.to_string())
                .and_then(|raw| Mapping::compile(name, raw))
                .map_err(|error| format!("{name}: {error}"))
        })
        .collect()
}
