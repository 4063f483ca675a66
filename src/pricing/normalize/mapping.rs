//! A mapping: the shapes of objects that it reads, and the places of the numbers. Pure.
//!
//! A mapping is written in JSON, whether it is built in (the files in `builtin`) or a row of
//! `wallet.usage_mappings`. `docs/usage.md` describes the format. A backend parses each mapping
//! once.

use std::borrow::Cow;
use std::cell::OnceCell;

use foldhash::{HashMap, HashSet};

use crate::error::Error;
use crate::pricing::normalize::body::Body;
use crate::pricing::normalize::builtin::FILES;
use crate::pricing::normalize::index::Index;
use crate::pricing::normalize::path::Object;
use crate::pricing::normalize::raw;
use crate::pricing::normalize::shape::{MAX_ITEMS, Shape};

/// A mapping: the shapes of the objects that it reads, and how it reads them.
pub struct Mapping {
    pub name: String,
    /// Providers whose name selects it if several mappings fit.
    pub providers: Vec<String>,
    /// True if it is tried only for one of its providers, or as an alternative of another mapping.
    pub by_name: bool,
    /// True if it was set with `set_usage_mapping`. It takes precedence over built-in mappings.
    pub is_own: bool,
    /// Shapes of objects, with the place of the usage object.
    pub shapes: Vec<Shape>,
    /// Names of mappings to try if the numbers contradict this one.
    pub otherwise: Vec<String>,
    /// Parsed when an object first has one of the shapes, because a backend needs only a few
    /// mappings.
    body: OnceCell<Result<Body, String>>,
    json: Cow<'static, str>,
}

/// An object that has a shape of a mapping.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    pub mapping: &'a Mapping,
    pub shape: &'a Shape,
    /// The usage object within the whole object.
    pub usage: &'a Object,
    /// The parsed body of the mapping.
    pub body: &'a Body,
}

impl Mapping {
    /// Parses a mapping that is not built in. The error is the end of a message for people.
    pub fn parse(name: &str, json: &str) -> Result<Mapping, String> {
        // The body is parsed first, because it reports unknown keys, which the header ignores.
        let body: raw::Body = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mapping = Mapping {
            is_own: true,
            ..Mapping::compile(name, json, Cow::Owned(json.to_owned()))?
        };
        let body = Body::compile(body)?;
        mapping.shapes.iter().try_for_each(Shape::check)?;
        // The cell is new, so this cannot fail.
        let _ = mapping.body.set(Ok(body));
        Ok(mapping)
    }

    fn compile(name: &str, header: &str, json: Cow<'static, str>) -> Result<Mapping, String> {
        let header: raw::Header =
            serde_json::from_str(header).map_err(|error| error.to_string())?;
        if header.shapes.is_empty() || header.shapes.len() > MAX_ITEMS {
            return Err(format!("shapes has no element, or more than {MAX_ITEMS}"));
        }
        Ok(Mapping {
            name: name.to_owned(),
            providers: header.providers,
            by_name: header.by_name,
            is_own: false,
            shapes: header
                .shapes
                .into_iter()
                .map(|shape| Shape::parse(shape, header.dotted))
                .collect::<Result<_, _>>()?,
            otherwise: header.otherwise,
            body: OnceCell::new(),
            json,
        })
    }

    /// Parses the body on first use.
    pub fn body(&self) -> Result<&Body, String> {
        self.body
            .get_or_init(|| {
                serde_json::from_str(&self.json)
                    .map_err(|error| error.to_string())
                    .and_then(Body::compile)
            })
            .as_ref()
            .map_err(|error| format!("{}: {error}", self.name))
    }

    /// The first shape that the object has, with the usage object. `None` if it has none.
    pub fn fit<'a>(&'a self, root: &'a Object) -> Result<Option<Fit<'a>>, String> {
        for shape in &self.shapes {
            if let Some(usage) = Shape::place(shape.at.as_ref(), root)
                && shape.fits(usage, root)?
            {
                return self.fit_of(shape, usage).map(Some);
            }
        }
        Ok(None)
    }

    fn fit_of<'a>(&'a self, shape: &'a Shape, usage: &'a Object) -> Result<Fit<'a>, String> {
        Ok(Fit {
            mapping: self,
            shape,
            usage,
            body: self.body()?,
        })
    }

    /// Whether it names that provider.
    pub fn is_of(&self, provider: Option<&str>) -> bool {
        provider.is_some_and(|provider| self.providers.iter().any(|name| name == provider))
    }
}

/// The mappings of a backend, in the order in which they are tried.
pub struct Mappings {
    list: Vec<Mapping>,
    index: Index,
    /// Every object that any mapping reads has at least one of these keys.
    telltales: HashSet<Box<str>>,
    /// Mappings by the places of their meters. Built when an object first has an unread number.
    by_place: OnceCell<Result<HashMap<String, Vec<usize>>, String>>,
}

impl Mappings {
    /// The mappings in this order. If several have the same name, only the first is kept.
    pub fn new(all: Vec<Mapping>) -> Mappings {
        let mut list: Vec<Mapping> = Vec::with_capacity(all.len());
        for mapping in all {
            if list.iter().all(|known| known.name != mapping.name) {
                list.push(mapping);
            }
        }
        let shapes = list.iter().enumerate().flat_map(|(number, mapping)| {
            let shapes = mapping.shapes.iter().enumerate();
            shapes.map(move |(place, shape)| (number, place, shape))
        });
        let telltales = list
            .iter()
            .flat_map(|mapping| &mapping.shapes)
            .flat_map(Shape::telltales)
            .map(Box::from)
            .collect();
        Mappings {
            index: Index::new(shapes),
            telltales,
            by_place: OnceCell::new(),
            list,
        }
    }

    /// Whether an object with that key may have the shape of a mapping.
    pub fn is_telltale(&self, key: &str) -> bool {
        self.telltales.contains(key)
    }

    fn shape(&self, mapping: usize, shape: usize) -> (&Mapping, &Shape) {
        let mapping = &self.list[mapping];
        (mapping, &mapping.shapes[shape])
    }

    /// Every mapping whose shape the object has, once per usage object. If a mapping that an
    /// administrator set fits, built-in ones are left out.
    pub fn fitting<'a>(
        &'a self,
        root: &'a Object,
        provider: Option<&str>,
    ) -> Result<Vec<Fit<'a>>, String> {
        let mut fits: Vec<Fit<'a>> = Vec::new();
        if !root.iter().any(|(key, _)| self.is_telltale(key)) {
            return Ok(fits);
        }
        for (mapping, shape, usage) in self.index.candidates(root) {
            let (mapping, shape) = self.shape(mapping, shape);
            if mapping.by_name && !mapping.is_of(provider) {
                continue;
            }
            if let Some(last) = fits.last()
                && last.mapping.is_own
                && !mapping.is_own
            {
                continue;
            }
            // Two shapes may lead to the same usage object. It is read once.
            let is_known = |fit: &Fit<'_>| {
                std::ptr::eq(fit.mapping, mapping) && std::ptr::eq(fit.usage, usage)
            };
            if fits.iter().any(is_known) {
                continue;
            }
            if shape.fits(usage, root)? {
                fits.push(mapping.fit_of(shape, usage)?);
            }
        }
        Ok(fits)
    }

    /// Mappings whose shape the object has in part, each with the reason that it does not fit, the
    /// nearest first.
    pub fn near_misses(&self, root: &Object) -> Vec<(&str, String)> {
        let mut misses: Vec<(usize, &str, String)> = Vec::new();
        for (mapping, shape, usage) in self.index.placed(root) {
            let (mapping, shape) = self.shape(mapping, shape);
            let Some((count, miss)) = shape.near_miss(usage, root) else {
                continue;
            };
            let known = misses.iter_mut().find(|(_, name, _)| *name == mapping.name);
            match known {
                _ if mapping.by_name => {}
                Some(known) if known.0 <= count => {}
                Some(known) => *known = (count, &mapping.name, miss),
                None => misses.push((count, &mapping.name, miss)),
            }
        }
        misses.sort_by_key(|(count, ..)| *count);
        let misses = misses.into_iter();
        misses.map(|(_, name, miss)| (name, miss)).collect()
    }

    /// Another mapping with a meter at the same place of its usage objects. `place` is a path
    /// without selectors.
    pub fn other_with(&self, place: &str, than: &Mapping) -> Result<Option<&Mapping>, String> {
        let by_place = self
            .by_place
            .get_or_init(|| {
                let mut by_place: HashMap<String, Vec<usize>> = HashMap::default();
                for (number, mapping) in self.list.iter().enumerate() {
                    for node in &mapping.body()?.meters {
                        node.each(0, &mut |node, _| {
                            for path in node.path.iter().filter(|path| !path.is_outside) {
                                by_place.entry(path.place()).or_default().push(number);
                            }
                        });
                    }
                }
                Ok(by_place)
            })
            .as_ref()
            .map_err(String::clone)?;
        let known = by_place.get(place).map_or(&[][..], Vec::as_slice);
        let mut known = known.iter().map(|number| &self.list[*number]);
        // A mapping that has the place itself, but with other selectors, may still be the right
        // one.
        if known.clone().any(|mapping| std::ptr::eq(mapping, than)) {
            return Ok(None);
        }
        Ok(known.next())
    }

    pub fn named(&self, name: &str) -> Option<&Mapping> {
        self.list.iter().find(|mapping| mapping.name == name)
    }

    #[cfg(test)]
    pub fn all(&self) -> &[Mapping] {
        &self.list
    }
}

/// The header of a built-in mapping: its text before the meters. Parsing all of every mapping would
/// take a new backend longer than its first price.
pub fn header_of(text: &str) -> Option<String> {
    let (header, _) = text.split_once("\n  \"meters\"")?;
    Some(format!("{}\n}}", header.trim_end().trim_end_matches(',')))
}

/// Parses the headers of the built-in mappings.
pub fn builtin() -> Result<Vec<Mapping>, String> {
    FILES
        .iter()
        .map(|(name, text)| {
            header_of(text)
                .ok_or_else(|| "it has no meters".to_owned())
                .and_then(|header| Mapping::compile(name, &header, Cow::Borrowed(*text)))
                .map_err(|error| format!("{name}: {error}"))
        })
        .collect()
}

/// XX000: a mapping of the extension cannot be parsed. The tests parse all of them, and
/// `set_usage_mapping` parses a mapping before it stores it.
pub fn damaged(error: &str) -> Error {
    Error::internal(format!("a built-in usage mapping is damaged: {error}"))
}
