//! TF-IDF with logistic regressions, the classic baseline.
//!
//! Words and pairs of neighbouring words are hashed into [`BUCKETS`], weighted by `(1 + ln tf) * idf` and brought to
//! length one; each model has a logistic regression on them, fitted by AdaGrad (Duchi and others, JMLR 2011), which
//! suits features as rare as words.

use crate::train::dataset::{Dataset, Record, Split, hash};

const BUCKETS: usize = 1 << 15;
const EPOCHS: usize = 6;
const RATE: f32 = 0.5;
const RIDGE: f32 = 1e-4;
/// Bytes read at each end of a prompt.
const WINDOW: usize = 3_000;

/// A sparse vector.
type Words = Vec<(u32, f32)>;

/// The baseline, fitted for one source.
pub(super) struct Tfidf {
    idf: Vec<f32>,
    arms: Vec<u32>,
    /// Arm by bucket.
    weights: Vec<f32>,
    level: Vec<f32>,
}

impl Tfidf {
    /// Fits it on the source's training prompts; `None` where there are none.
    pub(super) fn fit(dataset: &Dataset, source: u32) -> Option<Self> {
        let records: Vec<&Record> = dataset.of_source(source, Split::Train).collect();
        if records.is_empty() {
            return None;
        }
        let counted: Vec<Words> = records.iter().map(|record| count(&record.prompt)).collect();
        let mut seen = vec![0u32; BUCKETS];
        counted.iter().flatten().for_each(|(bucket, _)| seen[*bucket as usize] += 1);
        let total = records.len() as f32;
        let idf: Vec<f32> = seen.iter().map(|seen| ((1.0 + total) / (1.0 + *seen as f32)).ln() + 1.0).collect();
        let arms = dataset.arms_of(source);
        let mut fitted = Self { idf, weights: vec![0.0; arms.len() * BUCKETS], level: vec![0.0; arms.len()], arms };
        let words: Vec<Words> = counted.into_iter().map(|words| fitted.weighted(words)).collect();
        let mut squares = vec![1e-4f32; fitted.weights.len()];
        let mut level_squares = vec![1e-4f32; fitted.level.len()];
        for _ in 0..EPOCHS {
            for (record, words) in records.iter().zip(&words) {
                for outcome in &record.outcomes {
                    let Some(at) = fitted.arms.iter().position(|arm| *arm == outcome.arm) else { continue };
                    let error = fitted.predict(at, words) - outcome.score;
                    level_squares[at] += error * error;
                    fitted.level[at] -= RATE * error / level_squares[at].sqrt();
                    for (bucket, value) in words {
                        let place = at * BUCKETS + *bucket as usize;
                        let gradient = error * value + RIDGE * fitted.weights[place];
                        squares[place] += gradient * gradient;
                        // A tenth of the level's rate: there are many words, and each occurs seldom.
                        fitted.weights[place] -= 0.1 * RATE * gradient / squares[place].sqrt();
                    }
                }
            }
        }
        Some(fitted)
    }

    /// Predictions for the outcomes of a record.
    pub(super) fn predictions(&self, record: &Record) -> Vec<f32> {
        let words = self.weighted(count(&record.prompt));
        let predict =
            |arm: u32| self.arms.iter().position(|own| *own == arm).map_or(0.5, |at| self.predict(at, &words));
        record.outcomes.iter().map(|outcome| predict(outcome.arm)).collect()
    }

    fn predict(&self, at: usize, words: &Words) -> f32 {
        let own = &self.weights[at * BUCKETS..][..BUCKETS];
        let odds: f32 = words.iter().map(|(bucket, value)| own[*bucket as usize] * value).sum();
        1.0 / (1.0 + (-(odds + self.level[at])).exp())
    }

    fn weighted(&self, mut words: Words) -> Words {
        words.iter_mut().for_each(|(bucket, count)| *count = (1.0 + count.ln()) * self.idf[*bucket as usize]);
        let length = words.iter().map(|(_, value)| value * value).sum::<f32>().sqrt().max(1e-6);
        words.iter_mut().for_each(|(_, value)| *value /= length);
        words
    }
}

/// How often each bucket occurs.
fn count(prompt: &str) -> Words {
    let lower = ends(prompt).to_lowercase();
    let tokens: Vec<&str> = lower.split(|c: char| !c.is_alphanumeric()).filter(|token| !token.is_empty()).collect();
    let bucket = |text: &str| (hash(text) % BUCKETS as u64) as u32;
    let mut buckets: Vec<u32> = tokens.iter().map(|token| bucket(token)).collect();
    buckets.extend(tokens.windows(2).map(|pair| bucket(&format!("{} {}", pair[0], pair[1]))));
    buckets.sort_unstable();
    buckets.chunk_by(|a, b| a == b).map(|same| (same[0], same.len() as f32)).collect()
}

fn ends(prompt: &str) -> String {
    if prompt.len() <= 2 * WINDOW {
        return prompt.to_owned();
    }
    let boundary = |at: usize| (at..prompt.len()).find(|at| prompt.is_char_boundary(*at)).unwrap_or(prompt.len());
    format!("{} {}", &prompt[..boundary(WINDOW)], &prompt[boundary(prompt.len() - WINDOW)..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_pairs_are_counted() {
        let words = count("To be, or not to be");
        // To, be, or, not; to be, be or, or not, not to.
        assert_eq!(words.len(), 8);
        assert_eq!(words.iter().map(|(_, count)| count).sum::<f32>(), 11.0);
    }
}
