//! Measuring routers. Each is a table of predicted quality, prompt by model, and all are measured in the same way.
//!
//! The routers are the head under test and the baselines it has to beat ([`baselines`]): a random model, the best
//! single one, prompt length, the task's mean, TF-IDF with logistic regressions, and the nearest neighbours alone.
//! Baselines that learn are fitted on the source's own `train`; where it has none they are left out, and the report
//! says so.
//!
//! For each source ([`mod@judge`]): how well predictions rank and how well they are calibrated, what the routed choice
//! scores against the best single model and the oracle, what quality costs, and for two models the curve between them.
//! Intervals come from a bootstrap over prompts, with the same draws for everything that is compared.
//!
//! The best single model is the one with the best mean on `train` where the source has it there, because that is what
//! an operator could have known; else on the prompts that are judged, which flatters it. It must have been run on half
//! of the prompts (if no model was, it is the one that was run on most), and comparisons with it are over the prompts
//! that it was run on.

pub mod baselines;
mod judge;
pub mod neighbours;
mod tfidf;

use serde::Serialize;

use crate::train::dataset::{Dataset, Split};
use crate::train::metrics::{Bin, Interval};

pub use judge::judge;
pub(in crate::train) use judge::weighted;

/// Draws of a bootstrap.
pub const DRAWS: usize = 1_000;

/// Predicted quality of one router: for each judged record, one number for each of its outcomes.
#[derive(Debug, Clone)]
pub struct Router {
    /// Its name.
    pub name: String,
    /// Row by outcome. A router with an empty row makes no prediction there, and is left out of that source.
    pub quality: Vec<Vec<f32>>,
    /// Whether the numbers are probabilities, or only rank.
    pub calibrated: bool,
}

/// The prompts that routers are measured on.
#[derive(Debug, Clone, Copy)]
pub struct Judged<'a> {
    /// Everything that was read.
    pub dataset: &'a Dataset,
    /// The part that is judged.
    pub split: Split,
    /// Records of that part, by index into [`Dataset::records`]; routers' rows are in this order.
    pub rows: &'a [usize],
    /// Seed of the draws.
    pub seed: u64,
}

/// The figures of an evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct Evaluation {
    /// The head's name.
    pub head: String,
    /// The part that was judged.
    pub split: String,
    /// Prompts judged.
    pub prompts: usize,
    /// Notes to be read with the figures.
    pub notes: Vec<String>,
    /// By source.
    pub sources: Vec<SourceFigures>,
}

/// One source.
#[derive(Debug, Clone, Serialize)]
pub struct SourceFigures {
    /// Its name.
    pub source: String,
    /// Prompts judged.
    pub prompts: usize,
    /// The best single model, and its mean score on those of the judged prompts that it was run on.
    pub best_single: Named,
    /// The prompts on which it was chosen, in words.
    pub best_single_by: &'static str,
    /// How many prompts that model was run on: oracle, differences and gap are over these.
    pub compared: usize,
    /// Mean over these prompts of the best score.
    pub oracle: f64,
    /// Each router.
    pub routers: Vec<RouterFigures>,
    /// The head's predictions by model.
    pub models: Vec<ModelFigures>,
    /// The head's routed score by task, with the best single model's.
    pub tasks: Vec<TaskFigures>,
    /// The head's calibration over all models together.
    pub calibration: Vec<Bin>,
}

/// A name and a figure.
#[derive(Debug, Clone, Serialize)]
pub struct Named {
    /// The name.
    pub name: String,
    /// The figure.
    pub value: f64,
}

/// One router on one source.
#[derive(Debug, Clone, Serialize)]
pub struct RouterFigures {
    /// Its name.
    pub name: String,
    /// Mean over the models of the AUROC.
    pub auroc: Option<f64>,
    /// Over all predictions together, where they are probabilities.
    pub log_loss: Option<f64>,
    /// Mean squared error over all predictions together, where they are probabilities.
    pub brier: Option<f64>,
    /// Expected calibration error over all predictions of all models together, 15 bins.
    pub ece: Option<f64>,
    /// Mean over the models of the calibration error of each; small sources add noise to it.
    pub ece_by_model: Option<f64>,
    /// Mean score of the model with the best prediction.
    pub routed: Interval,
    /// Its difference to the best single model.
    pub against_best_single: Interval,
    /// Share of the gap between best single model and oracle that is closed.
    pub gap_closed: Option<Interval>,
    /// Where costs are known.
    pub cost: Option<CostFigures>,
    /// Where there are two models.
    pub pair: Option<PairFigures>,
}

/// Quality against cost. A weight on cost makes a point; the hull over all weights is the router's frontier.
#[derive(Debug, Clone, Serialize)]
pub struct CostFigures {
    /// The best single model among those whose cost is known, and its score.
    pub best_priced: Named,
    /// How many prompts that model was run on: these figures are over these.
    pub prompts: usize,
    /// Mean score over the range of the models' costs (RouterBench).
    pub aiq: Option<f64>,
    /// Cost of that model, US dollars a prompt.
    pub best_single_cost: f64,
    /// Smallest cost at which the frontier reaches that model's score, as a share of its cost. `None`: never reached,
    /// or that model costs nothing.
    pub cost_at_best_single: Option<f64>,
    /// The same with the weight chosen beforehand on val, where val has the source and that model costs something: cost
    /// share and score difference.
    pub with_chosen_weight: Option<ChosenWeight>,
    /// The frontier: cost a prompt and score.
    pub frontier: Vec<(f64, f64)>,
}

/// A weight on cost that was chosen before the judged prompts were looked at.
#[derive(Debug, Clone, Serialize)]
pub struct ChosenWeight {
    /// Probability of a good answer that one US dollar is worth.
    pub weight: f64,
    /// Cost as a share of the best single model's.
    pub cost_share: f64,
    /// Score less the best single model's.
    pub difference: Interval,
}

/// Two models: RouteLLM's measures, where the strong one is the better one on the judged prompts.
#[derive(Debug, Clone, Serialize)]
pub struct PairFigures {
    /// The strong model.
    pub strong: String,
    /// The weak model.
    pub weak: String,
    /// Average performance gap recovered, exactly.
    pub apgr: Option<Interval>,
    /// APGR by eleven points, as RouteLLM's program computes it.
    pub apgr_by_deciles: Option<f64>,
    /// Share of strong calls that recovers half of the gap.
    pub cpt_50: Option<f64>,
    /// Share of strong calls that recovers four fifths of it.
    pub cpt_80: Option<f64>,
    /// Both shares by eleven points.
    pub cpt_by_deciles: (Option<f64>, Option<f64>),
    /// The curve: share of strong calls and score.
    pub curve: Vec<(f64, f64)>,
}

/// The head's predictions of one model.
#[derive(Debug, Clone, Serialize)]
pub struct ModelFigures {
    /// Its name.
    pub model: String,
    /// `learned` or `prior`.
    pub basis: String,
    /// Outcomes judged.
    pub prompts: usize,
    /// Their mean score.
    pub score: f64,
    /// Mean prediction.
    pub predicted: f64,
    /// AUROC of the predictions.
    pub auroc: Option<f64>,
    /// Of the predictions.
    pub log_loss: f64,
    /// Of the predictions.
    pub brier: f64,
    /// Of the predictions.
    pub ece: f64,
}

/// The head on one task.
#[derive(Debug, Clone, Serialize)]
pub struct TaskFigures {
    /// The task.
    pub task: String,
    /// Prompts compared: those that the best single model was run on, or all where it was run on none.
    pub prompts: usize,
    /// Mean score of the routed model.
    pub routed: f64,
    /// Mean score of the best single model, where it was run.
    pub best_single: Option<f64>,
}
