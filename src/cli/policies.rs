//! `pointsman evaluate --policy A --against B`: how much more one policy would have earned than another, by the
//! decision log.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load::ConfigArgs;
use super::verdicts::Verdicts;
use super::{table, write_figures, write_json};
use crate::bandit::{Candidate, PolicyKind, Settings, Snapshot};
use crate::config::{Config, RewardMap};
use crate::ope::{self, Doubt, IntervalKind, Logged, Method, signed};
use crate::store::{Asked, AskedAgain, Entry, HandOver, OpenError, Span, Store, read_entries};
use crate::train::dataset::{self, Limits, Split};
use crate::train::replay::{Stream, TextReader};
use crate::train::validate::{Trial, Verdict, validate};
use crate::tuner::cross_fit::CrossFit;
use crate::tuner::gate::evidence;
use crate::tuner::lesson::{self, Collected, Evidence, Lessons, SampledChoice};
use crate::tuner::{Lesson, bandit_settings, in_force, of_newest_head};

/// Reads a bound of importance weights.
fn more_than_zero(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(bound) if bound > 0.0 => Ok(bound),
        Ok(_) => Err("it must be more than 0".into()),
        Err(error) => Err(error.to_string()),
    }
}

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// The policy to judge: live, a version, classifier, logged, uniform, model:NAME, or a kind
    ///
    /// live = the one in force; classifier = predictions alone, nothing learned; logged = the one that really chose; a
    /// kind (greedy, epsilon_greedy, lin_ucb, thompson, inverse_gap) = the live one's knowledge, exploring in that way.
    /// live, versions and kinds need the store of a stopped gateway; an export has no policies.
    ///
    /// On choices that it has learned from, a policy looks better than it is. So only choices judged after that count,
    /// if there are at least learning.gate.min_choices; else all count, and a line says how many it has learned from.
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// The policy it is compared with, named in the same way
    #[arg(long, value_name = "POLICY", default_value = "logged", requires = "policy")]
    against: String,
    /// An export to read the decision log from; the store of a stopped gateway if absent
    #[arg(long, value_name = "FILE", requires = "policy")]
    log: Option<PathBuf>,
    /// Importance weights above this are clipped
    #[arg(long, default_value_t = 200.0, value_parser = more_than_zero, requires = "policy")]
    clip: f64,
    /// Intervals that hold for any decision log of this length, and are much wider; there is none for snips
    #[arg(long, requires = "policy")]
    guaranteed: bool,
    /// Validate the estimators instead: draw logs from these recorded outcomes, where the true value is known
    ///
    /// The result is a table; what its columns mean stands under the table.
    #[arg(long, value_name = "DIR", conflicts_with = "policy")]
    validate: Option<PathBuf>,
    /// Logs drawn for the validation
    #[arg(long, default_value_t = 200, requires = "validate")]
    repetitions: usize,
    /// Requests of each log
    #[arg(long, default_value_t = 2000, requires = "validate")]
    requests: usize,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

impl PolicyArgs {
    /// Whether there is anything to judge.
    pub(super) fn is_asked(&self) -> bool {
        self.policy.is_some() || self.validate.is_some()
    }
}

/// Compares the policies, and prints the result or writes it to `json` (`-` = standard output).
pub(super) fn run(args: &PolicyArgs, json: Option<&Path>) -> anyhow::Result<ExitCode> {
    if let Some(data) = &args.validate {
        return try_out(args, data, json);
    }
    let Some(judged) = &args.policy else { bail!("name a policy to judge, as in --policy live") };
    let loaded = args.config.load()?;
    let settings = bandit_settings(&loaded.config.learning.bandit);
    let map = &loaded.config.learning.reward;
    let (_handed, store) = open(&loaded.config);
    let collected = match &args.log {
        Some(file) => read_lessons(file, map)?,
        None => {
            let store = store.as_ref().map_err(|error| anyhow::anyhow!("{error}"));
            let store = store
                .context("the decision log cannot be opened; export that of a running gateway, and add --log FILE")?;
            lesson::collect(store, &Span::default(), usize::MAX, map)?
        }
    };
    let choices = |lessons: &[Lesson]| lessons.iter().filter(|lesson| lesson.choice.is_some()).count();
    let all = choices(&collected.learned);
    // Choices made with another head have other priors.
    let (learned, unjudged) = (of_newest_head(&collected.learned), of_newest_head(&collected.unjudged));
    if choices(&learned) < all {
        eprintln!("{} judged choices were made with other heads and are left out", all - choices(&learned));
    }
    let (rests_on, mut lessons) = evidence(&learned, &unjudged, 1);
    lessons.retain(|lesson| lesson.choice.is_some());
    if lessons.is_empty() {
        bail!(
            "the decision log has no judged choice that was drawn at random: other policies cannot be judged by it"
        );
    }
    if rests_on == Evidence::Signals {
        eprintln!(
            "there is no feedback on any choice: an answer counts for its model's expected quality, or its signal's value"
        );
    }
    let find = |name: &str| Contender::named(name, store.as_ref(), settings);
    let (one, other) = (find(judged)?, find(&args.against)?);
    one.is_offered(&lessons)?;
    other.is_offered(&lessons)?;
    keep_unknown(&mut lessons, one.knows().and(other.knows()), loaded.config.learning.gate.min_choices);
    let models = CrossFit::of_rewards(lessons.iter().copied(), settings).context("these settings make no policy")?;
    let (first, second) = (see(&lessons, &one, &models), see(&lessons, &other, &models));
    if first.len() < lessons.len() {
        let odd = lessons.len() - first.len();
        eprintln!("{odd} judged choices have no probability above 0 and are left out, as the gate leaves them out");
    }
    let interval = if args.guaranteed { IntervalKind::Betting } else { IntervalKind::Student };
    let settings = ope::Settings { clip: args.clip, interval, ..ope::Settings::default() };
    let verdicts = Verdicts::of((judged, &first), (&args.against, &second), &settings);
    write_figures(json, &verdicts, || {
        verdicts.print();
        Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a policy may have learned from: at most `max_lessons` of the lessons up to `until_ms` (Unix milliseconds).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Known {
    until_ms: i64,
    max_lessons: u64,
}

impl Known {
    const NOTHING: Self = Self { until_ms: i64::MIN, max_lessons: 0 };

    /// What one policy or the other knows.
    fn and(self, other: Self) -> Self {
        Self {
            until_ms: self.until_ms.max(other.until_ms),
            max_lessons: self.max_lessons.saturating_add(other.max_lessons),
        }
    }
}

/// Leaves out the lessons that a policy may have learned from, if at least `enough` choices remain.
fn keep_unknown(lessons: &mut Vec<&Lesson>, known: Known, enough: usize) {
    let is_older = |lesson: &&Lesson| lesson.learnable_at_ms <= known.until_ms;
    let older = lessons.iter().filter(|lesson| is_older(lesson)).count();
    let all = lessons.len();
    // Lessons imported later may be older, too, although no policy has learned from them.
    let learned = older.min(usize::try_from(known.max_lessons).unwrap_or(usize::MAX));
    let told = if learned < older { format!("at most {learned}") } else { learned.to_string() };
    // At least one must remain, even if `enough` is 0.
    if older > 0 && all - older >= enough.max(1) {
        lessons.retain(|lesson| !is_older(lesson));
        eprintln!("{older} of {all} judged choices are left out: a policy has learned from {told} of them");
    } else if older > 0 {
        eprintln!(
            "a policy has learned from {told} of the {all} judged choices, and looks better on them than it is"
        );
    }
}

/// The decision log, and the guard that hands its files back to their owner; none if the log could not be opened.
fn open(config: &Config) -> (Option<HandOver>, Result<Store, OpenError>) {
    let dir = &config.server.data_dir;
    let store = Store::open_existing(dir, &config.store);
    (store.is_ok().then(|| HandOver::of(dir)), store)
}

/// The lessons of an export. It is read twice, since only later entries show whether a question was asked again.
fn read_lessons(file: &Path, map: &RewardMap) -> anyhow::Result<Lessons> {
    let mut asked = Vec::new();
    let cut = read_entries(file, |entry: Entry| {
        asked.push(Asked::of(&entry));
        true
    })?;
    super::warn_cut(file, cut);
    let mut again = AskedAgain::in_any_order(&asked).into_iter();
    let mut collected = Collected::new(map, usize::MAX);
    read_entries(file, |entry: Entry| {
        collected.take(&entry, again.next().flatten());
        true
    })?;
    let mut lessons = collected.finish();
    for lessons in [&mut lessons.learned, &mut lessons.unjudged] {
        lessons.sort_by_key(|lesson| (lesson.at_ms, lesson.id));
    }
    Ok(lessons)
}

/// A policy to judge.
enum Contender {
    /// A learned one, with what it has learned from.
    Learned(Box<Snapshot>, Known),
    /// A learned one that does not explore.
    Exploiting(Box<Snapshot>),
    Logged,
    Uniform,
    Model(String),
}

impl Contender {
    fn named(name: &str, store: Result<&Store, &OpenError>, settings: Settings) -> anyhow::Result<Self> {
        let find = |version: Option<u64>| -> anyhow::Result<Snapshot> {
            let store = store.map_err(|error| anyhow::anyhow!("{error}")).with_context(|| {
                format!("{name} is looked up in the store of a stopped gateway; an export holds no policies")
            })?;
            match version {
                Some(version) => store.policy(version)?.with_context(|| format!("there is no version {version}")),
                None => in_force(store)?.with_context(|| {
                    format!(
                        "{name} is the policy of the store in server.data_dir, which has none in force (an export holds no \
                         policies; logged, uniform, classifier and model:NAME need none)"
                    )
                }),
            }
        };
        // The policy in force may have learned from everything since it was made.
        let learned = |policy: Snapshot| {
            let made = store.ok().and_then(|store| store.snapshot(policy.version).transpose()).transpose()?;
            let until_ms = match made {
                _ if policy.learned_from() == 0 => i64::MIN,
                Some(made) if made.learned_from == policy.learned_from() => made.made_at_ms,
                _ => i64::MAX,
            };
            let known = Known { until_ms, max_lessons: policy.learned_from() };
            Ok::<_, anyhow::Error>(Self::Learned(Box::new(policy), known))
        };
        let live = |policy| learned(find(None)?.with_settings(Settings { policy, ..settings })?);
        Ok(match name {
            "logged" => Self::Logged,
            "uniform" => Self::Uniform,
            "classifier" => Self::Exploiting(Box::new(Snapshot::new(settings)?)),
            "live" => live(settings.policy)?,
            _ if name.starts_with("model:") => Self::Model(name["model:".len()..].to_owned()),
            _ => match (PolicyKind::named(name), name.parse::<u64>()) {
                (Some(policy), _) => live(policy)?,
                (None, Ok(version)) => learned(find(Some(version))?)?,
                _ => bail!(
                    "there is no policy `{name}`; use live, a version, classifier, logged, uniform, model:NAME or a kind"
                ),
            },
        })
    }

    /// What it has learned from.
    fn knows(&self) -> Known {
        if let Self::Learned(_, known) = self { *known } else { Known::NOTHING }
    }

    /// Refuses a model that was a candidate in no logged choice: nothing could be estimated of it.
    fn is_offered(&self, lessons: &[&Lesson]) -> anyhow::Result<()> {
        let Self::Model(name) = self else { return Ok(()) };
        let ways = lessons.iter().filter_map(|lesson| lesson.choice.as_ref()).flat_map(|drawn| &drawn.candidates);
        let known: BTreeSet<&str> = ways.map(|way| way.candidate().model.as_str()).collect();
        if !known.contains(name.as_str()) {
            let known: Vec<&str> = known.into_iter().collect();
            bail!("no logged choice had the model `{name}`, but {}", known.join(", "));
        }
        Ok(())
    }

    /// Its probabilities over the candidates of a logged choice.
    fn shares(&self, lesson: &Lesson, drawn: &SampledChoice, candidates: &[Candidate<'_>]) -> Vec<f64> {
        let count = candidates.len();
        let of = |snapshot: &Snapshot, explore| {
            let choice = snapshot.choose(&lesson.context(), candidates, &drawn.tradeoff, explore, 0.0);
            choice.map_or_else(|| vec![0.0; count], |choice| choice.propensities)
        };
        match self {
            Self::Learned(snapshot, _) => of(snapshot, true),
            Self::Exploiting(snapshot) => of(snapshot, false),
            Self::Logged => drawn.candidates.iter().map(|way| way.propensity).collect(),
            Self::Uniform => vec![1.0 / count as f64; count],
            Self::Model(name) => {
                candidates.iter().map(|it| f64::from(u8::from(it.model.as_str() == name.as_str()))).collect()
            }
        }
    }
}

/// The logged choices as `contender` would have made them; without those that have no probability.
fn see(lessons: &[&Lesson], contender: &Contender, models: &CrossFit) -> Vec<Logged> {
    let look = |lesson: &&Lesson| {
        let drawn = lesson.choice.as_ref()?;
        let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|way| way.candidate()).collect();
        let shares = contender.shares(lesson, drawn, &candidates);
        let expected = models.expected(lesson, &candidates);
        let propensity = drawn.candidates[drawn.chosen].propensity;
        Logged::of(propensity, lesson.reward.value(), drawn.chosen, &shares, &expected)
    };
    lessons.iter().filter_map(look).collect()
}

/// Fewest prompts of a source: with fewer, half of which are judged, logs repeat themselves.
const MIN_PROMPTS: usize = 400;
/// Fewest models of a source: with two, one of which is in nearly every choice of a log, there is little to estimate.
const MIN_MODELS: usize = 3;

/// The validation on one source.
#[derive(serde::Serialize)]
struct Tried {
    source: String,
    verdicts: Vec<Verdict>,
}

/// Draws logs from recorded outcomes and compares the estimates with the true values.
fn try_out(args: &PolicyArgs, data: &Path, json: Option<&Path>) -> anyhow::Result<ExitCode> {
    let limits = Limits { features: false, ..Limits::default() };
    let dataset = dataset::read(data, Split::Train, limits)?;
    let trial = Trial { repetitions: args.repetitions.max(1), requests: args.requests.max(2), seed: 1 };
    let mut table = table(&COLUMNS, 3);
    let (mut figures, mut too_small) = (Vec::new(), Vec::new());
    for source in 0..dataset.sources.len() as u32 {
        let mut rng = StdRng::seed_from_u64(trial.seed);
        let stream = Stream::cold(&dataset, source, &Split::ALL, &mut TextReader::new(12), &mut rng)?;
        let (prompts, models) = (stream.items.len(), stream.arms.len());
        if prompts < MIN_PROMPTS || models < MIN_MODELS {
            too_small.push(format!("{} ({prompts} prompts, {models} models)", stream.source));
            continue;
        }
        let verdicts = validate(&stream, Settings::default(), &trial)?;
        for verdict in &verdicts {
            table.add_row(cells(&stream.source, verdict));
        }
        figures.push(Tried { source: stream.source, verdicts });
    }
    let least = format!("at least {MIN_PROMPTS} prompts and {MIN_MODELS} models are needed to draw logs from");
    if figures.is_empty() {
        bail!("{least}, and the data has {}", too_small.join(", "));
    }
    if !too_small.is_empty() {
        eprintln!("Left out: {}; {least}.", too_small.join(", "));
    }
    if let Some(path) = json {
        write_json(path, &figures)?;
    }
    if json != Some(Path::new("-")) {
        println!("{} logs of {} requests each, drawn from {}", trial.repetitions, trial.requests, data.display());
        println!("{table}\n");
        let all = figures.iter().flat_map(|tried| &tried.verdicts);
        legend(all).iter().for_each(|line| println!("{line}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// The columns of the validation's table; the first three are texts.
const COLUMNS: [&str; 11] = [
    "source",
    "log",
    "method",
    "truth",
    "bias",
    "error",
    "coverage",
    "width",
    "effective size",
    "no estimate",
    "not to be relied on",
];

fn cells(source: &str, verdict: &Verdict) -> [String; COLUMNS.len()] {
    let percent = |share: f64, digits: usize| format!("{:.digits$} %", share * 100.0);
    [
        source.to_owned(),
        format!("{:?}", verdict.logging).to_lowercase(),
        verdict.method.name().to_owned(),
        format!("{:.4}", verdict.truth),
        signed(verdict.bias, 4),
        format!("{:.4}", verdict.error),
        percent(verdict.coverage, 1),
        format!("{:.4}", verdict.width),
        format!("{:.0}", verdict.effective),
        verdict.silent.to_string(),
        if verdict.doubted > 0.0 { percent(verdict.doubted, 0) } else { String::new() },
    ]
}

/// What the columns of the validation's table mean, and of what `verdicts` the intervals are no promise.
fn legend<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Vec<String> {
    let mut lines = vec![
        "log: even = half of the choices as the judged policy makes them, half at random; skewed = nine in ten for the \
         same model, the rest at random."
            .to_owned(),
        "truth: the judged policy's mean score on all prompts. bias: the mean of the estimates less the truth. error: the \
         root of their mean squared distance from it."
            .to_owned(),
        "coverage: the share of 95 % intervals that held the truth. width: their mean width. effective size: as many \
         choices of the policy itself would say as much (mean)."
            .to_owned(),
        "no estimate: logs from which the method could estimate nothing; they count in no other column. not to be relied \
         on: the share of estimates that `evaluate --policy` marks as such."
            .to_owned(),
        format!("Whether a new version takes over (learning.gate) goes by {}.", Method::OF_THE_GATE.name()),
    ];
    let doubts: BTreeSet<Doubt> = verdicts.flat_map(|verdict| &verdict.doubts).copied().collect();
    lines.extend(doubts.into_iter().map(Doubt::reason));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bandit::{Grounds, Reward, Tradeoff};
    use crate::protocol::DecisionId;
    use crate::train::validate::Logging;
    use crate::tuner::lesson::LoggedCandidate;

    #[test]
    fn every_column_of_a_validation_is_explained_and_so_is_what_is_not_to_be_relied_on() {
        let verdict = Verdict {
            logging: Logging::Skewed,
            method: Method::Ips,
            truth: 0.5,
            silent: 3,
            bias: -0.000_01,
            error: 0.1,
            coverage: 0.83,
            width: 0.4,
            effective: 24.0,
            doubted: 0.996,
            relied_on_coverage: None,
            doubts: vec![Doubt::Few],
        };
        let told = legend([&verdict].into_iter()).join("\n");
        for column in COLUMNS.iter().filter(|name| !["source", "method"].contains(name)) {
            assert!(told.contains(&format!("{column}:")), "{column} is explained nowhere: {told}");
        }
        assert!(
            told.contains("interval of IPS may be too narrow") && told.contains("goes by doubly_robust"),
            "{told}"
        );
        let row = cells("s", &verdict).join(" ");
        assert_eq!(row, "s skewed ips 0.5000 +0.0000 0.1000 83.0 % 0.4000 24 3 100 %");
        let sound = Verdict { doubted: 0.0, doubts: Vec::new(), ..verdict };
        assert!(!legend([&sound].into_iter()).join("\n").contains("too narrow"));
    }

    fn lesson(at_ms: i64) -> Lesson {
        Lesson {
            id: DecisionId(uuid::Uuid::from_u128(at_ms as u128)),
            at_ms,
            learnable_at_ms: at_ms,
            model: "a".into(),
            features: Vec::new(),
            space: String::new(),
            kind: String::new(),
            prior: 0.5,
            grounds: Grounds::Likened,
            reward: Reward::new(1.0).unwrap(),
            weight: 1.0,
            signal: None,
            choice: None,
        }
    }

    #[test]
    fn a_choice_without_a_probability_does_not_silence_the_others() {
        let way = |model: &str, propensity| LoggedCandidate {
            model: model.into(),
            prior: 0.5,
            grounds: Grounds::Likened,
            cost_usd: 0.01,
            latency_s: None,
            switching_usd: 0.0,
            propensity,
        };
        let drawn = |at_ms, propensity| {
            let candidates = vec![way("a", propensity), way("b", 0.5)];
            let tradeoff = Tradeoff { cost_per_usd: 0.0, latency_per_s: 0.0 };
            Lesson { choice: Some(SampledChoice { candidates, chosen: 0, tradeoff }), ..lesson(at_ms) }
        };
        let all: Vec<Lesson> = (1..=9)
            .map(|at_ms| drawn(at_ms, [0.5, 0.0, f64::NAN][usize::from(at_ms > 7) + usize::from(at_ms > 8)]))
            .collect();
        let lessons: Vec<&Lesson> = all.iter().collect();
        let models = CrossFit::of_rewards(lessons.iter().copied(), Settings::default()).unwrap();
        let seen = see(&lessons, &Contender::Uniform, &models);
        assert_eq!(seen.len(), 7);
        assert!(Method::ALL.iter().all(|method| ope::estimate(&seen, *method, &ope::Settings::default()).is_some()));
    }

    #[test]
    fn what_a_policy_knows_is_left_out_where_anything_remains() {
        let all: Vec<Lesson> = (1..=10).map(lesson).collect();
        let left = |until_ms, enough| {
            let mut lessons: Vec<&Lesson> = all.iter().collect();
            keep_unknown(&mut lessons, Known { until_ms, max_lessons: 3 }, enough);
            lessons.len()
        };
        assert_eq!([left(0, 0), left(4, 6), left(4, 7), left(4, 0)], [10, 6, 10, 6]);
        assert_eq!(left(10, 0), 10, "of none nothing could be said");
    }
}
