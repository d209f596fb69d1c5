//! What the pages tell an operator unasked.

use super::*;

#[tokio::test]
async fn every_page_tells_of_a_decision_log_that_keeps_nothing() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let page = browser.get("/dashboard").await.text().await.unwrap();
    let state = |kind: &str| format!("<span class=\"dot {kind}\"></span>Serving");
    assert!(!page.contains("The decision log is") && page.contains(&state("good")), "{page}");
    gateway.stop().await;
    // A file where the log's directory should be: it cannot be written, whoever runs the test.
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sandbox")).unwrap();
    std::fs::write(dir.path().join("sandbox/log"), "x").unwrap();
    let gateway = locked(&format!("[server]\ndata_dir = '{}'", dir.path().display())).await;
    let browser = Browser::sign_in(&gateway).await;
    let health = gateway.app.gateway.store.health();
    let status = pointsman::gateway::health::store_line(&health)["status"].as_str().unwrap().to_owned();
    for path in ["", "/monitor", "/decisions", "/learning", "/models", "/playground", "/tokens", "/configuration"] {
        let page = browser.get(&format!("/dashboard{path}")).await.text().await.unwrap();
        assert!(page.contains(&format!("The decision log is {status}.")), "{path}: {page}");
        assert!(page.contains(&state("warn")), "{path}: {page}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn a_hold_is_ended_where_it_is_told() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let page = async || browser.get("/dashboard/learning").await.text().await.unwrap();
    assert!(!page().await.contains("End the hold"));
    let asked = gateway.post("/api/chat", ask("/api/chat", "auto", "hi")).await.json::<Value>().await.unwrap();
    let body = json!({ "decision_id": asked["id"], "score": 1 });
    assert_eq!(gateway.post("/api/feedback", body).await.status(), 200);
    gateway.app.gateway.flush_log().await.unwrap();
    for (act, body) in [("retune", json!({})), ("promote", json!({ "version": 2 })), ("rollback", json!({}))] {
        let done = browser.call("POST", &format!("/api/admin/policy/{act}"), body).await;
        assert_eq!(done.status(), 200, "{act}: {}", done.text().await.unwrap());
    }
    let held = page().await;
    assert!(held.contains("No new one takes over") && held.contains("End the hold"), "{held}");
    browser.call("POST", "/api/admin/policy/unpin", json!({})).await;
    let ended = page().await;
    assert!(!ended.contains("No new one takes over") && !ended.contains("End the hold"), "{ended}");
    gateway.stop().await;
}

#[tokio::test]
async fn a_filter_by_what_is_listed_no_longer_is_shown() {
    let gateway = locked("").await;
    let browser = Browser::sign_in(&gateway).await;
    let page = browser.get("/dashboard/decisions?model=gone-model&status=context_overflow").await;
    let page = page.text().await.unwrap();
    for value in ["gone-model", "context_overflow"] {
        assert!(page.contains(&format!("<option value=\"{value}\" selected>{value}</option>")), "{page}");
    }
    let page = browser.get("/dashboard/decisions?model=gpt-4o").await.text().await.unwrap();
    assert_eq!(page.matches("<option value=\"gpt-4o\"").count(), 1, "{page}");
    gateway.stop().await;
}

#[tokio::test]
async fn an_address_without_a_page_is_answered_by_a_page() {
    let gateway = locked("").await;
    let stranger = Browser::new(&gateway);
    assert_eq!(stranger.get("/dashboard/nope").await.status(), 303, "who is not signed in learns nothing");
    let browser = Browser::sign_in(&gateway).await;
    for path in ["/dashboard/nope", "/dashboard/decisions/a/b"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status(), 404);
        assert!(answer.text().await.unwrap().contains("There is no such page"), "{path}");
    }
    gateway.stop().await;
}
