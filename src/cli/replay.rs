//! `pointsman replay`: a policy's learning curve over recorded outcomes.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use comfy_table::Table;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::bandit::{PolicyKind, Settings, Tradeoff};
use crate::chart::{Drawing, Plot, Point, STYLE, Series};
use crate::classifier::Model;
use crate::classifier::head::Head;
use crate::cli::load::ConfigArgs;
use crate::cli::progress::Bar;
use crate::train::dataset::{self, Dataset, Limits, Split};
use crate::train::replay::{
    Blind, Conditions, Happening, Happenings, Line, Player, Report, Stream, TextReader, Trace, play, report,
};

/// The arguments.
///
/// A data set of recorded outcomes says what every model did with every prompt. It is played as a stream of requests in
/// which only the chosen model's outcome is revealed, and a policy learns from it as it would from traffic.
///
/// Regret is what the best single model in hindsight would have had more; a policy that uses the prompt can have less
/// than none.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The data set: a folder with train/, val/ and test/, or files of JSON lines
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Begin with what a head predicts; without it, begin with nothing
    #[arg(long)]
    warm: bool,
    /// The splits that are played [default: val and then test where warm, everything in one where not]
    #[arg(long, value_delimiter = ',', value_parser = ["train", "val", "test"], hide_possible_values = true)]
    splits: Vec<String>,
    /// Leave test alone: take val for test, and three in ten of train's questions for val. For choosing settings
    #[arg(long)]
    rehearse: bool,
    /// Play with these settings of the learner, a TOML file, where they differ from the shipped ones
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The head of a warm start: builtin, or a file
    #[arg(long, default_value = "builtin", requires = "warm", value_name = "HEAD")]
    head: String,
    /// The encoder it belongs to: builtin, a path, or hf:owner/name
    #[arg(long, default_value = "builtin", requires = "warm", value_name = "MODEL")]
    encoder: String,
    /// Where prompts' states are kept between runs
    #[arg(long, value_name = "DIR", default_value = "var/features")]
    cache: PathBuf,
    /// Only these sources
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    source: Vec<String>,
    /// The policies to play
    #[arg(long, value_enum, value_delimiter = ',', default_value = "thompson")]
    policy: Vec<PolicyArg>,
    /// Share of answers that nobody rates
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    missing: f64,
    /// Requests that go by before a rating arrives
    #[arg(long, default_value_t = 0, value_name = "N")]
    delay: usize,
    /// Ratings learned from at once
    #[arg(long, default_value_t = 10, value_name = "N")]
    batch: usize,
    /// What happens on the way, at equal distances: price, drop, new, recover
    #[arg(long, value_delimiter = ',', value_name = "EVENTS")]
    events: Vec<String>,
    /// Quality given up to save one US dollar on one request
    #[arg(long, default_value_t = 0.0, value_name = "WEIGHT")]
    cost_weight: f64,
    /// US dollars per request to be held on average
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// Runs of each player, each in another order
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    /// Where chance begins
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Features made of each prompt in a cold start
    #[arg(long, default_value_t = 12, value_name = "N")]
    features: usize,
    /// Write replay.json and a chart for each source here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// A policy on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum PolicyArg {
    /// Always the best by expected utility
    Greedy,
    /// The best, and now and then any
    EpsilonGreedy,
    /// The best with a bonus for the unknown
    LinUcb,
    /// Each as often as it is the best by the beliefs
    Thompson,
    /// Each inverse to its gap behind the best
    InverseGap,
}

impl PolicyArg {
    fn kind(self) -> PolicyKind {
        let name = match self {
            Self::Greedy => "greedy",
            Self::EpsilonGreedy => "epsilon_greedy",
            Self::LinUcb => "lin_ucb",
            Self::Thompson => "thompson",
            Self::InverseGap => "inverse_gap",
        };
        PolicyKind::named(name).unwrap_or(PolicyKind::Greedy)
    }
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    if !(0.0..=1.0).contains(&args.missing) {
        bail!("--missing is a share between 0 and 1");
    }
    let happenings = args
        .events
        .iter()
        .map(|name| {
            Happening::named(name).with_context(|| format!("there is no event `{name}`: price, drop, new, recover"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut dataset = dataset::read(&args.data, Split::Train, Limits::default())?;
    if args.rehearse {
        dataset.rehearse();
    }
    let sources = sources(&dataset, &args.source)?;
    let settings = match &args.settings {
        Some(file) => {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            toml::from_str(&text).with_context(|| file.display().to_string())?
        }
        None => Settings::default(),
    };
    let mut reports = Vec::new();
    let start = match args.warm {
        true => Some(start(args)?),
        false => None,
    };
    for source in sources {
        let report = replay(args, settings, &dataset, source, start.as_ref(), &happenings)?;
        print(&report);
        if let Some(dir) = &args.out {
            draw(dir, &report)?;
        }
        reports.push(report);
    }
    if let Some(dir) = &args.out {
        let path = dir.join("replay.json");
        std::fs::write(&path, serde_json::to_string_pretty(&reports)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        println!("Written to {}", dir.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn sources(dataset: &Dataset, wanted: &[String]) -> anyhow::Result<Vec<u32>> {
    if wanted.is_empty() {
        return Ok((0..dataset.sources.len() as u32).collect());
    }
    let find = |name: &String| {
        let at = dataset.sources.iter().position(|known| known == name);
        at.map(|at| at as u32)
            .with_context(|| format!("the data set has no source `{name}`, but {}", dataset.sources.join(", ")))
    };
    wanted.iter().map(find).collect()
}

/// The splits that are played.
fn splits(args: &ReplayArgs, usual: &[Split]) -> Vec<Split> {
    let named: Vec<Split> = args.splits.iter().filter_map(|name| Split::named(name)).collect();
    if named.is_empty() { usual.to_vec() } else { named }
}

/// Encoder and head of a warm start.
fn start(args: &ReplayArgs) -> anyhow::Result<(Model, Head)> {
    let model = Model::load(&ConfigArgs::default().encoder(&args.encoder)?)?;
    let head = model.load_head(&args.head)?.with_context(|| format!("there is no head `{}` for it", args.head))?;
    Ok((model, head))
}

fn replay(
    args: &ReplayArgs,
    settings: Settings,
    dataset: &Dataset,
    source: u32,
    start: Option<&(Model, Head)>,
    happenings: &[Happening],
) -> anyhow::Result<Report> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let stream = match start {
        Some((model, head)) => {
            let splits = splits(args, &[Split::Val, Split::Test]);
            Stream::warm(dataset, source, &splits, (model, head), &args.cache, &Bar::new())?
        }
        None => {
            let mut reader = TextReader::new(args.features);
            Stream::cold(dataset, source, &splits(args, &Split::ALL), &mut reader, &mut rng)?
        }
    };
    // Each run in an order of its own, the same for every player.
    let orders: Vec<Stream> = (0..args.runs.max(1))
        .map(|run| stream.shuffled(&mut StdRng::seed_from_u64(args.seed.wrapping_add(1 + run as u64))))
        .collect();
    let mut players =
        vec![Player::Random, Player::BestSingle, Player::Oracle, Player::Blind(Blind::new(stream.arms.len(), 0.1))];
    if start.is_some() {
        players.push(Player::frozen(settings)?);
    }
    for policy in &args.policy {
        // A kind that the settings name is played as they say, any other with its own best parameters.
        let policy = policy.kind();
        let named = policy.name() == settings.policy.name();
        players.push(Player::learned(if named { settings } else { Settings { policy, ..settings } })?);
    }
    let lines = players.iter().map(|player| line(args, &orders, player, happenings)).collect();
    Ok(Report {
        source: stream.source.clone(),
        requests: stream.items.len(),
        models: stream.arms.len(),
        runs: orders.len(),
        lines,
    })
}

/// All runs of one player, as many at once as there are processors.
fn line(args: &ReplayArgs, orders: &[Stream], player: &Player, happenings: &[Happening]) -> Line {
    let one = |run: usize| -> Trace {
        let stream = &orders[run];
        let conditions = Conditions {
            missing: args.missing,
            delay: args.delay,
            batch: args.batch,
            tradeoff: Tradeoff { cost_per_usd: args.cost_weight, latency_per_s: 0.0 },
            budget_usd: args.budget,
            happenings: Happenings::over(stream, happenings),
            seed: args.seed.wrapping_add(1000 + run as u64),
        };
        play(stream, player.clone(), &conditions)
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let mut traces = Vec::with_capacity(orders.len());
    for from in (0..orders.len()).step_by(workers) {
        let until = (from + workers).min(orders.len());
        let one = &one;
        let done: Vec<Trace> = std::thread::scope(|scope| {
            let running: Vec<_> = (from..until).map(|run| scope.spawn(move || one(run))).collect();
            // A run that panicked is a bug, and is played again here to show itself.
            running.into_iter().zip(from..).map(|(it, run)| it.join().unwrap_or_else(|_| one(run))).collect()
        });
        traces.extend(done);
    }
    report(player.name(), &traces, args.budget)
}

fn print(report: &Report) {
    let Report { source, requests, models, runs, .. } = report;
    println!("\n{source}: {requests} requests, {models} models, {runs} runs (95 % intervals over runs)");
    let followed: Vec<&str> =
        report.lines.iter().flat_map(|line| line.followed.iter().map(|(name, ..)| name.as_str())).collect();
    let mut names = followed.clone();
    names.sort_unstable();
    names.dedup();
    let budget = report.lines.iter().any(|line| line.budget_error.is_some());
    let mut table = Table::new();
    let mut header = vec!["player".to_owned(), "reward".into(), "cost, $ per 1000".into(), "regret".into()];
    header.extend(budget.then(|| "over budget".to_owned()));
    header.extend(names.iter().map(|name| format!("ratings to follow: {name}")));
    table.set_header(header);
    for line in &report.lines {
        let mut row = vec![
            line.player.clone(),
            line.reward.to_string(),
            format!("{:.3}", line.cost_usd.mean * 1000.0),
            line.regret.to_string(),
        ];
        row.extend(line.budget_error.map(|error| format!("{:+.1} %", error.mean * 100.0)));
        for name in &names {
            let found = line.followed.iter().find(|(known, ..)| known == name);
            row.push(found.map_or_else(String::new, |(_, median, share)| match median {
                Some(median) => format!("{median} ({:.0} % of runs)", share * 100.0),
                None => format!("never ({:.0} % of runs did)", share * 100.0),
            }));
        }
        table.add_row(row);
    }
    println!("{table}");
}

fn draw(dir: &Path, report: &Report) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    let mut plot = Plot::new(format!("Regret: {}", report.source), "request", "cumulative regret");
    // Random and oracle would squeeze the others into a line.
    for line in report.lines.iter().filter(|line| !["random", "oracle"].contains(&line.player.as_str())) {
        let step = report.requests as f64 / line.curve.len().max(1) as f64;
        let points = line.curve.iter().enumerate().map(|(at, spread)| {
            let point = Point::new(step * (at + 1) as f64, spread.mean);
            if spread.low.is_finite() { point.within(spread.low, spread.high) } else { point }
        });
        plot = plot.with(Series::line(line.player.clone(), points.collect()));
    }
    // Alone in a file, the chart has to bring its colours.
    let svg = plot.svg().replacen('>', &format!("><style>{STYLE}</style>"), 1);
    let path = dir.join(format!("{}.svg", report.source));
    std::fs::write(&path, svg).with_context(|| format!("{} cannot be written", path.display()))
}
