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
    /// See images.
    Vision,
    /// Answer by a JSON schema.
    StructuredOutput,
    /// Think before it answers.
    Reasoning,
}

/// What a model answers with an error although its vendor's dialect can say it. The field is left out or replaced;
/// only for `forced_tools` (if an answer cannot stand for the call), `prefill`, `stop` and `logprobs` another model is
/// asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Sampling fields: temperature, `top_p`, `top_k`, penalties.
    Sampling,
    /// Being made to call a tool.
    ForcedTools,
    /// Going on with the beginning of an answer: a conversation that ends with the assistant's text.
    Prefill,
    /// Strings that end the answer.
    Stop,
    /// Telling the probabilities of tokens.
    Logprobs,
    /// Being told not to think.
    NoThinking,
    /// How much to think, in tokens.
    ThinkingBudget,
    /// How much to think, in words.
    ThinkingEffort,
    /// The word `minimal` for how much to think.
    MinimalThinking,
    /// Thinking where there are tools.
    ThinkingWithTools,
}

/// The largest price, weight or factor: with more, sums of costs would not stay numbers.
pub const LARGEST: f64 = 1e6;

/// What is wrong with a model's or a deployment's weight, if anything.
pub fn fault_of_weight(weight: f64) -> Option<&'static str> {
    (!(0.0..=LARGEST).contains(&weight)).then_some("must be from 0 to a million")
}

/// What is wrong with the parts of a price: the key below `price`, and what it must be.
pub fn faults_of_price(price: &Price) -> impl Iterator<Item = (&'static str, &'static str)> {
    let amounts = [
        ("input", Some(price.input)),
        ("output", Some(price.output)),
        ("cache_read", price.cache_read),
        ("cache_write", price.cache_write),
    ];
    let factors = price.long_prompt.map(|long| {
        [("long_prompt.input_factor", long.input_factor), ("long_prompt.output_factor", long.output_factor)]
    });
    let amounts = amounts.into_iter().filter(|(_, amount)| amount.is_some_and(|it| !(0.0..=LARGEST).contains(&it)));
    let factors = factors.into_iter().flatten().filter(|(_, factor)| !(*factor > 0.0 && *factor <= LARGEST));
    amounts
        .map(|(key, _)| (key, "must be from 0 to a million US dollars per million tokens"))
        .chain(factors.map(|(key, _)| (key, "must be more than 0, up to a million; 2.0 = twice the price")))
}

/// A model. Live. The defaults are those of a model without a description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Model {
    /// Whether it takes part.
    pub enabled: bool,
    /// The provider that serves it, if there is only one; several stand in `deployments`.
    pub provider: Option<String>,
    /// The id that the provider knows it by; absent = the model's own name.
    pub upstream: Option<String>,
    /// Further deployments that serve it.
    pub deployments: Vec<Deployment>,
    /// US dollars per million tokens.
    pub price: Price,
    /// Tokens that prompt and answer may have together.
    pub context: u32,
    /// Most tokens of an answer; absent = unknown, and a request's `max_tokens` is sent as it is.
    pub max_output: Option<u32>,
    /// What it can do beyond text.
    pub can: BTreeSet<Capability>,
    /// Whether `can` is but a guess: a server's list has the model's name, and does not tell what it can.
    #[serde(skip)]
    pub can_is_guessed: bool,
    /// Request features it refuses.
    pub refuses: BTreeSet<Refusal>,
    /// Its share of `auto` under the strategy `weighted`, relative to the others; 0 = only by name.
    pub weight: f64,
    /// A model whose record stands in until this one has its own.
    pub like: Option<String>,
    /// The model that `like` means, where that is another name of it; the catalog looks it up.
    #[serde(skip)]
    pub likeness: Option<String>,
    /// Quality from 0 to 1; absent = that of `like`.
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
            can_is_guessed: false,
            refuses: BTreeSet::new(),
            weight: 1.0,
            like: None,
            likeness: None,
            score: None,
        }
    }
}

impl Model {
    /// All deployments, `provider` included; `name` is the model's own.
    pub fn all_deployments(&self, name: &str) -> Vec<Deployment> {
        let own = self.provider.as_ref().map(|provider| Deployment {
            provider: provider.clone(),
            upstream: self.upstream.clone(),
            weight: 1.0,
        });
        let named = |deployment: Deployment| Deployment {
            upstream: Some(deployment.upstream.unwrap_or_else(|| name.to_owned())),
            ..deployment
        };
        own.into_iter().chain(self.deployments.iter().cloned()).map(named).collect()
    }

    /// Where it is served, as provider and id there; `name` is the model's own.
    pub fn places<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let own = self.provider.iter().map(|provider| (provider, &self.upstream));
        let further = self.deployments.iter().map(|deployment| (&deployment.provider, &deployment.upstream));
        own.chain(further).map(move |(provider, id)| (provider.as_str(), id.as_deref().unwrap_or(name)))
    }

    /// The names of all deployments, as `provider/upstream`.
    pub fn deployment_names(&self, name: &str) -> Vec<String> {
        self.places(name).map(|(provider, id)| format!("{provider}/{id}")).collect()
    }
}

/// A deployment: a model's id at a provider.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deployment {
    /// A key of `[providers]`.
    pub provider: String,
    /// The id that the provider knows the model by; absent = the model's own name.
    #[serde(default)]
    pub upstream: Option<String>,
    /// Its share of the model's traffic, relative to the other deployments.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}
