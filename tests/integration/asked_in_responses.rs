//! OpenAI's models that do not think beside tools in Chat Completions are asked in Responses.

use std::sync::Arc;

use parking_lot::Mutex;
use pointsman::sandbox::{Fault, SeenRequest, Times, Vendor};
use pointsman::upstream::Lack;
use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{TestGateway, ask, error, streamed_text, text, turns};

/// The clients with fields for tools.
const ASKING: [&str; 3] = ["/v1/messages", "/v1/chat/completions", "/v1/responses"];

fn tools(path: &str) -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] });
    match path {
        "/v1/messages" => json!([{ "name": "weather", "input_schema": schema }]),
        "/v1/responses" => json!([{ "type": "function", "name": "weather", "parameters": schema }]),
        _ => json!([{ "type": "function", "function": { "name": "weather", "parameters": schema } }]),
    }
}

fn about_the_weather(path: &str) -> Value {
    let mut body = ask(path, "gpt-6-sol", "What is the weather in Oslo?");
    body["tools"] = tools(path);
    if path == "/v1/responses" {
        body["reasoning"] = json!({ "summary": "auto" });
    }
    body
}

/// What chat vendors were sent. Ollama is asked for its models meanwhile.
fn chats(gateway: &TestGateway) -> Vec<SeenRequest> {
    gateway.sandbox.seen().into_iter().filter(|request| request.vendor != Vendor::Ollama).collect()
}

/// The vendors' paths that were called since the last time, and the last body.
fn seen(gateway: &TestGateway, from: &mut usize) -> (Vec<String>, Value) {
    let seen = chats(gateway);
    let new = &seen[*from..];
    *from = seen.len();
    (new.iter().map(|request| request.path.clone()).collect(), new.last().unwrap().body.clone())
}

/// A conversation that goes on with the answer and the tool's result.
fn go_on(path: &str, body: &mut Value, answer: &Value) {
    let more = match path {
        "/v1/messages" => {
            let call = answer["content"].as_array().unwrap().last().unwrap();
            let result = json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "minus three" });
            json!([
                { "role": "assistant", "content": answer["content"] },
                { "role": "user", "content": [result] },
            ])
        }
        "/v1/responses" => {
            let mut items = answer["output"].clone();
            let id = items.as_array().unwrap().last().unwrap()["call_id"].clone();
            let result = json!({ "type": "function_call_output", "call_id": id, "output": "minus three" });
            items.as_array_mut().unwrap().push(result);
            items
        }
        _ => {
            let message = &answer["choices"][0]["message"];
            let id = &message["tool_calls"][0]["id"];
            json!([message, { "role": "tool", "tool_call_id": id, "content": "minus three" }])
        }
    };
    body[turns(path)].as_array_mut().unwrap().extend(more.as_array().unwrap().clone());
}

#[tokio::test]
async fn who_has_tools_thinks_whatever_the_client_speaks() {
    let gateway = TestGateway::start("").await;
    let mut from = 0;
    for path in ASKING {
        let mut body = about_the_weather(path);
        let response = gateway.post(path, body.clone()).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers().get("x-pointsman-dropped"), None, "{path}");
        let answer: Value = response.json().await.unwrap();
        let (paths, sent) = seen(&gateway, &mut from);
        assert_eq!(paths, ["/v1/responses"], "{path}");
        assert_eq!((&sent["store"], &sent["reasoning"]["summary"]), (&json!(false), &json!("auto")), "{path}");
        let said = answer.to_string();
        assert!(said.contains("need not think") && said.contains("weather"), "{path}: {answer}");
        // Streamed it says the same.
        body["stream"] = json!(true);
        let stream = gateway.post(path, body.clone()).await.text().await.unwrap();
        assert_eq!(seen(&gateway, &mut from).0, ["/v1/responses"], "{path}");
        assert!(stream.contains("need not think") && stream.contains("weather"), "{path}: {stream}");
        body["stream"] = json!(false);
        go_on(path, &mut body, &answer);
        let response = gateway.post(path, body.clone()).await;
        let status = response.status();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        assert!(text(path, &answer).contains("minus three"), "{path}: {answer}");
        let (paths, sent) = seen(&gateway, &mut from);
        assert_eq!(paths, ["/v1/responses"], "{path}");
        // Chat Completions has no field in which a sealed thought could travel.
        let travels = sent["input"].as_array().unwrap().iter().any(|item| item["type"] == "reasoning");
        assert_eq!(travels, path != "/v1/chat/completions", "{path}: {sent}");
        body["stream"] = json!(true);
        let stream = gateway.post(path, body).await.text().await.unwrap();
        assert_eq!(streamed_text(path, &stream), text(path, &answer), "{path}");
        seen(&gateway, &mut from);
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_thought_in_a_stream_travels_to_the_next_step() {
    let gateway = TestGateway::start("").await;
    let path = "/v1/messages";
    let mut body = about_the_weather(path);
    body["stream"] = json!(true);
    let stream = gateway.post(path, body.clone()).await.text().await.unwrap();
    let pieces = crate::support::events(&stream);
    let delta = |kind: &str, field: &str| -> String {
        let deltas = pieces.iter().filter(|piece| piece["delta"]["type"] == kind);
        deltas.filter_map(|piece| piece["delta"][field].as_str()).collect()
    };
    let call = pieces.iter().find(|piece| piece["content_block"]["type"] == "tool_use").unwrap();
    let input: Value = serde_json::from_str(&delta("input_json_delta", "partial_json")).unwrap();
    let (thinking, signature) = (delta("thinking_delta", "thinking"), delta("signature_delta", "signature"));
    let answer = json!({ "content": [
        { "type": "thinking", "thinking": thinking, "signature": signature },
        { "type": "tool_use", "id": call["content_block"]["id"], "name": "weather", "input": input },
    ] });
    body["stream"] = json!(false);
    go_on(path, &mut body, &answer);
    let mut from = chats(&gateway).len();
    assert_eq!(gateway.post(path, body.clone()).await.status(), 200);
    let (paths, sent) = seen(&gateway, &mut from);
    assert_eq!((paths, &sent["input"][1]["type"]), (vec!["/v1/responses".to_owned()], &json!("reasoning")));
    // Claude gets the conversation, too, and not what OpenAI sealed.
    body["model"] = json!("claude-sonnet-5-5");
    let response = gateway.post(path, body).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    assert!(!seen(&gateway, &mut from).1.to_string().contains(&signature));
    gateway.stop().await;
}

#[tokio::test]
async fn all_other_requests_go_where_they_went() {
    let gateway = TestGateway::start("").await;
    let path = "/v1/chat/completions";
    let mut from = 0;
    for (more, status) in [
        (json!({ "n": 2 }), 200),
        (json!({ "reasoning_effort": "none" }), 200),
        (json!({ "seed": 7 }), 200),
        (json!({ "tools": null }), 200),
        (json!({ "model": "gpt-4o" }), 200),
        // Of these models nobody can ask for probabilities.
        (json!({ "logprobs": true }), 400),
    ] {
        let mut body = about_the_weather(path);
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let response = gateway.post(path, body).await;
        assert_eq!(response.status(), status, "{more}: {}", response.text().await.unwrap());
        if status == 200 {
            assert_eq!(seen(&gateway, &mut from).0, ["/v1/chat/completions"], "{more}");
        }
    }
    gateway.stop().await;
    let gateway = TestGateway::start("[providers.openai.quirks]\nresponses = false").await;
    assert_eq!(gateway.post(path, about_the_weather(path)).await.status(), 200);
    let (paths, sent) = seen(&gateway, &mut 0);
    assert_eq!((paths, &sent["reasoning_effort"]), (vec!["/v1/chat/completions".to_owned()], &json!("none")));
    gateway.stop().await;
}

#[tokio::test]
async fn what_responses_refuses_is_asked_in_chat_completions() {
    let gateway = TestGateway::start("").await;
    let mut from = 0;
    // A client that speaks Responses is told so.
    for path in &ASKING[..2] {
        gateway.sandbox.faults().set("gpt-6-sol", Fault::Status { status: 400, retry_after: None }, Times::First(1));
        let response = gateway.post(path, about_the_weather(path)).await;
        assert_eq!(response.status(), 200, "{path}: {}", response.text().await.unwrap());
        assert_eq!(seen(&gateway, &mut from).0, ["/v1/responses", "/v1/chat/completions"], "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_thought_that_another_organisation_sealed_costs_no_more_than_itself() {
    let gateway = TestGateway::start("").await;
    let mut from = 0;
    let path = "/v1/messages";
    let mut body = about_the_weather(path);
    let answer: Value = gateway.post(path, body.clone()).await.json().await.unwrap();
    let whole = answer.to_string().replace("openai:gAAAA", "openai:XXXX");
    go_on(path, &mut body, &serde_json::from_str(&whole).unwrap());
    seen(&gateway, &mut from);
    let response = gateway.post(path, body.clone()).await;
    assert_eq!(response.headers()["x-pointsman-dropped"], "messages[].thinking");
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    let (paths, sent) = seen(&gateway, &mut from);
    assert_eq!(paths, ["/v1/responses", "/v1/responses"]);
    let items = sent["input"].as_array().unwrap();
    assert!(items.iter().all(|item| item["type"] != "reasoning"), "{sent}");
    assert_eq!(sent["reasoning"]["summary"], "auto");
    // Where the rest is refused as well, no more than this is tried: each time with less.
    gateway.sandbox.faults().set("gpt-6-sol", Fault::Unverified, Times::First(1));
    body["tool_choice"] = json!({ "type": "tool", "name": "weather" });
    body["metadata"] = json!({ "user_id": "somebody else" });
    assert_eq!(gateway.post(path, body).await.status(), 200);
    assert_eq!(seen(&gateway, &mut from).0, ["/v1/responses"].repeat(3));
    gateway.stop().await;
}

#[tokio::test]
async fn a_server_without_responses_is_asked_there_once_in_a_while_and_not_blamed() {
    let gateway = TestGateway::start("").await;
    let status = |status: u16| Fault::Status { status, retry_after: None };
    let mut from = 0;
    for fault in [status(404), status(501), Fault::WrongContentType] {
        for stream in [false, true] {
            gateway.reset_breakers();
            gateway.sandbox.faults().set("gpt-6-sol", fault.clone(), Times::First(1));
            let path = "/v1/chat/completions";
            let mut body = about_the_weather(path);
            body["stream"] = json!(stream);
            for paths in [&["/v1/responses", "/v1/chat/completions"][..], &["/v1/chat/completions"]] {
                let response = gateway.post(path, body.clone()).await;
                assert_eq!(response.status(), 200, "{fault:?} {stream}");
                assert!(response.text().await.unwrap().contains("weather"), "{fault:?} {stream}");
                assert_eq!(seen(&gateway, &mut from).0, paths, "{fault:?} {stream}");
            }
        }
    }
    let live = gateway.app.gateway.live();
    let health = live.catalog.find("gpt-6-sol").unwrap().deployments[0].status(std::time::Instant::now());
    assert_eq!((health.failures, health.calls), (0, 12));
    gateway.stop().await;
}

#[tokio::test]
async fn large_tools_may_be_repeated_before_the_answer() {
    let large = "x".repeat(2_200_000);
    let tool = json!({ "type": "function", "function": { "name": "f", "description": large, "parameters": {} } });
    let mock = Mock::start(move |_| {
        let response = json!({ "id": "r", "model": "m", "tools": [{ "name": "f", "description": large }] });
        let message = json!({ "type": "message", "content": [{ "type": "output_text", "text": "well" }] });
        let events = [
            json!({ "type": "response.created", "response": response }),
            json!({ "type": "response.in_progress", "response": response }),
            json!({ "type": "response.completed", "response": { "status": "completed", "output": [message] } }),
        ];
        Script::events(events.iter().map(|event| (0, format!("data: {event}\n\n"))).collect())
    })
    .await;
    let patient = "[dispatch]\nthinking_timeout_ms = 20000\ntotal_timeout_ms = 60000\n[models.large]\n\
        provider = 'bridge'\ncan = ['tools', 'reasoning']\nrefuses = ['thinking_with_tools']\ncontext = 10000000";
    let bridge = mock.openai("bridge") + "[providers.bridge.quirks]\nresponses = true\n";
    let gateway = TestGateway::before(&bridge, patient).await;
    let path = "/v1/chat/completions";
    let mut body = ask(path, "large", "Well?");
    body["tools"] = json!([tool]);
    body["stream"] = json!(true);
    let stream = gateway.post(path, body).await.text().await.unwrap();
    assert_eq!(streamed_text(path, &stream), "well");
    assert_eq!(mock.calls(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn who_may_not_be_told_thoughts_is_asked_for_them_once() {
    let gateway = TestGateway::start("").await;
    gateway.sandbox.faults().set("gpt-6-sol", Fault::Unverified, Times::Always);
    let mut from = 0;
    for (path, paths) in ASKING.into_iter().zip([2, 1, 1]) {
        let response = gateway.post(path, about_the_weather(path)).await;
        assert_eq!(response.status(), 200, "{path}");
        let answer: Value = response.json().await.unwrap();
        assert!(answer.to_string().contains("weather"), "{path}: {answer}");
        let (called, sent) = seen(&gateway, &mut from);
        assert_eq!(called, ["/v1/responses"].repeat(paths), "{path}");
        assert_eq!(sent["reasoning"].get("summary"), None, "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn errors_of_responses_are_those_of_any_vendor() {
    let gateway = TestGateway::start("[dispatch]\nmax_attempts = 1").await;
    for path in ASKING {
        for (fault, kinds) in [
            (Fault::Status { status: 429, retry_after: None }, &[429][..]),
            (Fault::Status { status: 500, retry_after: None }, &[502]),
            (Fault::ContextOverflow, &[400]),
            (Fault::OkThenError, &[503, 529]),
            (Fault::Cut { after: 0 }, &[502]),
        ] {
            for stream in [false, true] {
                gateway.reset_breakers();
                gateway.sandbox.faults().set("gpt-6-sol", fault.clone(), Times::First(1));
                let mut body = about_the_weather(path);
                body["stream"] = json!(stream);
                let response = gateway.post(path, body).await;
                let status = response.status().as_u16();
                let answer: Value = response.json().await.unwrap();
                assert!(kinds.contains(&status), "{path} {fault:?} {stream}: {status} {answer}");
                error(path, &answer);
            }
        }
    }
    gateway.stop().await;
}

/// A server with both of OpenAI's dialects, and a gateway before it. What is in `next` is said in turn, each to a request
/// in the dialect of its path; else the answer is good.
struct Both {
    gateway: TestGateway,
    next: Arc<Mutex<Vec<(&'static str, Script)>>>,
    called: Arc<Mutex<Vec<&'static str>>>,
    _mock: Mock,
}

const CHAT: &str = "/chat/completions";
const RESPONSES: &str = "/responses";

impl Both {
    async fn start() -> Self {
        let next: Arc<Mutex<Vec<(&str, Script)>>> = Arc::default();
        let called: Arc<Mutex<Vec<&str>>> = Arc::default();
        let (said, calls) = (Arc::clone(&next), Arc::clone(&called));
        let mock = Mock::start(move |body| {
            let body: Value = serde_json::from_str(body).unwrap();
            let path = if body["input"].is_null() { CHAT } else { RESPONSES };
            calls.lock().push(path);
            let mut said = said.lock();
            let at = said.iter().position(|(of, _)| *of == path);
            at.map_or_else(|| good(path, body["stream"] == true), |at| said.remove(at).1)
        })
        .await;
        let bridge = mock.openai("bridge") + "[providers.bridge.quirks]\nresponses = true\n";
        let model = "[dispatch]\nbackoff_ms = 1\n[models.both]\nprovider = 'bridge'\ncan = ['tools', 'reasoning']\n\
            refuses = ['thinking_with_tools']\ncontext = 100000";
        Self { gateway: TestGateway::before(&bridge, model).await, next, called, _mock: mock }
    }

    /// Asks with a tool; the status, what was said, and the paths that were called for it.
    async fn ask(&self, stream: bool) -> (u16, String, Vec<&'static str>) {
        let path = "/v1/chat/completions";
        let mut body = ask(path, "both", "Well?");
        body["tools"] = tools(path);
        body["stream"] = json!(stream);
        let response = self.gateway.post(path, body).await;
        (response.status().as_u16(), response.text().await.unwrap(), std::mem::take(&mut *self.called.lock()))
    }

    fn lacks_responses(&self) -> bool {
        let live = self.gateway.app.gateway.live();
        live.catalog.find("both").unwrap().deployments[0].lacks(Lack::Responses, std::time::Instant::now())
    }
}

fn good(path: &str, stream: bool) -> Script {
    let item = json!({ "type": "message", "content": [{ "type": "output_text", "text": "well" }] });
    let answer = json!({ "id": "r", "object": "response", "status": "completed", "output": [item] });
    let message = json!({ "role": "assistant", "content": "well" });
    match (path == RESPONSES, stream) {
        (true, false) => Script::whole(answer.to_string()),
        (true, true) => {
            let event = json!({ "type": "response.completed", "response": answer });
            Script::events(vec![(0, format!("data: {event}\n\n"))])
        }
        (false, false) => {
            Script::whole(json!({ "choices": [{ "message": message, "finish_reason": "stop" }] }).to_string())
        }
        (false, true) => Script::openai([(0, "well".to_owned())]),
    }
}

fn refusal(status: u16, message: &str, param: Option<&str>) -> Script {
    let error = json!({ "message": message, "type": "invalid_request_error", "param": param, "code": null });
    Script { status, ..Script::whole(json!({ "error": error }).to_string()) }
}

#[tokio::test]
async fn a_broken_answer_of_responses_is_asked_for_again_there() {
    let both = Both::start().await;
    let events = |text: &str| (true, Script::events(vec![(0, text.to_owned())]));
    let whole = |text: &str| (false, Script::whole(text));
    let empty = |script: Script| Script { pieces: Vec::new(), ..script };
    for (stream, broken) in [
        (true, empty(Script::events(Vec::new()))),
        events(": hi\n\n"),
        events("data: {not json\n\n"),
        (false, empty(Script::whole(""))),
        whole("{\"id\": \"r\", \"object\": \"respon"),
        whole("{}"),
        whole("{\"id\": \"\", \"object\": \"response\", \"status\": \"completed\", \"output\": null}"),
    ] {
        both.gateway.reset_breakers();
        let told = format!("{:?}", broken.pieces);
        both.next.lock().push((RESPONSES, broken));
        let (status, said, called) = both.ask(stream).await;
        assert_eq!((status, said.contains("well")), (200, true), "{told}: {said}");
        assert_eq!(called, [RESPONSES; 2], "{told}");
        assert!(!both.lacks_responses(), "{told}");
    }
    both.gateway.stop().await;
}

#[tokio::test]
async fn what_is_not_found_of_one_request_costs_no_other_its_thoughts() {
    let both = Both::start().await;
    both.next.lock().push((RESPONSES, refusal(404, "No such File object: file-abc", Some("input"))));
    both.next.lock().push((CHAT, refusal(400, "No such File object: file-abc", Some("messages"))));
    let (status, said, called) = both.ask(false).await;
    assert_eq!((status, said.contains("No such File"), called), (400, true, vec![RESPONSES, CHAT]), "{said}");
    assert_eq!(both.ask(false).await.2, [RESPONSES]);
    both.next.lock().push((RESPONSES, refusal(404, "Invalid URL (POST /v1/responses)", Some(""))));
    assert_eq!(both.ask(false).await.2, [RESPONSES, CHAT]);
    assert_eq!(both.ask(false).await.2, [CHAT]);
    both.gateway.stop().await;
}

#[tokio::test]
async fn a_key_that_is_not_for_responses_is_tried_there_once_in_a_while() {
    let both = Both::start().await;
    let no_scope = "You have insufficient permissions for this operation. Missing scopes: api.responses.write.";
    for (status, message) in [(401, no_scope), (403, "Not for this key")] {
        both.gateway.reset_breakers();
        // Where Chat Completions does not take it, either, it is the key's fault.
        both.next.lock().extend([RESPONSES, CHAT].map(|path| (path, refusal(status, message, None))));
        let (failed, _, called) = both.ask(false).await;
        assert_eq!((failed, called), (502, vec![RESPONSES, CHAT]), "{message}");
        assert!(!both.lacks_responses(), "{message}");
        for stream in [false, true] {
            both.gateway.reset_breakers();
            both.next.lock().push((RESPONSES, refusal(status, message, None)));
            for called in [&[RESPONSES, CHAT][..], &[CHAT]] {
                assert_eq!(both.ask(stream).await.2, called, "{message} {stream}");
            }
        }
    }
    // A key that is refused once is no key that may not.
    both.gateway.reset_breakers();
    both.next.lock().push((RESPONSES, refusal(401, "Incorrect API key provided", None)));
    assert_eq!(both.ask(false).await.2, [RESPONSES, CHAT]);
    assert!(!both.lacks_responses());
    both.gateway.stop().await;
}
