//! Routers between a strong and a weak model: how much of the strong one's lead do how many of its calls buy?
//!
//! Definitions of RouteLLM (Ong and others, arXiv 2406.18665, section 3): the *performance gap recovered* at a share
//! of strong calls is (router - weak) / (strong - weak); **APGR** is its mean over shares from 0 to 1; **CPT(x)** is
//! the smallest share of strong calls that recovers x of the gap. RouteLLM's own program takes eleven points (every
//! tenth quantile of the router's score) and joins them by lines. Here the curve is taken at *every* prompt, which is
//! exact, and the eleven-point value stands beside it for comparison. Prompts with equal scores are one step of the
//! curve: a router that cannot tell them apart sends a random share of them.

/// The curve of quality over the share of strong calls, as a router's score makes it.
#[derive(Debug, Clone)]
pub struct PairCurve {
    /// Share of strong calls, rising from 0 to 1, and mean score at that share.
    points: Vec<(f64, f64)>,
}

/// One prompt: the router's score for the strong model, and what both models reach on it.
type Case = (f32, f32, f32);

impl PairCurve {
    /// The curve over `cases` of (router's score, strong model's outcome, weak model's outcome): a higher router's
    /// score goes to the strong model first.
    pub fn new(cases: &[Case]) -> Self {
        let mut order: Vec<(Case, u32)> = cases.iter().map(|case| (*case, 1)).collect();
        order.sort_by(|a, b| b.0.0.total_cmp(&a.0.0));
        Self::from_sorted(&order)
    }

    /// The same over cases that are sorted by falling router's score and counted several times or not at all, as a
    /// bootstrap draws them.
    pub fn from_sorted(order: &[(Case, u32)]) -> Self {
        let total: f64 = order.iter().map(|(_, count)| f64::from(*count)).sum();
        let mut score: f64 = order.iter().map(|((_, _, weak), count)| f64::from(*weak) * f64::from(*count)).sum();
        let mut calls = 0.0;
        let mut points = vec![(0.0, score / total)];
        for step in order.chunk_by(|a, b| a.0.0 == b.0.0) {
            let before = calls;
            for ((_, strong, weak), count) in step {
                score += (f64::from(*strong) - f64::from(*weak)) * f64::from(*count);
                calls += f64::from(*count);
            }
            if calls > before {
                points.push((calls / total, score / total));
            }
        }
        Self { points }
    }

    /// Mean score when every call goes to the weak model.
    pub fn weak(&self) -> f64 {
        self.points.first().map_or(f64::NAN, |point| point.1)
    }

    /// Mean score when every call goes to the strong model.
    pub fn strong(&self) -> f64 {
        self.points.last().map_or(f64::NAN, |point| point.1)
    }

    /// The curve's points: share of strong calls and mean score.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Mean score at a share of strong calls.
    pub fn at(&self, share: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 < share);
        match (after.checked_sub(1).map(|i| self.points[i]), self.points.get(after)) {
            (Some((x0, y0)), Some((x1, y1))) => y0 + (y1 - y0) * (share - x0) / (x1 - x0),
            (None, Some((_, y))) => *y,
            (Some((_, y)), None) => y,
            (None, None) => f64::NAN,
        }
    }

    /// Average performance gap recovered: the integral over the whole curve. `None` where both models are equally
    /// good.
    pub fn apgr(&self) -> Option<f64> {
        self.recovered(&self.points)
    }

    /// The same over eleven points, as RouteLLM's program has it.
    pub fn apgr_by_deciles(&self) -> Option<f64> {
        self.recovered(&self.deciles())
    }

    /// The smallest share of strong calls at which `gain` of the gap is recovered. `None` where both are equally
    /// good.
    pub fn cpt(&self, gain: f64) -> Option<f64> {
        self.first_share(&self.points, gain)
    }

    /// The same over eleven points joined by lines.
    pub fn cpt_by_deciles(&self, gain: f64) -> Option<f64> {
        self.first_share(&self.deciles(), gain)
    }

    fn deciles(&self) -> Vec<(f64, f64)> {
        (0..=10).map(|tenth| f64::from(tenth) / 10.0).map(|share| (share, self.at(share))).collect()
    }

    fn gap(&self) -> Option<f64> {
        let gap = self.strong() - self.weak();
        (gap.is_finite() && gap != 0.0).then_some(gap)
    }

    fn recovered(&self, points: &[(f64, f64)]) -> Option<f64> {
        let area: f64 = points.windows(2).map(|w| (w[1].0 - w[0].0) * (w[0].1 + w[1].1) / 2.0).sum();
        Some((area - self.weak()) / self.gap()?)
    }

    fn first_share(&self, points: &[(f64, f64)], gain: f64) -> Option<f64> {
        let gap = self.gap()?;
        let recovered = |y: f64| (y - self.weak()) / gap;
        let crossing = points.windows(2).find(|w| recovered(w[1].1) >= gain);
        Some(match crossing {
            Some(w) => {
                let (from, to) = (recovered(w[0].1), recovered(w[1].1));
                if to > from { w[0].0 + (w[1].0 - w[0].0) * ((gain - from) / (to - from)).max(0.0) } else { w[0].0 }
            }
            None => 1.0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: Option<f64>, b: f64) {
        assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} is not {b}");
    }

    #[test]
    fn four_prompts_by_hand() {
        // The weak model scores 1 of 4, the strong one 2 of 4; gains are +1, 0, +1, -1 in the router's order.
        let cases = [(0.9, 1.0, 0.0), (0.7, 0.0, 0.0), (0.5, 1.0, 0.0), (0.1, 0.0, 1.0)];
        let curve = PairCurve::new(&cases);
        assert_eq!((curve.weak(), curve.strong()), (0.25, 0.5));
        // Scores at 0, 1/4 .. 1: .25 .5 .5 .75 .5; mean by trapezoids (.375 + .5 + .625 + .625) / 4 = .53125.
        close(curve.apgr(), (0.53125 - 0.25) / 0.25);
        close(curve.cpt(0.5), 0.125);
        close(curve.cpt(0.8), 0.2);
        close(curve.cpt(2.0), 0.75);
        assert!((curve.at(0.625) - 0.625).abs() < 1e-12);
    }

    #[test]
    fn a_router_without_an_opinion_is_exactly_random() {
        let cases: Vec<_> = (0..10).map(|i| (0.5, f32::from(u8::from(i < 8)), f32::from(u8::from(i < 3)))).collect();
        let curve = PairCurve::new(&cases);
        close(curve.apgr(), 0.5);
        close(curve.apgr_by_deciles(), 0.5);
        close(curve.cpt(0.5), 0.5);
        close(curve.cpt_by_deciles(0.8), 0.8);
    }

    #[test]
    fn counted_cases_equal_repeated_ones() {
        let cases = [(0.9, 1.0, 0.0), (0.4, 1.0, 1.0), (0.1, 0.0, 1.0)];
        let repeated = PairCurve::new(&[cases[0], cases[0], cases[1], cases[2]]);
        let counted = PairCurve::from_sorted(&[(cases[0], 2), (cases[1], 1), (cases[2], 1)]);
        assert_eq!(repeated.apgr(), counted.apgr());
        let without = PairCurve::from_sorted(&[(cases[0], 1), (cases[1], 0), (cases[2], 0)]);
        close(without.apgr(), 0.5);
    }

    #[test]
    fn equally_good_models_leave_no_gap_to_recover() {
        let curve = PairCurve::new(&[(0.9, 1.0, 0.0), (0.1, 0.0, 1.0)]);
        assert_eq!(curve.apgr(), None);
        assert_eq!(curve.cpt(0.5), None);
    }

    #[test]
    fn more_is_not_needed_than_all() {
        // Strong wins only on the prompt the router sends last: half the gap is recovered at 3/4 of the calls.
        let curve = PairCurve::new(&[(0.9, 0.0, 0.0), (0.1, 1.0, 0.0)]);
        close(curve.cpt(0.5), 0.75);
        close(curve.cpt(1.0), 1.0);
    }
}
