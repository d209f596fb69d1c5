//! `pointsman evaluate --data DIR`: how good a head is on recorded outcomes, compared with its baselines; with
//! `--policy` instead, how good a policy would have been on the decision log ([`super::policies`]).

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;

use super::policies::{self, PolicyArgs};
use super::{WrongUse, table, write_figures};
use crate::classifier::head::{Head, HeadError};
use crate::classifier::{LoadError, Model};
use crate::cli::progress::Bar;
use crate::train::dataset::{Dataset, Limits, Record, Split, read_judged};
use crate::train::evaluate::Evaluation;
use crate::train::fit::Compared;
use crate::train::job;
use crate::train::report::{self, counted};
use crate::train::results;

/// Which part of a data set is read; shared with `train`.
#[derive(Debug, Args)]
pub(in crate::cli) struct PartArgs {
    /// Only these sources of the data
    #[arg(long, alias = "source", value_delimiter = ',')]
    pub(in crate::cli) sources: Vec<String>,
    /// Most prompts of each source and split
    #[arg(long, value_name = "N", value_parser = one_or_more)]
    pub(in crate::cli) limit: Option<usize>,
    /// Where the encoder's states of prompts are kept between runs
    #[arg(long, value_name = "DIR", default_value = "var/features")]
    pub(in crate::cli) cache: PathBuf,
}

/// Reads a count; clap's own parser would tell of the largest number there is.
fn one_or_more(text: &str) -> Result<usize, String> {
    match text.parse::<usize>() {
        Ok(0) => Err("it must be 1 or more".into()),
        read => read.map_err(|error| error.to_string()),
    }
}

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct EvaluateArgs {
    /// Data set: a folder with train, val and test, a folder with JSON Lines files, or such a file
    #[arg(long, value_name = "DIR", conflicts_with_all = ["policy", "validate"])]
    data: Option<PathBuf>,
    /// The part that is judged: train, val, test, or another folder or file of the data; files outside any split folder
    /// count as it
    #[arg(long, value_name = "NAME", default_value = "test")]
    split: String,
    /// The head: builtin, or a file
    #[arg(long, default_value = "builtin")]
    head: String,
    /// The encoder that the head was trained for: builtin, a path, or hf:owner/name
    #[arg(long, visible_alias = "encoder", default_value = "builtin")]
    model: String,
    /// Only these models of the data, as it writes them
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    #[command(flatten)]
    part: PartArgs,
    /// Only these tasks, or families of them (the part of a name before the slash), among what is judged; what
    /// baselines are fitted to stays whole, unless it is train that is judged. For a head that was trained --without
    /// them
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    tasks: Vec<String>,
    /// Write all figures as JSON ("-" = standard output, instead of the tables)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page with tables and charts
    #[arg(long, value_name = "FILE", conflicts_with_all = ["policy", "validate"])]
    html: Option<PathBuf>,
    #[command(flatten, next_help_heading = "Policies, from the decision log")]
    policies: PolicyArgs,
}

pub(super) fn run(args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let Some(data) = &args.data else {
        if !args.policies.is_asked() {
            let ways = "say what to evaluate: a head with --data DIR, a policy with --policy POLICY, or off-policy estimates \
                        with --validate DIR";
            return Err(WrongUse(ways.into()).into());
        }
        return policies::run(&args.policies, args.json.as_deref());
    };
    for file in [&args.json, &args.html].into_iter().flatten() {
        check_writable(file)?;
    }
    let limits = Limits { per_source: args.part.limit, ..Limits::default() };
    let (mut dataset, split, name) = read_judged(data, &args.split, limits)?;
    keep_sources(&mut dataset, &args.part.sources)?;
    keep_models(&mut dataset, &args.models)?;
    if !dataset.has(split) {
        let there: Vec<&str> = Split::ALL.into_iter().filter(|it| dataset.has(*it)).map(Split::as_str).collect();
        let there = match there.as_slice() {
            [] => "nor anywhere else".to_owned(),
            names => format!("there are some in {}; choose with --split NAME", names.join(", ")),
        };
        let notes: String = dataset.notes.iter().map(|note| format!("\n{note}")).collect();
        bail!("{} has no prompts to judge in `{name}`; {there}{notes}", data.display());
    }
    keep_tasks(&mut dataset, split, &args.tasks)?;
    let model = Model::load(&args.policies.config.encoder(&args.model)?)?;
    let head = head(&model, &args.head)?;
    let mut evaluation = job::evaluate(&head, &dataset, split, &model, &args.part.cache, &Bar::new())?;
    evaluation.split = name;
    write_figures(args.json.as_deref(), &evaluation, || print(&evaluation))?;
    if let Some(path) = &args.html {
        results::put(path, report::evaluation(&evaluation).as_bytes()).with_context(|| path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Loads the head, which must be of this encoder: to another one the encoder's states would mean nothing.
fn head(model: &Model, name: &str) -> anyhow::Result<Head> {
    let refused = |error: LoadError| match error {
        LoadError::Head(HeadError::Unfit(_)) => {
            anyhow!("{name}: {error}. --model names the encoder that a head was trained for")
        }
        LoadError::Head(error @ HeadError::Malformed(_)) => anyhow!("{name}: {error}"),
        error => error.into(),
    };
    let none = || format!("there is no head `{name}` for this encoder; name one with --head");
    model.load_head(name).map_err(refused)?.with_context(none)
}

/// Checks before the long work that its result can be written.
fn check_writable(file: &Path) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return Ok(());
    }
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if file.is_dir() || !folder.is_dir() {
        bail!("{} cannot be written: it must be a file in an existing folder", file.display());
    }
    results::try_place(file).with_context(|| format!("{} cannot be written", file.display()))
}

fn keep_sources(dataset: &mut Dataset, sources: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = sources.iter().find(|source| !dataset.sources.contains(source)) {
        bail!("the data has no source `{unknown}`, but {}", dataset.sources.join(", "));
    }
    if !sources.is_empty() {
        *dataset = std::mem::take(dataset).only(sources);
    }
    Ok(())
}

fn keep_models(dataset: &mut Dataset, models: &[String]) -> anyhow::Result<()> {
    if models.is_empty() {
        return Ok(());
    }
    if let Some(unknown) = models.iter().find(|model| !dataset.arms.iter().any(|arm| arm.model == **model)) {
        let known: BTreeSet<&str> = dataset.arms.iter().map(|arm| arm.model.as_str()).collect();
        bail!("the data has no model `{unknown}`, but {}", known.into_iter().collect::<Vec<_>>().join(", "));
    }
    let arms = &dataset.arms;
    for record in &mut dataset.records {
        let kept = record.outcomes.iter().filter(|outcome| models.contains(&arms[outcome.arm as usize].model));
        record.outcomes = kept.copied().collect();
    }
    let before = dataset.records.len();
    dataset.records.retain(|record| !record.outcomes.is_empty());
    match before - dataset.records.len() {
        0 => {}
        left => dataset.notes.push(format!("{left} prompts have no outcome of these models and are left out.")),
    }
    Ok(())
}

/// Keeps only these tasks and task families in `split`.
fn keep_tasks(dataset: &mut Dataset, split: Split, tasks: &[String]) -> anyhow::Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    let is_called =
        |record: &Record, name: &str| dataset.family(record) == name || dataset.tasks[record.task as usize] == name;
    if let Some(unknown) = tasks.iter().find(|name| !dataset.of(split).any(|record| is_called(record, name))) {
        let there: BTreeSet<&str> = dataset.of(split).map(|record| dataset.family(record)).collect();
        let there = there.into_iter().collect::<Vec<_>>().join(", ");
        bail!("what is judged has no task and no task family `{unknown}`, but {there}");
    }
    let wanted = |record: &Record| tasks.iter().any(|name| is_called(record, name));
    let are_fitted_to = dataset.of(Split::Train).any(wanted);
    let kept: Vec<bool> = dataset.records.iter().map(|record| record.split != split || wanted(record)).collect();
    let mut kept = kept.into_iter();
    dataset.records.retain(|_| kept.next().unwrap_or(false));
    let fitted = match split {
        Split::Train => " Baselines are fitted to these alone, too.",
        _ if are_fitted_to => " Baselines are fitted to all of train, which has them, too.",
        _ => "",
    };
    dataset.notes.push(format!("Judged are the prompts of {} alone.{fitted}", tasks.join(", ")));
    Ok(())
}

/// Prints an evaluation as tables.
pub(super) fn print(evaluation: &Evaluation) -> std::io::Result<()> {
    std::io::stdout().lock().write_all(told(evaluation)?.as_bytes())
}

/// An evaluation as tables.
fn told(evaluation: &Evaluation) -> std::io::Result<String> {
    let mut out = Vec::new();
    let prompts = counted(evaluation.prompts, "prompt");
    writeln!(out, "{} on {} ({prompts})", evaluation.head, evaluation.split)?;
    for note in &evaluation.notes {
        writeln!(out, "{note}")?;
    }
    for source in &evaluation.sources {
        writeln!(
            out,
            "\n{}: {}, {}; best single model by {}: {} ({:.3}), oracle {:.3}",
            source.source,
            counted(source.prompts, "prompt"),
            counted(source.models.len(), "model"),
            source.best_single_by,
            source.best_single.name,
            source.best_single.value,
            source.oracle
        )?;
        let mut table = table(&report::COLUMNS, 1);
        source.routers.iter().for_each(|router| {
            table.add_row(report::cells(router));
        });
        writeln!(out, "{table}")?;
        for remark in report::remarks(source) {
            writeln!(out, "{remark}")?;
        }
    }
    // A name of the data may hold what a terminal takes for a command.
    Ok(String::from_utf8_lossy(&out).replace(|c: char| c.is_control() && c != '\n', "\u{fffd}"))
}

/// Prints the heads that a training compared.
pub(super) fn print_compared(compared: &[Compared]) -> std::io::Result<()> {
    let mut table = table(&["head, on val", "log-loss", "mean AUROC", ""], 1);
    for one in compared {
        let chosen = if one.chosen { "chosen" } else { "" };
        table.add_row([
            one.name.to_owned(),
            format!("{:.4}", one.log_loss),
            one.auroc.map_or_else(|| "-".to_owned(), |auroc| format!("{auroc:.3}")),
            chosen.to_owned(),
        ]);
    }
    writeln!(std::io::stdout(), "{table}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::dataset::{Limits, read};

    #[test]
    fn a_count_is_one_or_more() {
        assert_eq!(one_or_more("7"), Ok(7));
        assert_eq!(one_or_more("0"), Err("it must be 1 or more".to_owned()));
        assert!(one_or_more("-1").is_err());
    }

    #[test]
    fn what_is_printed_commands_no_terminal() {
        let notes = vec!["It was not fitted to gpt\u{1b}[2J.".to_owned()];
        let evaluation =
            Evaluation { head: "h".into(), split: "test".into(), prompts: 1, notes, sources: Vec::new() };
        assert_eq!(told(&evaluation).unwrap(), "h on test (1 prompt)\nIt was not fitted to gpt\u{fffd}[2J.\n");
    }

    #[test]
    fn only_the_wanted_tasks_are_judged_and_train_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        let line = |task: &str| {
            format!(
                "{{\"source\":\"s\",\"task\":\"{task}\",\"prompt\":\"p\",\"outcomes\":{{\"m\":{{\"score\":1}}}}}}\n"
            )
        };
        let lines = ["maths/sums", "maths/proofs", "poems"].map(line).concat();
        ["train", "test"]
            .iter()
            .for_each(|part| std::fs::write(dir.path().join(format!("{part}.jsonl")), &lines).unwrap());
        let kept_of = |split, tasks: &[&str]| {
            let mut dataset = read(dir.path(), split, Limits::default()).unwrap();
            let tasks: Vec<String> = tasks.iter().map(ToString::to_string).collect();
            keep_tasks(&mut dataset, split, &tasks).map_err(|error| error.to_string())?;
            let counts = [Split::Train, Split::Test].map(|split| dataset.of(split).count());
            Ok::<_, String>((counts, dataset.notes.last().cloned().unwrap_or_default()))
        };
        let kept = |tasks: &[&str]| kept_of(Split::Test, tasks);
        assert_eq!(kept(&[]), Ok(([3, 3], String::new())));
        let (counts, note) = kept(&["maths"]).unwrap();
        assert_eq!(counts, [3, 2]);
        assert!(note.starts_with("Judged are the prompts of maths alone. Baselines"), "{note}");
        assert_eq!(kept(&["maths/proofs", "poems"]).unwrap().0, [3, 2]);
        assert!(kept(&["songs"]).unwrap_err().ends_with("`songs`, but maths, poems"));
        let (counts, note) = kept_of(Split::Train, &["maths"]).unwrap();
        assert_eq!(counts, [2, 3]);
        assert!(!note.contains("all of train"), "{note}");
    }
}
