//! Measures of predictions and of routers, each a pure function with its source.
//!
//! Predictions: [`mod@concordance`] (AUROC), [`log_loss`], [`brier`], [`calibration_bins`] and
//! [`expected_calibration_error`]. Routers over two models: [`PairCurve`] (APGR, CPT). Routers over many:
//! [`Frontier`] (AIQ, cost at a quality). How sure a figure is: [`mod@bootstrap`], paired by construction, because
//! the same drawn prompts go into everything that is compared.

mod bootstrap;
mod calibration;
mod concordance;
mod frontier;
mod pair;

pub use bootstrap::{Interval, bootstrap};
pub use calibration::{Bin, brier, calibration_bins, expected_calibration_error, log_loss};
pub use concordance::concordance;
pub use frontier::Frontier;
pub use pair::PairCurve;
