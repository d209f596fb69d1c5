//! Which estimates are not to be relied on: the one rule behind the tables, the JSON and the dashboard.
//!
//! An interval covers what chance does to the rewards that the log has. It covers neither what the log does not have
//! ([`Estimate::support`]), nor does it hold where so few choices count ([`Estimate::effective`]) that the ones that
//! would have shown the spread were not drawn. The numbers stay as they are; what is wrong with them is said beside
//! them.

use serde::{Deserialize, Serialize};

use super::estimate::{Estimate, Method};
use super::interval::IntervalKind;

/// Least support of an estimate: below it more of a policy's choices are outside the decision log than in it.
const LEAST_SUPPORT: f64 = 0.5;

/// Share of a policy's choices that may be outside the log for IPS, which is too low by that share of the reward: a
/// smaller gap is lost in the width of most intervals.
const LITTLE: f64 = 0.05;

/// Effective requests from which Student's interval of IPS holds. Its variance and skewness are those of the weighted
/// rewards that were drawn, and with few of them the heavy ones, which matter, mostly were not. On skewed logs of
/// recorded outcomes with 4 to 38 effective requests, 95 % intervals held in 64 to 88 % of logs in six of twelve trials,
/// and in 97 % or more in the others: which it is, the log does not tell. From 58 on they held in 95 to 97 %. SNIPS and the
/// doubly robust estimate, which are corrected for few requests, held in 90 % or more of the same logs.
const ENOUGH: f64 = 60.0;

/// What is wrong with an estimate, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Doubt {
    /// The log covers so little of what the policy does that the estimate is about something else.
    Unsupported,
    /// IPS counts what the log does not cover as 0, and its interval knows nothing of that.
    Uncovered,
    /// So few choices count that the interval of IPS may be too narrow.
    Few,
}

impl Doubt {
    /// A few words beside this estimate.
    pub fn beside(self, estimate: &Estimate) -> String {
        match self {
            Self::Unsupported => "too little support".into(),
            Self::Uncovered => format!("{:.0} % counts as 0", 100.0 * (1.0 - estimate.support)),
            Self::Few => "too few count".into(),
        }
    }

    /// The reason as a sentence.
    pub fn reason(self) -> String {
        match self {
            Self::Unsupported => format!(
                "There is no estimate to rely on where the decision log covers less than {:.0} % of a policy's choices \
                 (support).",
                LEAST_SUPPORT * 100.0
            ),
            Self::Uncovered => {
                "IPS counts what the decision log does not cover of a policy's choices as 0: it is too low \
                                by that, and its interval leaves it out."
                    .into()
            }
            Self::Few => format!(
                "Where fewer than {ENOUGH:.0} choices count (effective size), the interval of IPS may be too narrow: in half \
                 of the trials on recorded outcomes, 95 % intervals held in 64 to 88 % of logs."
            ),
        }
    }
}

impl Estimate {
    /// What is wrong with this estimate, whose interval is of this kind. The direct method rests on its model of the
    /// rewards, whatever the log covers.
    pub fn doubt(&self, interval: IntervalKind) -> Option<Doubt> {
        if self.method == Method::Direct {
            return None;
        }
        // Where most of the log counts, weights are much alike, and the mean is one of so many plain rewards.
        let is_few = self.effective < ENOUGH && self.effective < self.requests as f64 / 2.0;
        match self.method {
            _ if self.support < LEAST_SUPPORT => Some(Doubt::Unsupported),
            Method::Ips if self.leaves_out() => Some(Doubt::Uncovered),
            Method::Ips if is_few && interval == IntervalKind::Student => Some(Doubt::Few),
            _ => None,
        }
    }

    /// Whether the log leaves out more than a little of what the policy does. Support is the mean of random weights: as
    /// far below 1 as chance would bring it, it says nothing.
    pub fn leaves_out(&self) -> bool {
        let by_chance = (1.0 / self.effective.max(1.0) - 1.0 / self.requests.max(1) as f64).max(0.0).sqrt();
        1.0 - self.support > LITTLE.max(2.0 * self.support * by_chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(method: Method, effective: f64, support: f64) -> Estimate {
        Estimate {
            method,
            value: 0.3,
            low: 0.2,
            high: 0.4,
            requests: 880,
            effective,
            clipped: 0.0,
            largest_weight: 3.0,
            support,
        }
    }

    #[test]
    fn what_the_log_does_not_cover_is_held_against_ips_and_little_cover_against_all_that_weigh() {
        let of = |method, support| estimate(method, 400.0, support).doubt(IntervalKind::Student);
        assert_eq!(of(Method::Ips, 0.59), Some(Doubt::Uncovered));
        assert_eq!(of(Method::Ips, 0.97), None);
        for method in [Method::Snips, Method::DoublyRobust] {
            assert_eq!((of(method, 0.59), of(method, 0.49)), (None, Some(Doubt::Unsupported)), "{method:?}");
        }
        assert_eq!(of(Method::Direct, 0.1), None);
        assert_eq!(Doubt::Uncovered.beside(&estimate(Method::Ips, 400.0, 0.59)), "41 % counts as 0");
    }

    #[test]
    fn support_that_chance_brought_below_one_is_no_gap() {
        // Of weights of which 24 count, the mean is off by a fifth now and then.
        assert!(!estimate(Method::Ips, 24.0, 0.8).leaves_out());
        assert!(estimate(Method::Ips, 400.0, 0.8).leaves_out());
    }

    #[test]
    fn few_choices_are_held_against_ips_unless_its_interval_is_guaranteed() {
        let of = |method, effective, kind| estimate(method, effective, 1.0).doubt(kind);
        assert_eq!(of(Method::Ips, 24.0, IntervalKind::Student), Some(Doubt::Few));
        assert_eq!(of(Method::Ips, 24.0, IntervalKind::Betting), None);
        assert_eq!(of(Method::Ips, 80.0, IntervalKind::Student), None);
        let alike = Estimate { requests: 24, ..estimate(Method::Ips, 24.0, 1.0) };
        assert_eq!(alike.doubt(IntervalKind::Student), None);
        for method in [Method::Snips, Method::DoublyRobust] {
            assert_eq!(of(method, 24.0, IntervalKind::Student), None, "{method:?}");
        }
    }
}
