//! Recorded outcomes: what each model did with each prompt, read from JSON Lines.
//!
//! A data set is a folder with `train/`, `val/` and `test/`, each holding `.jsonl` or `.jsonl.gz` files; or a folder
//! with such files directly (a file called `train`, `val` or `test` is that split, any other is the split the caller
//! asks about); or one such file. [`mod@layout`] says what other names mean. Each line is a record:
//!
//! | field | meaning |
//! | --- | --- |
//! | `prompt` | the text a router would see (required) |
//! | `outcomes` | map from model to `score` in 0..1 and, where known, `cost_usd`, `input_tokens`, `output_tokens`, `latency_ms` (required) |
//! | `source` | collection; where absent, the file's name if files of that name are in two splits or there is one split only, else the data set's. The same model in two sources makes two *arms*, because scores mean different things there |
//! | `task` | benchmark, with the subject after a slash |
//! | `id`, `group`, `origin` | identity; records that share a question; sub-collection |
//!
//! A model absent from `outcomes`, or without a score there, was not run: it did not fail. Fields that are not in this
//! list are ignored.
//!
//! [`mod@read`] streams and validates. [`Dataset`] holds what training and evaluation need, with names interned, notes
//! on what was left out or assumed, and the first `group` that is in two splits.

mod error;
pub mod foreign;
mod groups;
mod gzip;
mod layout;
pub mod log;
mod raw;
mod read;
mod val;

use std::collections::{BTreeSet, HashMap, HashSet};

pub use error::{DatasetError, Leak};
pub use gzip::is_packed;
pub(super) use read::hash;
pub use read::{Limits, read, read_judged};

/// Out of ten questions of train, those that become val in a rehearsal.
const REHEARSED: u64 = 3;

/// Which part of a data set a record belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Split {
    /// For fitting.
    Train,
    /// For choosing between fits, early stopping and calibration.
    Val,
    /// For the report alone.
    Test,
}

impl Split {
    /// All splits, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The split of the prompts whose group has this [`hash`](read::hash): 4 of 6 groups are for fitting.
    fn of(group: u64) -> Self {
        // The hash's low bits follow the last letters; the high ones are mixed.
        match (group >> 32) % 6 {
            0 => Self::Val,
            1 => Self::Test,
            _ => Self::Train,
        }
    }

    /// The split's name, which is also its folder's.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }

    /// The split of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|split| split.as_str() == name)
    }
}

impl std::fmt::Display for Split {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one model did with one prompt.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Outcome {
    /// Index into [`Dataset::arms`].
    pub arm: u32,
    /// Quality of the answer, 0..1.
    pub score: f32,
    /// US dollars, where known.
    pub cost_usd: Option<f32>,
    /// Prompt tokens, where known.
    pub input_tokens: Option<f32>,
    /// Generated tokens, where known.
    pub output_tokens: Option<f32>,
    /// Milliseconds until the answer was complete, where known.
    pub latency_ms: Option<f32>,
}

/// One prompt with its outcomes.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Identity within the data set.
    pub id: Box<str>,
    /// Index into [`Dataset::sources`].
    pub source: u32,
    /// Index into [`Dataset::tasks`].
    pub task: u32,
    /// The part it belongs to.
    pub split: Split,
    /// The text a router would see.
    pub prompt: Box<str>,
    /// Hash of the question that it shares with other records; of its own identity where it names none.
    pub group: u64,
    /// Sub-collection, where the source has them.
    pub origin: Option<Box<str>>,
    /// Outcomes, in order of their arms.
    pub outcomes: Box<[Outcome]>,
    /// Weight of the record: 1, or less where its answer has a signal and no judgement.
    pub weight: f32,
}

impl Record {
    /// The outcome of an arm, if it was run.
    pub fn outcome(&self, arm: u32) -> Option<&Outcome> {
        self.outcomes.binary_search_by_key(&arm, |outcome| outcome.arm).ok().map(|at| &self.outcomes[at])
    }
}

/// A model within a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Arm {
    /// Index into [`Dataset::sources`].
    pub source: u32,
    /// The model's name as its source writes it.
    pub model: String,
}

/// A data set in memory.
#[derive(Debug, Clone, Default)]
pub struct Dataset {
    /// Names of the collections.
    pub sources: Vec<String>,
    /// Names of the tasks.
    pub tasks: Vec<String>,
    /// Models within sources.
    pub arms: Vec<Arm>,
    /// All records, in reading order.
    pub records: Vec<Record>,
    /// How many records were left out by [`Limits::per_source`].
    pub left_out: usize,
    /// Notes on what was left out or assumed while reading, one sentence each.
    pub notes: Vec<String>,
    /// The first question that is in two splits: a measurement on such data means nothing.
    pub leak: Option<Leak>,
    /// Whether val was taken out of train, to which an earlier head may have been fitted.
    pub val_was_train: bool,
}

impl Dataset {
    /// The records of a split.
    pub fn of(&self, split: Split) -> impl Iterator<Item = &Record> + Clone {
        self.records.iter().filter(move |record| record.split == split)
    }

    /// The records of a source in a split.
    pub fn of_source(&self, source: u32, split: Split) -> impl Iterator<Item = &Record> + Clone {
        self.of(split).filter(move |record| record.source == source)
    }

    /// The arms of a source.
    pub fn arms_of(&self, source: u32) -> Vec<u32> {
        (0..self.arms.len() as u32).filter(|arm| self.arms[*arm as usize].source == source).collect()
    }

    /// Whether a split has any record.
    pub fn has(&self, split: Split) -> bool {
        self.of(split).next().is_some()
    }

    /// The same data with the named sources alone.
    pub fn only(self, sources: &[String]) -> Self {
        let kept: Vec<u32> =
            (0..self.sources.len() as u32).filter(|at| sources.contains(&self.sources[*at as usize])).collect();
        let source_of = |old: u32| kept.iter().position(|kept| *kept == old).map(|new| new as u32);
        let mut arms = Vec::new();
        let mut arm_of = HashMap::new();
        for (old, arm) in self.arms.iter().enumerate() {
            if let Some(source) = source_of(arm.source) {
                arm_of.insert(old as u32, arms.len() as u32);
                arms.push(Arm { source, model: arm.model.clone() });
            }
        }
        let record = |mut record: Record| {
            record.source = source_of(record.source)?;
            record.outcomes.iter_mut().for_each(|outcome| outcome.arm = arm_of[&outcome.arm]);
            Some(record)
        };
        Self {
            sources: kept.iter().map(|at| self.sources[*at as usize].clone()).collect(),
            arms,
            records: self.records.into_iter().filter_map(record).collect(),
            tasks: self.tasks,
            left_out: self.left_out,
            notes: self.notes,
            leak: self.leak,
            val_was_train: self.val_was_train,
        }
    }

    /// Number of prompts of a split that are also, word for word, in a split that is fitted to or chosen on before it.
    pub fn seen_before(&self, split: Split) -> usize {
        let wording = |record: &Record| read::hash(record.prompt.trim());
        let before = self.records.iter().filter(|record| record.split < split).map(wording);
        let before: HashSet<u64> = before.collect();
        self.of(split).filter(|record| before.contains(&wording(record))).count()
    }

    /// Adds another data set, and returns the number of its prompts that were left out: those that this one has in
    /// another split, which would be both learned and tested.
    pub fn join(&mut self, other: Self) -> usize {
        let wording = |record: &Record| read::hash(record.prompt.trim());
        let here: HashMap<u64, Split> = self.records.iter().map(|record| (wording(record), record.split)).collect();
        let place = |names: &mut Vec<String>, name: &String| {
            names.iter().position(|known| known == name).unwrap_or_else(|| {
                names.push(name.clone());
                names.len() - 1
            }) as u32
        };
        let sources: Vec<u32> = other.sources.iter().map(|name| place(&mut self.sources, name)).collect();
        let tasks: Vec<u32> = other.tasks.iter().map(|name| place(&mut self.tasks, name)).collect();
        let mut arms = Vec::with_capacity(other.arms.len());
        for arm in other.arms {
            let arm = Arm { source: sources[arm.source as usize], ..arm };
            arms.push(self.arms.iter().position(|known| *known == arm).unwrap_or_else(|| {
                self.arms.push(arm);
                self.arms.len() - 1
            }) as u32);
        }
        let before = self.records.len();
        let offered = other.records.len();
        self.records.extend(other.records.into_iter().filter_map(|mut record| {
            if here.get(&wording(&record)).is_some_and(|split| *split != record.split) {
                return None;
            }
            record.source = sources[record.source as usize];
            record.task = tasks[record.task as usize];
            record.outcomes.iter_mut().for_each(|outcome| outcome.arm = arms[outcome.arm as usize]);
            record.outcomes.sort_by_key(|outcome| outcome.arm);
            Some(record)
        }));
        self.left_out += other.left_out;
        self.notes.extend(other.notes);
        offered - (self.records.len() - before)
    }

    /// Removes the named task families from train and val, and everything else from test; does nothing without names.
    pub fn leave_out(&mut self, families: &[String]) {
        let named = |task: &str| families.iter().any(|family| task.split('/').next() == Some(family.as_str()));
        let tasks: Vec<bool> = self.tasks.iter().map(|task| named(task)).collect();
        if !families.is_empty() {
            self.records.retain(|record| (record.split == Split::Test) == tasks[record.task as usize]);
        }
    }

    /// Moves every split back by one, for choosing settings without looking at test: val becomes test, three in ten of
    /// train's questions become val, and the records of test are removed. The chosen settings can then be measured once
    /// on the real splits.
    pub fn rehearse(&mut self) {
        self.val_was_train = true;
        self.records.retain(|record| record.split != Split::Test);
        for record in &mut self.records {
            record.split = match record.split {
                Split::Train if record.group % 10 < REHEARSED => Split::Val,
                Split::Train => Split::Train,
                Split::Val | Split::Test => Split::Test,
            };
        }
    }

    /// The task families there are.
    pub fn families(&self) -> BTreeSet<&str> {
        self.records.iter().map(|record| self.family(record)).collect()
    }

    /// The part of a task's name before the slash.
    pub fn family(&self, record: &Record) -> &str {
        let task = &self.tasks[record.task as usize];
        task.split('/').next().unwrap_or(task)
    }
}

/// Interned names, numbered in order of first occurrence.
#[derive(Debug, Default)]
struct Interner {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Interner {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = self.names.len() as u32;
        self.numbers.insert(name.to_owned(), number);
        self.names.push(name.to_owned());
        number
    }
}

#[cfg(test)]
mod tests;
