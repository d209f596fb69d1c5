//! `pointsman import`: an export back into a log, or other people's files into a data set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;

use super::load::ConfigArgs;
use super::progress::Count;
use crate::store::{
    Entry, ExchangeError, FEEDBACK_ID_BYTES, HandOver, OpenError, OpenState, Store, StoreError, read_entries,
};
use crate::train::dataset::foreign::{Called, Imported, import};

/// Read an export back, or make a data set of other people's files
///
/// An export of `pointsman export` (JSON lines or Parquet) goes back into the log of a gateway that is not running; what is
/// there already stays as it is.
///
/// Everything else becomes a data set for `train`, `evaluate` and `replay` (--dataset DIR): recorded outcomes of this
/// project, RouterBench and LLMRouterBench tables (CSV, JSON, JSON lines; one column or one row for each model), and request logs
/// of LiteLLM or in the shape of OpenAI's API, as far as they carry a prompt, a model and a score.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The files to read
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Make a data set here, with train/, val/ and test/
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// What the data set calls the source, of all files; what their records say, else each file's name, where absent
    #[arg(long, value_name = "NAME", requires = "dataset")]
    source: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

pub(super) fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    match &args.dataset {
        Some(dir) => make_dataset(args, dir),
        None => into_log(args),
    }
}

/// What may have been meant by a file that is no export.
const ELSEWHERE: &str = "to make a data set of a file from elsewhere, say --dataset DIR";
/// Entries written to the store at once.
const BATCH: usize = 500;

fn into_log(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    // Before a log is begun for files that are none.
    for file in &args.files {
        if file.extension().is_some_and(|it| it.eq_ignore_ascii_case("gz")) {
            bail!("{} is packed: unpack a log first; only a data set's files (--dataset DIR) may be", file.display());
        }
        read_entries(file, |_| false).map_err(|error| match error {
            ExchangeError::Io { .. } => anyhow!(error),
            error => anyhow!("{error}; {ELSEWHERE}"),
        })?;
    }
    let loaded = args.config.load()?;
    let now_ms = Timestamp::now().as_millisecond();
    let (dir, settings) = (&loaded.config.server.data_dir, &loaded.config.store);
    let handed = HandOver::of(dir);
    // One that is there and broken is left alone: it is not for an import to set it aside and begin another.
    let opened = match Store::open_existing(dir, settings) {
        Err(OpenError::Missing { .. }) => Store::open(dir, settings, now_ms).map(|(store, _)| store),
        opened => opened,
    };
    let store = opened.context("the log cannot be opened; stop the gateway first, it alone writes its log")?;
    if let OpenState::Memory { reason } = store.health().opened.state {
        bail!("{} cannot be written: {reason}", dir.display());
    }
    handed.so_far();
    let mut count = Count::of("entries read");
    let (mut new, mut known) = (0, 0);
    for file in &args.files {
        let mut batch: Vec<Entry> = Vec::with_capacity(BATCH);
        let mut failed: Option<StoreError> = None;
        let mut put = |batch: &mut Vec<Entry>| match append(&store, std::mem::take(batch)) {
            Ok((added, there)) => {
                (new, known) = (new + added, known + there);
                None
            }
            Err(error) => Some(error),
        };
        let read = read_entries(file, |entry| {
            batch.push(entry);
            count.another();
            if batch.len() >= BATCH {
                failed = put(&mut batch);
            }
            failed.is_none()
        });
        if let Some(error) = failed.or_else(|| put(&mut batch)) {
            return Err(error.into());
        }
        super::tell_cut(file, read.with_context(|| format!("{new} entries are imported, none after these"))?);
    }
    // Retention goes by the size that was kept.
    store.save_log_size()?;
    store.flush()?;
    count.end();
    println!("{new} entries imported, {known} were there already");
    Ok(ExitCode::SUCCESS)
}

/// Appends what is new of `entries`; counts new ones and known ones. To a known one an outcome and feedback may have come
/// since it was imported.
fn append(store: &Store, entries: Vec<Entry>) -> Result<(u64, u64), StoreError> {
    let (mut decisions, mut outcomes, mut feedback) = (Vec::new(), Vec::new(), Vec::new());
    let mut known = 0;
    for entry in entries {
        let id = entry.decision.id;
        let there = store.entry(id)?;
        let has_ended = there.as_ref().is_some_and(|there| there.outcome.is_some());
        outcomes.extend(entry.outcome.filter(|_| !has_ended));
        // As the gateway itself would take it.
        feedback.extend(entry.feedback.into_iter().filter(|said| {
            said.decision == id && said.kind.is_valid() && (1..=FEEDBACK_ID_BYTES).contains(&said.id.len())
        }));
        match there {
            Some(_) => known += 1,
            None => decisions.push(entry.decision),
        }
    }
    store.append(&decisions, &outcomes, &mut feedback)?;
    Ok((decisions.len() as u64, known))
}

fn make_dataset(args: &ImportArgs, dir: &Path) -> anyhow::Result<ExitCode> {
    if let Some(name) = args.source.as_ref().filter(|name| !names_a_file(name)) {
        bail!(
            "--source `{name}` also names files: letters, digits, `.`, `-`, `_` and blanks, and no dot to begin with"
        );
    }
    // A source is written once: what came of one file must not be overwritten by the next.
    let mut sources: BTreeMap<String, Vec<&Path>> = BTreeMap::new();
    for file in &args.files {
        let stem = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let stem = stem.split('.').next().unwrap_or_default().to_owned();
        sources.entry(args.source.clone().unwrap_or(stem)).or_default().push(file);
    }
    let mut comparable = false;
    for (source, files) in sources {
        let called = if args.source.is_some() { Called::Always(&source) } else { Called::Unless(&source) };
        let Imported { prompts, models, outcomes, left_out, reason, notes } = import(&files, called, dir)?;
        println!("{source}: {prompts} prompts, {models} models, {outcomes} outcomes");
        comparable |= models > 1;
        notes.iter().for_each(|note| println!("  {note}"));
        if left_out > 0 {
            println!("  {left_out} rows or single outcomes left out, the first: {}", reason.unwrap_or_default());
        }
    }
    println!("Written to {}", dir.display());
    if !comparable {
        // As LLMRouterBench is published: a file a model.
        println!(
            "Each source has one model, so there is nothing to compare. Files that belong together come together where \
             --source NAME names them all: import them so, into a folder of their own."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a source's name can be a file's, too, and of no other folder.
fn names_a_file(name: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || ".-_ ".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}
