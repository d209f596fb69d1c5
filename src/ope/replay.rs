//! The replay estimator: keep the requests where the judged policy would have done the same, and look at those.

/// What the kept requests say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Replayed {
    /// Mean reward of the kept requests.
    pub value: f64,
    /// How many were kept.
    pub kept: usize,
    /// How many there were.
    pub requests: usize,
}

/// Goes through `log`, pairs of logged choice and a uniform draw from [0, 1), and keeps a request with probability
/// `target / propensity` over the largest such ratio: what is kept is distributed as under the judged policy. Wasteful where
/// the policies differ, and free of weights. `None` where nothing is kept.
pub fn replay(log: &[(super::Logged, f64)]) -> Option<Replayed> {
    let ratio =
        |logged: &super::Logged| if logged.propensity > 0.0 { logged.target / logged.propensity } else { 0.0 };
    let largest = log.iter().map(|(logged, _)| ratio(logged)).fold(0.0, f64::max);
    let kept: Vec<f64> = log
        .iter()
        .filter(|(logged, chance)| *chance * largest < ratio(logged))
        .map(|(logged, _)| logged.reward)
        .collect();
    let count = kept.len();
    (count > 0).then(|| Replayed { value: kept.iter().sum::<f64>() / count as f64, kept: count, requests: log.len() })
}
