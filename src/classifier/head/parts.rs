//! A head's numbers, and the arithmetic of each part.

use super::artefact::Artefact;
use super::description::OLDEST;
use super::kinds::Kinds;
use super::matrix::{Matrix, add_scaled, dot, sigmoid};
use super::neighbours::{Memory, Shelf};
use super::{BOUND, Description, HeadError};
use crate::classifier::stats::{self, TextStats};

/// Opinions on a model: of the trunk, the memory and the source's tasks.
pub const OPINIONS: usize = 3;
/// Numbers in a row of [`Arms::calibration`].
pub const CALIBRATION: usize = 1 + 2 * OPINIONS;

/// Largest standardised input, so that outliers cannot dominate.
const CLIP: f32 = 4.0;

/// Most latents kept for averages.
const REFERENCES: usize = 256;

/// All numbers of a head.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    /// From pooled states and statistics to the trunk's input.
    pub input: Input,
    /// From the input to `a(x)` and `d(x)`.
    pub trunk: Trunk,
    /// The models.
    pub arms: Arms,
    /// Training prompts.
    pub memory: Memory,
    /// The sources' own tasks.
    pub kinds: Kinds,
    /// From `a(x)` to the bandit's context.
    pub z: Projection,
    /// Task label: input by task, and a last row of levels.
    pub tasks: Matrix,
    /// Latents of some training prompts, one a row.
    pub latents: Matrix,
}

/// Standardise and project: `(x - mean) * scale`, clipped, times a matrix.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Projection {
    /// Subtracted.
    pub mean: Vec<f32>,
    /// Multiplied.
    pub scale: Vec<f32>,
    /// The matrix, input by output.
    pub turn: Matrix,
}

impl Projection {
    /// The projection of `x`, each number within +-[`BOUND`].
    pub fn of(&self, x: &[f32]) -> Vec<f32> {
        self.raw(x, f32::MAX).into_iter().map(|value| value.clamp(-BOUND, BOUND)).collect()
    }

    fn raw(&self, x: &[f32], clip: f32) -> Vec<f32> {
        let standard: Vec<f32> = x
            .iter()
            .zip(&self.mean)
            .zip(&self.scale)
            .map(|((x, mean), scale)| ((x - mean) * scale).clamp(-clip, clip))
            .collect();
        let mut out = vec![0.0; self.turn.columns];
        self.turn.add_product(&standard, &mut out);
        out
    }
}

/// From pooled states and statistics to the trunk's input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    /// Projection of the pooled states.
    pub states: Projection,
    /// Subtracted from the statistics.
    pub mean: Vec<f32>,
    /// Multiplied with them.
    pub scale: Vec<f32>,
    /// Weights of the three parts of a memory's key: projected states, statistics, latents.
    pub key: [f32; 3],
    /// Leading projected states in a key.
    pub key_states: usize,
}

impl Input {
    /// The trunk's input: projected states, then statistics. For a prompt without tools, statistics of tools are zero
    /// and not standardised, because they are standardised over prompts that have tools.
    pub fn of(&self, pooled: &[f32], stats: &TextStats) -> Vec<f32> {
        let mut x = if self.states.turn.columns > 0 { self.states.raw(pooled, CLIP) } else { Vec::new() };
        let known = if stats.offers_tools() { stats::COUNT } else { stats::PLAIN };
        let statistics = stats.values.iter().zip(&self.mean).zip(&self.scale).enumerate();
        x.extend(statistics.map(
            |(at, ((value, mean), scale))| {
                if at < known { ((value - mean) * scale).clamp(-CLIP, CLIP) } else { 0.0 }
            },
        ));
        x
    }

    /// Whether any prompt that it was fitted to offered tools; if none did, their statistics have no spread.
    pub fn knows_tools(&self) -> bool {
        self.scale.iter().skip(stats::PLAIN).any(|scale| *scale > 0.0)
    }

    /// The statistics within an input.
    pub fn statistics<'a>(&self, x: &'a [f32]) -> &'a [f32] {
        &x[x.len().saturating_sub(self.mean.len())..]
    }

    /// A prompt's key in the memory: the three parts, each normalised to length one, times their weights.
    pub fn key(&self, x: &[f32], latent: &[f32]) -> Vec<f32> {
        let states = &x[..self.key_states.min(x.len())];
        let mut key = Vec::with_capacity(states.len() + self.mean.len() + latent.len());
        for (part, weight) in [states, self.statistics(x), latent].into_iter().zip(self.key) {
            if weight > 0.0 {
                let length = dot(part, part).sqrt().max(1e-6);
                key.extend(part.iter().map(|value| value * weight / length));
            }
        }
        key
    }

    /// Length of a key.
    pub fn key_width(&self, latent: usize) -> usize {
        let lengths = [self.key_states, self.mean.len(), latent];
        lengths.into_iter().zip(self.key).filter(|(_, weight)| *weight > 0.0).map(|(length, _)| length).sum()
    }
}

/// One hidden layer with a linear skip connection.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trunk {
    /// Input by hidden.
    pub first: Matrix,
    /// Levels of the hidden layer.
    pub bias: Vec<f32>,
    /// Hidden by latent and difficulty.
    pub second: Matrix,
    /// Input by latent and difficulty.
    pub past: Matrix,
}

impl Trunk {
    /// `a(x)`, and `-d(x)` as the last number.
    pub fn latent(&self, x: &[f32]) -> Vec<f32> {
        let mut hidden = self.bias.clone();
        self.first.add_product(x, &mut hidden);
        hidden.iter_mut().for_each(|value| *value *= sigmoid(*value));
        let mut latent = vec![0.0; self.second.columns];
        self.past.add_product(x, &mut latent);
        self.second.add_product(&hidden, &mut latent);
        latent
    }
}

/// The models.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arms {
    /// Ability vectors, one a row.
    pub ability: Matrix,
    /// Levels.
    pub level: Vec<f32>,
    /// Calibration, one row a model: its level, the weights of the opinions on all models of the source together, and
    /// the weights of the opinions on this model beyond that.
    pub calibration: Matrix,
    /// Log-odds from statistics alone: one row a model, its level last.
    pub plain: Matrix,
    /// Logarithm of output tokens: one row a model, from latents, its level last; -1000 stands for NaN.
    pub tokens: Matrix,
}

/// Levels below this mean that no outcome had output tokens.
const NO_TOKENS: f32 = -999.0;

impl Arms {
    /// The trunk's log-odds for each model, not calibrated.
    pub fn log_odds(&self, latent: &[f32]) -> Vec<f32> {
        let (difficulty, demands) = latent.split_last().map_or((0.0, latent), |(last, rest)| (*last, rest));
        let inner = self.ability.times(demands);
        inner.iter().zip(&self.level).map(|(inner, level)| inner + difficulty + level).collect()
    }

    /// Log-odds from statistics alone.
    pub fn plain_log_odds(&self, statistics: &[f32]) -> Vec<f32> {
        with_level(&self.plain, statistics)
    }

    /// The calibrated sum of the opinions, for each model. How hard a prompt is for all of a source's models is better
    /// known than which is best on it, so the two have separate weights.
    pub fn calibrated(&self, shelves: &[Shelf], opinions: [&[f32]; OPINIONS]) -> Vec<f32> {
        let mut known = vec![0.0; self.calibration.rows];
        for shelf in shelves {
            let alike = opinions.map(|opinion| mean_of(shelf, |arm| opinion[arm]));
            for arm in &shelf.arms {
                let (level, common, own) = self.weights(*arm);
                let said = |at: usize| own[at] * opinions[at][*arm] + (common[at] - own[at]) * alike[at];
                known[*arm] = level + (0..OPINIONS).map(said).sum::<f32>();
            }
        }
        known
    }

    /// A model's level, and the opinions' common and own weights.
    pub(super) fn weights(&self, arm: usize) -> (f32, &[f32], &[f32]) {
        let row = self.calibration.row(arm);
        (row[0], &row[1..=OPINIONS], &row[1 + OPINIONS..])
    }

    /// Logarithm of expected output tokens for each model; NaN where there is no evidence.
    pub fn log_tokens(&self, latent: &[f32]) -> Vec<f32> {
        let known = |(tokens, row): (f32, &[f32])| {
            if row.last().is_some_and(|level| *level > NO_TOKENS) { tokens.clamp(0.0, 12.0) } else { f32::NAN }
        };
        let rows = self.tokens.values.chunks_exact(self.tokens.columns.max(1));
        with_level(&self.tokens, latent).into_iter().zip(rows).map(known).collect()
    }
}

/// The mean of something over the arms of a source.
pub(super) fn mean_of(shelf: &Shelf, of: impl Fn(usize) -> f32) -> f32 {
    shelf.arms.iter().map(|arm| of(*arm)).sum::<f32>() / shelf.arms.len().max(1) as f32
}

/// Length of a calibration row in format 1: a level, and one weight for each of two opinions.
fn widened(row: &[f32]) -> [f32; CALIBRATION] {
    [row[0], row[1], row[2], 0.0, row[1], row[2], 0.0]
}

/// Each row's inner product with `x`, plus its last number.
fn with_level(rows: &Matrix, x: &[f32]) -> Vec<f32> {
    let of = |row: &[f32]| row.split_last().map_or(0.0, |(level, weights)| dot(weights, x) + level);
    rows.values.chunks_exact(rows.columns.max(1)).map(of).collect()
}

impl Parts {
    /// Takes half of what moves all models of a source alike from their `usual` log-odds out of them.
    pub(super) fn even_out(&self, usual: &[f32], log_odds: &mut [f32]) {
        for shelf in &self.memory.shelves {
            let alike = mean_of(shelf, |arm| log_odds[arm] - usual[arm]);
            shelf.arms.iter().for_each(|arm| log_odds[*arm] -= alike / 2.0);
        }
    }

    /// The most likely task label.
    pub fn task(&self, x: &[f32]) -> Option<usize> {
        let (weights, level) = self.tasks.values.split_at_checked(x.len() * self.tasks.columns)?;
        let mut scores = level.to_vec();
        for (value, row) in x.iter().zip(weights.chunks_exact(self.tasks.columns.max(1))) {
            add_scaled(&mut scores, *value, row);
        }
        (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]))
    }

    /// Some training prompts' latents, evenly spread.
    pub(super) fn reference(&self) -> Matrix {
        let step = self.latents.rows.div_ceil(REFERENCES).max(1);
        let rows: Vec<f32> =
            (0..self.latents.rows).step_by(step).flat_map(|row| self.latents.row(row).to_vec()).collect();
        Matrix::of(self.latents.rows.div_ceil(step), self.latents.columns, rows)
    }

    pub(super) fn check(&self, description: &Description) -> Result<(), HeadError> {
        let statistics = description.statistics.len();
        let input = description.projected + statistics;
        let latent = description.latent + 1;
        let arms = description.arms.len();
        let shapes = [
            ("the projection", &self.input.states.turn, description.pooled, description.projected),
            ("the first layer", &self.trunk.first, input, description.hidden),
            ("the second layer", &self.trunk.second, description.hidden, latent),
            ("the road past it", &self.trunk.past, input, latent),
            ("abilities", &self.arms.ability, arms, description.latent),
            ("calibration", &self.arms.calibration, arms, CALIBRATION),
            ("the plain part", &self.arms.plain, arms, statistics + 1),
            ("output tokens", &self.arms.tokens, arms, latent + 1),
            ("the context", &self.z.turn, latent, description.context),
            ("task labels", &self.tasks, input + 1, description.tasks.len()),
        ];
        for (name, matrix, rows, columns) in shapes {
            if (matrix.rows, matrix.columns) != (rows, columns) || matrix.values.len() != rows * columns {
                let found = (matrix.rows, matrix.columns);
                return Err(HeadError::Malformed(format!("{name}: {found:?} instead of {:?}", (rows, columns))));
            }
        }
        let lengths = [
            (self.input.states.mean.len(), description.pooled),
            (self.input.states.scale.len(), description.pooled),
            (self.input.mean.len(), statistics),
            (self.input.scale.len(), statistics),
            (self.trunk.bias.len(), description.hidden),
            (self.arms.level.len(), arms),
            (self.z.mean.len(), latent),
            (self.z.scale.len(), latent),
            (self.memory.width, self.input.key_width(latent)),
        ];
        if self.input.key_states > description.projected || lengths.iter().any(|(found, wanted)| found != wanted) {
            return Err(HeadError::Malformed("its parts are not of one size".into()));
        }
        self.kinds.check(description, input)
    }

    pub(super) fn put(&self, artefact: &mut Artefact) {
        fn shape(matrix: &Matrix) -> [usize; 2] {
            [matrix.rows, matrix.columns]
        }
        let mut floats = |name: &str, values: &[f32]| artefact.put(name, &[values.len()], values);
        floats("states.mean", &self.input.states.mean);
        floats("states.scale", &self.input.states.scale);
        floats("statistics.mean", &self.input.mean);
        floats("statistics.scale", &self.input.scale);
        floats("key.weights", &self.input.key);
        floats("key.states", &[self.input.key_states as f32]);
        floats("trunk.bias", &self.trunk.bias);
        floats("arms.level", &self.arms.level);
        floats("z.mean", &self.z.mean);
        floats("z.scale", &self.z.scale);
        for (name, matrix) in [
            ("states.turn", &self.input.states.turn),
            ("trunk.first", &self.trunk.first),
            ("trunk.second", &self.trunk.second),
            ("trunk.past", &self.trunk.past),
            ("tasks", &self.tasks),
            ("latents", &self.latents),
            ("arms.ability", &self.arms.ability),
            ("arms.tokens", &self.arms.tokens),
        ] {
            artefact.put_short(name, &shape(matrix), &matrix.values);
        }
        for (name, matrix) in
            [("arms.calibration", &self.arms.calibration), ("arms.plain", &self.arms.plain), ("z.turn", &self.z.turn)]
        {
            artefact.put(name, &shape(matrix), &matrix.values);
        }
        self.memory.put(artefact);
        self.kinds.put(artefact);
    }

    pub(super) fn take(artefact: &Artefact, description: &Description) -> Result<Self, HeadError> {
        let d = description;
        let statistics = d.statistics.len();
        let input = d.projected + statistics;
        let latent = d.latent + 1;
        let arms = d.arms.len();
        let matrix = |name: &str, rows: usize, columns: usize| {
            Ok::<_, HeadError>(Matrix { rows, columns, values: artefact.floats(name, &[rows, columns])? })
        };
        let weights = artefact.floats("key.weights", &[3])?;
        let input_parts = Input {
            states: Projection {
                mean: artefact.floats("states.mean", &[d.pooled])?,
                scale: artefact.floats("states.scale", &[d.pooled])?,
                turn: matrix("states.turn", d.pooled, d.projected)?,
            },
            mean: artefact.floats("statistics.mean", &[statistics])?,
            scale: artefact.floats("statistics.scale", &[statistics])?,
            key: [weights[0], weights[1], weights[2]],
            key_states: artefact.floats("key.states", &[1])?[0] as usize,
        };
        let width = input_parts.key_width(latent);
        let calibration = if d.format > OLDEST {
            matrix("arms.calibration", arms, CALIBRATION)?
        } else {
            let old = artefact.floats("arms.calibration", &[arms, 3])?;
            Matrix::of(arms, CALIBRATION, old.chunks_exact(3).flat_map(widened).collect())
        };
        let kept = artefact.rows("latents")?;
        Ok(Self {
            input: input_parts,
            trunk: Trunk {
                first: matrix("trunk.first", input, d.hidden)?,
                bias: artefact.floats("trunk.bias", &[d.hidden])?,
                second: matrix("trunk.second", d.hidden, latent)?,
                past: matrix("trunk.past", input, latent)?,
            },
            arms: Arms {
                ability: matrix("arms.ability", arms, d.latent)?,
                level: artefact.floats("arms.level", &[arms])?,
                calibration,
                plain: matrix("arms.plain", arms, statistics + 1)?,
                tokens: matrix("arms.tokens", arms, latent + 1)?,
            },
            memory: Memory::take(artefact, width, d.shelves.clone(), arms)?,
            kinds: Kinds::take(artefact, d, input)?,
            z: Projection {
                mean: artefact.floats("z.mean", &[latent])?,
                scale: artefact.floats("z.scale", &[latent])?,
                turn: matrix("z.turn", latent, d.context)?,
            },
            tasks: matrix("tasks", input + 1, d.tasks.len())?,
            latents: matrix("latents", kept, latent)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_moves_all_models_alike_is_evened_out() {
        let memory = Memory { shelves: vec![Shelf { prompts: 1, arms: vec![0, 1] }], ..Memory::default() };
        let parts = Parts { memory, ..super::super::tests::head().parts().clone() };
        let mut log_odds = [2.0, 1.0];
        parts.even_out(&[1.0, 0.0], &mut log_odds);
        assert_eq!(log_odds, [1.5, 0.5], "both are one above their usual");
        parts.even_out(&[2.5, -0.5], &mut log_odds);
        assert_eq!(log_odds, [1.5, 0.5], "what tells them apart is left");
    }

    #[test]
    fn a_calibration_from_before_says_what_it_said() {
        let calibration =
            Matrix::of(2, CALIBRATION, [widened(&[0.1, 0.7, 0.4]), widened(&[-0.2, 0.7, 0.4])].concat());
        let arms = Arms { calibration, ..Arms::default() };
        let shelf = Shelf { prompts: 1, arms: vec![0, 1] };
        let known = arms.calibrated(&[shelf], [&[1.0, -2.0], &[0.5, 3.0], &[9.0, 9.0]]);
        assert!((known[0] - (0.1 + 0.7 + 0.2)).abs() < 1e-6, "{known:?}");
        assert!((known[1] - (-0.2 - 1.4 + 1.2)).abs() < 1e-6, "{known:?}");
    }
}
