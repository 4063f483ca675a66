//! The model, provider, region and service tier of an object, and the values that conditions of
//! prices compare. Pure.

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::normalize::body::Attribute;
use crate::pricing::normalize::numbers::is_zero;
use crate::pricing::normalize::path::{Path, member};
use crate::pricing::normalize::reading::Reading;
use crate::pricing::normalize::refusals;

/// The value of an attribute: model, provider, region or service tier.
#[derive(PartialEq, Eq)]
pub enum Stated {
    /// The object does not say.
    Nothing,
    /// The default, such as the standard tier, which has no name.
    Ordinary,
    /// A name.
    Named(String),
}

impl Stated {
    /// The name, if there is one.
    pub fn name(self) -> Option<String> {
        match self {
            Stated::Named(name) => Some(name),
            Stated::Nothing | Stated::Ordinary => None,
        }
    }
}

impl Reading<'_> {
    pub(super) fn attribute(&self, key: &str, attribute: &Attribute) -> Result<Stated> {
        if let Some(is) = &attribute.is {
            return Ok(Stated::Named(is.clone()));
        }
        let named = attribute
            .path
            .iter()
            .find_map(|path| path.first(self.root).map(|json| (path.to_string(), json)))
            .or_else(|| match member(self.root, key) {
                None | Some(Json::Null) => None,
                Some(json) => Some((key.to_owned(), json)),
            });
        match named {
            None => Ok(self.told_by(attribute)),
            Some((_, Json::String(name))) => Ok(match attribute.here(name) {
                None => Stated::Ordinary,
                Some("") => Stated::Nothing,
                Some(here) => Stated::Named(here.to_owned()),
            }),
            Some((path, _)) => Err(refusals::not_a_string(&path)),
        }
    }

    /// A name that follows from a number of the usage object that is not zero (`told_by`).
    fn told_by(&self, attribute: &Attribute) -> Stated {
        let is_counted = |path: &Path| {
            let number = path.first(self.object(path));
            matches!(number, Some(Json::Number(number)) if !is_zero(number))
        };
        let mut told = attribute.told_by.iter();
        match told.find(|(_, paths)| paths.iter().any(is_counted)) {
            Some((name, _)) => Stated::Named(name.clone()),
            None => Stated::Nothing,
        }
    }

    /// Values for the conditions of prices, in addition to the keys of the whole object.
    pub(super) fn facts(&self) -> Vec<(String, Json)> {
        let conditions = self.fit.body.conditions.iter();
        conditions
            .filter_map(|(key, paths)| {
                let json = paths
                    .iter()
                    .find_map(|path| path.first(self.object(path)))?;
                Some((key.to_string(), json.clone()))
            })
            .collect()
    }
}
