//! What a predicted quality is made of: a model's usual quality, and how many points each thing known of the prompt moved it.
//!
//! 1. The classifier's head speaks in log-odds, and its summands are known exactly ([`Odds`]). Between the odds of an average
//!    prompt and those of this one probability is a curve; each summand gets its share of the way along the straight line
//!    between the two (Aumann and Shapley, "Values of Non-Atomic Games", 1974), which for one curve of a sum is its share of
//!    the sum. So shares add up, whatever the curve.
//! 2. What feedback has taught is linear in points already ([`Corrections`]).
//! 3. What is left is the edge of the scale: no quality is below 0 or above 1.
//!
//! Kept in ten-thousandths, so that a log entry stays small; what rounding leaves belongs to the base, so that an
//! [`Attribution`] adds up to the predicted quality to that digit.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Parts of one, as they are kept.
const UNITS: f64 = 10_000.0;

/// Learned directions that are named one by one; the others are told together.
const NAMED: usize = 3;

/// Something that moved a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Factor {
    /// The model on an average prompt, before any feedback.
    Base,
    /// What the encoder read of the kind of work that is asked for.
    Task,
    /// Everything else that the encoder read.
    Reading,
    /// How long the prompt is, in bytes, words, lines.
    Length,
    /// Languages and scripts.
    Language,
    /// Numbers, equations, words of mathematics.
    Numbers,
    /// Code, markup, schemas.
    Code,
    /// The form of the question: options, blanks, question marks.
    Form,
    /// Words that name a topic.
    Topic,
    /// Tools on offer, and how they fit the question.
    Tools,
    /// How models did on the training prompts that are most like this one.
    Similar,
    /// The prompt is unlike the training data, so what was read counts less.
    Unfamiliar,
    /// Feedback: the model is better or worse than was thought.
    Level,
    /// Feedback: it is so for this kind of work.
    Kind,
    /// Feedback: it is so the more, the easier or harder the prompt.
    Hardness,
    /// Feedback: the model leans with this direction of the features, counted from 1.
    Direction(u8),
    /// Feedback: all other directions.
    Directions,
    /// A quality ends at 0 and at 1.
    Limit,
}

/// The first code of a [`Factor::Direction`].
const DIRECTION: u8 = 64;

/// Factors without a number, their codes and their names. A code never changes its meaning: logs hold them.
const FACTORS: [(Factor, u8, &str); 17] = [
    (Factor::Base, 0, "base"),
    (Factor::Task, 1, "task"),
    (Factor::Reading, 2, "reading"),
    (Factor::Length, 3, "length"),
    (Factor::Language, 4, "language"),
    (Factor::Numbers, 5, "numbers"),
    (Factor::Code, 6, "code"),
    (Factor::Form, 7, "form"),
    (Factor::Topic, 8, "topic"),
    (Factor::Similar, 9, "similar_prompts"),
    (Factor::Unfamiliar, 10, "unfamiliar"),
    (Factor::Level, 11, "learned_level"),
    (Factor::Hardness, 12, "learned_hardness"),
    (Factor::Directions, 13, "learned_directions"),
    (Factor::Limit, 14, "limit"),
    (Factor::Tools, 15, "tools"),
    (Factor::Kind, 16, "learned_task"),
];

impl Factor {
    /// Those on the head's side, in the order of [`Odds::moved`].
    pub const HEAD: [Self; 11] = [
        Self::Task,
        Self::Reading,
        Self::Length,
        Self::Language,
        Self::Numbers,
        Self::Code,
        Self::Form,
        Self::Topic,
        Self::Tools,
        Self::Similar,
        Self::Unfamiliar,
    ];

    /// Its name in JSON.
    pub fn name(self) -> Cow<'static, str> {
        match self {
            Self::Direction(number) => format!("learned_direction_{number}").into(),
            _ => FACTORS.iter().find(|(factor, ..)| *factor == self).map_or("", |(.., name)| *name).into(),
        }
    }

    fn named(name: &str) -> Option<Self> {
        if let Some(number) = name.strip_prefix("learned_direction_") {
            return number.parse().ok().map(Self::Direction);
        }
        FACTORS.iter().find(|(.., known)| *known == name).map(|(factor, ..)| *factor)
    }

    fn code(self) -> i32 {
        match self {
            Self::Direction(number) => i32::from(DIRECTION) + i32::from(number),
            _ => FACTORS.iter().find(|(factor, ..)| *factor == self).map_or(0, |(_, code, _)| i32::from(*code)),
        }
    }

    fn coded(code: i32) -> Option<Self> {
        if let Ok(number) = u8::try_from(code - i32::from(DIRECTION)) {
            return Some(Self::Direction(number));
        }
        FACTORS.iter().find(|(_, known, _)| i32::from(*known) == code).map(|(factor, ..)| *factor)
    }
}

/// The log-odds of a good answer as a sum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Odds {
    /// Of the model on an average prompt.
    pub base: f32,
    /// What each of [`Factor::HEAD`] adds for this prompt.
    pub moved: [f32; Factor::HEAD.len()],
}

/// What feedback has taught of one model, for one prompt, in quality: a sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Corrections {
    /// Everywhere.
    pub level: f64,
    /// At this kind of work.
    pub kind: f64,
    /// With the logit of the prior.
    pub hardness: f64,
    /// With each feature.
    pub leanings: Vec<f64>,
}

/// A predicted quality as a sum, in ten-thousandths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attribution {
    parts: Vec<(Factor, i32)>,
}

impl Attribution {
    /// The account of a `quality` that began as `prior` and was bent; `odds` say what the prior is made of, where a prompt
    /// was read.
    pub fn new(odds: Option<&Odds>, prior: f64, corrections: &Corrections, quality: f64) -> Self {
        let mut parts: Vec<(Factor, f64)> = Vec::with_capacity(Factor::HEAD.len() + 8);
        if let Some(odds) = odds {
            let base = f64::from(odds.base);
            let way: f64 = odds.moved.iter().map(|moved| f64::from(*moved)).sum();
            let rise = prior - sigmoid(base);
            // Where the odds did not move, no summand did much either: the slope of the curve stands for its chord.
            let slope = if way.abs() > 1e-6 { rise / way } else { prior * (1.0 - prior) };
            parts.extend(Factor::HEAD.into_iter().zip(odds.moved.map(|moved| f64::from(moved) * slope)));
        }
        parts.push((Factor::Level, corrections.level));
        parts.push((Factor::Kind, corrections.kind));
        parts.push((Factor::Hardness, corrections.hardness));
        let mut leanings: Vec<(usize, f64)> = corrections.leanings.iter().copied().enumerate().collect();
        leanings.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        let number = |at: usize| u8::try_from(at + 1).unwrap_or(u8::MAX);
        parts.extend(leanings.iter().take(NAMED).map(|(at, by)| (Factor::Direction(number(*at)), *by)));
        parts.push((Factor::Directions, leanings.iter().skip(NAMED).map(|(_, by)| by).sum()));
        let bent = prior
            + corrections.level
            + corrections.kind
            + corrections.hardness
            + corrections.leanings.iter().sum::<f64>();
        parts.push((Factor::Limit, quality - bent));

        let units = |by: f64| (by * UNITS).round() as i32;
        let mut kept: Vec<(Factor, i32)> =
            parts.into_iter().map(|(factor, by)| (factor, units(by))).filter(|(_, by)| *by != 0).collect();
        let base = units(quality) - kept.iter().map(|(_, by)| by).sum::<i32>();
        kept.insert(0, (Factor::Base, base));
        Self { parts: kept }
    }

    /// Its summands, the base first: quality, 0.01 = one point. Those that round to nothing are left out.
    pub fn parts(&self) -> impl Iterator<Item = (Factor, f64)> + '_ {
        self.parts.iter().map(|(factor, by)| (*factor, f64::from(*by) / UNITS))
    }

    /// What one factor did; 0 where it is not told.
    pub fn by(&self, factor: Factor) -> f64 {
        self.parts().find(|(other, _)| *other == factor).map_or(0.0, |(_, by)| by)
    }

    /// What it adds up to.
    pub fn total(&self) -> f64 {
        self.parts.iter().map(|(_, by)| f64::from(*by)).sum::<f64>() / UNITS
    }

    /// Whether nothing is told.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

fn sigmoid(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// A summand as people read it.
#[derive(Serialize, Deserialize)]
struct Told<'a> {
    #[serde(borrow)]
    factor: Cow<'a, str>,
    by: f64,
}

impl Serialize for Attribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.parts().map(|(factor, by)| Told { factor: factor.name(), by }))
        } else {
            serializer.collect_seq(self.parts.iter().flat_map(|(factor, by)| [factor.code(), *by]))
        }
    }
}

impl<'de> Deserialize<'de> for Attribution {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let readable = deserializer.is_human_readable();
        deserializer.deserialize_seq(Reader { readable })
    }
}

/// Reads both forms. What a later program tells and this one does not know is passed over.
struct Reader {
    readable: bool,
}

impl<'de> Visitor<'de> for Reader {
    type Value = Attribution;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the summands of a predicted quality")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Attribution, A::Error> {
        let mut parts = Vec::new();
        if self.readable {
            while let Some(Told { factor, by }) = seq.next_element()? {
                parts.extend(Factor::named(&factor).map(|factor| (factor, (by * UNITS).round() as i32)));
            }
        } else {
            while let Some(code) = seq.next_element::<i32>()? {
                let by = seq.next_element()?.ok_or_else(|| de::Error::custom("a factor without its points"))?;
                parts.extend(Factor::coded(code).map(|factor| (factor, by)));
            }
        }
        Ok(Attribution { parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn odds(base: f32, moved: [f32; 11]) -> (Odds, f64) {
        let odds = Odds { base, moved };
        (odds, sigmoid(f64::from(base + moved.iter().sum::<f32>())))
    }

    #[test]
    fn it_adds_up_and_each_summand_goes_its_own_way() {
        let (odds, prior) = odds(0.4, [1.0, -0.3, 0.2, 0.0, 0.0, -0.5, 0.0, 0.0, 0.0, 0.6, 0.0]);
        let corrections =
            Corrections { level: -0.05, kind: 0.04, hardness: 0.01, leanings: vec![0.002, -0.03, 0.0, 0.02, 0.01] };
        let quality = prior - 0.05 + 0.04 + 0.01 + 0.002;
        let account = Attribution::new(Some(&odds), prior, &corrections, quality);
        assert!((account.total() - quality).abs() < 1e-4, "{account:?} is not {quality}");
        assert!((account.by(Factor::Base) - sigmoid(0.4)).abs() < 1e-3);
        assert!(account.by(Factor::Task) > 0.0 && account.by(Factor::Code) < 0.0);
        assert_eq!(account.by(Factor::Language), 0.0);
        assert_eq!(account.by(Factor::Level), -0.05);
        assert_eq!(account.by(Factor::Kind), 0.04);
        assert_eq!(account.by(Factor::Direction(2)), -0.03);
        assert_eq!(account.by(Factor::Directions), 0.002);
        assert_eq!(account.by(Factor::Limit), 0.0);
    }

    #[test]
    fn what_the_scale_cuts_off_is_told() {
        let corrections = Corrections { level: 0.3, ..Corrections::default() };
        let account = Attribution::new(None, 0.9, &corrections, 1.0);
        assert!((account.total() - 1.0).abs() < 1e-9);
        assert!((account.by(Factor::Limit) + 0.2).abs() < 1e-4, "{account:?}");
        assert!((account.by(Factor::Base) - 0.9).abs() < 1e-4);
    }

    #[test]
    fn it_comes_back_from_json_and_from_the_log() {
        let (odds, prior) = odds(-1.0, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, -2.0]);
        let corrections = Corrections { level: 0.1, kind: 0.0, hardness: -0.1, leanings: vec![0.01; 32] };
        let account = Attribution::new(Some(&odds), prior, &corrections, prior + 0.32);
        let json = serde_json::to_string(&account).unwrap();
        assert!(json.contains(r#"{"factor":"base","by":"#) && json.contains("learned_direction_1"), "{json}");
        assert_eq!(serde_json::from_str::<Attribution>(&json).unwrap(), account);
        let bytes = rmp_serde::to_vec_named(&account).unwrap();
        assert_eq!(rmp_serde::from_slice::<Attribution>(&bytes).unwrap(), account);
        assert!(bytes.len() < 80, "{} bytes in each candidate of each log entry", bytes.len());
        let later = r#"[{"factor":"moon","by":0.1},{"factor":"base","by":0.5}]"#;
        assert_eq!(serde_json::from_str::<Attribution>(later).unwrap().total(), 0.5);
    }

    #[test]
    fn names_and_codes_are_one_to_one() {
        for factor in
            FACTORS.into_iter().map(|(factor, ..)| factor).chain([Factor::Direction(1), Factor::Direction(32)])
        {
            assert_eq!(Factor::named(&factor.name()), Some(factor));
            assert_eq!(Factor::coded(factor.code()), Some(factor));
        }
    }
}
