//! The attribution of a predicted quality: a model's quality on an average prompt, and how many points each factor
//! moved it.
//!
//! 1. The classifier's head predicts log-odds, a sum with known summands ([`Odds`]). The change of probability from an
//!    average prompt to this one is divided among them along the straight line between the two (Aumann and Shapley,
//!    "Values of Non-Atomic Games", 1974); for a function of one sum, that is in proportion to the summands. So the
//!    shares add up.
//! 2. What feedback has taught is a sum in points already ([`Corrections`]).
//! 3. The rest is the limit of the scale: no quality is below 0 or above 1.
//!
//! Stored in ten-thousandths, so that a log entry stays small. The remainder of rounding goes to the base, so that an
//! [`Attribution`] adds up to the predicted quality to that digit.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Stored units per 1.0.
const UNITS: f64 = 10_000.0;

/// Learned directions that are listed one by one; the others are summed up.
const MAX_DIRECTIONS: usize = 3;

/// A factor that moved a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Factor {
    /// The model on an average prompt, before any feedback.
    Base,
    /// The kind of work, as the encoder read it.
    Task,
    /// The rest of the encoder's reading.
    Reading,
    /// Length of the prompt in bytes, words, lines.
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
    /// The prompt is unlike the training data, so the reading counts less.
    Unfamiliar,
    /// Feedback: the model is better or worse than its prior everywhere.
    Level,
    /// Feedback: the model is better or worse at this kind of work.
    Kind,
    /// Feedback: the model is better or worse on prompts as easy or hard as this one (slope in the prior's logit).
    Hardness,
    /// Feedback: the model is better or worse along this direction of the features, counted from 1.
    Direction(u8),
    /// Feedback: all other directions.
    Directions,
    /// A quality ends at 0 and at 1.
    Limit,
}

/// The first code of a [`Factor::Direction`].
const DIRECTION: u8 = 64;

/// Factors without a number, their codes and their names. A code never changes its meaning: stored records have them.
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
    /// The head's factors, in the order of [`Odds::moved`].
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

    /// The factor's name in JSON.
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

/// The head's log-odds of a good answer, as a sum.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Odds {
    /// The model's log-odds on an average prompt.
    pub base: f32,
    /// What each of [`Factor::HEAD`] adds for this prompt.
    pub moved: [f32; Factor::HEAD.len()],
}

/// The learned correction of one model's prior for one prompt, in points of quality, as a sum.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Corrections {
    /// For all prompts.
    pub level: f64,
    /// For this kind of work.
    pub kind: f64,
    /// By the logit of the prior.
    pub hardness: f64,
    /// By each feature.
    pub leanings: Vec<f64>,
}

/// A predicted quality as a sum over factors, in ten-thousandths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attribution {
    parts: Vec<(Factor, i32)>,
}

impl Attribution {
    /// The attribution of a `quality` that is `prior` plus `corrections`, cut to [0, 1]; `odds` are the prior's
    /// summands, where the prompt was read.
    pub fn new(odds: Option<&Odds>, prior: f64, corrections: &Corrections, quality: f64) -> Self {
        let mut parts: Vec<(Factor, f64)> = Vec::with_capacity(Factor::HEAD.len() + 8);
        if let Some(odds) = odds {
            let base = f64::from(odds.base);
            let moved: f64 = odds.moved.iter().map(|moved| f64::from(*moved)).sum();
            let rise = prior - sigmoid(base);
            // Where the log-odds hardly moved, the tangent's slope replaces the chord's.
            let slope = if moved.abs() > 1e-6 { rise / moved } else { prior * (1.0 - prior) };
            parts.extend(Factor::HEAD.into_iter().zip(odds.moved.map(|moved| f64::from(moved) * slope)));
        }
        parts.push((Factor::Level, corrections.level));
        parts.push((Factor::Kind, corrections.kind));
        parts.push((Factor::Hardness, corrections.hardness));
        let mut leanings: Vec<(usize, f64)> = corrections.leanings.iter().copied().enumerate().collect();
        leanings.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0)));
        let number = |at: usize| u8::try_from(at + 1).unwrap_or(u8::MAX);
        parts.extend(leanings.iter().take(MAX_DIRECTIONS).map(|(at, by)| (Factor::Direction(number(*at)), *by)));
        parts.push((Factor::Directions, leanings.iter().skip(MAX_DIRECTIONS).map(|(_, by)| by).sum()));
        let corrected = prior
            + corrections.level
            + corrections.kind
            + corrections.hardness
            + corrections.leanings.iter().sum::<f64>();
        parts.push((Factor::Limit, quality - corrected));

        let units = |by: f64| (by * UNITS).round() as i32;
        let mut kept: Vec<(Factor, i32)> =
            parts.into_iter().map(|(factor, by)| (factor, units(by))).filter(|(_, by)| *by != 0).collect();
        let base = units(quality) - kept.iter().map(|(_, by)| by).sum::<i32>();
        kept.insert(0, (Factor::Base, base));
        Self { parts: kept }
    }

    /// The summands, the base first; 0.01 = one point of quality. Those that round to 0 are left out.
    pub fn parts(&self) -> impl Iterator<Item = (Factor, f64)> + '_ {
        self.parts.iter().map(|(factor, by)| (*factor, f64::from(*by) / UNITS))
    }

    /// The summand of one factor; 0 where it is absent.
    pub fn by(&self, factor: Factor) -> f64 {
        self.parts().find(|(other, _)| *other == factor).map_or(0.0, |(_, by)| by)
    }

    /// The sum of all summands.
    pub fn total(&self) -> f64 {
        self.parts.iter().map(|(_, by)| f64::from(*by)).sum::<f64>() / UNITS
    }

    /// Whether it has no summands.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

fn sigmoid(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}

/// A summand in human-readable formats.
#[derive(Serialize, Deserialize)]
struct Summand<'a> {
    #[serde(borrow)]
    factor: Cow<'a, str>,
    by: f64,
}

impl Serialize for Attribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_seq(self.parts().map(|(factor, by)| Summand { factor: factor.name(), by }))
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

/// Reads both forms. Factors of later versions, which this one does not know, are skipped.
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
            while let Some(Summand { factor, by }) = seq.next_element()? {
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
