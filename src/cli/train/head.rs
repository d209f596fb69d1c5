//! `pointsman train --data DIR --log FILE --out DIR`: trains a head from recorded outcomes, an export of a decision
//! log, or both, and writes a report.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::classifier::encoder::Pooling;
use crate::classifier::head::OWN_TRAFFIC;
use crate::classifier::source::{Artifact, Files, NOT_STATED, Source};
use crate::classifier::tune::Written;
use crate::classifier::{Model, open};
use crate::cli::evaluate::{PartArgs, print, print_compared};
use crate::cli::load::ConfigArgs;
use crate::cli::progress::Bar;
use crate::cli::{WrongUse, read_toml, say};
use crate::config;
use crate::train::dataset::log::{FEWEST, read_log};
use crate::train::dataset::{Dataset, Limits, Split, read};
use crate::train::job::{Job, Trained};
use crate::train::recipe::HeadRecipe;

/// Prompts whose task is known, for the task labels.
const LABELS: &str = include_str!("../../../data/prompts.jsonl");

/// The arguments.
#[derive(Debug, Args)]
pub(in crate::cli) struct HeadArgs {
    /// Data set: a folder with train, val and test, or JSON Lines files
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Export of a decision log (JSON lines or Parquet) with `store.prompts` on: its judged answers, alone or with
    /// --data
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Where head.safetensors, report.html and report.json go
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How it is trained; defaults suit most data
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// The encoder: builtin, a path, or hf:owner/name
    #[arg(long, visible_alias = "encoder", default_value = "builtin")]
    model: String,
    #[command(flatten)]
    part: PartArgs,
    /// Task families that are left out of train and val and then tested alone: work the head has not seen
    #[arg(long, value_delimiter = ',')]
    without: Vec<String>,
    /// Fine-tune the last N layers that are read, before the head is fitted; `[finetune]` in the recipe says how. The
    /// encoder must be a GGUF file
    #[arg(long, value_name = "N")]
    finetune: Option<usize>,
    /// Leave test alone: take val for test, and three in ten of train's questions for val. For choosing settings
    #[arg(long)]
    rehearse: bool,
    /// The seed of everything drawn
    #[arg(long)]
    seed: Option<u64>,
    /// Also name the head in the manifest of the folder above `--out`
    #[arg(long)]
    manifest: bool,
    #[command(
        flatten,
        next_help_heading = "Configuration: [learning.reward] sets the rewards of the export's signals, classifier.head the head to compare with"
    )]
    config: ConfigArgs,
}

pub(super) fn run(args: &HeadArgs) -> anyhow::Result<ExitCode> {
    let Some(out) = args.out.as_ref().filter(|_| args.data.is_some() || args.log.is_some()) else {
        bail!(WrongUse(
            "`train` needs --data, --log or both, and --out (or the subcommand `encoder`); see --help".into()
        ));
    };
    let mut recipe: HeadRecipe = args.recipe.as_deref().map(read_toml).transpose()?.unwrap_or_default();
    if !args.part.sources.is_empty() {
        recipe.sources.clone_from(&args.part.sources);
    }
    recipe.without.extend(args.without.iter().cloned());
    recipe.fit.seed = args.seed.unwrap_or(recipe.fit.seed);
    recipe.finetune.seed = args.seed.unwrap_or(recipe.finetune.seed);
    let mut settings = args.config.encoder(&args.model)?;
    let in_force = settings.head.clone();
    let files = settings.model.parse::<Source>()?.fetch(&settings.hub, &mut ())?;
    let layers = open(&files)?.0.hyper().layers;
    if let Some(tuned) = args.finetune {
        recipe.finetune.layers = tuned;
        if tuned > 0 && args.recipe.is_none() {
            // As in training/head.toml: a tuned encoder learns through the mean of one layer.
            recipe.pooling = Pooling::mean_of(4);
        }
    }
    if args.recipe.is_none() {
        // An encoder of fewer layers is read at its end.
        recipe.pooling.layers.iter_mut().for_each(|layer| *layer = layers.min(*layer));
    }
    recipe.check(layers)?;
    let limits = Limits { per_source: args.part.limit, ..Limits::default() };
    let mut dataset =
        args.data.as_ref().map(|data| read(data, Split::Train, limits)).transpose()?.unwrap_or_default();
    if let Some(log) = &args.log {
        add_log(log, args, &mut recipe, &mut dataset)?;
    }
    if args.rehearse {
        // Last, so that the test split of the export, too, is left alone.
        dataset.rehearse();
    }
    let labels = labels().context("the labelled prompts")?;
    say(format_args!("{} prompts whose task is known are read beside those of the data set", labels.len()));
    let bar = Bar::new();
    let job = Job { recipe: &recipe, out, cache: &args.part.cache, in_force: &in_force, progress: &bar };
    let mut tuned = None;
    if recipe.finetune.layers > 0 {
        tuned = tune_encoder(&job, dataset.clone(), &files, settings.device)?;
        if tuned.is_some() {
            settings.model = out.join("encoder.gguf").display().to_string();
        }
    }
    let model = Model::load(&settings)?;
    let trained = job.train(dataset, labels, &model)?;
    for note in &trained.notes {
        println!("{note}");
    }
    print_compared(&trained.compared)?;
    for evaluation in [&trained.val, &trained.test].into_iter().flatten() {
        print(evaluation)?;
    }
    println!(
        "{} (version {})\n{}",
        trained.file.display(),
        trained.head.description().version,
        trained.report.display()
    );
    if args.manifest {
        note(args, out, &recipe, &trained, tuned.as_ref())?;
    }
    if tuned.is_some() {
        println!(
            "Serve with both: [classifier] model = \"{}\", head = \"{}\"",
            settings.model,
            trained.file.display()
        );
    }
    println!("{}", trained.in_force.summary);
    Ok(ExitCode::SUCCESS)
}

/// Tunes the encoder, and prints the result; `None` if val did not improve.
fn tune_encoder(
    job: &Job<'_>,
    dataset: Dataset,
    files: &Files,
    device: config::Device,
) -> anyhow::Result<Option<Written>> {
    let tuned = job.tune(dataset, files, device)?;
    let told: Vec<String> = tuned.val.iter().map(|loss| format!("{loss:.4}")).collect();
    println!(
        "Fine-tuning: {} numbers; log-loss on val before and after each pass: {}.",
        tuned.learned,
        told.join(", ")
    );
    match &tuned.written {
        Some(written) => println!(
            "{}: {} layers, {:.1} MB, sha256 {}",
            job.out.join("encoder.gguf").display(),
            written.layers,
            written.bytes as f64 / 1e6,
            written.sha256
        ),
        None => println!("No pass was better than the encoder as it was: it stays, and the head is fitted to it."),
    }
    Ok(tuned.written)
}

/// Adds the judged answers of an export to the data set, and prints what was found.
fn add_log(file: &Path, args: &HeadArgs, recipe: &mut HeadRecipe, dataset: &mut Dataset) -> anyhow::Result<()> {
    let rewards = &args.config.load()?.config.learning.reward;
    let (own, found) = read_log(file, rewards)?;
    let left_out = dataset.join(own);
    println!(
        "{}: {} entries, {} judged answers, {} of them with their prompt; {} are learned from.",
        file.display(),
        found.entries,
        found.judged,
        found.judged - found.without_text,
        found.used - left_out
    );
    crate::cli::warn_cut(file, found.cut);
    if found.without_text > 0 {
        println!(
            "{} judged answers came while `store.prompts` was off: nothing is learned from them.",
            found.without_text
        );
    }
    if left_out > 0 {
        println!("{left_out} prompts of the export are in another split of --data and are left out.");
    }
    for (model, count) in &found.left_out {
        println!("{model}: only {count} judged answers (at least {FEWEST} are needed): it stays a prior.");
    }
    // A recipe's sources are those of --data; the export is used in any case.
    match args.data {
        None => recipe.sources.clear(),
        Some(_) if recipe.sources.is_empty() => {}
        Some(_) => recipe.sources.push(OWN_TRAFFIC.to_owned()),
    }
    Ok(())
}

/// Prompt and label of each line.
fn labels() -> anyhow::Result<Vec<(String, String)>> {
    #[derive(serde::Deserialize)]
    struct Line {
        task: String,
        prompt: String,
    }
    let line = |line: &str| -> anyhow::Result<(String, String)> {
        let line: Line = serde_json::from_str(line)?;
        Ok((line.prompt, line.task))
    };
    LABELS.lines().filter(|text| !text.trim().is_empty()).map(line).collect()
}

/// Adds the head, and the encoder if it was tuned, to the manifest.
fn note(
    args: &HeadArgs,
    out: &Path,
    recipe: &HeadRecipe,
    trained: &Trained,
    tuned: Option<&Written>,
) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(&trained.file).with_context(|| trained.file.display().to_string())?.len();
    let described = trained.head.description();
    let made_by = args.recipe.as_ref().map(|file| file.display().to_string()).unwrap_or_default();
    let encoder = tuned.map(|written| Artifact {
        file: "encoder.gguf".into(),
        kind: "encoder".into(),
        sha256: written.sha256.clone(),
        bytes: written.bytes,
        license: written.license.clone().unwrap_or_else(|| NOT_STATED.into()),
        base: format!("{}, fine-tuned on {}", args.model, described.trained_on.join(", ")),
        recipe: made_by.clone(),
        layers: Some(written.layers),
        hidden: Some(written.hidden),
        tokens: None,
    });
    let head = Artifact {
        file: "head.safetensors".into(),
        kind: "head".into(),
        sha256: crate::classifier::cut::file_sha256(&trained.file)?,
        bytes,
        license: recipe.license.clone().unwrap_or_else(|| NOT_STATED.into()),
        base: format!("trained on {}", described.trained_on.join(", ")),
        recipe: made_by,
        layers: recipe.pooling.layers.last().copied(),
        hidden: Some(described.hidden),
        tokens: None,
    };
    super::note(out, encoder.into_iter().chain([head]))
}
