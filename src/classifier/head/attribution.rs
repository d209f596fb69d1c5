//! Attribution: what moves a head's log-odds away from those of an average prompt, as an exact sum.
//!
//! **The trunk.** Its input is a sum of groups: the encoder's states (in two: along the direction that tells the task,
//! and the rest) and the text statistics by kind. A hidden unit is a function of a linear sum of the groups, so along
//! the straight line from an average prompt to this one its rise is shared in proportion to the groups' parts (the
//! integrated gradient of Sundararajan and others 2017, which for one hidden layer needs no integral, only a difference
//! quotient).
//!
//! **The rest.** Calibration, memory, tasks (apart from the direction that tells them), familiarity and borrowed
//! abilities are sums already. The shrinking of differences between models on an unfamiliar prompt is a summand of
//! unfamiliarity.

use super::matrix::{Matrix, dot, logit};
use super::parts::{Parts, Trunk, mean_of};
use super::{Ability, Description, HeadReading, sigmoid};
use crate::bandit::{Factor, Odds};
use crate::classifier::stats;

/// Groups of the trunk's input: the leading ones of [`Factor::HEAD`].
const GROUPS: usize = 9;
const TASK: usize = 0;
const READING: usize = 1;
const TOOLS: usize = 8;
const SIMILAR: usize = 9;
const UNFAMILIAR: usize = 10;
/// The opinions, in the order of their weights.
const TRUNK: usize = 0;
const MEMORY: usize = 1;
const TASKS: usize = 2;

/// The contributions to a reading.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    /// Latents of an average prompt.
    average: Vec<f32>,
    /// What each group of the input adds to these latents.
    latents: Vec<Vec<f32>>,
    /// Standardised text statistics.
    statistics: Vec<f32>,
    /// The other contributions, for each arm.
    opinions: Opinions,
}

/// The contributions besides trunk and statistics, for each arm.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Opinions {
    /// Log-odds by the memory.
    pub(super) recalled: Vec<f32>,
    /// Log-odds by the tasks of the arm's source.
    pub(super) tasks: Vec<f32>,
    /// The change of the log-odds by shrinking differences between models, and by evening out where tools are new to it.
    pub(super) shrunk: Vec<f32>,
    /// What tools take from the log-odds of all arms.
    pub(super) burden: f32,
}

/// The group of each statistic, as an index into [`Factor::HEAD`].
pub(super) fn groups() -> [usize; stats::COUNT] {
    let place = |factor: Factor| Factor::HEAD.iter().position(|other| *other == factor).unwrap_or(READING);
    stats::NAMES.map(|name| place(kind(name)))
}

fn kind(statistic: &str) -> Factor {
    match statistic {
        "log_bytes" | "log_words" | "log_lines" | "log_blocks" | "word_length" => Factor::Length,
        "digit_share" | "log_numbers" | "longest_number" | "log_tex" | "log_equations" | "log_math_words" => {
            Factor::Numbers
        }
        "symbol_share" | "bracket_share" | "log_indented" | "code_fence" | "log_code_words" | "log_code_marks"
        | "log_json_marks" => Factor::Code,
        "non_ascii_share" | "english_share" | "latin_accent_share" | "log_translate_words" => Factor::Language,
        _ if statistic.starts_with("tool") => Factor::Tools,
        _ if statistic.ends_with("_words") || statistic == "log_quotes" => Factor::Topic,
        _ if ["han", "kana", "cyrillic", "arabic"].iter().any(|script| statistic.starts_with(script)) => {
            Factor::Language
        }
        _ => Factor::Form,
    }
}

impl Traces {
    /// The contributions for a prompt with the input `x` and these latents.
    pub(super) fn of(parts: &Parts, task: Option<usize>, x: &[f32], latent: &[f32], opinions: Opinions) -> Self {
        let statistics = parts.input.statistics(x).to_vec();
        let states = x.len() - statistics.len();
        let mut split = vec![vec![0.0; x.len()]; GROUPS];
        // An older head has fewer statistics.
        for (at, (group, value)) in groups().into_iter().zip(&statistics).enumerate() {
            split[group][states + at] = *value;
        }
        if let Some(task) = task {
            along(&parts.tasks, task, &x[..states], &mut split[TASK][..states]);
        }
        // The rest of the states, as a difference, so that the groups add up to the whole.
        split[READING].clear();
        let (average, latents) = parts.trunk.apart(x, latent, &split);
        Self { average, latents, statistics, opinions }
    }

    /// The log-odds of a model with this ability, as a sum.
    pub(super) fn odds(
        &self,
        parts: &Parts,
        description: &Description,
        reading: &HeadReading,
        ability: &Ability,
    ) -> Odds {
        let familiarity = reading.familiarity;
        let mut odds = Odds { base: ability.shift + ability.usual_lift, ..Odds::default() };
        // Of what all models have in common only the sum is shown.
        let lift: f32 = ability.lift.iter().map(|(arm, weight)| weight * reading.log_odds[*arm]).sum();
        odds.moved[READING] += lift - ability.usual_lift;
        odds.moved[TOOLS] -= self.opinions.burden;
        let groups = groups();
        for (arm, weight) in &ability.parts {
            let (level, common, own) = parts.arms.weights(*arm);
            let shelf = parts.memory.shelves.iter().find(|shelf| shelf.arms.contains(arm));
            // What an opinion adds: its own weight on this arm's, and what is left of the common one on all of the
            // source's.
            let counted = |opinion: usize, of: &dyn Fn(usize) -> f32| {
                let alike = shelf.map_or(0.0, |shelf| mean_of(shelf, of));
                own[opinion] * of(*arm) + (common[opinion] - own[opinion]) * alike
            };
            let by_trunk = |latent: &[f32], level: bool| {
                let (difficulty, demands) = latent.split_last().map_or((0.0, latent), |(last, rest)| (*last, rest));
                let level = |arm: usize| if level { parts.arms.level[arm] } else { 0.0 };
                counted(TRUNK, &|arm| dot(parts.arms.ability.row(arm), demands) + difficulty + level(arm))
            };
            let mean = |arm: usize| description.arms[arm].mean;
            let remembered = |arm: usize| description.recall.log_odds((0.0, 0.0), mean(arm));
            let base = level
                + by_trunk(&self.average, true)
                + counted(MEMORY, &remembered)
                + counted(TASKS, &|arm| logit(mean(arm)));
            odds.base += weight * base;
            for (moved, latent) in odds.moved.iter_mut().zip(&self.latents) {
                *moved += weight * familiarity * by_trunk(latent, false);
            }
            let Opinions { recalled, tasks, .. } = &self.opinions;
            odds.moved[SIMILAR] += weight * familiarity * counted(MEMORY, &|arm| recalled[arm] - remembered(arm));
            odds.moved[TASK] += weight * familiarity * counted(TASKS, &|arm| tasks[arm] - logit(mean(arm)));
            let plain = parts.arms.plain.row(*arm);
            let strange = weight * (1.0 - familiarity);
            for ((value, plain), group) in self.statistics.iter().zip(plain).zip(groups) {
                odds.moved[group] += strange * plain * value;
            }
            odds.moved[UNFAMILIAR] += strange * (plain.last().copied().unwrap_or(0.0) - base);
            odds.moved[UNFAMILIAR] += weight * self.opinions.shrunk[*arm];
        }
        odds
    }
}

/// The part of `states` along the direction that tells `task` from the other tasks.
fn along(tasks: &Matrix, task: usize, states: &[f32], out: &mut [f32]) {
    let rows = tasks.values.chunks_exact(tasks.columns.max(1));
    let direction: Vec<f32> = rows
        .take(states.len())
        .map(|row| row.get(task).map_or(0.0, |weight| weight - row.iter().sum::<f32>() / row.len() as f32))
        .collect();
    let length = dot(&direction, &direction);
    if length > 1e-12 {
        let share = dot(&direction, states) / length;
        out.iter_mut().zip(&direction).for_each(|(out, direction)| *out = share * direction);
    }
}

impl Trunk {
    /// The latents of an average prompt, and what each group of the input adds to them on the way to `latent`, which is
    /// that of the whole input `x`. An empty group takes the remainder.
    fn apart(&self, x: &[f32], latent: &[f32], groups: &[Vec<f32>]) -> (Vec<f32>, Vec<Vec<f32>>) {
        let silu = |value: f32| value * sigmoid(value);
        let mut whole = vec![0.0; self.bias.len()];
        self.first.add_product(x, &mut whole);
        let quotient: Vec<f32> = whole
            .iter()
            .zip(&self.bias)
            .map(|(way, bias)| {
                if way.abs() > 1e-3 {
                    (silu(bias + way) - silu(*bias)) / way
                } else {
                    let gate = sigmoid(bias + way / 2.0);
                    gate * (1.0 + (bias + way / 2.0) * (1.0 - gate))
                }
            })
            .collect();
        let mut average = vec![0.0; latent.len()];
        self.second.add_product(&self.bias.iter().map(|bias| silu(*bias)).collect::<Vec<f32>>(), &mut average);
        let mut left: Vec<f32> = latent.iter().zip(&average).map(|(latent, average)| latent - average).collect();
        let mut told: Vec<Vec<f32>> = groups
            .iter()
            .map(|group| {
                let mut added = vec![0.0; latent.len()];
                let mut hidden = vec![0.0; self.bias.len()];
                self.first.add_product(group, &mut hidden);
                hidden.iter_mut().zip(&quotient).for_each(|(way, quotient)| *way *= quotient);
                self.past.add_product(group, &mut added);
                self.second.add_product(&hidden, &mut added);
                left.iter_mut().zip(&added).for_each(|(left, added)| *left -= added);
                added
            })
            .collect();
        if let Some(rest) = groups.iter().position(Vec::is_empty) {
            told[rest] = left;
        }
        (average, told)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::head;
    use super::super::{CALIBRATION, Head, HeadReading, Kinds};
    use super::*;
    use crate::classifier::stats::TextStats;

    /// The tests' head with a bent trunk, statistics that count, a task that is told by both states, and two tasks of
    /// the source, of which the first state tells; what is common and what is a model's own count differently.
    fn bent() -> Head {
        let plain = head();
        let mut parts = plain.parts().clone();
        for (at, row) in parts.trunk.first.values.iter_mut().enumerate() {
            *row = ((at * 7 % 11) as f32 - 5.0) / 8.0;
        }
        parts.trunk.bias[0] = 0.3;
        parts.trunk.second.values.copy_from_slice(&[0.8, -0.5]);
        parts.input.scale.fill(1.0);
        for (at, weight) in parts.arms.plain.values.iter_mut().enumerate() {
            *weight = ((at * 5 % 7) as f32 - 3.0) / 20.0;
        }
        parts.tasks.row_mut(1).copy_from_slice(&[0.5, -0.5]);
        let mut told = Matrix::zeros(parts.tasks.rows, 2);
        told.row_mut(0).copy_from_slice(&[1.5, -1.0]);
        parts.kinds = Kinds { weights: told, means: vec![0.8, 0.1, 0.3, 0.6] };
        parts.arms.calibration = Matrix::of(2, CALIBRATION, [0.1, 0.9, 0.4, 0.3, 0.3, 0.2, 0.8].repeat(2));
        let mut description = plain.description().clone();
        description.kinds = vec![2];
        Head::new(description, parts).unwrap()
    }

    fn odds(head: &Head, reading: &HeadReading, ability: &Ability) -> (Odds, f64) {
        let made = head.estimate(reading, ability);
        (made.odds, made.quality)
    }

    #[test]
    fn the_summands_are_the_whole_near_and_far() {
        let head = bent();
        let likened = head.ability("new-model", None, Some(0.6)).unwrap();
        let known = head.ability("minus", None, None).unwrap();
        for states in [[1.0, 0.05], [0.4, 0.9], [0.05, 1.0], [-2.0, 0.3]] {
            let reading = head.read(&states, &TextStats::of("What is 12 + 30?\n```\nlet x = 1;\n```"));
            for ability in [&likened, &known] {
                let (odds, quality) = odds(&head, &reading, ability);
                let sum = f64::from(odds.base + odds.moved.iter().sum::<f32>());
                let said = 1.0 / (1.0 + (-sum).exp());
                assert!((said - quality).abs() < 1e-5, "{odds:?} says {said}, and the head says {quality}");
            }
        }
    }

    #[test]
    fn tools_that_the_head_was_never_taught_are_a_burden_to_all_models_alike() {
        let tools = "\n\nAvailable functions:\n{\"name\":\"weather\",\"description\":\"Weather of a city\"}";
        let hard = format!("Weather in Rome and then also in Oslo and Bergen{tools}");
        let easy = format!("Weather in Rome{tools}");
        let place = Factor::HEAD.iter().position(|factor| *factor == Factor::Tools).unwrap();
        let mut taught = bent();
        taught.parts.input.scale[stats::PLAIN..].fill(0.0);
        let untaught = taught.clone();
        taught.parts.input.scale[stats::PLAIN] = 1.0;
        let told = |head: &Head, name: &str| {
            let ability = head.ability(name, None, None).unwrap();
            let of = |text: &str| odds(head, &head.read(&[0.4, 0.9], &TextStats::of(text)), &ability);
            let ((odds, quality), (lighter, better)) = (of(&hard), of(&easy));
            let sum = f64::from(odds.base + odds.moved.iter().sum::<f32>());
            assert!((1.0 / (1.0 + (-sum).exp()) - quality).abs() < 1e-5, "{odds:?} and {quality}");
            (odds.moved[place] - lighter.moved[place], better - quality)
        };
        let (plus, lost) = told(&untaught, "plus");
        assert!(plus < -0.3 && lost > 0.0 && (plus - told(&untaught, "new-model").0).abs() < 1e-6);
        assert!(told(&taught, "plus").0.abs() < 0.1);
    }

    #[test]
    fn what_is_not_in_the_prompt_moves_nothing() {
        let head = bent();
        let ability = head.ability("plus", None, None).unwrap();
        let of = |text: &str| odds(&head, &head.read(&[1.0, 0.0], &TextStats::of(text)), &ability).0.moved;
        let place = |factor| Factor::HEAD.iter().position(|other| *other == factor).unwrap();
        let (plain, code) = (of("Say hello"), of("Say\n```\nfn hello() {\n    return;\n}\n```"));
        assert_eq!(plain[place(Factor::Code)], 0.0);
        assert!(code[place(Factor::Code)].abs() > 1e-3);
        assert_eq!(code[place(Factor::Unfamiliar)], 0.0, "it is a training prompt");
        assert!(plain[place(Factor::Task)].abs() > 1e-3, "both states tell the task");
    }

    #[test]
    fn every_statistic_has_a_kind_and_no_kind_is_empty() {
        let groups = groups();
        for place in 2..GROUPS {
            assert!(groups.contains(&place), "{:?}", Factor::HEAD[place]);
        }
        assert!(groups.iter().all(|place| (2..GROUPS).contains(place)));
    }
}
