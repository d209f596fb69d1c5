//! Which requests are one conversation, that stays on its model, and which only begin with the same words.

use std::time::Duration;

use pointsman::protocol::{DecisionId, Mode};
use pointsman::store::Signal;
use serde_json::{Value, json};

use crate::support::TestGateway;
use crate::support::mock::{Mock, Script};

/// A turn of chat.
fn turn(role: &str, text: &str) -> Value {
    json!({ "role": role, "content": text })
}

/// The decision of an answered request, and the model that answered; a dry run's call is reported as made.
async fn answered(gateway: &TestGateway, path: &str, body: Value) -> (DecisionId, String) {
    let response = gateway.post(path, body).await;
    assert_eq!(response.status(), 200);
    if path == "/api/route" {
        let told: Value = response.json().await.unwrap();
        let report = json!({ "decision_id": told["decision_id"], "status": "ok" });
        assert_eq!(gateway.post("/api/outcomes", report).await.status(), 202);
        return (told["decision_id"].as_str().unwrap().parse().unwrap(), told["chosen"].as_str().unwrap().into());
    }
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    let told = (header("x-pointsman-decision").parse().unwrap(), header("x-pointsman-model"));
    response.bytes().await.unwrap();
    // A moment for what comes after the answer.
    tokio::time::sleep(Duration::from_millis(30)).await;
    told
}

#[tokio::test]
async fn requests_that_begin_with_the_same_example_are_no_conversation() {
    let gateway = TestGateway::start("[routing]\nstrategy = 'weighted'").await;
    for (path, user) in
        [("/api/chat", ""), ("/api/route", ""), ("/v1/chat/completions", "jane"), ("/api/route", "jane")]
    {
        let mut ids = Vec::new();
        for _ in 0..4 {
            let messages = [
                turn("system", "Classify."),
                turn("user", "Example: bad"),
                turn("assistant", "negative"),
                turn("user", "great product"),
            ];
            ids.push(
                answered(&gateway, path, json!({ "model": "auto", "messages": messages, "user": user })).await.0,
            );
        }
        gateway.app.gateway.recorder.flush().await.unwrap();
        for id in ids {
            let entry = gateway.app.gateway.store.entry_with_sequel(id).unwrap().unwrap();
            assert_ne!(entry.decision.mode, Mode::Sticky, "{path} {user}");
            assert!(entry.decision.request.begun_elsewhere && entry.decision.request.turn == 2, "{path} {user}");
            assert!(!entry.outcome.unwrap().signals.contains(&Signal::AskedAgain), "{path} {user}");
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn sessions_that_begin_with_the_same_words_stay_on_a_model_each() {
    let gateway = TestGateway::start("[routing]\nstrategy = 'weighted'").await;
    for changing in [true, false] {
        let mut sessions = [("gpt-4o", "my garden"), ("claude-haiku-5-5", "tax law")].map(|(model, subject)| {
            let begun = [turn("user", "Begin."), turn("assistant", "Ready."), turn("user", subject)];
            (model, begun.to_vec())
        });
        for number in 2..6 {
            for (model, turns) in &mut sessions {
                let time = if changing { format!("It is 12:00:0{number}.") } else { "Be brief.".to_owned() };
                let messages = [vec![turn("system", &time)], turns.clone()].concat();
                let asked = if number == 2 { *model } else { "auto" };
                let body = json!({ "model": asked, "messages": messages });
                let (_, on) = answered(&gateway, "/api/chat", body).await;
                assert_eq!(on, *model, "turn {number}, changing: {changing}");
                turns.extend([turn("assistant", "ok"), turn("user", "go on")]);
            }
        }
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_conversation_that_began_elsewhere_is_known_from_its_next_turn_on() {
    let gateway = TestGateway::start("[routing]\nstrategy = 'weighted'").await;
    for path in ["/api/chat", "/api/route"] {
        let mut turns = vec![turn("user", path), turn("assistant", "Hm."), turn("user", "What is a monad?")];
        let mut on = None;
        let mut ids = Vec::new();
        for _ in 0..4 {
            let (id, model) = answered(&gateway, path, json!({ "model": "auto", "messages": turns })).await;
            assert_eq!(*on.get_or_insert(model.clone()), model, "{path}");
            ids.push(id);
            if ids.len() != 3 {
                turns.extend([turn("assistant", "Well ..."), turn("user", &format!("And {}?", ids.len()))]);
            }
        }
        gateway.app.gateway.recorder.flush().await.unwrap();
        let entries = ids.iter().map(|id| gateway.app.gateway.store.entry_with_sequel(*id).unwrap().unwrap());
        let told: Vec<_> = entries
            .map(|entry| {
                let again = entry.outcome.unwrap().signals.contains(&Signal::AskedAgain);
                (entry.decision.request.begun_elsewhere, again)
            })
            .collect();
        assert_eq!(told, [(true, false), (false, false), (false, true), (false, false)], "{path}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn as_many_conversations_are_remembered_as_the_configuration_says() {
    let gateway = TestGateway::start("[routing]\nstrategy = 'weighted'\nsticky.conversations = 8").await;
    let begun = |number: u32| vec![turn("system", "Be brief."), turn("user", &format!("Hello, {number}."))];
    for number in 0..8 {
        answered(&gateway, "/api/chat", json!({ "model": "auto", "messages": begun(number) })).await;
    }
    let turns = [begun(0), vec![turn("assistant", "Hm."), turn("user", "Go on.")]].concat();
    let (id, _) = answered(&gateway, "/api/chat", json!({ "model": "auto", "messages": turns })).await;
    gateway.app.gateway.recorder.flush().await.unwrap();
    let entry = gateway.app.gateway.store.entry_with_sequel(id).unwrap().unwrap();
    assert!(!entry.decision.request.begun_elsewhere);
    gateway.stop().await;
}

#[tokio::test]
async fn a_conversation_stays_at_the_deployment_that_has_its_prompt() {
    let word = |_: &str| Script::openai([(100, "word".into())]);
    let (first, second) = (Mock::start(word).await, Mock::start(word).await);
    let twin = "[models.twin]\ndeployments = [{ provider = 'first' }, { provider = 'second' }]\n";
    let gateway = TestGateway::before(&(first.openai("first") + &second.openai("second")), twin).await;
    let backend = async |messages: &[Value]| {
        let body = json!({ "model": "twin", "stream": true, "messages": messages });
        let response = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(response.status(), 200);
        let backend = response.headers()["x-pointsman-backend"].to_str().unwrap().to_owned();
        response.bytes().await.unwrap();
        tokio::time::sleep(Duration::from_millis(30)).await;
        backend
    };
    let mut moves = 0;
    for number in 0..6 {
        let mut messages = vec![turn("user", &format!("Hello, {number}."))];
        let mut at = backend(&messages).await;
        for _ in 0..4 {
            messages.extend([turn("assistant", "word word"), turn("user", "Go on.")]);
            let next = backend(&messages).await;
            moves += usize::from(next != at);
            at = next;
        }
    }
    // By chance it would be half of all turns. One may pass for slow on a busy machine.
    assert!(moves <= 2, "{moves} of 24");
    gateway.stop().await;
}
