//! Fitting the trunk and the models' abilities together, by stochastic gradients on log-loss.
//!
//! Several trunks are fitted from different draws and laid side by side: their mean is better than the best of them,
//! and it is still one trunk, with a hidden layer as wide as theirs together. With no hidden layer and as many
//! demands as models it is a logistic regression for each model, which is how that head is fitted too.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::adam::{Adam, rate_at};
use super::table::{Table, batches};
use super::{Progress, Stage, Stopped};
use crate::classifier::head::{Arms, Matrix, Trunk, add_scaled, dot, sigmoid};
use crate::train::dataset::Split;
use crate::train::patience::Patience;

/// How a trunk is fitted.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrunkSettings {
    /// Trunks laid side by side.
    pub members: usize,
    /// Hidden width of each.
    pub hidden: usize,
    /// Demands (latent dimensions) of each.
    pub latent: usize,
    /// Passes over the training prompts.
    pub epochs: usize,
    /// Passes without gain on val before the fit stops.
    pub patience: usize,
    /// Prompts in a batch.
    pub batch: usize,
    /// Largest learning rate.
    pub rate: f32,
    /// Weight decay.
    pub decay: f32,
    /// Share of inputs and of hidden values that are left out at random.
    pub dropout: f32,
}

impl Default for TrunkSettings {
    fn default() -> Self {
        Self {
            members: 3,
            hidden: 128,
            latent: 24,
            epochs: 12,
            patience: 4,
            batch: 256,
            rate: 2e-3,
            decay: 1e-2,
            dropout: 0.3,
        }
    }
}

/// One point of the trunk's learning curve: the log-loss on val after a pass over train. Every trunk keeps its best
/// epoch and stops some epochs after it, so that fewer of them reach the later ones.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct Epoch {
    /// Passes over train so far.
    pub epoch: usize,
    /// Trunks that reached this epoch.
    pub trunks: usize,
    /// Mean of their log-losses on val, before calibration.
    pub log_loss: f64,
    /// The lowest of them.
    pub lowest: f64,
    /// The highest of them.
    pub highest: f64,
}

/// One trunk with its models while it is being fitted.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) trunk: Trunk,
    pub(super) ability: Matrix,
    pub(super) level: Vec<f32>,
}

struct Gradient {
    first: Matrix,
    bias: Vec<f32>,
    second: Matrix,
    past: Matrix,
    ability: Matrix,
    level: Vec<f32>,
}

/// Intermediate values of one prompt's forward pass, for the backward pass.
#[derive(Default)]
struct Trace {
    x: Vec<f32>,
    sums: Vec<f32>,
    hidden: Vec<f32>,
    mask: Vec<f32>,
    latent: Vec<f32>,
}

impl Member {
    fn new(inputs: usize, arms: &[(f32, usize)], settings: &TrunkSettings, rng: &mut StdRng) -> Self {
        let latent = settings.latent + 1;
        let mut drawn = |rows: usize, columns: usize, spread: f32| {
            let values = (0..rows * columns).map(|_| rng.random_range(-1.0f32..1.0) * spread).collect();
            Matrix::of(rows, columns, values)
        };
        Self {
            trunk: Trunk {
                first: drawn(inputs, settings.hidden, 1.0 / (inputs as f32).sqrt()),
                bias: vec![0.0; settings.hidden],
                second: drawn(settings.hidden, latent, 1.0 / (settings.hidden.max(1) as f32).sqrt()),
                past: drawn(inputs, latent, 0.3 / (inputs as f32).sqrt()),
            },
            ability: drawn(arms.len(), settings.latent, 0.2),
            level: arms.iter().map(|(mean, _)| crate::classifier::head::logit(*mean)).collect(),
        }
    }

    /// A logistic regression for each model: no hidden layer, one demand a model.
    fn linear(inputs: usize, arms: &[(f32, usize)]) -> Self {
        let mut ability = Matrix::zeros(arms.len(), arms.len());
        (0..arms.len()).for_each(|at| ability.row_mut(at)[at] = 1.0);
        Self {
            trunk: Trunk {
                first: Matrix::zeros(inputs, 0),
                bias: Vec::new(),
                second: Matrix::zeros(0, arms.len() + 1),
                past: Matrix::zeros(inputs, arms.len() + 1),
            },
            ability,
            level: arms.iter().map(|(mean, _)| crate::classifier::head::logit(*mean)).collect(),
        }
    }

    fn forward(&self, x: &[f32], dropout: f32, rng: &mut StdRng, trace: &mut Trace) {
        let keep = 1.0 / (1.0 - dropout);
        let mut thin = |value: &f32| if rng.random::<f32>() < dropout { 0.0 } else { value * keep };
        trace.x.clear();
        trace.x.extend(x.iter().map(&mut thin));
        trace.sums.clone_from(&self.trunk.bias);
        self.trunk.first.add_product(&trace.x, &mut trace.sums);
        trace.mask.clear();
        trace.mask.extend(trace.sums.iter().map(|_| thin(&1.0)));
        trace.hidden.clear();
        trace.hidden.extend(trace.sums.iter().zip(&trace.mask).map(|(sum, mask)| sum * sigmoid(*sum) * mask));
        trace.latent.clear();
        trace.latent.resize(self.trunk.second.columns, 0.0);
        self.trunk.past.add_product(&trace.x, &mut trace.latent);
        self.trunk.second.add_product(&trace.hidden, &mut trace.latent);
    }

    fn log_odds(&self, arm: usize, latent: &[f32]) -> f32 {
        let (difficulty, demands) = latent.split_last().map_or((0.0, latent), |(last, rest)| (*last, rest));
        dot(self.ability.row(arm), demands) + difficulty + self.level[arm]
    }

    /// Adds a prompt's gradient to `gradient`. With `fixed`, abilities and difficulty are constants.
    fn learn(&self, table: &Table, row: usize, share: f32, trace: &Trace, gradient: &mut Gradient, fixed: bool) {
        let weight = table.weight(row) * share;
        let mut by_latent = vec![0.0; trace.latent.len()];
        let last = by_latent.len() - 1;
        for outcome in &table.outcomes[row] {
            let arm = outcome.arm as usize;
            let error = weight * (sigmoid(self.log_odds(arm, &trace.latent)) - outcome.score);
            gradient.level[arm] += error;
            add_scaled(&mut by_latent[..last], error, self.ability.row(arm));
            if !fixed {
                by_latent[last] += error;
                add_scaled(gradient.ability.row_mut(arm), error, &trace.latent[..last]);
            }
        }
        gradient.past.add_outer(&trace.x, &by_latent);
        if trace.hidden.is_empty() {
            return;
        }
        gradient.second.add_outer(&trace.hidden, &by_latent);
        let mut by_hidden = self.trunk.second.times(&by_latent);
        for ((value, sum), mask) in by_hidden.iter_mut().zip(&trace.sums).zip(&trace.mask) {
            let gate = sigmoid(*sum);
            *value *= mask * gate * (1.0 + sum * (1.0 - gate));
        }
        add_scaled(&mut gradient.bias, 1.0, &by_hidden);
        gradient.first.add_outer(&trace.x, &by_hidden);
    }

    /// Weighted mean log-loss over some rows.
    pub(super) fn loss(&self, table: &Table, rows: &[usize]) -> f64 {
        let (mut loss, mut total) = (0.0, 0.0);
        for row in rows {
            let latent = self.trunk.latent(table.inputs.row(*row));
            let weight = f64::from(table.weight(*row));
            for outcome in &table.outcomes[*row] {
                let p = f64::from(sigmoid(self.log_odds(outcome.arm as usize, &latent))).clamp(1e-6, 1.0 - 1e-6);
                let y = f64::from(outcome.score);
                loss -= weight * (y * p.ln() + (1.0 - y) * (1.0 - p).ln());
                total += weight;
            }
        }
        loss / f64::max(total, 1e-9)
    }
}

/// Fits one trunk; the best epoch on val is kept.
fn fit_member(
    table: &Table,
    mut member: Member,
    settings: &TrunkSettings,
    rng: &mut StdRng,
    fixed: bool,
    mut report: impl FnMut(usize, f64) -> Result<(), Stopped>,
) -> Result<Member, Stopped> {
    let zero = |matrix: &Matrix| Matrix::zeros(matrix.rows, matrix.columns);
    let mut gradient = Gradient {
        first: zero(&member.trunk.first),
        bias: vec![0.0; member.trunk.bias.len()],
        second: zero(&member.trunk.second),
        past: zero(&member.trunk.past),
        ability: zero(&member.ability),
        level: vec![0.0; member.level.len()],
    };
    let adam = |size: usize, decay: f32| Adam::new(size, decay);
    let mut adams = [
        adam(member.trunk.first.values.len(), settings.decay),
        adam(member.trunk.bias.len(), 0.0),
        adam(member.trunk.second.values.len(), settings.decay),
        adam(member.trunk.past.values.len(), settings.decay),
        adam(member.ability.values.len(), settings.decay),
        adam(member.level.len(), 0.0),
    ];
    let train = table.rows(Split::Train);
    let val = table.rows(Split::Val);
    let mut best = member.clone();
    let mut patience = Patience::new(f64::INFINITY, settings.patience);
    let steps = (train.len().div_ceil(settings.batch.max(1)) * settings.epochs).max(1);
    let mut step = 0;
    let mut trace = Trace::default();
    for epoch in 0..settings.epochs {
        for batch in batches(train, settings.batch.max(1), rng) {
            for row in &batch {
                member.forward(table.inputs.row(*row), settings.dropout, rng, &mut trace);
                member.learn(table, *row, 1.0 / batch.len() as f32, &trace, &mut gradient, fixed);
            }
            let rate = rate_at(settings.rate, step as f32 / steps as f32);
            let [first, bias, second, past, ability, level] = &mut adams;
            first.step(&mut member.trunk.first.values, &mut gradient.first.values, rate);
            bias.step(&mut member.trunk.bias, &mut gradient.bias, rate);
            second.step(&mut member.trunk.second.values, &mut gradient.second.values, rate);
            past.step(&mut member.trunk.past.values, &mut gradient.past.values, rate);
            if !fixed {
                ability.step(&mut member.ability.values, &mut gradient.ability.values, rate);
            }
            level.step(&mut member.level, &mut gradient.level, rate);
            step += 1;
        }
        // Without val there is no early stopping: each epoch counts as a gain, and the last is taken.
        let loss = if val.is_empty() { -(epoch as f64) } else { member.loss(table, val) };
        report(epoch, loss)?;
        if patience.gains(loss) {
            best = member.clone();
        }
        if patience.is_over() {
            break;
        }
    }
    Ok(best)
}

/// Fits `settings.members` trunks, lays them side by side, and says how they learned.
///
/// # Errors
///
/// `progress` asked to stop.
pub(super) fn fit(
    table: &Table,
    arms: &[(f32, usize)],
    settings: &TrunkSettings,
    seed: u64,
    progress: &dyn Progress,
) -> Result<(Trunk, Arms, Vec<Epoch>), Stopped> {
    let members = settings.members.max(1);
    let mut losses: Vec<Vec<f64>> = vec![Vec::new(); settings.epochs];
    let mut fitted = Vec::with_capacity(members);
    progress.begin(Stage::Trunk, (members * settings.epochs) as u64);
    for at in 0..members {
        let mut rng = StdRng::seed_from_u64(seed.wrapping_add(at as u64));
        let member = Member::new(table.inputs.columns, arms, settings, &mut rng);
        let report = |epoch: usize, loss: f64| {
            losses[epoch].push(loss);
            progress.at((at * settings.epochs + epoch + 1) as u64, &format!("val log-loss {loss:.4}"))
        };
        fitted.push(fit_member(table, member, settings, &mut rng, false, report)?);
    }
    progress.end();
    let curve = if table.rows(Split::Val).is_empty() { Vec::new() } else { learning_curve(&losses) };
    let (trunk, arms) = side_by_side(&fitted);
    Ok((trunk, arms, curve))
}

/// The learning curve, from the losses of every trunk that reached an epoch.
fn learning_curve(losses: &[Vec<f64>]) -> Vec<Epoch> {
    let of = |(at, losses): (usize, &Vec<f64>)| Epoch {
        epoch: at + 1,
        trunks: losses.len(),
        log_loss: losses.iter().sum::<f64>() / losses.len() as f64,
        lowest: losses.iter().copied().fold(f64::INFINITY, f64::min),
        highest: losses.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    losses.iter().enumerate().take_while(|(_, losses)| !losses.is_empty()).map(of).collect()
}

/// Fits a logistic regression for each model.
///
/// # Errors
///
/// `progress` asked to stop.
pub(super) fn fit_linear(
    table: &Table,
    arms: &[(f32, usize)],
    settings: &TrunkSettings,
    seed: u64,
    progress: &dyn Progress,
) -> Result<(Trunk, Arms), Stopped> {
    progress.begin(Stage::Logistic, settings.epochs as u64);
    let mut rng = StdRng::seed_from_u64(seed);
    let member = Member::linear(table.inputs.columns, arms);
    let report = |epoch: usize, loss: f64| progress.at(epoch as u64 + 1, &format!("val log-loss {loss:.4}"));
    let member = fit_member(table, member, &TrunkSettings { dropout: 0.1, ..*settings }, &mut rng, true, report)?;
    progress.end();
    Ok(side_by_side(&[member]))
}

/// One trunk that gives the mean of all members' log-odds.
fn side_by_side(members: &[Member]) -> (Trunk, Arms) {
    let share = 1.0 / members.len() as f32;
    let inputs = members[0].trunk.past.rows;
    let arms = members[0].level.len();
    let hidden: usize = members.iter().map(|member| member.trunk.bias.len()).sum();
    let demands: usize = members.iter().map(|member| member.ability.columns).sum();
    let mut trunk = Trunk {
        first: Matrix::zeros(inputs, hidden),
        bias: Vec::with_capacity(hidden),
        second: Matrix::zeros(hidden, demands + 1),
        past: Matrix::zeros(inputs, demands + 1),
    };
    let mut all = Arms { ability: Matrix::zeros(arms, demands), level: vec![0.0; arms], ..Arms::default() };
    let (mut hidden_at, mut demand_at) = (0, 0);
    for member in members {
        let (own_hidden, own) = (member.trunk.bias.len(), member.ability.columns);
        trunk.bias.extend(&member.trunk.bias);
        for row in 0..inputs {
            trunk.first.row_mut(row)[hidden_at..][..own_hidden].copy_from_slice(member.trunk.first.row(row));
        }
        let spread = |from: &Matrix, to: &mut Matrix, offset: usize| {
            for row in 0..from.rows {
                let (source, target) = (from.row(row), to.row_mut(offset + row));
                target[demand_at..][..own].copy_from_slice(&source[..own]);
                target[demands] += source[own] * share;
            }
        };
        spread(&member.trunk.past, &mut trunk.past, 0);
        spread(&member.trunk.second, &mut trunk.second, hidden_at);
        for arm in 0..arms {
            let target = &mut all.ability.row_mut(arm)[demand_at..][..own];
            add_scaled(target, share, member.ability.row(arm));
            all.level[arm] += share * member.level[arm];
        }
        hidden_at += own_hidden;
        demand_at += own;
    }
    (trunk, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_side_by_side_give_the_mean_of_their_log_odds() {
        let mut rng = StdRng::seed_from_u64(5);
        let settings = TrunkSettings { hidden: 3, latent: 2, ..TrunkSettings::default() };
        let arms = [(0.3, 10), (0.8, 10)];
        let members: Vec<Member> = (0..3).map(|_| Member::new(4, &arms, &settings, &mut rng)).collect();
        let (trunk, all) = side_by_side(&members);
        let x = [0.5, -1.0, 2.0, 0.25];
        let together = all.log_odds(&trunk.latent(&x));
        for (arm, together) in together.iter().enumerate() {
            let apart: f32 = members.iter().map(|member| member.log_odds(arm, &member.trunk.latent(&x))).sum();
            assert!((together - apart / 3.0).abs() < 1e-5);
        }
    }

    #[test]
    fn the_learning_curve_is_the_mean_of_the_trunks_that_are_still_learning() {
        let curve = learning_curve(&[vec![0.75, 0.5], vec![0.25], Vec::new()]);
        let first = Epoch { epoch: 1, trunks: 2, log_loss: 0.625, lowest: 0.5, highest: 0.75 };
        assert_eq!(curve, [first, Epoch { epoch: 2, trunks: 1, log_loss: 0.25, lowest: 0.25, highest: 0.25 }]);
    }

    #[test]
    fn the_gradient_is_the_slope_of_the_loss() {
        let mut rng = StdRng::seed_from_u64(2);
        let settings = TrunkSettings { hidden: 3, latent: 2, ..TrunkSettings::default() };
        let table = super::super::tests::table(3, 4, 2);
        let member = Member::new(4, &[(0.3, 10), (0.8, 10)], &settings, &mut rng);
        let mut trace = Trace::default();
        member.forward(table.inputs.row(0), 0.0, &mut rng, &mut trace);
        let zero = |matrix: &Matrix| Matrix::zeros(matrix.rows, matrix.columns);
        let mut gradient = Gradient {
            first: zero(&member.trunk.first),
            bias: vec![0.0; 3],
            second: zero(&member.trunk.second),
            past: zero(&member.trunk.past),
            ability: zero(&member.ability),
            level: vec![0.0; 2],
        };
        member.learn(&table, 0, 1.0, &trace, &mut gradient, false);
        let total = table.weight(0) as f64 * table.outcomes[0].len() as f64;
        let slope = |change: &dyn Fn(&mut Member, f32)| {
            let at = |step: f32| {
                let mut changed = member.clone();
                change(&mut changed, step);
                changed.loss(&table, &[0]) * total
            };
            ((at(1e-2) - at(-1e-2)) / 2e-2) as f32
        };
        type Change<'a> = &'a dyn Fn(&mut Member, f32);
        let cases: [(f32, Change<'_>); 6] = [
            (gradient.first.values[4], &|m, s| m.trunk.first.values[4] += s),
            (gradient.bias[1], &|m, s| m.trunk.bias[1] += s),
            (gradient.second.values[5], &|m, s| m.trunk.second.values[5] += s),
            (gradient.past.values[7], &|m, s| m.trunk.past.values[7] += s),
            (gradient.ability.values[2], &|m, s| m.ability.values[2] += s),
            (gradient.level[1], &|m, s| m.level[1] += s),
        ];
        for (at, (told, change)) in cases.iter().enumerate() {
            assert!((told - slope(*change)).abs() < 2e-3, "part {at}: {told} is not {}", slope(*change));
        }
    }
}
