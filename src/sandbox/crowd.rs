//! The users of a [`World`] at a gateway's door: they ask by `/api/chat`, and rate by `/api/feedback`, as any client does.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::users::{Rating, Verdict, World};

/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a user got nothing.
#[derive(Debug, thiserror::Error)]
pub enum CrowdError {
    /// No answer, or none that can be read.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// The gateway said no.
    #[error("the gateway answered {0}")]
    Refused(u16),
}

/// One answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The decision behind it.
    pub decision: String,
    /// The model that answered.
    pub model: String,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// What it cost, US dollars.
    pub cost_usd: f64,
    /// What the user makes of it, said or unsaid.
    pub verdict: Verdict,
}

/// All users of a world, at one gateway.
#[derive(Debug, Clone)]
pub struct Crowd {
    http: reqwest::Client,
    base: String,
    world: Arc<World>,
}

impl Crowd {
    /// The users of `world` at the gateway whose proxy listens at `base` (`http://127.0.0.1:3100`).
    ///
    /// # Errors
    ///
    /// When no HTTP client can be made.
    pub fn new(base: String, world: Arc<World>) -> Result<Self, CrowdError> {
        // The client wants TLS even where it speaks none.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(PATIENCE).no_proxy().build()?;
        Ok(Self { http, base, world })
    }

    /// The n-th visit's question, and what its user makes of the answer.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub async fn ask(&self, number: u64) -> Result<Answered, CrowdError> {
        let visit = self.world.visit(number);
        let user = self.world.tastes.get(visit.taste).map_or("nobody", |taste| taste.name);
        let body = json!({
            "model": "auto",
            "messages": [{ "role": "user", "content": visit.prompt.prompt }],
            // Each visit is a conversation of its own, though two may begin with the same words.
            "routing": { "conversation": format!("visit {number}"), "tags": { "user": user } },
        });
        let reply = self.post("/api/chat", &body).await?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let model = text(&reply["model"]);
        let verdict = self.world.verdict(&visit, &model);
        Ok(Answered {
            decision: text(&reply["routing"]["decision_id"]),
            model,
            input_tokens: reply["usage"]["input_tokens"].as_u64().unwrap_or(0),
            output_tokens: reply["usage"]["output_tokens"].as_u64().unwrap_or(0),
            cost_usd: reply["cost_usd"].as_f64().unwrap_or(0.0),
            verdict,
        })
    }

    /// Says what a user makes of an answer.
    ///
    /// # Errors
    ///
    /// When the gateway does not take it.
    pub async fn rate(&self, decision: &str, rating: Rating) -> Result<(), CrowdError> {
        let mut body = json!({ "decision_id": decision, "source": "user", "id": decision });
        match rating {
            Rating::Thumbs(up) => body["thumbs"] = json!(if up { "up" } else { "down" }),
            Rating::Stars(stars) => body["rating"] = json!(stars),
            Rating::Correct(right) => body["correct"] = json!(right),
        }
        self.post("/api/feedback", &body).await.map(drop)
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, CrowdError> {
        let response = self.http.post(format!("{}{path}", self.base)).json(body).send().await?;
        if !response.status().is_success() {
            return Err(CrowdError::Refused(response.status().as_u16()));
        }
        Ok(response.json().await?)
    }
}
