//! What an object says of its model, provider, region and service tier, and to the conditions of prices. Pure.

use crate::error::Result;
use crate::pg::jsonb::Json;
use crate::pricing::normalize::body::Attribute;
use crate::pricing::normalize::numbers::is_zero;
use crate::pricing::normalize::path::{Path, member};
use crate::pricing::normalize::reading::Reading;
use crate::pricing::normalize::refusals;

/// What an object says of its model, provider, region or service tier.
#[derive(PartialEq, Eq)]
pub enum Stated {
    /// Nothing.
    Nothing,
    /// The ordinary case, which has no name here.
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

    /// The name that a number of the usage object tells.
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

    /// What conditions of prices may look at beside the keys of the whole object.
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
