//! What says that a server has no Responses, and what says no more than that one answer of theirs is none.

use serde_json::{Value, json};

use super::asked_in_responses_tests::{completed, message};
use super::tests::{decode_in, gist};
use super::*;

#[test]
fn only_what_is_something_else_for_certain_says_that_there_is_no_responses() {
    let whole = |body: &str| decode_response(Dialect::Responses, body.as_bytes()).unwrap_err();
    let good = completed(json!([message("a")])).to_string();
    let no_items = r#"{"id":"","object":"response","status":"","output":null,"usage":null}"#;
    for broken in [
        "",
        " ",
        "{",
        &good[..40],
        "null",
        "{}",
        "[]",
        no_items,
        r#"{"output":7}"#,
        r#"{"status":"completed"}"#,
        "data: x",
    ] {
        assert_eq!(whole(broken).kind, ErrorKind::Upstream, "{broken}");
    }
    for other in [
        "<html>",
        "\u{feff}\n<!DOCTYPE html>",
        r#"{"choices":[]}"#,
        r#"{"status":"ok"}"#,
        r#"{"detail":"Not Found"}"#,
        "[1]",
        "7",
    ] {
        assert!(lacks_responses(&whole(other)), "{other}");
    }
    let streamed = |pieces: &[&[u8]]| gist(&decode_in(Dialect::Responses, pieces)).error;
    for broken in ["", "\n", ": hi\n\n", "data: [DONE]\n\n", "event: response.created\n"] {
        assert_eq!(streamed(&[broken.as_bytes()]), Some(ErrorKind::Connection), "{broken}");
    }
    for broken in ["data: {not json\n\n", "data: 7\n\n"] {
        assert_eq!(streamed(&[broken.as_bytes()]), Some(ErrorKind::Upstream), "{broken}");
    }
    for other in ["<html>\n\n</html>\n\n", "\n <html>", "data: {\"choices\":[]}\n\n"] {
        assert_eq!(streamed(&[other.as_bytes()]), Some(ErrorKind::NotFound), "{other}");
    }
    assert_eq!(streamed(&[b"\n", b"<", b"html>"]), Some(ErrorKind::NotFound), "in pieces");
}

#[test]
fn what_is_not_found_of_what_was_sent_is_no_lack_of_responses() {
    let error = |status: u16, error: Value| {
        let body = json!({ "error": error }).to_string();
        decode_error(Dialect::Responses, status, body.as_bytes(), None)
    };
    let invalid = |message: &str, param: Value, code: Value| json!({ "message": message, "type": "invalid_request_error", "param": param, "code": code });
    let url = "Invalid URL (POST /v1/responses)";
    for lack in [
        error(404, invalid("The model `x` does not exist", json!("model"), json!("model_not_found"))),
        error(404, invalid(url, json!(""), json!(""))),
        error(404, invalid("Not Found", json!("None"), json!("404"))),
        error(404, invalid(url, Value::Null, Value::Null)),
        decode_error(Dialect::Responses, 405, b"", None),
        decode_error(Dialect::Responses, 410, b"", None),
        decode_error(Dialect::Responses, 501, b"<html>", None),
    ] {
        assert!(lacks_responses(&lack) && may_be_taken_in_chat(&lack), "{lack:?}");
    }
    for about_request in [
        error(404, invalid("Not there", json!("input"), Value::Null)),
        error(404, invalid("No such File object: file-abc", Value::Null, Value::Null)),
        error(404, invalid("Item with id 'rs_0d' not found.", Value::Null, Value::Null)),
        error(404, invalid("Nothing is called \"msg_0d\"", json!(""), json!("not_found"))),
    ] {
        assert!(!lacks_responses(&about_request) && may_be_taken_in_chat(&about_request), "{about_request:?}");
        assert!(may_refuse_thoughts(Dialect::Responses, &about_request), "{about_request:?}");
    }
}

#[test]
fn what_a_request_names_that_only_responses_can_say_is_no_lack_of_them() {
    let told = |status: u16, body: &str| {
        let error = decode_error(Dialect::Responses, status, body.as_bytes(), None);
        blame_what_is_named(error, status, body.as_bytes())
    };
    let invalid = |message: &str, param: Value, code: Value| {
        json!({ "error": { "message": message, "type": "invalid_request_error", "param": param, "code": code } })
            .to_string()
    };
    for named in [
        invalid("Vector store with id ['vs_abc123'] not found.", Value::Null, Value::Null),
        invalid("Container not found", Value::Null, Value::Null),
        invalid("No such thing: 'invalid url'", json!("tools[0]"), json!("not_found")),
        invalid("Nothing has that name. The model would need it.", Value::Null, Value::Null),
        json!({ "error": { "message": "litellm.NotFoundError: Container not found", "type": null, "code": "404" } })
            .to_string(),
    ] {
        let error = told(404, &named);
        assert_eq!((error.kind, error.by_model), (ErrorKind::InvalidRequest, true), "{named}");
        assert!(!lacks_responses(&error), "{named}");
        let ErrorBody { status, body } = encode_error(Dialect::Responses, &error);
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]["message"]), (404, &json!(error.message)), "as OpenAI said it");
    }
    let other = json!({ "error": { "message": "Nope", "type": "NotFoundError", "param": null, "code": null } });
    for lack in [
        invalid("The model `x` does not exist", Value::Null, json!("model_not_found")),
        invalid("The model `x` does not exist", Value::Null, Value::Null),
        invalid("It does not exist", json!("model"), Value::Null),
        invalid("Invalid URL (POST /v1/responses)", Value::Null, Value::Null),
        invalid("Unknown request URL: POST /responses.", Value::Null, json!("unknown_url")),
        invalid("Not found", Value::Null, Value::Null),
        invalid("Nope", Value::Null, json!("404")),
        invalid("Nope", Value::Null, json!(404)),
        other.to_string(),
        json!({ "detail": "Not Found" }).to_string(),
        "404 page not found".to_owned(),
        String::new(),
    ] {
        assert!(lacks_responses(&told(404, &lack)), "{lack}");
    }
    let named = invalid("Vector store 'vs_1' not found.", Value::Null, Value::Null);
    assert_eq!(told(500, &named).kind, ErrorKind::Upstream);
}
