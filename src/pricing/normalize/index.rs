//! Finds the shapes that an object may have, by its keys. Pure.
//!
//! There are many shapes, and most objects have only one of them. The keys in the conditions of
//! shapes are numbered. The keys of an object become a set of these numbers, which excludes nearly
//! all shapes before any condition is evaluated.

use foldhash::HashMap;

use crate::pricing::normalize::path::{Object, Path};
use crate::pricing::normalize::shape::{Shape, first_keys};

/// A set of numbered keys.
#[derive(Clone, Default)]
struct Keys(Vec<u64>);

impl Keys {
    fn add(&mut self, number: usize) {
        let word = number / 64;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= 1 << (number % 64);
    }

    fn has_all(&self, others: &Keys) -> bool {
        let words = others.0.iter().enumerate();
        words
            .into_iter()
            .all(|(place, word)| self.0.get(place).copied().unwrap_or(0) & word == *word)
    }

    fn has_any(&self, others: &Keys) -> bool {
        self.0
            .iter()
            .zip(&others.0)
            .any(|(one, two)| one & two != 0)
    }
}

/// A shape, as the number of its mapping and its position there, and the keys that the usage object
/// must have.
struct Entry {
    mapping: usize,
    shape: usize,
    all: Keys,
    /// At least one of these keys must be present. `None` if any keys will do.
    any: Option<Keys>,
}

/// The shapes whose usage object has the same path.
struct Place {
    at: Option<Path>,
    entries: Vec<Entry>,
}

/// An index of the shapes of all mappings.
pub struct Index {
    numbers: HashMap<Box<str>, usize>,
    places: Vec<Place>,
}

impl Index {
    /// Builds the index of shapes, each with its mapping's number and its position there.
    pub fn new<'a>(shapes: impl Iterator<Item = (usize, usize, &'a Shape)>) -> Index {
        let mut index = Index {
            numbers: HashMap::default(),
            places: Vec::new(),
        };
        for (mapping, place, shape) in shapes {
            let entry = Entry {
                mapping,
                shape: place,
                all: index.all(&shape.raw.all, shape.dotted),
                any: index.any(&shape.raw.any, shape.dotted),
            };
            let known = index.places.iter_mut().find(|known| known.at == shape.at);
            match known {
                Some(known) => known.entries.push(entry),
                None => index.places.push(Place {
                    at: shape.at.clone(),
                    entries: vec![entry],
                }),
            }
        }
        index
    }

    fn number(&mut self, key: &str) -> usize {
        let next = self.numbers.len();
        *self.numbers.entry(key.into()).or_insert(next)
    }

    /// Keys that an object has whenever all of the conditions hold.
    fn all(&mut self, conditions: &[String], dotted: bool) -> Keys {
        let mut keys = Keys::default();
        for condition in conditions {
            let (is_outside, first) = first_keys(condition, dotted);
            if let [key] = first.as_slice()
                && !is_outside
                && *key != "*"
            {
                keys.add(self.number(key));
            }
        }
        keys
    }

    /// Keys of which an object has at least one whenever any of the conditions holds. `None` if
    /// keys cannot tell.
    fn any(&mut self, conditions: &[String], dotted: bool) -> Option<Keys> {
        let mut keys = Keys::default();
        for condition in conditions {
            let (is_outside, first) = first_keys(condition, dotted);
            if is_outside || first.contains(&"*") {
                return None;
            }
            for key in first {
                keys.add(self.number(key));
            }
        }
        (!conditions.is_empty()).then_some(keys)
    }

    fn keys(&self, object: &Object) -> Keys {
        let mut keys = Keys(vec![0; self.numbers.len().div_ceil(64)]);
        for (key, _) in object {
            if let Some(number) = self.numbers.get(&**key) {
                keys.add(*number);
            }
        }
        keys
    }

    /// The shapes that an object may have, with the usage object of each, in the order of the
    /// mappings.
    pub fn candidates<'a>(&self, root: &'a Object) -> Vec<(usize, usize, &'a Object)> {
        let mut found = Vec::new();
        for place in &self.places {
            let Some(usage) = Shape::place(place.at.as_ref(), root) else {
                continue;
            };
            let keys = self.keys(usage);
            for entry in &place.entries {
                let may = keys.has_all(&entry.all)
                    && entry.any.as_ref().is_none_or(|any| keys.has_any(any));
                if may {
                    found.push((entry.mapping, entry.shape, usage));
                }
            }
        }
        found.sort_unstable_by_key(|(mapping, shape, _)| (*mapping, *shape));
        found
    }

    /// Every shape whose usage object exists, in the order of the mappings.
    pub fn placed<'a>(&self, root: &'a Object) -> Vec<(usize, usize, &'a Object)> {
        let mut found = Vec::new();
        for place in &self.places {
            if let Some(usage) = Shape::place(place.at.as_ref(), root) {
                let entries = place.entries.iter();
                found.extend(entries.map(|entry| (entry.mapping, entry.shape, usage)));
            }
        }
        found.sort_unstable_by_key(|(mapping, shape, _)| (*mapping, *shape));
        found
    }
}
