//! Prometheus metrics.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

use crate::protocol::{Usage, Usd};

/// Seconds, from a cached decision to a model that thinks for as long as a whole answer may take.
const LATENCY_BUCKETS: [f64; 18] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    dialect: &'static str,
    model: String,
    status: &'static str,
    mode: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    model: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ErrorLabels {
    model: String,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabels {
    endpoint: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeploymentLabels {
    model: String,
    deployment: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RecordLabel {
    record: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CauseLabel {
    cause: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PercentileLabel {
    percentile: &'static str,
}

/// How one request for a chat or an embedding ended.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// The client's dialect, or `embeddings`.
    pub dialect: &'static str,
    /// The model that answered, or was asked last.
    pub model: &'a str,
    /// `ok`, `cancelled`, or an error's code.
    pub status: &'static str,
    /// How the model was chosen.
    pub mode: &'static str,
    /// From arrival to the end of the answer.
    pub latency: Duration,
    /// From arrival to the first piece of content.
    pub first_token: Option<Duration>,
    /// Tokens of the answer, where known.
    pub usage: Option<Usage>,
    /// The cost, with that of the calls in `lost`.
    pub cost: Usd,
    /// Calls without an answer that were charged for: model, tokens and cost.
    pub lost: Vec<(&'a str, Usage, Usd)>,
    /// Upstream calls made.
    pub calls: u32,
    /// Models that failed before.
    pub failovers: u32,
    /// The failed calls: model and error code.
    pub causes: Vec<(&'a str, &'static str)>,
}

/// A request that was refused before any model was called, or that is no chat.
#[derive(Debug, Clone, Copy)]
pub struct Rejected {
    /// The endpoint's path as routed.
    pub endpoint: &'static str,
    /// The error's code.
    pub kind: &'static str,
}

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    latency: Family<ModelLabel, Histogram>,
    first_token: Family<ModelLabel, Histogram>,
    tokens: Family<TokenLabels, Counter>,
    cost: Family<ModelLabel, Counter<f64, AtomicU64>>,
    errors: Family<ErrorLabels, Counter>,
    retries: Counter,
    failovers: Counter,
    rejected: Family<RejectedLabels, Counter>,
    in_flight: Gauge,
    breaker: Family<DeploymentLabels, Gauge>,
    upstream_in_flight: Family<DeploymentLabels, Gauge>,
    /// Deployments that have gauges now.
    shown: Mutex<HashSet<DeploymentLabels>>,
    log_written: Family<RecordLabel, Counter>,
    log_dropped: Family<CauseLabel, Counter>,
    log_durable: Gauge,
    log_queued: Gauge,
    classifier_prompts: Family<ResultLabel, Counter>,
    classifier_abandoned: Counter,
    classifier_tokens: Counter,
    classifier_ready: Gauge,
    classifier_batch: Family<PercentileLabel, Gauge<f64, AtomicU64>>,
    config_good: Gauge,
    policy_version: Gauge,
    policy_learned_from: Gauge,
    budget_price: Gauge<f64, AtomicU64>,
}

/// The classifier's figures since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClassifierFigures<'a> {
    /// Prompts by result: `read`, `shortened`, `cached`, `too_slow`...
    pub prompts: &'a [(&'static str, u64)],
    /// Prompts whose request no longer waited.
    pub abandoned: u64,
    /// Tokens read.
    pub tokens: u64,
    /// Whether it reads prompts now.
    pub ready: bool,
    /// The median and the 99th percentile of the last batches' times, microseconds.
    pub batch_us: (u32, u32),
}

/// A deployment's health.
#[derive(Debug, Clone, Copy)]
pub struct DeploymentFigures<'a> {
    /// The model.
    pub model: &'a str,
    /// `provider/upstream-id`.
    pub deployment: &'a str,
    /// 0 closed, 1 half open, 2 open.
    pub breaker: i64,
    /// Open calls.
    pub in_flight: i64,
}

/// The decision log's figures since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogFigures {
    /// Decisions written.
    pub decisions: u64,
    /// Outcomes written.
    pub outcomes: u64,
    /// Feedbacks written.
    pub feedback: u64,
    /// Records dropped because the queue was full.
    pub dropped: u64,
    /// Records lost because the database was down.
    pub lost: u64,
    /// Records waiting to be written.
    pub queued: usize,
    /// Whether records go to a disk that works.
    pub durable: bool,
}

/// Registers a new metric.
fn add<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Registers `metric` with the unit seconds, and returns it.
fn add_seconds<M: Metric + Clone>(registry: &mut Registry, name: &str, help: &str, metric: M) -> M {
    registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let timed = || Family::new_with_constructor(histogram);
        let mut registry = Registry::with_prefix("pointsman");
        let it = &mut registry;
        Self {
            requests: add(it, "requests", "Requests for chats and embeddings by how they ended"),
            latency: add_seconds(it, "latency", "From arrival to the last byte", timed()),
            first_token: add_seconds(it, "first_token", "From arrival to the first piece of content", timed()),
            tokens: add(
                it,
                "tokens",
                "Tokens that calls were charged for, as vendors count them, or as estimated where they do not",
            ),
            cost: add(it, "cost_usd", "What calls cost, those without an answer included, US dollars"),
            errors: add(it, "upstream_errors", "Failed upstream calls by kind, streams that broke off included"),
            retries: add(it, "retries", "Upstream calls beyond the first of a request, at the same model or another"),
            failovers: add(it, "failovers", "Models given up for another"),
            rejected: add(it, "rejected", "Requests refused before any model was asked"),
            in_flight: add(it, "in_flight", "Requests for chats and embeddings being answered"),
            breaker: add(it, "breaker", "0 closed, 1 half open, 2 open"),
            upstream_in_flight: add(it, "upstream_in_flight", "Upstream calls open"),
            shown: Mutex::default(),
            log_written: add(it, "log_written", "Records written to the decision log"),
            log_dropped: add(
                it,
                "log_dropped",
                "Decisions and outcomes missing in the decision log: the queue was full, or the database down",
            ),
            log_durable: add(
                it,
                "log_durable",
                "1 = the decision log is on disk; 0 = it is in memory only, or its disk fails: feedback is refused",
            ),
            log_queued: add(it, "log_queued", "Records waiting to be written"),
            classifier_prompts: add(
                it,
                "classifier_prompts",
                "Prompts by what the classifier made of them: read, shortened (in part, to be in time), cached, or why routing \
                 went on without",
            ),
            classifier_abandoned: add(
                it,
                "classifier_abandoned",
                "Prompts that the classifier skipped or read in vain: they count as too_slow, or their client had left",
            ),
            classifier_tokens: add(it, "classifier_tokens", "Tokens the classifier has read"),
            classifier_ready: add(it, "classifier_ready", "1 once it reads prompts"),
            classifier_batch: add_seconds(
                it,
                "classifier_batch",
                "What the last batches took to read",
                Family::default(),
            ),
            config_good: add(
                it,
                "config_good",
                "1 = the configuration that was read last is in force; 0 = it is wrong, and would end a restart: an older \
                 one stays in force",
            ),
            policy_version: add(it, "policy_version", "The learned policy in force"),
            policy_learned_from: add(
                it,
                "policy_learned_from",
                "Judgements and signals the policy in force rests on",
            ),
            budget_price: add(it, "budget_price", "Quality per US dollar that the budget adds to the trade-off"),
            registry,
        }
    }
}

impl Metrics {
    /// Counts a request for a chat or an embedding that began; [`Metrics::ended`] must follow.
    pub fn began(&self) {
        self.in_flight.inc();
    }

    /// The number of requests being answered.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.get()
    }

    /// Counts a request that ended.
    pub fn ended(&self, ended: &Ended<'_>) {
        self.in_flight.dec();
        let model = || ModelLabel { model: ended.model.to_owned() };
        let labels = RequestLabels {
            dialect: ended.dialect,
            model: ended.model.to_owned(),
            status: ended.status,
            mode: ended.mode,
        };
        self.requests.get_or_create(&labels).inc();
        self.latency.get_or_create(&model()).observe(ended.latency.as_secs_f64());
        if let Some(first) = ended.first_token {
            self.first_token.get_or_create(&model()).observe(first.as_secs_f64());
        }
        let lost: f64 = ended.lost.iter().map(|(_, _, cost)| cost.0).sum();
        if let Some(usage) = ended.usage {
            self.charged(ended.model, usage, (ended.cost.0 - lost).max(0.0));
        }
        for (model, usage, cost) in &ended.lost {
            self.charged(model, *usage, cost.0);
        }
        self.retries.inc_by(u64::from(ended.calls.saturating_sub(1)));
        self.failovers.inc_by(u64::from(ended.failovers));
        for (model, kind) in &ended.causes {
            self.errors.get_or_create(&ErrorLabels { model: (*model).to_owned(), kind }).inc();
        }
    }

    /// Counts what a call used, under the model that was called.
    fn charged(&self, model: &str, usage: Usage, cost_usd: f64) {
        let usage = usage.billed();
        let counts = [
            ("input", usage.input_tokens),
            ("cache_read", usage.cache_read_tokens),
            ("cache_write", usage.cache_write_tokens),
            ("output", usage.output_tokens),
        ];
        for (kind, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
            self.tokens.get_or_create(&TokenLabels { model: model.to_owned(), kind }).inc_by(count);
        }
        self.cost.get_or_create(&ModelLabel { model: model.to_owned() }).inc_by(cost_usd);
    }

    /// Counts a request that was refused before any model was called.
    pub fn rejected(&self, rejected: Rejected) {
        self.rejected.get_or_create(&RejectedLabels { endpoint: rejected.endpoint, kind: rejected.kind }).inc();
    }

    /// Sets the gauges of all deployments, and removes those of deployments that are gone.
    pub fn deployments(&self, all: &[DeploymentFigures<'_>]) {
        let mut now = HashSet::new();
        for one in all {
            let labels = DeploymentLabels { model: one.model.to_owned(), deployment: one.deployment.to_owned() };
            self.breaker.get_or_create(&labels).set(one.breaker);
            self.upstream_in_flight.get_or_create(&labels).set(one.in_flight);
            now.insert(labels);
        }
        let mut shown = self.shown.lock();
        for gone in shown.difference(&now) {
            self.breaker.remove(gone);
            self.upstream_in_flight.remove(gone);
        }
        *shown = now;
    }

    /// Sets the decision log's figures.
    pub fn log(&self, figures: &LogFigures) {
        let written =
            [("decision", figures.decisions), ("outcome", figures.outcomes), ("feedback", figures.feedback)];
        for (record, count) in written {
            self.log_written.get_or_create(&RecordLabel { record }).inner().store(count, Ordering::Relaxed);
        }
        for (cause, count) in [("queue_full", figures.dropped), ("database_down", figures.lost)] {
            self.log_dropped.get_or_create(&CauseLabel { cause }).inner().store(count, Ordering::Relaxed);
        }
        self.log_queued.set(figures.queued as i64);
        self.log_durable.set(i64::from(figures.durable));
    }

    /// Sets the classifier's figures.
    pub fn classifier(&self, figures: &ClassifierFigures<'_>) {
        for (result, count) in figures.prompts {
            self.classifier_prompts.get_or_create(&ResultLabel { result }).inner().store(*count, Ordering::Relaxed);
        }
        self.classifier_abandoned.inner().store(figures.abandoned, Ordering::Relaxed);
        self.classifier_tokens.inner().store(figures.tokens, Ordering::Relaxed);
        self.classifier_ready.set(i64::from(figures.ready));
        // Not labelled `quantile`, which is reserved for summaries.
        for (percentile, micros) in [("50", figures.batch_us.0), ("99", figures.batch_us.1)] {
            self.classifier_batch.get_or_create(&PercentileLabel { percentile }).set(f64::from(micros) / 1e6);
        }
    }

    /// Sets whether the configuration that was read last is in force.
    pub fn config(&self, good: bool) {
        self.config_good.set(i64::from(good));
    }

    /// Sets the figures of the learned policy and the budget.
    pub fn policy(&self, version: u64, learned_from: u64, budget_price: f64) {
        self.policy_version.set(version as i64);
        self.policy_learned_from.set(learned_from as i64);
        self.budget_price.set(budget_price);
    }

    /// All metrics in OpenMetrics' text format (1.0).
    pub fn render(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }

    /// All metrics in Prometheus' older text format, the only one that some scrapers read: there a counter is declared
    /// with its sample's name (`_total`), and there are no `# UNIT` and `# EOF` lines.
    pub fn render_older(&self) -> String {
        let text = self.render();
        let described = |line: &str| line.starts_with("# TYPE ") || line.starts_with("# HELP ");
        let counters: HashSet<&str> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
        let mut out = String::new();
        for line in text.lines().filter(|line| !line.starts_with('#') || described(line)) {
            match line.splitn(4, ' ').collect::<Vec<_>>()[..] {
                ["#", what, name, rest] if counters.contains(name) => {
                    out.extend(["# ", what, " ", name, "_total ", rest]);
                }
                _ => out.push_str(line),
            }
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_that_are_gone_are_shown_no_more() {
        let metrics = Metrics::default();
        let place = |deployment| DeploymentFigures { model: "m", deployment, breaker: 2, in_flight: 0 };
        let shown = |all: &[DeploymentFigures<'_>]| {
            metrics.deployments(all);
            let text = metrics.render();
            ["a/x", "a/y"].map(|name| text.matches(&format!("deployment=\"{name}\"")).count())
        };
        assert_eq!(shown(&[place("a/x"), place("a/y")]), [2, 2]);
        assert_eq!(shown(&[place("a/y")]), [0, 2]);
        assert_eq!(shown(&[place("a/x")]), [2, 0]);
    }

    #[test]
    fn the_older_format_calls_a_counter_as_its_sample() {
        let metrics = Metrics::default();
        metrics.rejected(Rejected { endpoint: "/api/chat", kind: "permission" });
        let text = metrics.render_older();
        let counter = "# HELP pointsman_rejected_total Requests refused before any model was asked.\n\
                       # TYPE pointsman_rejected_total counter\npointsman_rejected_total{endpoint=";
        assert!(text.contains(counter), "{text}");
        assert!(text.contains("# TYPE pointsman_in_flight gauge\npointsman_in_flight 0\n"), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[test]
    fn no_gauge_has_the_label_of_summaries() {
        let metrics = Metrics::default();
        metrics.classifier(&ClassifierFigures { batch_us: (1_500, 9_000), ..ClassifierFigures::default() });
        let text = metrics.render();
        assert!(text.contains("pointsman_classifier_batch_seconds{percentile=\"99\"} 0.009"), "{text}");
        assert!(!text.contains("quantile="), "{text}");
    }
}
