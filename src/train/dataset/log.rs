//! A gateway's decision log as recorded outcomes: for each prompt the one model that was asked, and the reward of its
//! answer.
//!
//! - **Reward**: as the learner computes it ([`worth`]), so that a head and a retune mean the same by "good". Answers
//!   with neither a judgement nor a signal are left out, not counted as bad. A signal counts less than a judgement, by
//!   the weights of the configuration's reward map, and only as far as a model has it more often than the others
//!   ([`Rates`]).
//! - **Text**: the log must hold the prompts themselves, which it does only with `store.prompts = true`.
//! - **Models** with fewer than [`FEWEST`] judged answers are left out: they keep their priors, and do not count as
//!   measured.
//! - **Split**: decisions of one conversation or of one wording belong together, also along chains of both; a hash of
//!   the first wording of such a group decides, 4 : 1 : 1. A wording that is also in another data set keeps its split
//!   there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::groups::Groups;
use super::read::hash;
use super::{Arm, Dataset, Outcome, Record, Split};
use crate::classifier::head::OWN_TRAFFIC;
use crate::config::RewardMap;
use crate::protocol::ModelName;
use crate::store::{
    Asked, AskedAgain, Entry, ExchangeError, Fingerprint, Rates, Signal, Worth, chances, judged_model, read_entries,
    worth,
};

/// Fewest judged answers of a model for it to be learned from.
pub const FEWEST: usize = 20;

/// Why a log cannot be learned from.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be read.
    #[error(transparent)]
    Exchange(#[from] ExchangeError),
    /// No answer in it was judged.
    #[error(
        "{path}: none of its {entries} entries was judged: there is no feedback, and no signal that [learning.reward] gives a value"
    )]
    Unjudged {
        /// The file.
        path: PathBuf,
        /// Entries in it.
        entries: usize,
    },
    /// No judged answer has its prompt.
    #[error(
        "{path}: {judged} answers were judged, and of none of them the log holds the prompt. A head is trained on texts: set \
         `prompts = true` under [store] (or POINTSMAN__STORE__PROMPTS=true), let traffic with feedback come in, and export again"
    )]
    NoTexts {
        /// The file.
        path: PathBuf,
        /// Judged answers in it.
        judged: usize,
    },
    /// No model has [`FEWEST`] judged answers.
    #[error(
        "{path}: no model has {FEWEST} judged answers with their prompts; the most are {most}. Wait for more feedback, and export again"
    )]
    TooFew {
        /// The file.
        path: PathBuf,
        /// Judged answers of the model that has most.
        most: usize,
    },
}

/// What was found in a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogFound {
    /// Entries.
    pub entries: usize,
    /// Number of a truncated last line, which is left out.
    pub cut: Option<usize>,
    /// Answers with a judgement or a signal.
    pub judged: usize,
    /// Judged answers whose prompt is not in the log.
    pub without_text: usize,
    /// Answers that are learned from.
    pub used: usize,
    /// Models with too few judged answers to be learned from, with their number.
    pub left_out: Vec<(String, usize)>,
}

/// A decision while its reward is worked out.
struct Row {
    id: String,
    at_ms: i64,
    asked: Asked,
    conversation: Option<Fingerprint>,
    prompt: Box<str>,
    /// The model that answered; empty where the request failed.
    model: ModelName,
    /// The model's predicted quality.
    prior: Option<f64>,
    /// Its reward, without and with the question having been asked again.
    worth: [Option<Worth>; 2],
    /// The signals that were possible for it, and whether they occurred.
    chances: Vec<(Signal, bool)>,
    outcome: Outcome,
    weight: f32,
}

/// Reads an export as a data set of one source, [`OWN_TRAFFIC`].
///
/// # Errors
///
/// See [`LogError`].
pub fn read_log(path: &Path, map: &RewardMap) -> Result<(Dataset, LogFound), LogError> {
    let mut rows = Vec::new();
    let cut = read_entries(path, |entry| {
        rows.push(Row::of(entry, map));
        true
    })?;
    let mut found = LogFound { entries: rows.len(), cut, ..LogFound::default() };
    judge(&mut rows);
    found.judged = rows.len();
    if found.judged == 0 {
        return Err(LogError::Unjudged { path: path.to_owned(), entries: found.entries });
    }
    rows.retain(|row| !row.prompt.trim().is_empty());
    found.without_text = found.judged - rows.len();
    if rows.is_empty() {
        return Err(LogError::NoTexts { path: path.to_owned(), judged: found.judged });
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    // A model with signals alone does not count as measured.
    for row in &rows {
        *counts.entry(row.model.to_string()).or_default() += usize::from(row.has_judgement());
    }
    let most = counts.values().copied().max().unwrap_or(0);
    rows.retain(|row| counts[row.model.as_str()] >= FEWEST);
    found.left_out = counts.into_iter().filter(|(_, count)| *count < FEWEST).collect();
    if rows.is_empty() {
        return Err(LogError::TooFew { path: path.to_owned(), most });
    }
    found.used = rows.len();
    Ok((dataset(rows), found))
}

impl Row {
    fn of(entry: Entry, map: &RewardMap) -> Self {
        let worth = [worth(&entry, false, map), worth(&entry, true, map)];
        let (asked, chances) = (Asked::of(&entry), chances(&entry, None));
        let model = judged_model(&entry).cloned().unwrap_or_else(|| "".into());
        let (decision, ended) = (entry.decision, entry.outcome);
        let prior = decision.candidates.iter().find(|candidate| candidate.model == model).and_then(|it| it.prior);
        let usage = ended.as_ref().and_then(|ended| ended.usage);
        let outcome = Outcome {
            arm: 0,
            score: 0.0,
            cost_usd: ended.as_ref().and_then(|ended| ended.cost_usd).map(|cost| cost as f32),
            input_tokens: usage.map(|usage| usage.prompt_tokens() as f32),
            output_tokens: usage.map(|usage| usage.output_tokens as f32),
            latency_ms: ended.and_then(|ended| ended.latency_ms).map(|latency| latency as f32),
        };
        Self {
            id: decision.id.to_string(),
            at_ms: decision.at_ms,
            asked,
            conversation: decision.request.conversation,
            prompt: decision.prompt.unwrap_or_default().into(),
            model,
            prior,
            worth,
            chances,
            outcome,
            weight: 1.0,
        }
    }
}

impl Row {
    /// Reward and weight, where there is a judgement or a signal.
    fn judged(&self, rates: &Rates) -> Option<(f64, f64)> {
        let Worth { value, weight, signal } = self.worth[0].filter(|_| !self.model.as_str().is_empty())?;
        match signal {
            Some(signal) => Some((rates.reward(&self.model, signal, self.prior?, value)?, weight)),
            None => Some((value, weight)),
        }
    }

    /// Whether it has a judgement.
    fn has_judgement(&self) -> bool {
        self.worth[0].is_some_and(|worth| worth.signal.is_none())
    }
}

/// Keeps the decisions that have a reward, oldest first. A judgement has weight 1, a signal the share that the reward
/// map gives it.
fn judge(rows: &mut Vec<Row>) {
    rows.sort_by(|a, b| (a.at_ms, &a.id).cmp(&(b.at_ms, &b.id)));
    let (mut again, mut rates) = (AskedAgain::default(), Rates::default());
    for row in rows.iter_mut().rev() {
        let again = again.take(&row.asked);
        row.chances.extend(again.map(|again| (Signal::AskedAgain, again)));
        row.worth.swap(0, usize::from(again == Some(true)));
        rates.note(&row.model, row.chances.iter().copied());
    }
    for row in rows.iter().filter(|row| row.has_judgement()) {
        if let (Some(worth), Some(prior)) = (row.worth[0], row.prior) {
            rates.note_judged(&row.model, prior, worth.value.clamp(0.0, 1.0));
        }
    }
    let heaviest = rows.iter().filter_map(|row| row.worth[0]).map(|worth| worth.weight).fold(0.0, f64::max);
    rows.retain_mut(|row| {
        let Some((reward, weight)) = row.judged(&rates) else { return false };
        row.outcome.score = reward.clamp(0.0, 1.0) as f32;
        row.weight = (weight / heaviest.max(f64::MIN_POSITIVE)) as f32;
        true
    });
}

fn dataset(rows: Vec<Row>) -> Dataset {
    let mut arms: Vec<Arm> = Vec::new();
    let mut groups = Groups::default();
    let wording = |prompt: &str| (0, hash(prompt.trim()));
    for row in &rows {
        let conversation = row.conversation.map(|conversation| (1, conversation.0));
        groups.tie(wording(&row.prompt), conversation);
    }
    let mut records = Vec::with_capacity(rows.len());
    for row in rows {
        let arm = arms.iter().position(|arm| arm.model == row.model.as_str()).unwrap_or_else(|| {
            arms.push(Arm { source: 0, model: row.model.to_string() });
            arms.len() - 1
        });
        let group = groups.first(wording(&row.prompt));
        let split = Split::of(group);
        records.push(Record {
            id: row.id.into(),
            source: 0,
            task: 0,
            split,
            prompt: row.prompt,
            group,
            origin: None,
            outcomes: [Outcome { arm: arm as u32, ..row.outcome }].into(),
            weight: row.weight,
        });
    }
    let name = || vec![OWN_TRAFFIC.to_owned()];
    Dataset { sources: name(), tasks: name(), arms, records, ..Dataset::default() }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
