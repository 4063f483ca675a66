//! A mapping: which shape of object it is for, and where the numbers stand. Pure.
//!
//! The form is JSON, the same for the built-in ones (the files in `builtin`) and for those of
//! `wallet.usage_mappings`; `docs/usage.md` describes it. It is read once in a backend.

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

/// A mapping: the shapes that it is for, and what it reads.
pub struct Mapping {
    /// Its name.
    pub name: String,
    /// Providers that choose it where several fit.
    pub providers: Vec<String>,
    /// True when only its provider's name or another mapping brings it into play.
    pub by_name: bool,
    /// True of one that was set with `set_usage_mapping`: it comes before those of the extension.
    pub is_own: bool,
    /// Where usage objects of this kind stand.
    pub shapes: Vec<Shape>,
    /// Mappings that may stand in where the numbers contradict this one.
    pub otherwise: Vec<String>,
    /// Read when an object has one of the shapes for the first time: a backend needs few of all.
    body: OnceCell<Result<Body, String>>,
    json: Cow<'static, str>,
}

/// An object that has a shape of a mapping.
#[derive(Clone, Copy)]
pub struct Fit<'a> {
    /// The mapping.
    pub mapping: &'a Mapping,
    /// The shape.
    pub shape: &'a Shape,
    /// The usage object in it.
    pub usage: &'a Object,
    /// What the mapping reads.
    pub body: &'a Body,
}

impl Mapping {
    /// Reads a mapping of one's own from JSON, or says what is wrong with it.
    pub fn parse(name: &str, json: &str) -> Result<Mapping, String> {
        // Of a key that nobody knows the whole says more than the header, which passes over it.
        let body: raw::Body = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mapping = Mapping {
            is_own: true,
            ..Mapping::compile(name, json, Cow::Owned(json.to_owned()))?
        };
        let body = Body::compile(body)?;
        mapping.shapes.iter().try_for_each(Shape::check)?;
        // It has not been read before.
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

    /// What it reads.
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

    /// The first of the shapes that the object has.
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

    /// Whether the provider of that name chooses it.
    pub fn is_of(&self, provider: Option<&str>) -> bool {
        provider.is_some_and(|provider| self.providers.iter().any(|name| name == provider))
    }
}

/// The mappings of a backend, in the order in which they are tried.
pub struct Mappings {
    list: Vec<Mapping>,
    index: Index,
    /// Keys of the whole object of which an object of any mapping has one.
    telltales: HashSet<Box<str>>,
    /// Mappings by the ways to their meters. Made when an object has a number that its mapping does not read.
    by_way: OnceCell<Result<HashMap<String, Vec<usize>>, String>>,
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
            by_way: OnceCell::new(),
            list,
        }
    }

    /// True when an object with that key may have the shape of a mapping.
    pub fn is_telltale(&self, key: &str) -> bool {
        self.telltales.contains(key)
    }

    fn shape(&self, mapping: usize, shape: usize) -> (&Mapping, &Shape) {
        let mapping = &self.list[mapping];
        (mapping, &mapping.shapes[shape])
    }

    /// Every mapping that an object has a shape of, once for each usage object. A mapping of one's own leaves no room
    /// for those of the extension.
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
            // A mapping's usage objects in other places must say the same.
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

    /// What keeps an object from having the shapes that it has something of: mappings, and what of each, the nearest first.
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

    /// Another mapping that has a meter at the same place of its usage objects.
    pub fn other_with(&self, way: &str, than: &Mapping) -> Result<Option<&Mapping>, String> {
        let by_way = self
            .by_way
            .get_or_init(|| {
                let mut by_way: HashMap<String, Vec<usize>> = HashMap::default();
                for (number, mapping) in self.list.iter().enumerate() {
                    for node in &mapping.body()?.meters {
                        node.each(0, &mut |node, _| {
                            for path in node.path.iter().filter(|path| !path.is_outside) {
                                by_way.entry(path.way()).or_default().push(number);
                            }
                        });
                    }
                }
                Ok(by_way)
            })
            .as_ref()
            .map_err(String::clone)?;
        let known = by_way.get(way).map_or(&[][..], Vec::as_slice);
        let mut known = known.iter().map(|number| &self.list[*number]);
        // What has the place itself does not know this kind of element, which says nothing of whose it is.
        if known.clone().any(|mapping| std::ptr::eq(mapping, than)) {
            return Ok(None);
        }
        Ok(known.next())
    }

    /// The mapping of that name.
    pub fn named(&self, name: &str) -> Option<&Mapping> {
        self.list.iter().find(|mapping| mapping.name == name)
    }

    /// All of them.
    #[cfg(test)]
    pub fn all(&self) -> &[Mapping] {
        &self.list
    }
}

/// What a mapping that comes with the extension says before its meters: to read all of every one would take a new backend
/// longer than its first price.
pub fn header_of(text: &str) -> Option<String> {
    let (header, _) = text.split_once("\n  \"meters\"")?;
    Some(format!("{}\n}}", header.trim_end().trim_end_matches(',')))
}

/// Reads the mappings that come with the extension.
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
