//! Summary of many runs.

use serde::Serialize;

use super::play::Trace;

/// A mean over runs with its 95 % interval (Student's t over runs). With one run there is none, and both ends are NaN.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean over runs.
    pub mean: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Spread {
    /// Mean and interval of the runs' values.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        if values.len() < 2 {
            return Self { mean, low: f64::NAN, high: f64::NAN };
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let half = t_975(values.len() - 1) * (variance / n).sqrt();
        Self { mean, low: mean - half, high: mean + half }
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = if self.mean.abs() >= 10.0 { 0 } else { 4 };
        // What rounds to zero is no minus zero.
        let plain = |value: f64| if value.abs() < 0.5 * 0.1_f64.powi(digits) { 0.0 } else { value };
        let shown = |value: f64| format!("{:.1$}", plain(value), digits as usize);
        write!(f, "{}", shown(self.mean))?;
        if self.low.is_nan() {
            return Ok(());
        }
        write!(f, " [{}, {}]", shown(self.low), shown(self.high))
    }
}

/// Student's 97.5 % quantile (Fisher and Yates' table; the normal one beyond 30).
fn t_975(freedom: usize) -> f64 {
    const TABLE: [f64; 30] = [
        12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
        2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
    ];
    TABLE.get(freedom.saturating_sub(1)).copied().unwrap_or(1.96)
}

/// One player over all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// Name of the player.
    pub player: String,
    /// Mean reward per request.
    pub reward: Spread,
    /// The same over the prompts that the best single model was run on; absent where it was run on all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compared_reward: Option<Spread>,
    /// Mean cost in US dollars of the answers whose cost is known; absent where there are none.
    pub cost_usd: Option<Spread>,
    /// Share of the answers whose cost is known.
    pub cost_known: f64,
    /// Regret over the whole stream, as far as the best single model was run on it.
    pub regret: Spread,
    /// Spending over the budget, as a share; absent without a budget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_error: Option<Spread>,
    /// For each event: its name, median ratings until it was followed, and the share of runs that followed it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub followed: Vec<(String, Option<usize>, f64)>,
    /// Regret up to equally spaced requests.
    pub curve: Vec<Spread>,
}

/// All players over one stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The source.
    pub source: String,
    /// Prompts in the stream.
    pub requests: usize,
    /// Models.
    pub models: usize,
    /// Runs of each player.
    pub runs: usize,
    /// Notes to be read with the figures.
    pub notes: Vec<String>,
    /// Requests from each event to the end, by the event's name.
    #[serde(skip)]
    pub left: Vec<(&'static str, usize)>,
    /// One line for each player.
    pub lines: Vec<Line>,
}

/// Points of a curve.
pub(super) const POINTS: usize = 100;

/// Sums up the runs of one player.
pub fn report(player: String, traces: &[Trace], budget_usd: Option<f64>) -> Line {
    let over = |of: &dyn Fn(&Trace) -> f64| Spread::of(&traces.iter().map(of).collect::<Vec<_>>());
    let curves: Vec<Vec<f64>> = traces.iter().map(|trace| trace.curve(POINTS)).collect();
    let points = curves.iter().map(Vec::len).min().unwrap_or(0);
    let events = traces.first().map_or(&[][..], |trace| &trace.followed);
    let followed = events.iter().enumerate().map(|(at, (event, _))| {
        let mut waits: Vec<usize> =
            traces.iter().filter_map(|trace| trace.followed.get(at).and_then(|(_, waited)| *waited)).collect();
        waits.sort_unstable();
        let share = waits.len() as f64 / traces.len() as f64;
        // The median over all runs, those that never followed counting as longest.
        let median = waits.get(traces.len() / 2).copied();
        (event.name().to_owned(), median, share)
    });
    let over_known = |of: &dyn Fn(&Trace) -> Option<f64>| {
        let values: Vec<f64> = traces.iter().filter_map(of).collect();
        (!values.is_empty()).then(|| Spread::of(&values))
    };
    let is_partial = traces.iter().flat_map(|trace| &trace.answers).any(|answer| answer.regret.is_none());
    Line {
        player,
        reward: over(&Trace::reward),
        compared_reward: over_known(&|trace| trace.compared_reward().filter(|_| is_partial)),
        cost_usd: over_known(&Trace::cost_usd),
        cost_known: over(&Trace::cost_known).mean,
        regret: over(&Trace::regret),
        budget_error: budget_usd.and_then(|budget| over_known(&|trace| Some(trace.cost_usd()? / budget - 1.0))),
        followed: followed.collect(),
        curve: (0..points)
            .map(|point| Spread::of(&curves.iter().map(|curve| curve[point]).collect::<Vec<_>>()))
            .collect(),
    }
}
