//! Routing options in headers, since OpenAI's and Anthropic's bodies have no field for them:
//! `x-pointsman-objective`, `-models`, `-exclude`, `-explore`, `-failover`, `-conversation`, `-tag-<name>`.

use http::HeaderMap;

use crate::http::middleware::caller::CSRF_HEADER;
use crate::protocol::{ApiError, Objective, RoutingOptions};

/// Most tags of a request; they go into its record.
const MAX_TAGS: usize = 32;

const MAX_TAG_NAME_BYTES: usize = 64;

const MAX_TAG_VALUE_BYTES: usize = 256;

/// Most models listed in one option.
const MAX_MODELS: usize = 1000;

/// Most bytes of a model's or a conversation's name.
const MAX_NAME_BYTES: usize = 256;

/// Refuses the name of a model that is longer than any: an unknown one is compared with all known ones, and stands in
/// the error.
///
/// # Errors
///
/// `InvalidRequest`.
pub(super) fn check_name(name: &str) -> Result<(), ApiError> {
    if name.len() > MAX_NAME_BYTES {
        return Err(ApiError::invalid(format!("a model's name has at most {MAX_NAME_BYTES} bytes")).at("model"));
    }
    Ok(())
}

/// Refuses options that are larger than anybody needs: they would fill the decision log, or keep a core busy.
///
/// # Errors
///
/// `InvalidRequest`, naming the option.
pub(super) fn check(options: &RoutingOptions) -> Result<(), ApiError> {
    let too_large = |field: &str, message: String| Err(ApiError::invalid(message).at(field));
    let RoutingOptions { tags, models, exclude, conversation, .. } = options;
    let large_tag =
        |(name, value): (&String, &String)| name.len() > MAX_TAG_NAME_BYTES || value.len() > MAX_TAG_VALUE_BYTES;
    if tags.len() > MAX_TAGS || tags.iter().any(large_tag) {
        let message = format!(
            "at most {MAX_TAGS} tags, with names of {MAX_TAG_NAME_BYTES} bytes and values of {MAX_TAG_VALUE_BYTES}"
        );
        return too_large("routing.tags", message);
    }
    for (field, names) in [("routing.models", models.as_deref().unwrap_or_default()), ("routing.exclude", exclude)] {
        if names.len() > MAX_MODELS || names.iter().any(|name| name.len() > MAX_NAME_BYTES) {
            return too_large(
                field,
                format!("at most {MAX_MODELS} models, each with a name of {MAX_NAME_BYTES} bytes"),
            );
        }
    }
    if conversation.as_ref().is_some_and(|name| name.len() > MAX_NAME_BYTES) {
        return too_large(
            "routing.conversation",
            format!("a conversation's name has at most {MAX_NAME_BYTES} bytes"),
        );
    }
    Ok(())
}

/// Lays the headers' options over those of the body.
///
/// # Errors
///
/// When there is no such header, or its value is wrong: an option must not be ignored in silence.
pub(super) fn merge(headers: &HeaderMap, options: &mut RoutingOptions) -> Result<(), ApiError> {
    for name in headers.keys() {
        let Some(option) = name.as_str().strip_prefix("x-pointsman-") else { continue };
        let values = headers.get_all(name).iter().map(|value| value.to_str().map(str::trim));
        let mut values = values.collect::<Result<Vec<_>, _>>().map_err(|_| wrong(option, "plain text"))?;
        values.dedup();
        // A list may be spread over several header lines (RFC 9110, section 5.3).
        let is_list = matches!(option, "models" | "exclude");
        if values.len() > 1 && !is_list && name != CSRF_HEADER {
            return Err(wrong(option, "sent once"));
        }
        let value = &*values.join(",");
        match option {
            "objective" => options.objective = Some(objective(value)?),
            "models" => options.models = Some(list(value)),
            "exclude" => options.exclude = list(value),
            "explore" => options.explore = Some(flag(option, value)?),
            "failover" => options.failover = Some(flag(option, value)?),
            "conversation" => options.conversation = Some(value.to_owned()),
            _ => {
                if let Some(tag) = option.strip_prefix("tag-") {
                    options.tags.insert(tag.to_owned(), value.to_owned());
                } else if name != CSRF_HEADER {
                    return Err(unknown(option));
                }
            }
        }
    }
    Ok(())
}

fn unknown(option: &str) -> ApiError {
    let message = format!(
        "there is no header x-pointsman-{option}: routing options are x-pointsman-objective, -models, -exclude, -explore, \
         -failover, -conversation and -tag-NAME"
    );
    ApiError::invalid(message).at(format!("x-pointsman-{option}"))
}

/// An objective by its name, or as JSON with numbers.
fn objective(value: &str) -> Result<Objective, ApiError> {
    let json = if value.starts_with('{') { value.into() } else { serde_json::Value::from(value).to_string() };
    let found = serde_json::from_str(&json).ok().filter(|objective: &Objective| objective.is_valid());
    found.ok_or_else(|| {
        let numbers = r#"{"cost_per_usd": number, "latency_per_s": number}"#;
        let most = Objective::MAX_WEIGHT;
        wrong("objective", &format!("quality, balanced, cost, speed, or {numbers}, each from 0 to {most}"))
    })
}

fn list(value: &str) -> Vec<String> {
    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn flag(option: &str, value: &str) -> Result<bool, ApiError> {
    match value {
        "true" | "1" | "on" => Ok(true),
        "false" | "0" | "off" => Ok(false),
        _ => Err(wrong(option, "true or false")),
    }
}

fn wrong(option: &str, wanted: &str) -> ApiError {
    ApiError::invalid(format!("the header x-pointsman-{option} must be {wanted}")).at(format!("x-pointsman-{option}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::NamedObjective;

    #[test]
    fn headers_become_options() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-pointsman-objective", "cost"),
            ("x-pointsman-models", "a, b"),
            ("x-pointsman-explore", "off"),
            ("x-pointsman-tag-team", "legal"),
            (CSRF_HEADER, "of the dashboard"),
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
    fn lines_of_one_list_are_one_list_and_nothing_else_is_said_twice() {
        let sent = |name: &'static str, values: [&'static str; 2]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
            }
            let mut options = RoutingOptions { exclude: vec!["of the body".into()], ..RoutingOptions::default() };
            merge(&headers, &mut options).map(|()| options)
        };
        assert_eq!(sent("x-pointsman-exclude", ["a", "b, c"]).unwrap().exclude, ["a", "b", "c"]);
        assert_eq!(sent("x-pointsman-models", ["a", "b"]).unwrap().models.unwrap(), ["a", "b"]);
        assert_eq!(sent("x-pointsman-explore", ["off", "off"]).unwrap().explore, Some(false));
        for name in ["x-pointsman-explore", "x-pointsman-conversation", "x-pointsman-tag-team"] {
            assert_eq!(sent(name, ["on", "off"]).unwrap_err().param.as_deref(), Some(name));
        }
    }

    #[test]
    fn an_objective_may_be_numbers() {
        let found = objective(r#"{"cost_per_usd": 20, "latency_per_s": 0.01}"#).unwrap();
        assert_eq!(found, Objective::Weights { cost_per_usd: 20.0, latency_per_s: 0.01 });
        for wrong in [
            "",
            "Quality",
            "{}",
            r#"{"cost_per_usd": 20}"#,
            "{quality}",
            "20",
            r#"{"cost_per_usd": -1, "latency_per_s": 0}"#,
        ] {
            assert_eq!(objective(wrong).unwrap_err().param.as_deref(), Some("x-pointsman-objective"), "{wrong}");
        }
    }

    #[test]
    fn a_wish_has_its_bounds() {
        let full = || RoutingOptions {
            tags: (0..MAX_TAGS).map(|at| (format!("{at:064}"), "v".repeat(MAX_TAG_VALUE_BYTES))).collect(),
            models: Some(vec!["m".repeat(MAX_NAME_BYTES); MAX_MODELS]),
            exclude: vec!["m".repeat(MAX_NAME_BYTES); MAX_MODELS],
            conversation: Some("c".repeat(MAX_NAME_BYTES)),
            ..RoutingOptions::default()
        };
        check(&full()).unwrap();
        type Grow = fn(&mut RoutingOptions);
        let over: [(&str, Grow); 6] = [
            ("routing.tags", |options| drop(options.tags.insert("one more".into(), String::new()))),
            ("routing.tags", |options| options.tags = [("t".into(), "v".repeat(5 << 20))].into()),
            ("routing.models", |options| options.models = Some(vec!["a".into(); 100_000])),
            ("routing.exclude", |options| options.exclude.push(String::new())),
            ("routing.exclude", |options| options.exclude = vec!["m".repeat(MAX_NAME_BYTES + 1)]),
            ("routing.conversation", |options| options.conversation = Some("c".repeat(MAX_NAME_BYTES + 1))),
        ];
        for (field, grow) in over {
            let mut options = full();
            grow(&mut options);
            assert_eq!(check(&options).unwrap_err().param.as_deref(), Some(field));
        }
    }

    #[test]
    fn a_slip_names_the_header() {
        for (name, value) in
            [("x-pointsman-objective", "cheap"), ("x-pointsman-model", "gpt-4o"), ("x-pointsman-", "")]
        {
            let headers =
                HeaderMap::from_iter([(http::HeaderName::from_static(name), http::HeaderValue::from_static(value))]);
            let error = merge(&headers, &mut RoutingOptions::default()).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(name));
        }
    }
}
