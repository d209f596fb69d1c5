//! Reading a data set line by line, with every complaint naming file and line.
//!
//! A line may hold at most [`LONGEST_LINE`] bytes and all prompts together [`Limits::prompt_bytes`], so that a wrong file
//! or a huge one ends in a message and not in swap. With [`Limits::per_source`] the records with the smallest hash of
//! their id are kept: the same ones on every run, whatever their order in the file.

use std::collections::{BTreeMap, BinaryHeap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde::Deserialize;

use super::{Arm, Dataset, DatasetError, Interner, Outcome, Record, Split};

const LONGEST_LINE: u64 = 64 << 20;

/// How much may be read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records kept of each source in each split; the rest are counted.
    pub per_source: Option<usize>,
    /// Most bytes of prompts held.
    pub prompt_bytes: usize,
}

impl Default for Limits {
    /// Everything, up to 600 MiB of prompts: with features and outcomes that stays within 2 GB.
    fn default() -> Self {
        Self { per_source: None, prompt_bytes: 600 << 20 }
    }
}

/// Reads the data set at `path`. Files outside any split folder count as `unsplit`.
pub fn read(path: &Path, unsplit: Split, limits: Limits) -> Result<Dataset, DatasetError> {
    let files = files(path, unsplit)?;
    let mut reader = Reader { limits, ..Reader::default() };
    for (split, file) in &files {
        reader.file(*split, file)?;
    }
    reader.finish()
}

/// The data set's files with their splits, in an order that does not depend on the file system.
fn files(path: &Path, unsplit: Split) -> Result<Vec<(Split, PathBuf)>, DatasetError> {
    let mut found = Vec::new();
    if path.is_file() {
        found.push((unsplit, path.to_owned()));
        return Ok(found);
    }
    for split in Split::ALL {
        let folder = path.join(split.as_str());
        if folder.is_dir() {
            found.extend(json_lines_in(&folder)?.into_iter().map(|file| (split, file)));
        }
    }
    if found.is_empty() {
        for file in json_lines_in(path)? {
            let split = Split::named(&stem(&file)).unwrap_or(unsplit);
            found.push((split, file));
        }
    }
    if found.is_empty() {
        return Err(DatasetError::Empty { path: path.to_owned() });
    }
    Ok(found)
}

fn json_lines_in(folder: &Path) -> Result<Vec<PathBuf>, DatasetError> {
    let failed = |source| DatasetError::Io { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        if file.is_file() && (name.ends_with(".jsonl") || name.ends_with(".jsonl.gz")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The file's name without `.jsonl` or `.jsonl.gz`.
fn stem(file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.split(".jsonl").next().unwrap_or_default().to_owned()
}

#[derive(Deserialize)]
struct RawRecord {
    id: Option<String>,
    source: Option<String>,
    task: Option<String>,
    group: Option<String>,
    origin: Option<String>,
    prompt: String,
    outcomes: BTreeMap<String, RawOutcome>,
}

#[derive(Deserialize)]
struct RawOutcome {
    score: Option<f64>,
    cost_usd: Option<f64>,
    input_tokens: Option<f64>,
    output_tokens: Option<f64>,
    latency_ms: Option<f64>,
}

#[derive(Default)]
struct Reader {
    limits: Limits,
    sources: Interner,
    tasks: Interner,
    arms: HashMap<(u32, String), u32>,
    arm_list: Vec<Arm>,
    records: Vec<Record>,
    ids: HashSet<u64>,
    groups: HashMap<u64, Split>,
    leak: Option<DatasetError>,
    leaks: HashSet<u64>,
    prompt_bytes: usize,
}

impl Reader {
    fn file(&mut self, split: Split, path: &Path) -> Result<(), DatasetError> {
        let file = File::open(path).map_err(|source| DatasetError::Io { path: path.to_owned(), source })?;
        let bytes: Box<dyn Read> = if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz")) {
            Box::new(MultiGzDecoder::new(file))
        } else {
            Box::new(file)
        };
        let mut lines = BufReader::with_capacity(1 << 16, bytes);
        let default_source = stem(path);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let broken = |source| DatasetError::Broken { path: path.to_owned(), line: number, source };
            let length = (&mut lines).take(LONGEST_LINE).read_until(b'\n', &mut line).map_err(broken)?;
            if length == 0 {
                break;
            }
            if length as u64 == LONGEST_LINE {
                let message = format!("the line is longer than {} MiB", LONGEST_LINE >> 20);
                return Err(DatasetError::Record { path: path.to_owned(), line: number, message });
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            self.line(split, path, number, &line, &default_source)?;
        }
        Ok(())
    }

    fn line(
        &mut self,
        split: Split,
        path: &Path,
        number: usize,
        line: &[u8],
        default_source: &str,
    ) -> Result<(), DatasetError> {
        let wrong = |message: String| DatasetError::Record { path: path.to_owned(), line: number, message };
        let raw: RawRecord = serde_json::from_slice(line).map_err(|error| wrong(describe(&error)))?;
        if raw.outcomes.is_empty() {
            return Err(wrong("`outcomes` is empty: a record needs at least one model's outcome".into()));
        }
        let source = self.sources.number(raw.source.as_deref().unwrap_or(default_source));
        let task = self.tasks.number(raw.task.as_deref().unwrap_or(default_source));
        let id = raw.id.unwrap_or_else(|| format!("{default_source}-{split}-{number}"));
        if !self.ids.insert(hash(&id)) {
            return Err(DatasetError::Duplicate { id, path: path.to_owned(), line: number });
        }
        if let Some(group) = &raw.group {
            self.note_group(group, split, path, number);
        }
        let group = hash(raw.group.as_ref().unwrap_or(&id));
        let mut outcomes = Vec::with_capacity(raw.outcomes.len());
        for (model, raw) in raw.outcomes {
            let arm = self.arm(source, &model);
            outcomes.push(outcome(arm, &raw).map_err(|what| wrong(format!("`outcomes`, model `{model}`: {what}")))?);
        }
        outcomes.sort_by_key(|outcome| outcome.arm);
        self.prompt_bytes += raw.prompt.len();
        if self.prompt_bytes > self.limits.prompt_bytes && self.limits.per_source.is_none() {
            let limit_mib = self.limits.prompt_bytes >> 20;
            return Err(DatasetError::TooLarge { limit_mib, path: path.to_owned() });
        }
        self.records.push(Record {
            id: id.into(),
            source,
            task,
            split,
            prompt: raw.prompt.into(),
            group,
            origin: raw.origin.map(Into::into),
            outcomes: outcomes.into(),
            weight: 1.0,
        });
        // A sample is cut as it grows, so that a huge file never stands in memory whole.
        if let Some(most) = self.limits.per_source
            && self.records.len() > 4 * most.max(1024) * (self.sources.names.len() + 1)
        {
            self.cut(most);
        }
        Ok(())
    }

    fn note_group(&mut self, group: &str, split: Split, path: &Path, line: usize) {
        let key = hash(group);
        let first = *self.groups.entry(key).or_insert(split);
        if first != split {
            self.leaks.insert(key);
            if self.leak.is_none() {
                let (group, path) = (group.to_owned(), path.to_owned());
                self.leak = Some(DatasetError::Leak { count: 1, group, first, second: split, path, line });
            }
        }
    }

    fn arm(&mut self, source: u32, model: &str) -> u32 {
        let next = self.arm_list.len() as u32;
        let arms = &mut self.arm_list;
        *self.arms.entry((source, model.to_owned())).or_insert_with(|| {
            arms.push(Arm { source, model: model.to_owned() });
            next
        })
    }

    /// Keeps, of each source and split, the records with the smallest hash of their id.
    fn cut(&mut self, most: usize) -> usize {
        let mut kept: HashMap<(u32, Split), BinaryHeap<u64>> = HashMap::new();
        for record in &self.records {
            let heap = kept.entry((record.source, record.split)).or_default();
            heap.push(hash(&record.id));
            if heap.len() > most {
                heap.pop();
            }
        }
        let bounds: HashMap<_, u64> =
            kept.iter().map(|(key, heap)| (*key, heap.peek().copied().unwrap_or(u64::MAX))).collect();
        let before = self.records.len();
        self.records.retain(|record| hash(&record.id) <= bounds[&(record.source, record.split)]);
        self.prompt_bytes = self.records.iter().map(|record| record.prompt.len()).sum();
        before - self.records.len()
    }

    fn finish(mut self) -> Result<Dataset, DatasetError> {
        if let Some(mut leak) = self.leak.take() {
            if let DatasetError::Leak { count, .. } = &mut leak {
                *count = self.leaks.len();
            }
            return Err(leak);
        }
        if let Some(most) = self.limits.per_source {
            self.cut(most);
        }
        let left_out = self.ids.len() - self.records.len();
        Ok(Dataset {
            sources: self.sources.names,
            tasks: self.tasks.names,
            arms: self.arm_list,
            records: self.records,
            left_out,
        })
    }
}

fn outcome(arm: u32, raw: &RawOutcome) -> Result<Outcome, String> {
    let score = raw.score.ok_or("it has no `score`")?;
    if !(0.0..=1.0).contains(&score) {
        return Err(format!("`score` is {score}, but must be between 0 and 1"));
    }
    let amount = |name: &str, value: Option<f64>| match value {
        Some(value) if value < 0.0 => Err(format!("`{name}` is {value}, but cannot be negative")),
        value => Ok(value.map(|value| value as f32)),
    };
    Ok(Outcome {
        arm,
        score: score as f32,
        cost_usd: amount("cost_usd", raw.cost_usd)?,
        input_tokens: amount("input_tokens", raw.input_tokens)?,
        output_tokens: amount("output_tokens", raw.output_tokens)?,
        latency_ms: amount("latency_ms", raw.latency_ms)?,
    })
}

/// serde_json's complaint with its column, but without "line 1", which would contradict the file's line. Its text names
/// fields and types, and quotes at most a wrongly typed scalar.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    let kind = if error.is_data() { "not a record" } else { "not valid JSON" };
    format!("{kind}: {} (column {})", mask(what), error.column())
}

/// A wrongly typed string could be a prompt: what serde quotes is cut out.
fn mask(what: &str) -> String {
    match what.split_once("string \"") {
        Some((before, after)) => {
            format!("{before}a string{}", after.rfind('"').map_or("", |end| &after[end + 1..]))
        }
        None => what.to_owned(),
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo): stable between runs and versions, which the standard hasher is not.
pub(in crate::train) fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
