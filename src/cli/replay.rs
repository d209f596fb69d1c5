//! `pointsman replay`: a policy's learning curve over recorded outcomes.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::bandit::{PolicyKind, Settings, Tradeoff};
use crate::chart::{Drawing, Plot, Point, STYLE, Series};
use crate::classifier::Model;
use crate::classifier::head::Head;
use crate::cli::load::ConfigArgs;
use crate::cli::progress::Bar;
use crate::cli::{read_toml, table};
use crate::train::dataset::{self, Dataset, Limits, Split};
use crate::train::replay::{
    Blind, Conditions, Event, Events, Line, Player, Report, Stream, TextReader, Trace, compared_with, play, report,
};

/// Play recorded outcomes as a stream and see how fast a policy learns
///
/// A data set of recorded outcomes has every model's outcome for every prompt. It is played as a stream of requests in
/// which only the chosen model's outcome is revealed, and a policy learns from it as it would from traffic.
///
/// Regret is how much more the best single model in hindsight would have earned; a policy that uses the prompt can have
/// negative regret. It is computed on the prompts that this model was run on. An unknown cost is shown as –; where cost
/// counts (--cost-weight, --budget), models without any are left out. The learner and the oracle use these two; the
/// best single model and epsilon-greedy go by rewards alone, and so does regret.
#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// The data set: a folder with train/, val/ and test/, or files of JSON lines (which count as train, in a warm
    /// start as test)
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Begin with what a head predicts; without it, begin with nothing
    #[arg(long)]
    warm: bool,
    /// The splits that are played [default: val and then test with --warm, everything without]
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
    /// The encoder that the head was trained for: builtin, a path, or hf:owner/name
    #[arg(long, alias = "model", default_value = "builtin", requires = "warm", value_name = "MODEL")]
    encoder: String,
    /// Where the encoder's states of prompts are kept between runs
    #[arg(long, value_name = "DIR", default_value = "var/features")]
    cache: PathBuf,
    /// Only these sources
    #[arg(long, visible_alias = "sources", value_delimiter = ',', value_name = "NAMES")]
    source: Vec<String>,
    /// The policies to play
    ///
    /// greedy = always the model with the best expected utility; epsilon_greedy = the best, and now and then a random
    /// one; lin_ucb = the best with a bonus for uncertainty; thompson = each with its probability of being the best;
    /// inverse_gap = each with a probability inverse to its gap behind the best.
    #[arg(long, value_delimiter = ',', default_value = "thompson", value_parser = policy())]
    policy: Vec<PolicyKind>,
    /// Share of answers that nobody rates
    #[arg(long, default_value_t = 0.0, value_name = "SHARE")]
    missing: f64,
    /// Requests that pass before a rating arrives
    #[arg(long, default_value_t = 0, value_name = "N")]
    delay: usize,
    /// Ratings learned from at once
    #[arg(long, default_value_t = 10, value_name = "N")]
    batch: usize,
    /// Events on the way, at equal distances: price, drop, new, recover
    #[arg(long, value_delimiter = ',', value_name = "EVENTS")]
    events: Vec<String>,
    /// Quality given up to save one US dollar on one request
    #[arg(long, default_value_t = 0.0, value_name = "WEIGHT")]
    cost_weight: f64,
    /// US dollars per request that may be spent on average
    #[arg(long, value_name = "USD")]
    budget: Option<f64>,
    /// Runs of each player, each in another order
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    /// The seed of everything drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Features made of each prompt in a cold start
    #[arg(long, default_value_t = 12, value_name = "N")]
    features: usize,
    /// Write replay.json and a chart for each source here
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Reads a policy on the command line.
fn policy() -> impl TypedValueParser<Value = PolicyKind> {
    let names = PossibleValuesParser::new(PolicyKind::ALL.map(PolicyKind::name));
    names.try_map(|name| PolicyKind::named(&name).ok_or("there is no such policy"))
}

pub(super) fn run(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    if !(0.0..=1.0).contains(&args.missing) {
        bail!("--missing is a share between 0 and 1");
    }
    let events = args
        .events
        .iter()
        .map(|name| {
            Event::named(name).with_context(|| format!("there is no event `{name}`: price, drop, new, recover"))
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    if !(args.cost_weight.is_finite() && args.cost_weight >= 0.0) {
        bail!("--cost-weight is a number, 0 or above");
    }
    if args.budget.is_some_and(|budget| !(budget.is_finite() && budget > 0.0)) {
        bail!("--budget is a number above 0");
    }
    // A warm start plays what the head has not been fitted to; a rehearsal leaves nothing but train and val.
    let unsplit = if args.warm && !args.rehearse { Split::Test } else { Split::Train };
    let limits = Limits { features: args.warm, ..Limits::default() };
    let mut dataset = dataset::read(&args.data, unsplit, limits)?;
    if args.rehearse {
        dataset.rehearse();
    }
    dataset.notes.iter().for_each(|note| println!("{note}"));
    let sources = playable(&dataset, sources(&dataset, &args.source)?, &splits(args))?;
    let settings: Settings = args.settings.as_deref().map(read_toml).transpose()?.unwrap_or_default();
    let mut reports = Vec::new();
    let start = match args.warm {
        true => Some(start(args)?),
        false => None,
    };
    if let Some(dir) = &args.out {
        std::fs::create_dir_all(dir).with_context(|| format!("{} cannot be made", dir.display()))?;
    }
    let mut failed = Vec::new();
    for source in sources {
        // An error in one source must not lose the results of the others.
        match replay(args, settings, &dataset, source, start.as_ref(), &events) {
            Ok(report) => {
                print(&report);
                // Notes on the whole data set have been printed once.
                let notes = dataset.notes.iter().cloned().chain(report.notes).collect();
                reports.push(Report { notes, ..report });
            }
            Err(error) => {
                failed.push(format!("{}: {error:#}", dataset.sources[source as usize]));
                continue;
            }
        }
        if let Some(dir) = &args.out {
            write(dir, &reports)?;
        }
    }
    // Of a run that played nothing, no report takes the place of an earlier one.
    if let Some(dir) = args.out.as_ref().filter(|_| !reports.is_empty()) {
        println!("Written to {}", dir.display());
    }
    if !failed.is_empty() {
        bail!("not played: {}", failed.join("; "));
    }
    Ok(ExitCode::SUCCESS)
}

/// The sources that have prompts in `splits`; for the others a line says what they have.
fn playable(dataset: &Dataset, sources: Vec<u32>, splits: &[Split]) -> anyhow::Result<Vec<u32>> {
    let count = |source: u32, split: Split| dataset.of_source(source, split).count();
    let (played, empty): (Vec<u32>, Vec<u32>) =
        sources.into_iter().partition(|source| splits.iter().any(|split| count(*source, *split) > 0));
    let found = |source: &u32| {
        let parts =
            Split::ALL.into_iter().map(|split| (split, count(*source, split))).filter(|(_, count)| *count > 0);
        let parts: Vec<String> = parts.map(|(split, count)| format!("{split}: {count}")).collect();
        let parts = if parts.is_empty() { "none at all".to_owned() } else { parts.join(", ") };
        format!("{} ({parts})", dataset.sources[*source as usize])
    };
    let empty: Vec<String> = empty.iter().map(found).collect();
    let wanted = splits.iter().map(|split| split.as_str()).collect::<Vec<_>>().join(", ");
    match (played.is_empty(), empty.is_empty()) {
        (true, true) => bail!("the data holds no records"),
        (true, false) => bail!("nothing to play: no prompts in {wanted} (--splits), but {}", empty.join("; ")),
        (false, true) => {}
        (false, false) => eprintln!("Not played, without prompts in {wanted}: {}", empty.join("; ")),
    }
    Ok(played)
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
fn splits(args: &ReplayArgs) -> Vec<Split> {
    let named: Vec<Split> = args.splits.iter().filter_map(|name| Split::named(name)).collect();
    let usual: &[Split] = if args.warm { &[Split::Val, Split::Test] } else { &Split::ALL };
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
    events: &[Event],
) -> anyhow::Result<Report> {
    let mut rng = StdRng::seed_from_u64(args.seed);
    let splits = splits(args);
    let mut stream = match start {
        Some((model, head)) => Stream::warm(dataset, source, &splits, (model, head), &args.cache, &Bar::new())?,
        None => Stream::cold(dataset, source, &splits, &mut TextReader::new(args.features), &mut rng)?,
    };
    if args.cost_weight > 0.0 || args.budget.is_some() {
        stream = stream.priced();
        if stream.arms.len() < 2 {
            bail!("cost decides, and fewer than two models have one; leave out --cost-weight and --budget");
        }
    }
    let notes = notes(args, dataset, source, &stream, events);
    // Each run in an order of its own, the same for every player.
    let orders: Vec<Stream> = (0..args.runs.max(1))
        .map(|run| stream.shuffled(&mut StdRng::seed_from_u64(args.seed.wrapping_add(1 + run as u64))))
        .collect();
    let mut players =
        vec![Player::Random, Player::BestSingle, Player::Oracle, Player::Blind(Blind::new(stream.arms.len(), 0.1))];
    if start.is_some() {
        players.push(Player::frozen(settings)?);
    }
    for &policy in &args.policy {
        // The kind named by the settings has their parameters, any other its own best ones.
        let named = policy.name() == settings.policy.name();
        players.push(Player::learned(if named { settings } else { Settings { policy, ..settings } })?);
    }
    let happen = Events::over(&stream, events);
    let left = happen.all().iter().map(|(at, event)| (event.name(), stream.items.len() - at));
    let lines = players.iter().map(|player| line(args, &orders, player, events)).collect();
    Ok(Report {
        source: stream.source.clone(),
        requests: stream.items.len(),
        models: stream.arms.len(),
        runs: orders.len(),
        notes,
        left: left.collect(),
        lines,
    })
}

/// Notes on a stream beside its figures.
fn notes(args: &ReplayArgs, dataset: &Dataset, source: u32, stream: &Stream, events: &[Event]) -> Vec<String> {
    let mut notes = stream.notes.clone();
    let has = |split| dataset.of_source(source, split).next().is_some();
    if args.warm && !has(Split::Train) && !has(Split::Val) {
        notes.push(
            "All prompts count as test: there is no train or val to show how good these models are, only the head, and \
             the usual cost of an answer is the mean over test itself."
                .to_owned(),
        );
    }
    let supposed = stream.supposed_costs();
    if supposed > 0 {
        notes.push(format!("{supposed} outcomes have no cost of their own; their model's mean cost is taken."));
    }
    let (singles, share) = compared_with(stream, &Events::over(stream, events));
    if share < 1.0 {
        let names: Vec<&str> = singles.iter().map(|arm| stream.arms[*arm].as_str()).collect();
        notes.push(format!(
            "The best single model in hindsight ({}) was run on {:.1} % of the prompts: its reward and cost, and all \
             regrets, are computed on those.",
            names.join(", "),
            share * 100.0
        ));
    }
    notes
}

/// All runs of one player, as many at once as there are processors.
fn line(args: &ReplayArgs, orders: &[Stream], player: &Player, events: &[Event]) -> Line {
    let one = |run: usize| -> Trace {
        let stream = &orders[run];
        let conditions = Conditions {
            missing: args.missing,
            delay: args.delay,
            batch: args.batch,
            tradeoff: Tradeoff { cost_per_usd: args.cost_weight, latency_per_s: 0.0 },
            budget_usd: args.budget,
            events: Events::over(stream, events),
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
    println!("{}", told(report));
}

/// The players' figures as a table, with what is to be known of them.
fn told(report: &Report) -> String {
    let Report { source, requests, models, runs, .. } = report;
    let runs = if *runs == 1 { "one run".to_owned() } else { format!("{runs} runs (95 % intervals over runs)") };
    let mut out = format!("\n{source}: {requests} requests, {models} models, {runs}\n");
    report.notes.iter().for_each(|note| _ = writeln!(out, "{note}"));
    let followed: Vec<&str> =
        report.lines.iter().flat_map(|line| line.followed.iter().map(|(name, ..)| name.as_str())).collect();
    let mut names = followed.clone();
    names.sort_unstable();
    names.dedup();
    let budget = report.lines.iter().any(|line| line.budget_error.is_some());
    let partial = report.lines.iter().any(|line| line.compared_reward.is_some());
    let mut header = vec!["player".to_owned(), "reward".into()];
    header.extend(partial.then(|| "where the best single model was run".to_owned()));
    header.extend(["cost, $ per 1000".to_owned(), "regret".into()]);
    header.extend(budget.then(|| "over budget".to_owned()));
    header.extend(names.iter().map(|name| format!("ratings to follow: {name}")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut table = table(&header, 1);
    for line in &report.lines {
        let mut row = vec![line.player.clone(), line.reward.to_string()];
        row.extend(partial.then(|| line.compared_reward.unwrap_or(line.reward).to_string()));
        row.extend([cost(line), line.regret.to_string()]);
        if budget {
            row.push(line.budget_error.map_or_else(|| "–".into(), |error| format!("{:+.1} %", error.mean * 100.0)));
        }
        for name in &names {
            let found = line.followed.iter().find(|(known, ..)| known == name);
            row.push(found.map_or_else(String::new, |(_, median, share)| match median {
                Some(median) => format!("{median} ({:.0} % of runs)", share * 100.0),
                None => {
                    let left = report.left.iter().find(|(known, _)| known == name).map_or(0, |(_, left)| *left);
                    format!("not within the {left} requests left ({:.0} % of runs did)", share * 100.0)
                }
            }));
        }
        table.add_row(row);
    }
    _ = write!(out, "{table}");
    out
}

/// The mean cost of a thousand answers, with the share of answers whose cost is known if that is not all.
fn cost(line: &Line) -> String {
    let Some(cost) = line.cost_usd else { return "–".into() };
    let usd = format!("{:.3}", cost.mean * 1000.0);
    if line.cost_known < 1.0 { format!("{usd} (known for {:.1} %)", line.cost_known * 100.0) } else { usd }
}

/// Writes all reports so far, and the chart of the last one.
fn write(dir: &Path, reports: &[Report]) -> anyhow::Result<()> {
    let path = dir.join("replay.json");
    std::fs::write(&path, serde_json::to_string_pretty(reports)?)
        .with_context(|| format!("{} cannot be written", path.display()))?;
    reports.last().map_or(Ok(()), |report| draw(dir, report))
}

fn draw(dir: &Path, report: &Report) -> anyhow::Result<()> {
    let mut plot = Plot::new(format!("Regret: {}", report.source), "request", "cumulative regret");
    // Random and oracle would stretch the scale until the others look flat.
    for line in report.lines.iter().filter(|line| !["random", "oracle"].contains(&line.player.as_str())) {
        let step = report.requests as f64 / line.curve.len().max(1) as f64;
        let points = line.curve.iter().enumerate().map(|(at, spread)| {
            let point = Point::new(step * (at + 1) as f64, spread.mean);
            if spread.low.is_finite() { point.within(spread.low, spread.high) } else { point }
        });
        plot = plot.with(Series::line(line.player.clone(), points.collect()));
    }
    for (event, left) in &report.left {
        plot = plot.moment((report.requests - left) as f64, *event);
    }
    // A chart in a file of its own needs its styles in it.
    let svg = plot.svg().replacen('>', &format!("><style>{STYLE}</style>"), 1);
    // A source's name may contain characters of a path.
    let name = report.source.replace(|c: char| !(c.is_alphanumeric() || "._-".contains(c)), "_");
    let path = dir.join(format!("{name}.svg"));
    std::fs::write(&path, svg).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::replay::Spread;

    #[test]
    fn a_table_of_players_has_no_lines_and_its_figures_end_at_the_same_place() {
        let spread = |mean: f64| Spread { mean, low: f64::NAN, high: f64::NAN };
        let line = |player: &str, regret: f64| Line {
            player: player.into(),
            reward: spread(0.5),
            compared_reward: None,
            cost_usd: None,
            cost_known: 0.0,
            regret: spread(regret),
            budget_error: None,
            followed: Vec::new(),
            curve: Vec::new(),
        };
        let lines = vec![line("random", 120.0), line("thompson", 3.25)];
        let notes = vec!["A note.".to_owned()];
        let report = Report { source: "s".into(), requests: 9, models: 2, runs: 1, notes, left: Vec::new(), lines };
        let told = told(&report);
        assert!(told.starts_with("\ns: 9 requests, 2 models, one run\nA note.\n"), "{told}");
        assert!(!told.contains('|') && !told.contains('+'), "{told}");
        let ends: Vec<usize> = told.lines().skip(3).map(|line| line.trim_end().chars().count()).collect();
        assert!(ends.len() == 3 && ends.iter().all(|end| *end == ends[0]), "{told}");
    }

    #[test]
    fn a_run_that_ended_before_an_event_was_followed_tells_how_long_it_had() {
        let spread = |mean: f64| Spread { mean, low: f64::NAN, high: f64::NAN };
        let line = Line {
            player: "thompson".into(),
            reward: spread(0.5),
            compared_reward: None,
            cost_usd: None,
            cost_known: 0.0,
            regret: spread(0.0),
            budget_error: None,
            followed: vec![("new".into(), None, 0.25), ("drop".into(), Some(40), 1.0)],
            curve: Vec::new(),
        };
        let (notes, left) = (Vec::new(), vec![("drop", 200), ("new", 75)]);
        let report = Report { source: "s".into(), requests: 300, models: 2, runs: 4, notes, left, lines: vec![line] };
        let told = told(&report);
        assert!(told.contains("not within the 75 requests left (25 % of runs did)"), "{told}");
        assert!(told.contains("40 (100 % of runs)"), "{told}");
    }
}
