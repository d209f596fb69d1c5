//! Reading a data set line by line; every error names file and line.
//!
//! A line has at most [`LONGEST_LINE`] bytes and all records together [`Limits::bytes`], so that a wrong or huge
//! file ends in an error and not in swapping. With [`Limits::per_source`] the records with the smallest hashes of their
//! ids are kept: the same ones on every run, in whatever order the file has them.
//!
//! Incomplete data (no score, no outcome for a prompt, a truncated end of a file) is left out, counted and reported in
//! a note; wrong data is refused.

use std::collections::{BinaryHeap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::error::IMPORT;
use super::layout::{Chosen, Layout, stem};
use super::raw::{self, RawOutcome, RawRecord};
use super::{Arm, Dataset, DatasetError, Interner, Leak, Outcome, Record, Split, gzip};

const LONGEST_LINE: u64 = 64 << 20;
/// The byte order mark that some programs write at the start of a UTF-8 file.
const BOM: &[u8] = b"\xef\xbb\xbf";

const ROUNDING: f64 = 1e-6;

/// Bounds on what is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most records kept of each source in each split; the rest are counted.
    pub per_source: Option<usize>,
    /// Most bytes of records held, with the features that will be made of them.
    pub bytes: usize,
    /// Whether the encoder will read them: its features are counted, too.
    pub features: bool,
}

impl Default for Limits {
    /// Every record, up to 1,400 MiB: with all that is made of them that stays within 2 GB.
    fn default() -> Self {
        Self { per_source: None, bytes: 1400 << 20, features: true }
    }
}

/// Bytes of a record besides its prompt and outcomes: its names, and what holds it.
const BYTES_PER_RECORD: usize = 300;

/// Bytes of a record's features: hidden states of the builtin encoder (1,152 numbers of four bytes), and statistics.
const BYTES_OF_FEATURES: usize = (5 << 10) - BYTES_PER_RECORD;

impl Limits {
    fn bytes_of(&self, record: &Record) -> usize {
        let features = if self.features { BYTES_OF_FEATURES } else { 0 };
        record.prompt.len() + BYTES_PER_RECORD + size_of_val(&*record.outcomes) + features
    }
}

/// Reads the data set at `path`. Files outside any split folder count as `unsplit`.
///
/// # Errors
///
/// See [`DatasetError`].
pub fn read(path: &Path, unsplit: Split, limits: Limits) -> Result<Dataset, DatasetError> {
    Reader::all(Layout::of(path)?.every(unsplit)?, limits)
}

/// Reads the data set at `path` for judging the part called `wanted`: a split, or any other folder or loose file.
/// Gives back the split that its records are in, and the part's name.
///
/// # Errors
///
/// See [`DatasetError`]; also when nothing can be meant by that name.
pub fn read_judged(path: &Path, wanted: &str, limits: Limits) -> Result<(Dataset, Split, String), DatasetError> {
    let (chosen, split, name) = Layout::of(path)?.judged(wanted)?;
    Ok((Reader::all(chosen, limits)?, split, name))
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
    leak: Option<Leak>,
    leaks: HashSet<u64>,
    bytes: usize,
    seen: usize,
    absent: Absent,
    notes: Vec<String>,
}

/// Counts of incomplete data.
#[derive(Default)]
struct Absent {
    /// Outcomes without a score.
    scores: usize,
    /// Prompts without any outcome.
    outcomes: usize,
    /// Records with the id of an earlier one.
    ids: usize,
    /// Records with a NaN or an infinite number.
    numbers: usize,
}

impl Reader {
    fn all(chosen: Chosen, limits: Limits) -> Result<Dataset, DatasetError> {
        let mut reader = Self { limits, notes: chosen.notes.clone(), ..Self::default() };
        for (split, file) in &chosen.files {
            reader.file(*split, file, &chosen.collection(file))?;
        }
        Ok(reader.finish())
    }

    fn file(&mut self, split: Split, path: &Path, default_source: &str) -> Result<(), DatasetError> {
        let bytes = gzip::open(path).map_err(|source| DatasetError::Io { path: path.to_owned(), source })?;
        let mut lines = BufReader::with_capacity(1 << 16, bytes);
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
            if number == 1 {
                if let Some(message) = other_kind(&line) {
                    return Err(DatasetError::Record {
                        path: path.to_owned(),
                        line: number,
                        message: message.into(),
                    });
                }
                if line.starts_with(BOM) {
                    line.drain(..BOM.len());
                }
            }
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if !line.ends_with(b"\n") && raw::is_cut(&line) {
                let path = path.display();
                self.notes.push(format!("{path}, line {number}: the last line is cut off and left out."));
                break;
            }
            self.line(split, path, number, &line, default_source)?;
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
        if line.trim_ascii_start().starts_with(b"[") {
            return Err(wrong(format!("a list, and not a record; {IMPORT}")));
        }
        // Without its end, of which the complaint about a text that is not closed would tell.
        let line = line.trim_ascii_end();
        let (raw, odd): (RawRecord, bool) = raw::parse(line).map_err(|error| wrong(describe(&error)))?;
        self.absent.numbers += usize::from(odd);
        let given = raw.outcomes.unwrap_or_default();
        let run = given.values().flatten().filter(|outcome| outcome.score.is_some()).count();
        self.absent.scores += given.len() - run;
        if run == 0 {
            self.absent.outcomes += 1;
            return Ok(());
        }
        if let Some(group) = &raw.group {
            self.note_group(group, split, path, number);
        }
        let source = self.sources.number(raw.source.as_deref().unwrap_or(default_source));
        let task = self.tasks.number(raw.task.as_deref().unwrap_or(default_source));
        let mut id = raw.id.unwrap_or_else(|| format!("{}-{split}-{number}", stem(path)));
        if !self.ids.insert(hash(&id)) {
            self.absent.ids += 1;
            id = format!("{id} ({}-{split}-{number})", stem(path));
        }
        let group = hash(raw.group.as_ref().unwrap_or(&id));
        let mut outcomes = Vec::with_capacity(run);
        for (model, raw) in given {
            let Some((score, raw)) = raw.and_then(|raw| Some((raw.score?, raw))) else { continue };
            let arm = self.arm(source, &model);
            let outcome = outcome(arm, score, &raw);
            outcomes.push(outcome.map_err(|what| wrong(format!("`outcomes`, model `{model}`: {what}")))?);
        }
        outcomes.sort_by_key(|outcome| outcome.arm);
        let record = Record {
            id: id.into(),
            source,
            task,
            split,
            prompt: raw.prompt.into(),
            group,
            origin: raw.origin.map(Into::into),
            outcomes: outcomes.into(),
            weight: 1.0,
        };
        self.bytes += self.limits.bytes_of(&record);
        if self.bytes > self.limits.bytes && self.limits.per_source.is_none() {
            let limit_mib = self.limits.bytes >> 20;
            return Err(DatasetError::TooLarge { limit_mib, path: path.to_owned() });
        }
        self.seen += 1;
        self.records.push(record);
        // A sample is cut while it grows, so that a huge file is never in memory as a whole.
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
                self.leak = Some(Leak { count: 1, group, first, second: split, path, line });
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
        self.bytes = self.records.iter().map(|record| self.limits.bytes_of(record)).sum();
        before - self.records.len()
    }

    fn finish(mut self) -> Dataset {
        if let Some(most) = self.limits.per_source {
            self.cut(most);
        }
        let left_out = self.seen - self.records.len();
        let Absent { scores, outcomes, ids, numbers } = self.absent;
        let counted = [
            (outcomes, "prompts have no outcome and are left out."),
            (scores, "outcomes have no score: they count as not run."),
            (numbers, "records hold NaN or Infinity: such figures count as unknown."),
            (ids, "records have the id of another: each counts."),
            (left_out, "records are left out, beyond the limit."),
        ];
        self.notes.extend(counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")));
        if let Some(leak) = &mut self.leak {
            leak.count = self.leaks.len();
            self.notes.push(leak.to_string());
        }
        Dataset {
            sources: self.sources.names,
            tasks: self.tasks.names,
            arms: self.arm_list,
            records: self.records,
            left_out,
            notes: self.notes,
            leak: self.leak,
            val_was_train: false,
        }
    }
}

fn outcome(arm: u32, score: f64, raw: &RawOutcome) -> Result<Outcome, String> {
    // A mean over many parts may exceed the range by a rounding error.
    if !(-ROUNDING..=1.0 + ROUNDING).contains(&score) {
        return Err(format!("`score` is {score}, but must be between 0 and 1"));
    }
    let amount = |name: &str, value: Option<f64>| match value {
        Some(value) if value < 0.0 => Err(format!("`{name}` is {value}, but cannot be negative")),
        Some(value) if value > f64::from(f32::MAX) => Err(format!("`{name}` is {value:e}, which cannot be")),
        value => Ok(value.map(|value| value as f32)),
    };
    Ok(Outcome {
        arm,
        score: score.clamp(0.0, 1.0) as f32,
        cost_usd: amount("cost_usd", raw.cost_usd)?,
        input_tokens: amount("input_tokens", raw.input_tokens)?,
        output_tokens: amount("output_tokens", raw.output_tokens)?,
        latency_ms: amount("latency_ms", raw.latency_ms)?,
    })
}

/// What a file is that no reader of lines of text can read, by its first bytes.
fn other_kind(start: &[u8]) -> Option<&'static str> {
    match start {
        [0x1f, 0x8b, ..] => Some("the file is compressed with gzip: let its name end in .jsonl.gz"),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some("the file is UTF-16: save it as UTF-8"),
        _ => None,
    }
}

/// serde_json's message with its column, but without "line 1", which would contradict the file's line. Its text names
/// fields and types, and quotes at most a wrongly typed scalar.
fn describe(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let what = text.split(" at line ").next().unwrap_or(&text);
    let kind = if error.is_data() { "not a record" } else { "not valid JSON" };
    format!("{kind}: {} (column {})", mask(what), error.column())
}

/// Removes the value that serde quotes: a wrongly typed string could be a prompt.
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
