//! How long each model takes per token of an answer, as measured.
//!
//! An answer's time is nearly proportional to its tokens, plus the time before the first. So the average is of
//! seconds per (tokens + [`HEAD_START_TOKENS`]), exponentially weighted, and the expected time is that average times
//! the same sum.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::protocol::ModelName;

/// The time before the first token, expressed in tokens.
const HEAD_START_TOKENS: f64 = 20.0;

/// Weight of the newest answer in the average.
const NEWEST_SHARE: f64 = 0.1;

/// Average seconds per token, by model.
#[derive(Debug, Default)]
pub struct Speeds {
    per_token: Mutex<HashMap<ModelName, f64>>,
}

impl Speeds {
    /// Takes in the time that a whole answer took.
    pub fn observe(&self, model: &ModelName, took: Duration, output_tokens: u64) {
        let measured = took.as_secs_f64() / (output_tokens as f64 + HEAD_START_TOKENS);
        let mut all = self.per_token.lock();
        match all.get_mut(model) {
            Some(average) => *average += NEWEST_SHARE * (measured - *average),
            None => {
                all.insert(model.clone(), measured);
            }
        }
    }

    /// Expected seconds for an answer of `output_tokens`; `None` = never measured.
    pub fn expect(&self, model: &ModelName, output_tokens: f64) -> Option<f64> {
        self.per_token.lock().get(model).map(|per_token| per_token * (output_tokens + HEAD_START_TOKENS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_answers_take_longer_and_the_average_follows() {
        let (speeds, model) = (Speeds::default(), ModelName::from("a"));
        assert_eq!(speeds.expect(&model, 100.0), None);
        speeds.observe(&model, Duration::from_secs(2), 180);
        let short = speeds.expect(&model, 80.0).unwrap();
        assert!((short - 1.0).abs() < 1e-9 && speeds.expect(&model, 380.0).unwrap() > 3.9);
        for _ in 0..100 {
            speeds.observe(&model, Duration::from_secs(4), 180);
        }
        assert!((speeds.expect(&model, 180.0).unwrap() - 4.0).abs() < 0.01);
    }
}
