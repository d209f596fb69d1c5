//! Models and where they are served.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::protocol::Price;

/// What a model can do beyond text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Call tools.
    Tools,
    /// See pictures.
    Vision,
    /// Hold its answer to a JSON schema.
    StructuredOutput,
    /// Think before it answers.
    Reasoning,
}

/// What a model may refuse although its vendor's dialect can say it. It is left out or said in another way; only a
/// model that refuses to be made to call tools, or to go on with an answer, is not asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// How to sample: temperature, `top_p`, `top_k`, penalties.
    Sampling,
    /// That it must call a tool.
    ForcedTools,
    /// To go on with an answer that is begun: a conversation that ends with the assistant's text.
    Prefill,
    /// Not to think.
    NoThinking,
    /// How much to think, in tokens.
    ThinkingBudget,
    /// How much to think, in words.
    ThinkingEffort,
    /// To think as little as there is a word for (`minimal`).
    MinimalThinking,
    /// To think where there are tools.
    ThinkingWithTools,
}

/// A model. Live. The defaults are those of a model nobody described.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Whether it takes part.
    pub enabled: bool,
    /// The provider that serves it, where there is one; several stand in `deployments`.
    pub provider: Option<String>,
    /// The id that provider knows it by; the model's own name where absent.
    pub upstream: Option<String>,
    /// Further places that serve it.
    pub deployments: Vec<Place>,
    /// US dollars per million tokens.
    pub price: Price,
    /// Tokens that prompt and answer may have together.
    pub context: u32,
    /// Most tokens of an answer; where absent nobody knows, and what a client wishes is sent as it is.
    pub max_output: Option<u32>,
    /// What it can do beyond text.
    pub can: BTreeSet<Capability>,
    /// What it refuses.
    pub refuses: BTreeSet<Refusal>,
    /// Its share of `auto` under the strategy `weighted`, relative to the others; 0 = only by name.
    pub weight: f64,
    /// A model whose record stands in for this one's until it has its own.
    pub like: Option<String>,
    /// How good it is on a scale from 0 to 1, where no model is like it.
    pub score: Option<f64>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            enabled: true,
            provider: None,
            upstream: None,
            deployments: Vec::new(),
            price: Price::default(),
            context: 128_000,
            max_output: None,
            can: BTreeSet::new(),
            refuses: BTreeSet::new(),
            weight: 1.0,
            like: None,
            score: None,
        }
    }
}

impl Model {
    /// All places that serve it; `name` is the model's own.
    pub fn places(&self, name: &str) -> Vec<Place> {
        let own = self.provider.as_ref().map(|provider| Place {
            provider: provider.clone(),
            upstream: self.upstream.clone(),
            weight: 1.0,
        });
        let named =
            |place: Place| Place { upstream: Some(place.upstream.unwrap_or_else(|| name.to_owned())), ..place };
        own.into_iter().chain(self.deployments.iter().cloned()).map(named).collect()
    }
}

/// One place that serves a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// A key of `[providers]`.
    pub provider: String,
    /// The id that provider knows the model by; the model's own name where absent.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Its share of the model's traffic, relative to the other places.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}
