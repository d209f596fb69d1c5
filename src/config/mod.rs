//! Configuration as plain data: one section struct per module that has settings, and how they are loaded.
//!
//! **Layers**, later ones win: the embedded `config/default.toml`; the environment's file (`POINTSMAN_ENV=production`
//! reads `config/production.toml`, or the copy embedded in the binary); `--config FILE`; `.env` and the environment
//! (`POINTSMAN__SECTION__KEY`); flags ([`layers`]). Every value knows which layer set it.
//!
//! **Strict.** An unknown key, a value out of range or a reference to nothing stops the start, and the message names
//! the key, the layer and the remedy ([`keys`], [`check`]). Everything that is wrong is reported at once ([`mod@decode`]).
//!
//! **Secrets** are not values in here: a provider names the environment variable or the file that holds its key, and
//! [`mod@load`] resolves it into a field that is neither printed nor serialised.

mod access;
mod admin;
mod budget;
mod check;
mod classifier;
mod decode;
mod dispatch;
mod dotenv;
mod errors;
mod fixed;
mod keys;
mod layers;
mod learning;
mod limits;
mod load;
mod models;
mod names;
mod nearest;
mod overrides;
mod providers;
mod quirks;
mod range;
mod redact;
mod remarks;
mod routing;
mod rules;
mod sandboxed;
mod search;
mod secrets;
mod server;
mod stamp;
mod store;
mod telemetry;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use access::{Access, Auth};
pub use admin::{Admin, Password};
pub use budget::Budget;
pub use classifier::{Classifier, Device, Hub, Precision};
pub use dispatch::{Breaker, Dispatch, RetryBudget};
pub use errors::ConfigErrors;
pub use fixed::{keep_fixed, keep_fixed_settings, needs_restart};
pub use layers::{Origin, Setting};
pub use learning::{Bandit, Gate, Guard, Learning, LearningMode, PolicyName, RewardMap};
pub use limits::Limits;
pub use load::{DEFAULTS, LoadArgs, Loaded, load};
pub use models::{Capability, Deployment, LARGEST, Model, Refusal, fault_of_weight, faults_of_price};
pub use names::{Described, Names};
pub use nearest::did_you_mean;
pub use overrides::{Configured, ModelOverride, Overrides};
pub use providers::{Provider, Roots};
pub use quirks::{MaxTokensField, Quirks};
pub(crate) use redact::without_credentials;
pub use remarks::unknown_likes;
pub use routing::{Objectives, Routing, Sticky, Strategy, Weights};
pub use rules::{Rule, Trait, When, Within};
pub use search::Search;
pub use server::Server;
pub use stamp::{Stamp, Stamped};
pub use store::Store;
pub use telemetry::{LogFormat, Telemetry};

/// Everything that can be configured. `config/default.toml` says what each key is for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The proxy listener.
    pub server: Server,
    /// The admin listener.
    pub admin: Admin,
    /// API tokens and client addresses.
    pub access: Access,
    /// Limits on requests and tokens.
    pub limits: Limits,
    /// Deadlines, retries, breakers.
    pub dispatch: Dispatch,
    /// How `auto` chooses.
    pub routing: Routing,
    /// How feedback changes routing.
    pub learning: Learning,
    /// What routing may spend.
    pub budget: Budget,
    /// The embedded model.
    pub classifier: Classifier,
    /// Logs and traces.
    pub telemetry: Telemetry,
    /// The database.
    pub store: Store,
    /// Providers, by name.
    pub providers: BTreeMap<String, Provider>,
    /// Models, by the name they have here.
    pub models: BTreeMap<String, Model>,
    /// Other names for models.
    pub aliases: BTreeMap<String, String>,
    /// Aliases that come from the defaults alone: a model that a server lists under the same name wins over them.
    #[serde(skip)]
    pub default_aliases: BTreeSet<String>,
    /// Models that come from the defaults alone.
    #[serde(skip)]
    pub default_models: BTreeSet<String>,
    /// Static rules, in order.
    pub rules: Vec<Rule>,
    /// What operators changed on the dashboard; no file holds it.
    #[serde(skip)]
    pub overrides: Overrides,
}

impl Config {
    /// Whether the operator, not the defaults, has given a model this name as an alias.
    pub fn has_own_alias(&self, name: &str) -> bool {
        self.aliases.contains_key(name) && !self.default_aliases.contains(name)
    }

    /// Whether a model comes from the defaults alone and none of its providers can be called, for want of a key mostly:
    /// one that a server lists under the same name takes its place.
    pub fn yields(&self, model: &str) -> bool {
        let can_be_called =
            |(provider, _)| self.providers.get(provider).is_some_and(|it| it.enabled && !it.lacks_key());
        let settings = self.models.get(model).filter(|_| self.default_models.contains(model));
        settings.is_some_and(|settings| !settings.places(model).any(can_be_called))
    }

    /// Whether any server is asked for its models.
    pub fn discovers(&self) -> bool {
        self.providers.values().any(Provider::discovers)
    }
}

/// Mebibytes in bytes.
pub fn mebibytes(count: u64) -> usize {
    count.checked_mul(1 << 20).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
}
