//! What a vendor's error is taken for.

use super::super::{decode_error, decode_response};
use super::*;

#[test]
fn vendors_errors_are_told_apart() {
    let kind = |dialect, status, body: &str| decode_error(dialect, status, body.as_bytes(), None).kind;
    let cases = [
        (
            Dialect::OpenAi,
            400,
            r#"{"error":{"code":"context_length_exceeded","message":"x"}}"#,
            ErrorKind::ContextOverflow,
        ),
        (
            Dialect::Anthropic,
            400,
            r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 > 8"}}"#,
            ErrorKind::ContextOverflow,
        ),
        (
            Dialect::OpenAi,
            400,
            r#"{"error":{"code":400,"type":"exceed_context_size_error","message":"the request exceeds the available context size"}}"#,
            ErrorKind::ContextOverflow,
        ),
        (
            Dialect::OpenAi,
            400,
            r#"{"error":{"code":400,"message":"The input token count (9) exceeds the maximum number of tokens allowed (8)."}}"#,
            ErrorKind::ContextOverflow,
        ),
        (Dialect::OpenAi, 429, r#"{"error":{"code":"insufficient_quota","message":"x"}}"#, ErrorKind::Quota),
        (Dialect::OpenAi, 429, r#"{"error":{"code":"rate_limit_exceeded","message":"x"}}"#, ErrorKind::RateLimited),
        (Dialect::Anthropic, 529, r#"{"error":{"type":"overloaded_error","message":"x"}}"#, ErrorKind::Overloaded),
        (Dialect::OpenAi, 400, r#"{"error":{"code":"content_filter","message":"x"}}"#, ErrorKind::ContentFilter),
        (Dialect::Ollama, 404, r#"{"error":"model 'x' not found"}"#, ErrorKind::NotFound),
        (Dialect::OpenAi, 405, "", ErrorKind::NotFound),
        (Dialect::OpenAi, 410, r#"{"error":{"message":"The model x is retired."}}"#, ErrorKind::NotFound),
        (
            Dialect::OpenAi,
            400,
            r#"{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}"#,
            ErrorKind::NotFound,
        ),
        (
            Dialect::OpenAi,
            400,
            r#"{"code":"Client specified an invalid argument","error":"Incorrect API key provided: xai-Ab***yz."}"#,
            ErrorKind::Authentication,
        ),
        (
            Dialect::OpenAi,
            400,
            r#"{"error":{"message":"x/y is not a valid model ID","code":400}}"#,
            ErrorKind::NotFound,
        ),
        (
            Dialect::OpenAi,
            400,
            r#"{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT"}}"#,
            ErrorKind::Authentication,
        ),
        (
            Dialect::OpenAi,
            403,
            r#"{"error":{"code":403,"message":"x/y requires moderation on Z. Your input was flagged.","metadata":{"reasons":["violence"],"flagged_input":"...","provider_name":"Z"}}}"#,
            ErrorKind::ContentFilter,
        ),
        (Dialect::OpenAi, 403, r#"{"error":{"code":403,"message":"no","metadata":{}}}"#, ErrorKind::Permission),
        (Dialect::OpenAi, 502, "<html>Bad Gateway</html>", ErrorKind::Upstream),
        (Dialect::OpenAi, 401, "", ErrorKind::Authentication),
        (
            Dialect::Responses,
            401,
            r#"{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.responses.write.","code":null}}"#,
            ErrorKind::Permission,
        ),
        (Dialect::Responses, 401, r#"{"error":{"message":"x","code":"missing_scope"}}"#, ErrorKind::Permission),
        (Dialect::Responses, 401, r#"{"error":{"message":"x","code":"PermissionDenied"}}"#, ErrorKind::Permission),
        (Dialect::OpenAi, 413, "", ErrorKind::TooLarge),
        (Dialect::OpenAi, 504, "", ErrorKind::Timeout),
    ];
    for (dialect, status, body, expected) in cases {
        assert_eq!(kind(dialect, status, body), expected, "{status} {body}");
    }
}

#[test]
fn what_is_held_against_us_is_no_fault_of_the_request() {
    let refused = |message: &str, code: &str| json!({ "error": { "message": message, "type": "invalid_request_error", "code": code } });
    for (message, code, kind) in [
        (
            "You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC.",
            "",
            ErrorKind::Quota,
        ),
        ("You have reached your specified workspace API usage limits.", "", ErrorKind::Quota),
        ("Budget has been exceeded! Current cost: 1.2, Max budget: 1.0", "", ErrorKind::Quota),
        ("ExceededBudget: User=x over budget", "budget_exceeded", ErrorKind::Quota),
        ("Your account is not active, please check your billing details.", "", ErrorKind::Quota),
        ("This organization has been disabled.", "", ErrorKind::Permission),
        ("User location is not supported for the API use.", "", ErrorKind::Permission),
        ("Failed to call a function. Please adjust your prompt.", "tool_use_failed", ErrorKind::Upstream),
        ("Failed to generate JSON.", "json_validate_failed", ErrorKind::Upstream),
        ("/chat/completions: Invalid model name passed in model=x. Call ...", "400", ErrorKind::NotFound),
        ("Content Exists Risk", "", ErrorKind::ContentFilter),
        ("Input data may contain inappropriate content.", "data_inspection_failed", ErrorKind::ContentFilter),
        ("messages.0: `This organization has been disabled` is not valid", "", ErrorKind::InvalidRequest),
    ] {
        let body = refused(message, code);
        let error = decode_error(Dialect::OpenAi, 400, body.to_string().as_bytes(), None);
        assert_eq!((error.kind, error.by_model), (kind, kind == ErrorKind::Upstream), "{message}");
        if !matches!(kind, ErrorKind::NotFound) {
            assert_eq!(in_band(&body).unwrap().kind, kind, "in a stream: {message}");
        }
    }
}

#[test]
fn litellms_and_llama_cpps_refusals_are_told_apart() {
    let told = |status: u16, message: &str, kind: &str| {
        let body =
            json!({ "error": { "message": message, "type": kind, "param": null, "code": status.to_string() } });
        let error = decode_error(Dialect::OpenAi, status, body.to_string().as_bytes(), None);
        (error.kind, error.by_model)
    };
    let unsupported = "litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for model=x";
    let too_long = "litellm.ContextWindowExceededError: litellm.BadRequestError: AzureException - no";
    let filtered = "litellm.ContentPolicyViolationError: litellm.BadRequestError: AzureException - no";
    let template = "Unable to generate parser for this template. Automatic parser generation failed: line 18";
    let no_pictures =
        "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj";
    let embeds_nothing = "This server does not support embeddings. Start it with `--embeddings`";
    for (status, message, name, kind, by_model) in [
        (400, "No connected db.", "no_db_connection", ErrorKind::Authentication, false),
        (503, "DB not connected", "no_db_connection", ErrorKind::Overloaded, false),
        (400, unsupported, "None", ErrorKind::InvalidRequest, true),
        (400, "x: litellm.UnsupportedParamsError", "None", ErrorKind::InvalidRequest, false),
        (400, too_long, "None", ErrorKind::ContextOverflow, false),
        (400, filtered, "None", ErrorKind::ContentFilter, false),
        (400, template, "invalid_request_error", ErrorKind::InvalidRequest, true),
        (400, "Conversation roles must alternate user/assistant", "", ErrorKind::InvalidRequest, true),
        (500, no_pictures, "server_error", ErrorKind::InvalidRequest, true),
        (400, "registry.ollama.ai/library/x does not support tools", "", ErrorKind::InvalidRequest, true),
        (400, "\"x\" does not support thinking", "", ErrorKind::InvalidRequest, true),
        (500, "x: image input is not supported", "server_error", ErrorKind::Upstream, false),
        (501, embeds_nothing, "not_supported_error", ErrorKind::NotFound, false),
        (500, "input (901 tokens) is too large to process.", "server_error", ErrorKind::ContextOverflow, false),
    ] {
        assert_eq!(told(status, message, name), (kind, by_model), "{status} {message}");
    }
}

#[test]
fn an_error_with_status_200_is_an_error() {
    for (dialect, body) in [
        (Dialect::OpenAi, r#"{"error":{"message":"Overloaded","type":"overloaded_error"}}"#),
        (Dialect::Anthropic, r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#),
        (Dialect::Ollama, r#"{"error":"overloaded_error: Overloaded"}"#),
    ] {
        assert!(decode_response(dialect, body.as_bytes()).is_err(), "{body}");
    }
    assert_eq!(decode_response(Dialect::OpenAi, b"{not json").unwrap_err().kind, ErrorKind::Upstream);
    for (code, kind) in [
        (json!(400), ErrorKind::InvalidRequest),
        (json!("422"), ErrorKind::InvalidRequest),
        (json!(401), ErrorKind::Authentication),
        (json!(402), ErrorKind::Quota),
        (json!(404), ErrorKind::NotFound),
        (json!(429), ErrorKind::RateLimited),
        (json!(502), ErrorKind::Upstream),
        (json!(503), ErrorKind::Overloaded),
        (json!(3001), ErrorKind::Upstream),
        (json!("server_error"), ErrorKind::Upstream),
        (json!("tool_use_failed"), ErrorKind::Upstream),
        (json!(200), ErrorKind::Upstream),
        (Value::Null, ErrorKind::Upstream),
    ] {
        let error = json!({ "code": code, "message": "no" });
        for body in [json!({ "error": error }), json!({ "choices": [{ "error": error }] })] {
            let told = decode_response(Dialect::OpenAi, body.to_string().as_bytes()).unwrap_err();
            assert_eq!((told.kind, told.message.as_str()), (kind, "no"), "{body}");
        }
    }
    let unsorted = |code: u16, kind: &str, message: &str| {
        let error = in_band(&json!({ "error": {
            "object": "error", "message": message, "type": kind, "param": null, "code": code,
        }}));
        error.map(|error| (error.kind, error.by_model))
    };
    let died = "EngineCore encountered an issue. See stack trace (above) for the root cause.";
    let long = "This model's maximum context length is 9 tokens.";
    assert_eq!(unsorted(400, "BadRequestError", died), Some((ErrorKind::Upstream, true)));
    assert_eq!(unsorted(400, "BadRequestError", long), Some((ErrorKind::ContextOverflow, false)));
    assert_eq!(unsorted(400, "invalid_request_error", died), Some((ErrorKind::InvalidRequest, false)));
    assert_eq!(unsorted(500, "InternalServerError", died), Some((ErrorKind::Upstream, false)));
    let words = json!({ "error": { "code": 429, "message": "Too many tokens in this minute" } });
    assert_eq!(in_band(&words).unwrap().kind, ErrorKind::RateLimited, "it says nothing of the context");
    let flagged = json!({ "error": { "code": 403, "message": "x requires moderation: your input was flagged" } });
    assert_eq!(in_band(&flagged).unwrap().kind, ErrorKind::ContentFilter);
}

#[test]
fn look_alikes_are_understood_where_they_say_it_otherwise() {
    let told = |status, body: &str| {
        let error = decode_error(Dialect::OpenAi, status, body.as_bytes(), None);
        (error.kind, error.message)
    };
    for (status, body, kind) in [
        (
            400,
            r#"[{"error":{"code":400,"message":"The input token count exceeds the maximum number of tokens allowed."}}]"#,
            ErrorKind::ContextOverflow,
        ),
        (
            400,
            r#"[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key."}}]"#,
            ErrorKind::Authentication,
        ),
        (
            400,
            r#"{"error":"This model's maximum prompt length is 131072 but the request contains 200000 tokens."}"#,
            ErrorKind::ContextOverflow,
        ),
        (
            400,
            r#"{"error":{"message":"Invalid request: Your request exceeded model token limit: 8192"}}"#,
            ErrorKind::ContextOverflow,
        ),
        (
            422,
            r#"{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"}"#,
            ErrorKind::ContextOverflow,
        ),
        (400, r#"{"error":{"code":"1261","message":"Prompt exceeds max length"}}"#, ErrorKind::ContextOverflow),
    ] {
        assert_eq!(told(status, body).0, kind, "{body}");
    }
    let item = r#"{"type":"extra_forbidden","loc":["body","messages",0,"name"],"msg":"Extra inputs are not permitted","input":"secret"}"#;
    for body in [
        format!(r#"{{"detail":[{item}]}}"#),
        format!(r#"{{"object":"error","message":{{"detail":[{item}]}},"code":null}}"#),
        format!(r#"{{"object":"Error","message":[{item}],"type":"invalid_request_error","code":3001}}"#),
    ] {
        let said = "body.messages.0.name: Extra inputs are not permitted".to_owned();
        assert_eq!(told(422, &body), (ErrorKind::InvalidRequest, said), "{body}");
    }
    let xai = r#"{"code":"The caller does not have permission to execute the specified operation","error":"Content violates usage guidelines. Team: ours, API key ID: ours, Model: grok-4, Failed check: X"}"#;
    assert_eq!(told(403, xai), (ErrorKind::ContentFilter, "Content violates usage guidelines.".into()));
    assert_eq!(told(400, "\u{feff}{\"detail\":\"no\"}").1, "no");
    assert_eq!(told(400, r#"{"message":[]}"#).1, "it gives an error without a message");
}

#[test]
fn what_was_said_behind_openrouter_is_told_and_judged() {
    let wrapped = |status: u16, raw: Value| {
        json!({ "error": {
            "code": status, "message": "Provider returned error", "metadata": { "raw": raw, "provider_name": "Z" },
        }})
    };
    let too_long = r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 250000 tokens > 200000 maximum"}}"#;
    let spent = r#"{"error":{"message":"no","code":"insufficient_quota"}}"#;
    for (status, raw, told) in [
        (400, json!(too_long), (ErrorKind::ContextOverflow, "prompt is too long: 250000 tokens > 200000 maximum")),
        (
            400,
            serde_json::from_str(too_long).unwrap(),
            (ErrorKind::ContextOverflow, "prompt is too long: 250000 tokens > 200000 maximum"),
        ),
        (400, json!(r#"{"detail":"no images"}"#), (ErrorKind::InvalidRequest, "no images")),
        (429, json!("x is temporarily rate-limited"), (ErrorKind::RateLimited, "x is temporarily rate-limited")),
        (429, json!(spent), (ErrorKind::Quota, "no")),
        (502, json!("<html>"), (ErrorKind::Upstream, "Provider returned error")),
        (400, json!(""), (ErrorKind::InvalidRequest, "Provider returned error")),
        (400, Value::Null, (ErrorKind::InvalidRequest, "Provider returned error")),
    ] {
        let body = wrapped(status, raw);
        let error = decode_error(Dialect::OpenAi, status, body.to_string().as_bytes(), None);
        assert_eq!((error.kind, error.message.as_str()), told, "{body}");
    }
    let in_stream = in_band(&wrapped(400, json!(too_long))).unwrap();
    assert_eq!(in_stream.kind, ErrorKind::ContextOverflow);
}

#[test]
fn a_field_that_one_model_refuses_is_another_ones_to_judge() {
    let by_model = |code: &str| {
        let body = json!({ "error": { "message": "Unsupported: 'stop'", "param": "stop", "code": code } });
        let error = decode_error(Dialect::OpenAi, 400, body.to_string().as_bytes(), None);
        assert_eq!((error.kind, error.vendor.is_some()), (ErrorKind::InvalidRequest, true), "{code}");
        error.by_model
    };
    assert!(by_model("unsupported_parameter") && by_model("unsupported_value"));
    assert!(!by_model("invalid_value") && !by_model("unknown_parameter"));
}

#[test]
fn a_client_of_the_vendors_dialect_hears_the_vendors_own_words() {
    let heard = |client, vendor, status, body: &str| {
        let mut error = decode_error(vendor, status, body.as_bytes(), None);
        error.message = format!("place: {}", error.message);
        let told = encode(client, &error);
        (error.kind, told.status, serde_json::from_slice::<Value>(&told.body).unwrap()["error"].clone())
    };
    let schema = r#"{"error":{"message":"Invalid schema","type":"invalid_request_error","param":"response_format","code":"invalid_json_schema","hint":null}}"#;
    let (_, status, error) = heard(Dialect::OpenAi, Dialect::OpenAi, 422, schema);
    let expected = json!({
        "message": "place: Invalid schema", "type": "invalid_request_error", "param": "response_format",
        "code": "invalid_json_schema",
    });
    assert_eq!((status, error), (422, expected));
    let (_, status, error) = heard(Dialect::Anthropic, Dialect::OpenAi, 422, schema);
    assert_eq!(
        (status, error),
        (400, json!({ "type": "invalid_request_error", "message": "place: Invalid schema" }))
    );
    let status_as_code = r#"{"error":{"message":"no","code":400,"status":"INVALID_ARGUMENT"}}"#;
    let (_, _, error) = heard(Dialect::OpenAi, Dialect::OpenAi, 400, status_as_code);
    assert_eq!((&error["code"], &error["status"]), (&json!("invalid_request"), &json!("INVALID_ARGUMENT")));

    let lost = r#"{"type":"error","error":{"type":"not_found_error","message":"gone","details":{"error_code":"thread_not_found"}}}"#;
    let (kind, status, error) = heard(Dialect::Anthropic, Dialect::Anthropic, 404, lost);
    assert_eq!((kind, status, &error["type"]), (ErrorKind::InvalidRequest, 404, &json!("not_found_error")));
    assert_eq!(error["details"]["error_code"], "thread_not_found");

    let key =
        r#"{"error":{"message":"bad key","type":"invalid_request_error","code":"invalid_api_key","hint":"sk-ours"}}"#;
    for status in [400, 401, 403] {
        let (_, _, error) = heard(Dialect::OpenAi, Dialect::OpenAi, status, key);
        assert_eq!(error.get("hint"), None, "what is held against our key is told in our own words");
    }
}

#[test]
fn claude_code_hears_of_every_vendor_that_the_prompt_is_too_long() {
    let openai =
        "This model's maximum context length is 60000 tokens. However, your messages resulted in 65555 tokens.";
    let deepseek = "This model's maximum context length is 131072 tokens. However, you requested 140000 tokens (139000 in the messages, 1000 in the completion).";
    let small = "This model's maximum context length is 60000 tokens, and you requested 900 tokens.";
    let ollama = "the input length exceeds the context length";
    let claude = "prompt is too long: 250000 tokens > 200000 maximum";
    let allowed = "input length and `max_tokens` exceed context limit: 150000 + 64000 > 200000";
    let ours = "the prompt is too long: 9 tokens > 8 maximum: a: about 9 tokens do not fit its context of 8";
    for (said, told) in [
        (openai, "the prompt is too long: 65555 tokens > 60000 maximum: who: "),
        (deepseek, "the prompt is too long: 140000 tokens > 131072 maximum: who: "),
        (small, "the prompt is too long: who: "),
        (ollama, "the prompt is too long: who: "),
        (claude, "who: "),
        (allowed, "who: "),
        (ours, "who: "),
    ] {
        let error = ApiError::new(ErrorKind::ContextOverflow, format!("who: {said}"));
        let whole: Value = serde_json::from_slice(&encode(Dialect::Anthropic, &error).body).unwrap();
        assert_eq!(whole["error"]["message"], format!("{told}{said}"));
        let streamed = encode_in_stream(Dialect::Anthropic, &error);
        assert_eq!(streamed, format!("event: error\ndata: {whole}\n\n"));
        let others: Value = serde_json::from_slice(&encode(Dialect::OpenAi, &error).body).unwrap();
        assert_eq!(others["error"]["message"], format!("who: {said}"));
    }
    let other = ApiError::invalid(openai);
    let told: Value = serde_json::from_slice(&encode(Dialect::Anthropic, &other).body).unwrap();
    assert_eq!(told["error"]["message"], openai);
}

#[test]
fn a_client_whose_thread_is_refused_learns_to_send_everything() {
    let refused = ApiError::invalid("no").at("thread");
    let told: Value = serde_json::from_slice(&encode(Dialect::Anthropic, &refused).body).unwrap();
    assert_eq!(told["error"]["details"]["error_code"], "thread_unsupported_request");
    let told: Value = serde_json::from_slice(&encode(Dialect::OpenAi, &refused).body).unwrap();
    assert_eq!(told["error"].get("details"), None);
}
