//! Wishes for the routing that come in headers, since OpenAI's and Anthropic's bodies have no place for them:
//! `x-pointsman-objective`, `-models`, `-exclude`, `-explore`, `-failover`, `-conversation`, `-tag-<name>`.

use http::HeaderMap;

use crate::http::middleware::caller::CSRF_HEADER;
use crate::protocol::{ApiError, Objective, RoutingOptions};

/// Most tags of a request. They go into its record.
const TAGS: usize = 32;

/// Most bytes of a tag's name.
const TAG_NAME: usize = 64;

/// Most bytes of a tag's value.
const TAG_VALUE: usize = 256;

/// Most models that are listed in one wish.
const MODELS: usize = 1000;

/// Most bytes of a name: a model's, or a conversation's.
pub(super) const NAME: usize = 256;

/// Refuses wishes that are larger than anybody needs: they would fill the log, or a core.
///
/// # Errors
///
/// `InvalidRequest`, naming the wish.
pub(super) fn check(options: &RoutingOptions) -> Result<(), ApiError> {
    let too_large = |field: &str, told: String| Err(ApiError::invalid(told).at(field));
    let RoutingOptions { tags, models, exclude, conversation, .. } = options;
    let large_tag = |(name, value): (&String, &String)| name.len() > TAG_NAME || value.len() > TAG_VALUE;
    if tags.len() > TAGS || tags.iter().any(large_tag) {
        let told = format!("at most {TAGS} tags, with names of {TAG_NAME} bytes and values of {TAG_VALUE}");
        return too_large("routing.tags", told);
    }
    for (field, names) in [("routing.models", models.as_deref().unwrap_or_default()), ("routing.exclude", exclude)] {
        if names.len() > MODELS || names.iter().any(|name| name.len() > NAME) {
            return too_large(field, format!("at most {MODELS} models, each with a name of {NAME} bytes"));
        }
    }
    if conversation.as_ref().is_some_and(|name| name.len() > NAME) {
        return too_large("routing.conversation", format!("a conversation's name has at most {NAME} bytes"));
    }
    Ok(())
}

/// Adds what the headers wish to what the body wished; headers win.
///
/// # Errors
///
/// When there is no such header, or its value is none that it can have: who wishes for something must not be taken to
/// wish for nothing.
pub(super) fn merge(headers: &HeaderMap, options: &mut RoutingOptions) -> Result<(), ApiError> {
    for name in headers.keys() {
        let Some(wish) = name.as_str().strip_prefix("x-pointsman-") else { continue };
        let values = headers.get_all(name).iter().map(|value| value.to_str().map(str::trim));
        let mut values = values.collect::<Result<Vec<_>, _>>().map_err(|_| wrong(wish, "plain text"))?;
        values.dedup();
        // Several lines of a list are one list (RFC 9110, section 5.3).
        let is_list = matches!(wish, "models" | "exclude");
        if values.len() > 1 && !is_list && name != CSRF_HEADER {
            return Err(wrong(wish, "there once"));
        }
        let value = &*values.join(",");
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
                } else if name != CSRF_HEADER {
                    return Err(unknown(wish));
                }
            }
        }
    }
    Ok(())
}

fn unknown(wish: &str) -> ApiError {
    let message = format!(
        "there is no header x-pointsman-{wish}: wishes go by x-pointsman-objective, -models, -exclude, -explore, \
         -failover, -conversation and -tag-NAME"
    );
    ApiError::invalid(message).at(format!("x-pointsman-{wish}"))
}

/// One of the names, or numbers in JSON.
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
    use crate::protocol::NamedObjective;

    #[test]
    fn headers_become_options() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-pointsman-objective", "cost"),
            ("x-pointsman-models", "a, b"),
            ("x-pointsman-explore", "off"),
            ("x-pointsman-tag-team", "legal"),
            (CSRF_HEADER, "of the panel"),
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
            tags: (0..TAGS).map(|at| (format!("{at:064}"), "v".repeat(TAG_VALUE))).collect(),
            models: Some(vec!["m".repeat(NAME); MODELS]),
            exclude: vec!["m".repeat(NAME); MODELS],
            conversation: Some("c".repeat(NAME)),
            ..RoutingOptions::default()
        };
        check(&full()).unwrap();
        type Grow = fn(&mut RoutingOptions);
        let over: [(&str, Grow); 6] = [
            ("routing.tags", |options| drop(options.tags.insert("one more".into(), String::new()))),
            ("routing.tags", |options| options.tags = [("t".into(), "v".repeat(5 << 20))].into()),
            ("routing.models", |options| options.models = Some(vec!["a".into(); 100_000])),
            ("routing.exclude", |options| options.exclude.push(String::new())),
            ("routing.exclude", |options| options.exclude = vec!["m".repeat(NAME + 1)]),
            ("routing.conversation", |options| options.conversation = Some("c".repeat(NAME + 1))),
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
