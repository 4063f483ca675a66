//! To whom a use is attributed, and what is used.

use std::collections::HashMap;

use crate::pg::document::Document;

/// The user, team and API key to which a use is attributed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attribution<'a> {
    /// The user, if there is one.
    pub user_id: Option<&'a str>,
    /// The user's team.
    pub team: Option<&'a str>,
    /// The API key, if one was used.
    pub key_id: Option<[u8; 16]>,
}

/// The use that is paid for.
#[derive(Clone, Copy, Debug, Default)]
pub struct UseContext<'a> {
    /// The provider of the model; `None` if neither the usage nor a price names one.
    pub provider: Option<&'a str>,
    /// The model, if the usage is of a model.
    pub model: Option<&'a str>,
    /// The service, if the usage is of a service.
    pub service: Option<&'a str>,
    /// The region of the request; `None` if neither the call nor the usage names one.
    pub region: Option<&'a str>,
    /// The service tier of the request, such as `batch`.
    pub service_tier: Option<&'a str>,
    /// The tags of the request, a JSON object whose values are texts.
    pub tags: Option<&'a Document>,
}

impl UseContext<'_> {
    /// The value of a tag. `None` if there is no such tag.
    pub fn tag(&self, name: &str) -> Option<String> {
        // Every value is a text: `args::tags` refuses others.
        let mut tags: HashMap<String, String> = serde_json::from_str(&self.tags?.text).ok()?;
        tags.remove(name)
    }
}

/// Attribution and context of a use, as read from a row.
#[derive(Clone, Debug, Default)]
pub struct StoredUse {
    /// See [`Attribution::user_id`].
    pub user_id: Option<String>,
    /// See [`Attribution::team`].
    pub team: Option<String>,
    /// See [`Attribution::key_id`].
    pub key_id: Option<[u8; 16]>,
    /// See [`UseContext::provider`].
    pub provider: Option<String>,
    /// See [`UseContext::model`].
    pub model: Option<String>,
    /// See [`UseContext::service`].
    pub service: Option<String>,
    /// See [`UseContext::region`].
    pub region: Option<String>,
    /// See [`UseContext::service_tier`].
    pub service_tier: Option<String>,
    /// See [`UseContext::tags`]. The datum belongs to the rows that it was read from.
    pub tags: Option<Document>,
}

impl StoredUse {
    /// The user, team and key of the row.
    pub fn attribution(&self) -> Attribution<'_> {
        Attribution {
            user_id: self.user_id.as_deref(),
            team: self.team.as_deref(),
            key_id: self.key_id,
        }
    }

    /// The use in the row.
    pub fn context(&self) -> UseContext<'_> {
        UseContext {
            provider: self.provider.as_deref(),
            model: self.model.as_deref(),
            service: self.service.as_deref(),
            region: self.region.as_deref(),
            service_tier: self.service_tier.as_deref(),
            tags: self.tags.as_ref(),
        }
    }
}
