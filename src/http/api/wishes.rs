//! Wishes for the routing that come in headers, since OpenAI's and Anthropic's bodies have no place for them:
//! `x-pointsman-objective`, `-models`, `-exclude`, `-explore`, `-failover`, `-conversation`, `-tag-<name>`.

use http::HeaderMap;

use crate::protocol::{ApiError, NamedObjective, Objective, RoutingOptions};

/// Adds what the headers wish to what the body wished; headers win.
///
/// # Errors
///
/// When a header's value is none that it can have.
pub(super) fn merge(headers: &HeaderMap, options: &mut RoutingOptions) -> Result<(), ApiError> {
    for (name, value) in headers {
        let Some(wish) = name.as_str().strip_prefix("x-pointsman-") else { continue };
        let Ok(value) = value.to_str() else { return Err(wrong(wish, "plain text")) };
        let value = value.trim();
        match wish {
            "objective" => options.objective = Some(objective(value)?),
            "models" => options.models = Some(list(value)),
            "exclude" => options.exclude = list(value),
            "explore" => options.explore = Some(flag(wish, value)?),
            "failover" => options.failover = Some(flag(wish, value)?),
            "conversation" => options.conversation = Some(value.to_owned()),
            _ => {
                if let Some(tag) = wish.strip_prefix("tag-") {
                    options.tags.insert(tag.to_owned(), value.to_owned());
                }
            }
        }
    }
    Ok(())
}

fn objective(value: &str) -> Result<Objective, ApiError> {
    match value {
        "quality" => Ok(Objective::Named(NamedObjective::Quality)),
        "balanced" => Ok(Objective::Named(NamedObjective::Balanced)),
        "cost" => Ok(Objective::Named(NamedObjective::Cost)),
        "speed" => Ok(Objective::Named(NamedObjective::Speed)),
        _ => Err(wrong("objective", "quality, balanced, cost or speed")),
    }
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn flag(wish: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => Err(wrong(wish, "true or false")),
    }
}

fn wrong(wish: &str, wanted: &str) -> ApiError {
    ApiError::invalid(format!("the header x-pointsman-{wish} must be {wanted}")).at(format!("x-pointsman-{wish}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_become_options() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-pointsman-objective", "cost"),
            ("x-pointsman-models", "a, b"),
            ("x-pointsman-explore", "off"),
            ("x-pointsman-tag-team", "legal"),
            ("x-other", "y"),
        ] {
            headers.insert(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
        }
        let mut options = RoutingOptions::default();
        merge(&headers, &mut options).unwrap();
        assert_eq!(options.objective, Some(Objective::Named(NamedObjective::Cost)));
        assert_eq!(options.models.unwrap(), ["a", "b"]);
        assert_eq!((options.explore, options.tags["team"].as_str()), (Some(false), "legal"));
    }

    #[test]
    fn a_wrong_value_names_the_header() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-pointsman-objective"),
            http::HeaderValue::from_static("cheap"),
        )]);
        let error = merge(&headers, &mut RoutingOptions::default()).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("x-pointsman-objective"));
    }
}
