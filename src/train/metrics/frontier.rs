//! Routers over many models: what quality at what cost?
//!
//! A router with a weight on cost is a family of points (mean cost, mean score). RouterBench (Hu and others, arXiv
//! 2403.12031, section 3) draws the *non-decreasing convex hull* over them: any point between two routers is reached
//! by sending a random share to each, and nobody needs to pay more for less. **AIQ** is the hull's mean height over a
//! range of costs. Below the router's cheapest point the hull runs from the null router (cost 0, score 0); beyond its
//! dearest it stays level.

/// The non-decreasing convex hull of a router's points.
#[derive(Debug, Clone, PartialEq)]
pub struct Frontier {
    /// Cost and score, both rising.
    points: Vec<(f64, f64)>,
}

impl Frontier {
    /// The hull over `points` of (cost, score). Points that are not finite are left out.
    pub fn over(points: impl IntoIterator<Item = (f64, f64)>) -> Self {
        let mut sorted: Vec<(f64, f64)> =
            points.into_iter().filter(|(cost, score)| cost.is_finite() && score.is_finite()).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        let mut hull: Vec<(f64, f64)> = Vec::new();
        for point in sorted {
            // Sorted by cost: a point that scores no more than one already kept is dominated by it.
            if hull.last().is_some_and(|last| point.1 <= last.1) {
                continue;
            }
            while hull.len() >= 2
                && slope(hull[hull.len() - 2], hull[hull.len() - 1]) <= slope(hull[hull.len() - 2], point)
            {
                hull.pop();
            }
            hull.push(point);
        }
        Self { points: hull }
    }

    /// The hull's corners: cost and score, both rising.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Best score for a mean cost of at most `cost`.
    pub fn score_at(&self, cost: f64) -> f64 {
        let after = self.points.partition_point(|point| point.0 < cost);
        let left = after.checked_sub(1).map_or((0.0, 0.0), |i| self.points[i]);
        match self.points.get(after) {
            Some(right) if right.0 > left.0 => left.1 + (right.1 - left.1) * (cost - left.0) / (right.0 - left.0),
            Some(right) => right.1,
            None => left.1,
        }
    }

    /// Smallest mean cost that reaches `score`; `None` where nothing does.
    pub fn cost_of(&self, score: f64) -> Option<f64> {
        let at = self.points.iter().position(|point| point.1 >= score)?;
        let right = self.points[at];
        match at.checked_sub(1).map(|i| self.points[i]) {
            Some(left) => Some(left.0 + (right.0 - left.0) * (score - left.1) / (right.1 - left.1)),
            None => Some(right.0),
        }
    }

    /// Average improvement in quality: the hull's mean height between two costs. `None` for an empty range or hull.
    pub fn aiq(&self, low: f64, high: f64) -> Option<f64> {
        if self.points.is_empty() || high <= low {
            return None;
        }
        let corners = self.points.iter().map(|point| point.0).filter(|cost| *cost > low && *cost < high);
        let costs: Vec<f64> = std::iter::once(low).chain(corners).chain([high]).collect();
        // Between corners the hull is straight, so trapezoids are exact.
        let area: f64 =
            costs.windows(2).map(|w| (w[1] - w[0]) * (self.score_at(w[0]) + self.score_at(w[1])) / 2.0).sum();
        Some(area / (high - low))
    }
}

fn slope(from: (f64, f64), to: (f64, f64)) -> f64 {
    if to.0 > from.0 { (to.1 - from.1) / (to.0 - from.0) } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hull_drops_dominated_and_sagging_points() {
        let hull = Frontier::over([(1.0, 0.2), (2.0, 0.3), (3.0, 0.8), (4.0, 0.7), (5.0, 0.9), (f64::NAN, 1.0)]);
        assert_eq!(hull.points(), [(1.0, 0.2), (3.0, 0.8), (5.0, 0.9)]);
    }

    #[test]
    fn of_points_with_equal_cost_the_best_counts() {
        assert_eq!(Frontier::over([(1.0, 0.2), (1.0, 0.5), (1.0, 0.4)]).points(), [(1.0, 0.5)]);
    }

    #[test]
    fn aiq_by_hand() {
        let hull = Frontier::over([(1.0, 0.2), (3.0, 0.8), (5.0, 0.9)]);
        // From 1 to 5: (.5 * 2 + .85 * 2) / 4.
        assert!((hull.aiq(1.0, 5.0).unwrap() - 0.675).abs() < 1e-12);
        // From 0 to 1 it rises from the null router to .2; from 5 to 6 it stays level.
        assert!((hull.aiq(0.0, 1.0).unwrap() - 0.1).abs() < 1e-12);
        assert!((hull.aiq(5.0, 6.0).unwrap() - 0.9).abs() < 1e-12);
        assert_eq!(hull.aiq(2.0, 2.0), None);
    }

    #[test]
    fn cost_of_a_quality_interpolates_and_can_be_out_of_reach() {
        let hull = Frontier::over([(1.0, 0.2), (3.0, 0.8)]);
        assert!((hull.cost_of(0.5).unwrap() - 2.0).abs() < 1e-12);
        assert_eq!(hull.cost_of(0.1), Some(1.0));
        assert_eq!(hull.cost_of(0.81), None);
    }
}
