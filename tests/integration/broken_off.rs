//! Answers that are none: their vendor broke them off, or says an error with a status of 200. What it counted is paid
//! for, what cannot be true is not believed, and a request at fault closes no model to others.

use serde_json::{Value, json};

use crate::support::mock::{Mock, Script};
use crate::support::{TestGateway, ask, error, settle};

const CHAT: &str = "/v1/chat/completions";

/// A gateway before the mock in two dialects, and models there that cost a dollar per thousand tokens.
async fn start(mock: &Mock, dispatch: &str) -> TestGateway {
    let models = format!(
        "[models.busy]\nprovider = 'gpt'\nprice = {{ input = 1000.0, output = 1000.0 }}\n\
         [models.talks]\nprovider = 'local'\ncan = ['tools']\nprice = {{ input = 1000.0, output = 1000.0 }}\n\
         [dispatch]\n{dispatch}\n"
    );
    TestGateway::before(&(mock.openai("gpt") + &mock.speaking("ollama", "local")), &models).await
}

/// A question that the mock answers with these words.
fn asking(model: &str, words: &Value, stream: bool) -> Value {
    let mut body = ask(CHAT, model, &words.to_string());
    body["stream"] = json!(stream);
    body
}

/// What was asked for with [`asking`].
fn asked(body: &str) -> Value {
    let body: Value = serde_json::from_str(body).unwrap();
    let last = body["messages"].as_array().unwrap().last().unwrap();
    serde_json::from_str(last["content"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn what_was_counted_of_an_answer_that_is_none_is_booked_if_it_can_be_true() {
    let mock = Mock::start(|body| {
        let words = asked(body);
        let cut = words["cut_after"].as_u64().map(|letters| "x".repeat(letters as usize));
        let words = cut.map_or(words, |text| json!({ "message": { "content": format!("{{{text}") } }));
        Script::whole(words.to_string())
    })
    .await;
    let gateway =
        start(&mock, "attempts_per_model = 1\n[dispatch.breaker]\nconsecutive_failures = 1000\nwindow = 1000").await;
    let cost = async |model: &str| gateway.metric(&format!("pointsman_cost_usd_total{{model=\"{model}\"}}")).await;
    let booked = async |model: &str, mut body: Value| {
        let before = cost(model).await;
        if model == "talks" {
            body["tools"] = json!([{ "type": "function", "function": { "name": "f" } }]);
            body["tool_choice"] = json!("required");
        }
        let response = gateway.post(CHAT, body).await;
        assert!(response.status().as_u16() >= 502);
        settle(|| gateway.app.gateway.metrics.in_flight() == 0, "in flight").await;
        ((cost(model).await - before) * 1e3).round()
    };
    let broken = |usage: Value| {
        let choice = json!({ "message": { "content": "Half" }, "finish_reason": "insufficient_system_resource" });
        json!({ "choices": [choice], "usage": usage })
    };
    let refused = |usage: Value| json!({ "error": { "code": 502, "message": "no" }, "usage": usage });
    let beside = |usage: Value| {
        let choice = json!({ "message": { "content": "Half" }, "finish_reason": "stop" });
        json!({ "choices": [choice], "error": { "code": 502, "message": "no" }, "usage": usage })
    };
    let counts = |prompt: i64, answer: i64| json!({ "prompt_tokens": prompt, "completion_tokens": answer });
    let absurd = 1_000_000_000_000_000;
    // The most and the least that the prompt alone is estimated at.
    let prompt = (10.0, 199.0);
    let exactly = |tokens: f64| (tokens, tokens);
    for (words, (least, most)) in [
        (broken(Value::Null), prompt),
        (broken(json!({})), prompt),
        (broken(counts(absurd, -5)), prompt),
        (broken(counts(absurd, absurd)), prompt),
        (broken(counts(100, absurd)), exactly(100.0)),
        (broken(counts(200, 7)), exactly(207.0)),
        (refused(Value::Null), exactly(0.0)),
        (refused(counts(0, 0)), exactly(0.0)),
        (refused(counts(absurd, absurd)), exactly(0.0)),
        (refused(counts(200, 7)), exactly(207.0)),
        (beside(Value::Null), prompt),
        (beside(counts(200, 7)), exactly(207.0)),
    ] {
        for stream in [false, true] {
            let tokens = booked("busy", asking("busy", &words, stream)).await;
            assert!((least..=most).contains(&tokens), "{words}: {tokens}");
        }
    }
    // A call was demanded, and this is none.
    let words = json!({ "message": { "content": "I would rather talk" }, "done": true, "done_reason": "stop",
        "prompt_eval_count": 200, "eval_count": 7 });
    for stream in [false, true] {
        assert_eq!(booked("talks", asking("talks", &words, stream)).await, 207.0, "{stream}");
    }
    // What was held back of one that breaks off was said.
    let tokens = booked("talks", asking("talks", &json!({ "cut_after": 8000 }), true)).await;
    assert!((2000.0..2200.0).contains(&tokens), "{tokens}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_request_at_fault_opens_no_breaker_however_late_its_vendor_says_so() {
    // Says what it is told to: a whole answer, or the pieces of a stream.
    let mock = Mock::start(|body| match asked(body) {
        Value::Array(pieces) => {
            Script::events(pieces.into_iter().map(|piece| (20, format!("data: {piece}\n\n"))).collect())
        }
        whole => Script::whole(whole.to_string()),
    })
    .await;
    // A stream that begins well and then fails counts as both.
    let gateway = start(&mock, "[dispatch.breaker]\nwindow = 8\nfailure_share = 0.5").await;
    let schema = json!({ "code": 400, "message": "bad tool schema" });
    let flagged = json!({ "code": 403, "message": "no", "metadata": { "reasons": ["violence"] } });
    let unsorted = json!({ "code": 400, "type": "BadRequestError", "message": "EngineCore encountered an issue." });
    let long = json!({ "code": 400, "message": "This endpoint's maximum context length is 9 tokens." });
    let begun = json!({ "choices": [{ "delta": { "content": "So " } }] });
    let late =
        |error: &Value| json!([begun, { "choices": [{ "delta": {}, "finish_reason": "error", "error": error }] }]);
    let good = json!({ "choices": [{ "message": { "content": "word" }, "finish_reason": "stop" }] });
    for (words, status) in [
        (json!({ "error": schema }), 400),
        (json!({ "choices": [{ "error": schema }] }), 400),
        (json!([{ "error": schema }]), 400),
        (json!([begun, { "error": schema }]), 200),
        (json!([{ "error": unsorted }]), 502),
        (json!([begun, { "error": unsorted }]), 200),
        (late(&schema), 200),
        (late(&flagged), 200),
        (late(&long), 200),
    ] {
        let calls = mock.calls();
        for _ in 0..8 {
            let response = gateway.post(CHAT, asking("busy", &words, words.is_array())).await;
            assert_eq!(response.status(), status, "{words}");
            let told = response.text().await.unwrap();
            if status == 400 {
                let told = error(CHAT, &serde_json::from_str(&told).unwrap());
                assert_eq!(told, "gpt/busy: bad tool schema", "{words}");
            }
        }
        assert_eq!(mock.calls() - calls, 8, "{words}: asked again in vain");
        assert_eq!(gateway.post(CHAT, asking("busy", &good, false)).await.status(), 200, "{words}");
    }
    // What is the vendor's fault opens it.
    let fault = late(&json!({ "code": 502, "message": "Upstream idle timeout" }));
    for _ in 0..8 {
        gateway.post(CHAT, asking("busy", &fault, true)).await.text().await.unwrap();
    }
    assert_eq!(gateway.post(CHAT, asking("busy", &good, false)).await.status(), 503);
    gateway.stop().await;
}

#[tokio::test]
async fn half_an_event_behind_a_vendors_error_is_not_passed_on() {
    let begun = json!({ "choices": [{ "delta": { "content": "So " } }] });
    let failed = json!({ "error": { "code": 400, "message": "no" } });
    let mock = Mock::start(move |body| {
        let end = asked(body).as_str().unwrap_or_default().to_owned();
        Script::events(vec![(0, format!("data: {begun}\n\n")), (50, format!("data: {failed}{end}"))])
    })
    .await;
    let gateway = start(&mock, "").await;
    for end in ["\n\ndata: [DO", "\n\n", "\n", ""] {
        let told = gateway.post(CHAT, asking("busy", &json!(end), true)).await.text().await.unwrap();
        let events: Vec<&str> = told.split_terminator("\n\n").collect();
        assert!(events.len() == 2 && events[1].ends_with("\"no\"}}"), "{end:?}: {told}");
        assert!(told.ends_with("\n\n"), "{end:?}: {told}");
    }
    gateway.stop().await;
}
