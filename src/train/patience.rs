//! Early stopping: a fit ends when its loss has not fallen for a number of passes.

/// The state of early stopping.
pub(super) struct Patience {
    best: f64,
    /// Passes since the best one.
    since: usize,
    most: usize,
}

impl Patience {
    /// Waits for `most` passes (at least one) without gain; `best` is the loss so far.
    pub(super) fn new(best: f64, most: usize) -> Self {
        Self { best, since: 0, most: most.max(1) }
    }

    /// Takes the loss after one more pass; returns whether it is the lowest so far.
    pub(super) fn gains(&mut self, loss: f64) -> bool {
        let better = loss < self.best;
        if better {
            (self.best, self.since) = (loss, 0);
        } else {
            self.since += 1;
        }
        better
    }

    /// Whether the fit should stop.
    pub(super) fn is_over(&self) -> bool {
        self.since >= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_passes_without_gain_and_a_gain_renews_it() {
        let mut patience = Patience::new(1.0, 2);
        let passes = [0.9, 0.95, 0.8, 0.8, 0.9].map(|loss| (patience.gains(loss), patience.is_over()));
        assert_eq!(passes, [(true, false), (false, false), (true, false), (false, false), (false, true)]);
        assert_eq!(patience.best, 0.8);
        let mut none = Patience::new(1.0, 0);
        assert!(!none.gains(f64::NAN) && none.is_over(), "nought is one");
    }
}
