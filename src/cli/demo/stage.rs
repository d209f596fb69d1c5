//! Everything a demo needs, started and stopped together.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use jiff::Timestamp;
use serde_json::json;

use crate::app::App;
use crate::config::{self, LoadArgs};
use crate::protocol::Price;
use crate::sandbox::score::Scale;
use crate::sandbox::{Change, Fault, Pace, Sandbox, Times, World};
use crate::store::{AuditRecord, private_directory};
use crate::telemetry;

/// Models that take part: expensive and cheap ones, good at different things.
const CAST: [&str; 7] = [
    "claude-opus-5-5",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
    "gpt-6-luna",
    "gpt-4o",
    "deepseek-v3.1",
    "deepseek-r1",
];

/// Settings that differ from the defaults: learning that takes minutes in production takes seconds here.
const SETTINGS: [(&str, &str); 7] = [
    // So that prompts are read even on a machine that is busy with the whole demo.
    ("classifier.budget_ms", "2000"),
    ("learning.interval_s", "10"),
    ("learning.min_feedback", "150"),
    ("learning.gate.min_choices", "30"),
    ("learning.guard.hold_minutes", "1"),
    ("providers.ollama.enabled", "false"),
    ("telemetry.log", "\"info\""),
];

/// How long the classifier may take to load.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);

/// About how long answers are.
const ANSWER_TOKENS: u64 = 250;

/// Stand-in vendors, gateway, dashboard.
pub(super) struct Stage {
    sandbox: Sandbox,
    app: App,
    dir: PathBuf,
    /// The vendors' ids of the models, by the gateway's names.
    upstream: BTreeMap<String, String>,
}

impl Stage {
    /// Starts everything; a port in use is replaced by a free one.
    ///
    /// # Errors
    ///
    /// When something does not start.
    pub(super) async fn set(proxy: SocketAddr, admin: SocketAddr) -> anyhow::Result<Self> {
        let dir = private_directory("demo").context("a directory for the demo")?;
        let sandbox = Sandbox::start(Pace::Real).await.context("the sandbox")?;
        sandbox.set_answer_tokens(ANSWER_TOKENS);
        let flag = |key: &str, value: String| ("demo".to_owned(), key.to_owned(), value);
        let mut flags: Vec<_> = SETTINGS.iter().map(|(key, value)| flag(key, (*value).to_owned())).collect();
        flags.push(flag("server.listen", format!("\"{}\"", free(proxy))));
        flags.push(flag("admin.listen", format!("\"{}\"", free(admin))));
        flags.push(flag("server.data_dir", json!(dir).to_string()));
        let all = config::load(&LoadArgs::default()).context("the defaults")?.config.models;
        let cast: BTreeSet<&str> = CAST.into_iter().collect();
        for name in all.keys() {
            let key = format!("models.{}", json!(name));
            let (what, value) = if cast.contains(name.as_str()) { ("weight", "1.0") } else { ("enabled", "false") };
            flags.push(flag(&format!("{key}.{what}"), value.to_owned()));
        }
        // Without the process's environment and configuration: the demo is the same everywhere.
        let args = LoadArgs {
            dir: dir.clone(),
            environment: vec![Sandbox::variable()],
            flags,
            sandbox: Some(sandbox.settings()),
            ..LoadArgs::default()
        };
        let loaded = config::load(&args).context("the demo's configuration is wrong")?;
        telemetry::init_unseen(&loaded.config.telemetry)?;
        let id = |(name, model): (&String, &config::Model)| {
            (name.clone(), model.upstream.clone().unwrap_or_else(|| name.clone()))
        };
        let upstream = loaded.config.models.iter().map(id).collect();
        let app = App::start(args, loaded).await?;
        Ok(Self { sandbox, app, dir, upstream })
    }

    /// Waits until the classifier is loaded.
    pub(super) async fn warm_up(&self) {
        drop(tokio::time::timeout(LOAD_TIMEOUT, self.app.gateway.classifier.settled()).await);
    }

    /// A remark if many prompts could not be read in time.
    pub(super) fn unread(&self) -> Option<String> {
        let counts = self.app.gateway.classifier.status().counts;
        let missed = ["too_slow", "busy", "loading"].iter().map(|word| counts.missed(word)).sum::<u64>();
        let share = missed as f64 / (missed + counts.read + counts.cached).max(1) as f64;
        (share >= 0.1).then(|| {
            format!(
                "{:.0} % of the prompts could not be read in time, and were routed without: this machine is busy or \
                 slow. With more of them read, the routing is better than this.",
                share * 100.0
            )
        })
    }

    /// The proxy's URL.
    pub(super) fn proxy(&self) -> String {
        format!("http://{}", self.app.proxy)
    }

    /// The URL that opens the dashboard.
    pub(super) fn link(&self) -> String {
        let admin = self.app.admin.map_or_else(String::new, |admin| admin.to_string());
        match self.app.gateway.sign_in.new_link() {
            Some(link) => format!("http://{admin}/dashboard/login?link={link}"),
            None => format!("http://{admin}/dashboard"),
        }
    }

    /// Prices and the cost weight, to compute rewards.
    pub(super) fn scale(&self) -> Scale {
        let live = self.app.gateway.live();
        let price = |name: &str| -> Option<(String, Price)> {
            Some((name.to_owned(), live.catalog.find(name)?.settings.price))
        };
        Scale {
            prices: CAST.iter().filter_map(|name| price(name)).collect(),
            cost_per_usd: live.config.routing.objectives.balanced.cost_per_usd,
        }
    }

    /// The policy in force, for the progress line.
    pub(super) fn policy(&self) -> String {
        let status = self.app.gateway.learner.status();
        format!("policy v{} from {} judgements and signals", status.live, status.learned_from)
    }

    /// Makes the world's changes that are due at this visit, and describes them.
    pub(super) async fn change(&self, world: &World, number: u64) -> Vec<String> {
        let mut news = Vec::new();
        for drift in world.drift.iter().filter(|drift| drift.from == number && number > 0) {
            let model = &drift.model;
            match drift.change {
                Change::Skill(_) => news.push(format!("{model} gets worse from here on")),
                Change::Failures(share) => {
                    let fault = Fault::Status { status: 500, retry_after: None };
                    if let Some(id) = self.upstream.get(model) {
                        self.sandbox.faults().set(id, fault, Times::Share(share));
                    }
                    news.push(format!("{model} fails {:.0} % of its calls from here on", share * 100.0));
                }
                Change::Price(factor) => {
                    news.push(format!("{model} costs {factor} times as much from here on"));
                    self.dearer(model, factor).await;
                }
            }
        }
        news
    }

    /// Changes a price as an operator would.
    async fn dearer(&self, model: &str, factor: f64) {
        let gateway = &self.app.gateway;
        let live = gateway.live();
        let Some(known) = live.catalog.find(model) else { return };
        let before = known.settings.price;
        let times = |price: f64| (price * factor * 1e6).round() / 1e6;
        let after = Price {
            input: times(before.input),
            output: times(before.output),
            cache_read: before.cache_read.map(times),
            cache_write: before.cache_write.map(times),
            ..before
        };
        match gateway.override_model(model, |change| change.price = Some(after)).await {
            Ok(_) => {
                let detail = json!({ "before": before, "after": after });
                let now_ms = Timestamp::now().as_millisecond();
                gateway.note(AuditRecord::of("demo", "model.change", model, detail, now_ms)).await;
            }
            Err(error) => tracing::error!(error = %error, "The demo's price change was not made"),
        }
    }

    /// Stops everything, and removes the directory.
    pub(super) async fn strike(self) {
        self.app.stop().await;
        self.sandbox.stop().await;
        if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("pointsman: {} is left behind: {error}", self.dir.display());
        }
    }
}

/// The address, or the same with a free port if its port is in use.
fn free(wanted: SocketAddr) -> SocketAddr {
    match TcpListener::bind(wanted) {
        Ok(_) => wanted,
        Err(_) => SocketAddr::new(wanted.ip(), 0),
    }
}
