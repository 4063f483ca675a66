//! The scope of a grant: the models and services that it may pay for.

use crate::args::{MAX_DOCUMENT_BYTES, MAX_NAME};
use crate::attribution::UseContext;
use crate::error::{Error, Result, quoted};
use crate::pattern::matches;
use crate::pg::jsonb::{Json, Jsonb};

/// Names or patterns of models and of services. An empty list allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    models: Vec<String>,
    services: Vec<String>,
}

impl Scope {
    /// Reads and checks the argument of a call.
    pub fn given(value: Jsonb) -> Result<Scope> {
        let json = value.read("scope", MAX_DOCUMENT_BYTES)?;
        Scope::of(&json).map_err(|detail| {
            Error::argument("scope is not valid")
                .detail(detail)
                .hint("Give names or patterns of models, of services or of both: {\"models\": [\"gpt-4*\"], \"services\": [\"images\"]}.")
        })
    }

    /// Reads a scope from its row.
    pub fn stored(value: Jsonb) -> Result<Scope> {
        Scope::of(&value.reread("scope")?)
            .map_err(|detail| Error::internal(format!("a grant's scope is not valid: {detail}")))
    }

    fn of(json: &Json) -> std::result::Result<Scope, String> {
        let entries = json.as_object().ok_or("It is not a JSON object.")?;
        let mut scope = Scope::default();
        for (key, list) in entries {
            let names = match key.as_str() {
                "models" => &mut scope.models,
                "services" => &mut scope.services,
                _ => return Err(format!("It has the key {}.", quoted(key))),
            };
            let Json::Array(items) = list else {
                return Err(format!("{key} is not an array."));
            };
            for item in items {
                match item {
                    Json::String(name) if (1..=MAX_NAME).contains(&name.chars().count()) => {
                        names.push(name.clone());
                    }
                    _ => {
                        return Err(format!(
                            "An element of {key} is no text of 1 to {MAX_NAME} characters."
                        ));
                    }
                }
            }
            if names.is_empty() {
                return Err(format!("{key} is empty: the grant could pay for nothing."));
            }
        }
        if scope == Scope::default() {
            return Err("It names neither models nor services.".to_owned());
        }
        Ok(scope)
    }

    /// Whether the grant may pay for a use. If the scope has models, the model must match one
    /// of them. If it has services, the service must match one of them.
    pub fn allows(&self, context: UseContext<'_>) -> bool {
        let fits = |patterns: &[String], name: Option<&str>| {
            name.is_some_and(|name| patterns.iter().any(|pattern| matches(pattern, name)))
        };
        let full = match (context.provider, context.model) {
            (Some(provider), Some(model)) => Some(format!("{provider}/{model}")),
            _ => None,
        };
        (self.models.is_empty()
            || fits(&self.models, context.model)
            || fits(&self.models, full.as_deref()))
            && (self.services.is_empty() || fits(&self.services, context.service))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(models: &[&str], services: &[&str]) -> Scope {
        let texts = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Scope {
            models: texts(models),
            services: texts(services),
        }
    }

    fn context<'a>(model: Option<&'a str>, service: Option<&'a str>) -> UseContext<'a> {
        UseContext {
            provider: Some("openai"),
            model,
            service,
            ..UseContext::default()
        }
    }

    #[test]
    fn models_are_names_or_patterns_with_or_without_provider() {
        let gpt = scope(&["gpt-4*", "openai/o3"], &[]);
        assert!(gpt.allows(context(Some("gpt-4o"), None)));
        assert!(gpt.allows(context(Some("o3"), Some("chat"))));
        assert!(!gpt.allows(context(Some("o3-mini"), None)));
        assert!(!gpt.allows(context(None, Some("gpt-4o"))));
    }

    #[test]
    fn a_scope_that_names_both_needs_both_to_fit() {
        let both = scope(&["gpt-*"], &["images"]);
        assert!(both.allows(context(Some("gpt-image-1"), Some("images"))));
        assert!(!both.allows(context(Some("gpt-image-1"), Some("chat"))));
        assert!(!both.allows(context(Some("dall-e-3"), Some("images"))));
        let services = scope(&[], &["images", "audio*"]);
        assert!(services.allows(context(None, Some("audio-out"))));
        assert!(!services.allows(context(Some("gpt-4o"), None)));
    }
}
