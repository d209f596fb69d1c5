//! Sends the requests of a [`World`]'s users to a gateway: `/api/chat` to ask, `/api/feedback` to rate, as any client
//! would.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::users::{Rating, Verdict, World};

/// How long a user waits for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a request to the gateway failed.
#[derive(Debug, thiserror::Error)]
pub enum CrowdError {
    /// No answer, or none that can be read.
    #[error("{0}")]
    Http(#[from] reqwest::Error),
    /// The gateway answered with an error status.
    #[error("the gateway answered {0}")]
    Refused(u16),
}

/// A gateway's answer and the user's verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The decision's id.
    pub decision: String,
    /// The model that answered.
    pub model: String,
    /// Tokens of the prompt.
    pub input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
    /// The cost in US dollars.
    pub cost_usd: f64,
    /// The user's verdict, rated or not.
    pub verdict: Verdict,
}

/// All users of a world, as clients of one gateway.
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
        // The HTTP client needs a TLS provider even for plain HTTP.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build()?;
        Ok(Self { http, base, world })
    }

    /// Asks the n-th visit's question and returns the answer with the user's verdict.
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
            // Each visit is a conversation of its own, even if two begin with the same words.
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

    /// Sends a user's rating of an answer.
    ///
    /// # Errors
    ///
    /// When the gateway does not accept it.
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
