//! `pointsman evaluate --policy A --against B`: what one policy would have earned more than another, from the log.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use comfy_table::Table;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::load::ConfigArgs;
use crate::bandit::{Candidate, PolicyKind, Settings, Snapshot};
use crate::config::RewardMap;
use crate::ope::{self, Estimate, IntervalKind, Logged, Method, Modelled};
use crate::store::{Asked, AskedAgain, Entry, OpenError, Store, read_entries};
use crate::train::dataset::{self, Limits, Split};
use crate::train::replay::{Stream, TextReader};
use crate::train::validate::{Trial, validate};
use crate::tuner::gate::Expected;
use crate::tuner::lesson::{self, Collected, Drawn};
use crate::tuner::{Lesson, bandit_settings, in_force, of_newest_head};

/// The arguments.
///
/// A policy is `live` (the one in force), a version number, `classifier` (predictions alone, nothing learned), `logged` (what
/// really chose), `uniform`, `model:NAME`, or the name of a kind (greedy, epsilon_greedy, lin_ucb, thompson, inverse_gap:
/// what the live one knows, exploring in that way).
#[derive(Debug, Args)]
pub(super) struct PolicyArgs {
    /// The policy to judge
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// What it is compared with
    #[arg(long, value_name = "POLICY", default_value = "logged", requires = "policy")]
    against: String,
    /// An export to read the log from; the store of a stopped gateway, where absent
    #[arg(long, value_name = "FILE", requires = "policy")]
    log: Option<PathBuf>,
    /// Weights above this are clipped
    #[arg(long, default_value_t = 200.0, requires = "policy")]
    clip: f64,
    /// Intervals that hold for any log of this length, and are much wider; there is none for snips
    #[arg(long, requires = "policy")]
    guaranteed: bool,
    /// Judge the judging instead: draw logs from these recorded outcomes, where the truth is known
    #[arg(long, value_name = "DIR", conflicts_with = "policy")]
    validate: Option<PathBuf>,
    /// Logs drawn in a validation
    #[arg(long, default_value_t = 200, requires = "validate")]
    repetitions: usize,
    /// Requests of each of them
    #[arg(long, default_value_t = 2000, requires = "validate")]
    requests: usize,
    #[command(flatten)]
    pub(super) config: ConfigArgs,
}

pub(super) fn run(args: &PolicyArgs) -> anyhow::Result<ExitCode> {
    if let Some(data) = &args.validate {
        return try_out(args, data);
    }
    let Some(judged) = &args.policy else { bail!("say which policy to judge: --policy live") };
    let loaded = args.config.load()?;
    let settings = bandit_settings(&loaded.config.learning.bandit);
    let map = &loaded.config.learning.reward;
    let store = Store::open_existing(&loaded.config.server.data_dir, &loaded.config.store);
    let lessons = match &args.log {
        Some(file) => read_lessons(file, map)?,
        None => {
            let store = store.as_ref().map_err(|error| anyhow::anyhow!("{error}"));
            let store = store.context("the log cannot be opened; export a running gateway's and say --log FILE")?;
            lesson::collect(store, usize::MAX, map)?
        }
    };
    let is_choice = |lesson: &&Lesson| lesson.choice.is_some();
    let all = lessons.iter().filter(is_choice).count();
    // Those of another head were measured against other priors.
    let lessons = of_newest_head(&lessons);
    let lessons: Vec<&Lesson> = lessons.iter().filter(is_choice).collect();
    if lessons.is_empty() {
        bail!("the log has no judged choice that was left to chance: nothing can be said of another policy");
    }
    if lessons.len() < all {
        println!("{} judged choices were made beside other heads and are left out", all - lessons.len());
    }
    let find = |name: &str| Contender::named(name, store.as_ref(), settings);
    let models = Expected::from(lessons.iter().copied(), settings).context("these settings make no policy")?;
    let (one, other) = (find(judged)?, find(&args.against)?);
    let (first, second) = (see(&lessons, &one, &models), see(&lessons, &other, &models));
    let interval = if args.guaranteed { IntervalKind::Betting } else { IntervalKind::Student };
    let settings = ope::Settings { clip: args.clip, interval, ..ope::Settings::default() };
    print(judged, &args.against, (&first, &second), &settings);
    Ok(ExitCode::SUCCESS)
}

/// The lessons of an export, which is read twice: whether a question was put again only later entries tell.
fn read_lessons(file: &Path, map: &RewardMap) -> anyhow::Result<Vec<Lesson>> {
    let mut asked = Vec::new();
    read_entries(file, |entry: Entry| {
        asked.push(Asked::of(&entry));
        true
    })?;
    let mut again = AskedAgain::in_any_order(&asked).into_iter();
    let mut collected = Collected::new(map, usize::MAX);
    read_entries(file, |entry: Entry| {
        collected.take(&entry, again.next().flatten());
        true
    })?;
    let mut lessons = collected.finish();
    lessons.sort_by_key(|lesson| (lesson.at_ms, lesson.id));
    Ok(lessons)
}

/// A policy that is judged.
enum Contender {
    Learned(Box<Snapshot>),
    /// A learned one that does not explore.
    Certain(Box<Snapshot>),
    Logged,
    Uniform,
    Model(String),
}

impl Contender {
    fn named(name: &str, store: Result<&Store, &OpenError>, settings: Settings) -> anyhow::Result<Self> {
        let find = |version: Option<u64>| -> anyhow::Result<Snapshot> {
            let store =
                store.map_err(|error| anyhow::anyhow!("{error}")).context("the policy cannot be looked up")?;
            match version {
                Some(version) => store.policy(version)?.with_context(|| format!("there is no version {version}")),
                None => in_force(store)?.context("the store has no policy in force"),
            }
        };
        let live = |policy| Ok::<_, anyhow::Error>(find(None)?.with_settings(Settings { policy, ..settings })?);
        Ok(match name {
            "logged" => Self::Logged,
            "uniform" => Self::Uniform,
            "classifier" => Self::Certain(Box::new(Snapshot::new(settings)?)),
            "live" => Self::Learned(Box::new(live(settings.policy)?)),
            _ if name.starts_with("model:") => Self::Model(name["model:".len()..].to_owned()),
            _ => match (PolicyKind::named(name), name.parse::<u64>()) {
                (Some(policy), _) => Self::Learned(Box::new(live(policy)?)),
                (None, Ok(version)) => Self::Learned(Box::new(find(Some(version))?)),
                _ => bail!(
                    "there is no policy `{name}`; use live, a version, classifier, logged, uniform, model:NAME or a kind"
                ),
            },
        })
    }

    /// Its probabilities over the candidates of a logged choice.
    fn shares(&self, lesson: &Lesson, drawn: &Drawn, candidates: &[Candidate<'_>]) -> Vec<f64> {
        let count = candidates.len();
        let of = |snapshot: &Snapshot, explore| {
            let choice = snapshot.choose(&lesson.context(), candidates, &drawn.tradeoff, explore, 0.0);
            choice.map_or_else(|| vec![0.0; count], |choice| choice.propensities)
        };
        match self {
            Self::Learned(snapshot) => of(snapshot, true),
            Self::Certain(snapshot) => of(snapshot, false),
            Self::Logged => drawn.candidates.iter().map(|way| way.propensity).collect(),
            Self::Uniform => vec![1.0 / count as f64; count],
            Self::Model(name) => {
                candidates.iter().map(|it| f64::from(u8::from(it.model.as_str() == name.as_str()))).collect()
            }
        }
    }
}

fn see(lessons: &[&Lesson], contender: &Contender, models: &Expected) -> Vec<Logged> {
    let look = |(at, lesson): (usize, &&Lesson)| {
        let drawn = lesson.choice.as_ref()?;
        let candidates: Vec<Candidate<'_>> = drawn.candidates.iter().map(|way| way.candidate()).collect();
        let shares = contender.shares(lesson, drawn, &candidates);
        let expect = |candidate| models.without(at).quality(&lesson.context(), candidate);
        let expected: Vec<f64> = candidates.iter().map(expect).collect();
        let value = expected.iter().zip(&shares).map(|(quality, share)| quality * share).sum();
        Some(Logged {
            propensity: drawn.candidates[drawn.chosen].propensity,
            reward: lesson.reward.value(),
            target: shares[drawn.chosen],
            modelled: Some(Modelled { chosen: expected[drawn.chosen], value }),
        })
    };
    lessons.iter().enumerate().filter_map(look).collect()
}

fn print(judged: &str, against: &str, (one, other): (&[Logged], &[Logged]), settings: &ope::Settings) {
    println!("{} judged choices; quality per request, 95 % intervals\n", one.len());
    let tell = |estimate: Option<Estimate>, raw: Option<f64>| {
        estimate.map_or_else(
            || ["cannot be said".to_owned(), String::new(), String::new(), String::new()],
            |it| {
                let value = format!("{:.4} [{:.4}, {:.4}]", it.value, it.low, it.high);
                let value = match raw {
                    Some(raw) if raw != it.value => format!("{value}, cut from {raw:.4}"),
                    _ => value,
                };
                let percent = |share: f64| format!("{:.1} %", share * 100.0);
                [value, format!("{:.0}", it.effective), percent(it.clipped), percent(it.support)]
            },
        )
    };
    let mut table = Table::new();
    table.set_header(["estimate", "method", "value", "effective size", "clipped weights", "support"]);
    for method in Method::ALL {
        let rows = [
            (judged.to_owned(), ope::estimate(one, method, settings), true),
            (against.to_owned(), ope::estimate(other, method, settings), true),
            (format!("{judged} less {against}"), ope::compare(one, other, method, settings), false),
        ];
        for (name, estimate, quality) in rows {
            // No policy earns more than everything; a difference may be anything between.
            let shown = estimate.map(|it| if quality { it.possible() } else { it });
            let [value, effective, clipped, support] = tell(shown, estimate.map(|it| it.value));
            table.add_row([name, method.name().to_owned(), value, effective, clipped, support]);
        }
    }
    println!("{table}");
}

/// Draws logs from recorded outcomes and compares estimates with the truth.
fn try_out(args: &PolicyArgs, data: &Path) -> anyhow::Result<ExitCode> {
    let dataset = dataset::read(data, Split::Train, Limits::default())?;
    let trial = Trial { repetitions: args.repetitions.max(1), requests: args.requests.max(2), seed: 1 };
    let mut table = Table::new();
    table.set_header(["source", "log", "method", "truth", "bias", "error", "coverage", "width", "effective size"]);
    for source in 0..dataset.sources.len() as u32 {
        let mut rng = StdRng::seed_from_u64(trial.seed);
        let stream = Stream::cold(&dataset, source, &Split::ALL, &mut TextReader::new(12), &mut rng)?;
        if stream.items.len() < 400 || stream.arms.len() < 3 {
            continue; // too small to draw logs from
        }
        for verdict in validate(&stream, Settings::default(), &trial)? {
            table.add_row([
                stream.source.clone(),
                format!("{:?}", verdict.logging).to_lowercase(),
                verdict.method.name().to_owned(),
                format!("{:.4}", verdict.truth),
                format!("{:+.4}", verdict.bias),
                format!("{:.4}", verdict.error),
                format!("{:.1} %", verdict.coverage * 100.0),
                format!("{:.4}", verdict.width),
                format!("{:.0}", verdict.effective),
            ]);
        }
    }
    println!("{} logs of {} requests each, drawn from {}", trial.repetitions, trial.requests, data.display());
    println!("{table}");
    Ok(ExitCode::SUCCESS)
}
