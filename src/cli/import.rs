//! `pointsman import`: an export back into a decision log, or other programs' files into a data set.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use jiff::Timestamp;

use super::load::ConfigArgs;
use super::progress::Count;
use crate::store::{
    Entry, ExchangeError, HandOver, MOST_FEEDBACK, OpenError, OpenState, Store, StoreError, Stored, read_entries,
};
use crate::train::dataset::foreign::{Called, Imported, import};
use crate::train::dataset::is_packed;
use crate::train::report::counted;

/// Read an export back, or make a data set of other programs' files
///
/// An export of `pointsman export` (JSON lines or Parquet) goes back into the decision log of a gateway that is not
/// running; to entries that are there already only an outcome and feedback that they lack are added.
///
/// Other files become a data set for `train`, `evaluate` and `replay` (--dataset DIR): recorded outcomes of this
/// project, RouterBench and LLMRouterBench tables (CSV, JSON, JSON lines; one column or one row for each model), and
/// request logs of LiteLLM or in the shape of OpenAI's API, as far as they carry a prompt, a model and a score.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The files to read
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Make a data set here, with train/, val/ and test/
    #[arg(long, value_name = "DIR")]
    dataset: Option<PathBuf>,
    /// The source's name in the data set, for all files; if absent, the name in their records, else each file's name
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

/// The hint for a file that is no export.
const MEANT_DATASET: &str = "to make a data set of another program's file, add --dataset DIR";
/// Entries written to the store at once.
const BATCH_ENTRIES: usize = 500;
/// Bytes of entries from which they are written to the store: a multiple must be free on the disk, 12 MiB for these.
const BATCH_BYTES: usize = 256 << 10;

fn into_log(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    // Checked first, so that no decision log is created for files that are no exports.
    for file in &args.files {
        if is_packed(file) {
            bail!(
                "{} is compressed: unpack an export first; only files for a data set (--dataset DIR) may be",
                file.display()
            );
        }
        read_entries(file, |_| false).map_err(|error| match error {
            ExchangeError::Io { .. } => anyhow!(error),
            error => anyhow!("{error}; {MEANT_DATASET}"),
        })?;
    }
    let loaded = args.config.load()?;
    let now_ms = Timestamp::now().as_millisecond();
    let (dir, settings) = (&loaded.config.server.data_dir, &loaded.config.store);
    let handed = HandOver::of(dir);
    // A damaged log is left alone: an import must not set it aside and begin another.
    let opened = match Store::open_existing(dir, settings) {
        Err(OpenError::Missing { .. }) => Store::open(dir, settings, now_ms).map(|(store, _)| store),
        opened => opened,
    };
    let store = opened
        .context("the decision log cannot be opened; stop the gateway first, only one process may write to it")?;
    if let OpenState::Memory { reason } = store.health().opened {
        bail!("{} cannot be written: {reason}", dir.display());
    }
    handed.so_far();
    let read = read_into(&store, &args.files);
    // Retention goes by the saved size, also of what was read before an error.
    let saved = store.save_log_size().and_then(|()| store.flush());
    let done = read?;
    saved?;
    println!("{} entries imported, {} were there already", done.new, done.known);
    if done.grown > 0 {
        println!("{} of these got an outcome or feedback that they lacked", done.grown);
    }
    if done.left_out > 0 {
        println!(
            "{} feedbacks left out: they are beyond the {MOST_FEEDBACK} that a decision may have, or have a value or an id that the gateway refuses, too",
            done.left_out
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads exports into the log.
fn read_into(store: &Store, files: &[PathBuf]) -> anyhow::Result<Done> {
    let mut count = Count::of("entries read");
    let mut done = Done::default();
    for file in files {
        let mut batch: Vec<Entry> = Vec::with_capacity(BATCH_ENTRIES);
        let (mut failed, mut bytes): (Option<StoreError>, usize) = (None, 0);
        let mut put = |batch: &mut Vec<Entry>| match append(store, std::mem::take(batch)) {
            Ok(more) => {
                done.add(&more);
                None
            }
            Err(error) => Some(error),
        };
        let read = read_entries(file, |entry| {
            bytes += entry.bytes();
            batch.push(entry);
            count.another();
            if batch.len() >= BATCH_ENTRIES || bytes >= BATCH_BYTES {
                bytes = 0;
                failed = put(&mut batch);
            }
            failed.is_none()
        });
        let failed = failed.or_else(|| put(&mut batch));
        let (new, known) = (done.new, done.known);
        let so_far = || format!("{new} entries are imported and {known} were there already, none after these");
        if let Some(error) = failed {
            return Err(error).with_context(so_far);
        }
        super::warn_cut(file, read.with_context(so_far)?);
    }
    count.end();
    Ok(done)
}

/// What an import did.
#[derive(Debug, Default, PartialEq, Eq)]
struct Done {
    /// New entries.
    new: u64,
    /// Entries that were there.
    known: u64,
    /// Entries of the log that got an outcome or feedback.
    grown: u64,
    /// Feedbacks that the log does not take.
    left_out: u64,
}

impl Done {
    fn add(&mut self, more: &Self) {
        self.new += more.new;
        self.known += more.known;
        self.grown += more.grown;
        self.left_out += more.left_out;
    }
}

/// Appends what is new in `entries`. To a known one an outcome and feedback may have been added since it was imported.
fn append(store: &Store, entries: Vec<Entry>) -> Result<Done, StoreError> {
    let (mut decisions, mut outcomes, mut feedback) = (Vec::new(), Vec::new(), Vec::new());
    // A file may have an entry twice, as two exports that were joined.
    let (mut begun, mut ended) = (HashSet::new(), HashSet::new());
    let (mut there_before, mut grown) = (HashSet::new(), HashSet::new());
    let mut done = Done::default();
    for entry in entries {
        let id = entry.decision.id;
        let there = store.entry(id)?;
        let has_ended = there.as_ref().is_some_and(|there| there.outcome.is_some());
        let has_ended = has_ended || entry.outcome.is_some() && !ended.insert(id);
        there_before.extend(there.as_ref().map(|_| id));
        grown.extend(entry.outcome.as_ref().filter(|_| there.is_some() && !has_ended).map(|_| id));
        outcomes.extend(entry.outcome.filter(|_| !has_ended));
        let said = entry.feedback.len();
        let before = feedback.len();
        feedback.extend(entry.feedback.into_iter().filter(|said| said.decision == id && said.fault().is_none()));
        done.left_out += (said - (feedback.len() - before)) as u64;
        if there.is_none() && begun.insert(id) {
            decisions.push(entry.decision);
        } else {
            done.known += 1;
        }
    }
    let stored = store.append(&decisions, &outcomes, &mut feedback)?;
    let added = feedback.iter().zip(&stored).filter(|(_, stored)| **stored == Stored::New);
    grown.extend(added.map(|(said, _)| said.decision).filter(|id| there_before.contains(id)));
    done.grown = grown.len() as u64;
    done.new = decisions.len() as u64;
    done.left_out += stored.iter().filter(|it| **it == Stored::TooMany).count() as u64;
    Ok(done)
}

fn make_dataset(args: &ImportArgs, dir: &Path) -> anyhow::Result<ExitCode> {
    if let Some(name) = args.source.as_ref().filter(|name| !names_a_file(name)) {
        bail!(
            "--source `{name}` also names files: letters, digits, `.`, `-`, `_` and blanks, and no dot to begin with"
        );
    }
    // Files of one source are imported together: each import writes the source anew.
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
        println!(
            "{source}: {}, {}, {}",
            counted(prompts, "prompt"),
            counted(models, "model"),
            counted(outcomes, "outcome")
        );
        comparable |= models > 1;
        notes.iter().for_each(|note| println!("  {note}"));
        if left_out > 0 {
            println!("  {left_out} rows or single outcomes left out, the first: {}", reason.unwrap_or_default());
        }
    }
    println!("Written to {}", dir.display());
    if !comparable {
        // LLMRouterBench is published so: one file per model.
        println!(
            "Each source has one model, so there is nothing to compare. To join files that belong together, import them \
             with --source NAME, into a folder of their own."
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a source's name can name a file, too, and not one of another folder.
fn names_a_file(name: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || ".-_ ".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use serde_json::{Value, json};

    use super::*;
    use crate::store::on_disk_with;

    #[test]
    fn on_a_disk_with_little_room_what_fits_is_imported_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = on_disk_with(dir.path(), &Arc::new(AtomicU64::new(18 << 20)));
        let export = |name: &str, prompts: &[usize]| {
            let entry = |length: &usize| {
                let id = uuid::Uuid::now_v7();
                json!({ "decision": { "id": id, "at_ms": 1, "chosen": "a", "prompt": "x".repeat(*length) } })
                    .to_string()
            };
            let path = dir.path().join(name);
            std::fs::write(&path, prompts.iter().map(entry).collect::<Vec<_>>().join("\n")).unwrap();
            path
        };
        let files = [export("many.jsonl", &[64 << 10; 20]), export("large.jsonl", &[5, 1 << 20, 5])];
        assert_eq!(read_into(&store, &files[..1]).unwrap(), Done { new: 20, ..Done::default() });
        let error = format!("{:#}", read_into(&store, &files).unwrap_err());
        assert!(error.starts_with("0 entries are imported and 20 were there already, none after these: "), "{error}");
        assert!(error.ends_with("is full"), "{error}");
    }

    #[test]
    fn feedback_that_the_log_does_not_take_is_counted() {
        let store = Store::in_memory().unwrap();
        let id = uuid::Uuid::now_v7();
        let said = |number: usize, score: f64| json!({ "id": format!("f{number}"), "decision": id, "at_ms": 2, "kind": { "score": score } });
        let mut feedback: Vec<_> = (0..MOST_FEEDBACK + 3).map(|number| said(number, 0.5)).collect();
        feedback.insert(0, said(999, 7.0));
        let entry = json!({ "decision": { "id": id, "at_ms": 1, "chosen": "a" }, "feedback": feedback });
        let entry: Entry = serde_json::from_value(entry).unwrap();
        let first = append(&store, vec![entry.clone()]).unwrap();
        assert_eq!(first, Done { new: 1, left_out: 4, ..Done::default() });
        let second = append(&store, vec![entry]).unwrap();
        assert_eq!(second, Done { known: 1, left_out: 4, ..Done::default() });
        let there = store.entry(crate::protocol::DecisionId(id)).unwrap().unwrap();
        assert_eq!(there.feedback.len(), MOST_FEEDBACK);
    }

    #[test]
    fn what_a_later_export_adds_to_known_entries_is_counted() {
        let store = Store::in_memory().unwrap();
        let ids: Vec<_> = (0..3).map(|_| uuid::Uuid::now_v7()).collect();
        let ended = |at: usize| json!({ "id": ids[at], "at_ms": 2, "status": "ok", "attempts": 1, "failovers": 0 });
        let judged = |at: usize| json!([{ "id": "f", "decision": ids[at], "at_ms": 3, "kind": { "correct": true } }]);
        let export = |more: [(Value, Value); 3]| -> Vec<Entry> {
            let entries = more.into_iter().enumerate().map(|(at, (outcome, feedback))| {
                let decision = json!({ "id": ids[at], "at_ms": 1, "chosen": "a" });
                serde_json::from_value(json!({ "decision": decision, "outcome": outcome, "feedback": feedback }))
                    .unwrap()
            });
            entries.collect()
        };
        let none = || (Value::Null, json!([]));
        let early = append(&store, export([(ended(0), json!([])), none(), none()])).unwrap();
        assert_eq!(early, Done { new: 3, ..Done::default() });
        let late = || export([(ended(0), judged(0)), (ended(1), judged(1)), none()]);
        assert_eq!(append(&store, late()).unwrap(), Done { known: 3, grown: 2, ..Done::default() });
        assert_eq!(append(&store, late()).unwrap(), Done { known: 3, ..Done::default() });
    }

    #[test]
    fn an_entry_that_stands_twice_in_a_file_is_new_once() {
        let store = Store::in_memory().unwrap();
        let id = uuid::Uuid::now_v7();
        let entry = |reason: &str, attempts: u32| {
            let outcome = (attempts > 0)
                .then(|| json!({ "id": id, "at_ms": 2, "status": "ok", "attempts": attempts, "failovers": 0 }));
            let decision = json!({ "id": id, "at_ms": 1, "chosen": "a", "reason": reason });
            serde_json::from_value::<Entry>(json!({ "decision": decision, "outcome": outcome })).unwrap()
        };
        let done = append(&store, vec![entry("first", 0), entry("second", 1), entry("third", 2)]).unwrap();
        assert_eq!(done, Done { new: 1, known: 2, ..Done::default() });
        let there = store.entry(crate::protocol::DecisionId(id)).unwrap().unwrap();
        assert_eq!((&*there.decision.reason, there.outcome.unwrap().attempts), ("first", 1));
    }
}
