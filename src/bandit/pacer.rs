//! Keeps spending at a budget's rate by making money dearer or cheaper.
//!
//! A budget of so many dollars per hour is a constraint on the average; its Lagrange multiplier is a price in quality per
//! dollar that is added to the trade-off. The multiplier goes up while spending runs ahead of the budget and down while it
//! lags (online dual descent: Balseiro, Lu and Mirrokni, "Dual Mirror Descent for Online Allocation Problems", 2020). The
//! step is multiplicative in the price, because what one dollar is worth differs by orders of magnitude between
//! models: a request may cost a cent or a thousandth of one.
//!
//! A second term looks at what was over- or underspent so far in the window, so that the *sum* comes out right and not only the
//! rate. Pure: whoever calls tells the time and the cost.

use serde::{Deserialize, Serialize};

/// What the pacer holds, and how.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacerSettings {
    /// US dollars per window.
    pub budget_usd: f64,
    /// The window, seconds: 3600 for a budget per hour.
    pub window_s: f64,
}

/// A pacer's state.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Pacer {
    settings: PacerSettings,
    /// Logarithm of the price, in quality per US dollar.
    log_price: f64,
    /// Dollars spent less dollars allowed, forgotten over a window.
    ahead_usd: f64,
    at_s: f64,
    /// What a request usually costs, US dollars; 0 = none was seen.
    #[serde(default)]
    usual_usd: f64,
}

/// How far the price moves for a whole budget's window of overspending.
const RATE_GAIN: f64 = 80.0;
/// Share of the newest request in what one usually costs.
const USUAL: f64 = 0.05;
/// How far it leans for what is ahead already.
const SUM_GAIN: f64 = 12.0;

impl Pacer {
    /// A pacer that begins at `now_s` with money at `price` quality per US dollar (0 = not at all).
    pub fn new(settings: PacerSettings, price: f64, now_s: f64) -> Self {
        let log_price = price.max(PRICE_LOW).ln();
        Self { settings, log_price, ahead_usd: 0.0, at_s: now_s, usual_usd: 0.0 }
    }

    /// The budget it holds.
    pub fn settings(&self) -> &PacerSettings {
        &self.settings
    }

    /// Another budget from now on; what was learned of the price stays.
    pub fn set_budget(&mut self, settings: PacerSettings) {
        self.settings = settings;
    }

    /// Takes in that a request cost `cost_usd` and ended at `now_s` (seconds since any origin; it may jump).
    pub fn spent(&mut self, cost_usd: f64, now_s: f64) {
        if !cost_usd.is_finite() || cost_usd < 0.0 {
            return;
        }
        let window = self.settings.window_s.max(1e-9);
        let budget = self.settings.budget_usd.max(1e-12);
        // A clock that jumps back is no time at all; one that jumps ahead earns at most a tenth of a window.
        let passed = (now_s - self.at_s).clamp(0.0, window / 10.0);
        self.at_s = now_s;
        let allowed = budget * passed / window;
        let step = (cost_usd - allowed) / budget;
        self.ahead_usd = self.ahead_usd * (-passed / window).exp() + cost_usd - allowed;
        // Nobody may save up more than a tenth of the budget and then burn it.
        self.ahead_usd = self.ahead_usd.clamp(-0.1 * budget, budget);
        let share = if self.usual_usd > 0.0 { USUAL } else { 1.0 };
        self.usual_usd += share * (cost_usd - self.usual_usd);
        // Below a price that anybody notices there is nothing to be gone through step by step.
        let low = self.unnoticed().ln();
        self.log_price = (self.log_price.max(low) + RATE_GAIN * step.clamp(-0.02, 0.02)).clamp(low, PRICE_HIGH.ln());
    }

    /// Quality per US dollar to add to the trade-off's cost weight.
    pub fn cost_per_usd(&self) -> f64 {
        let lean = SUM_GAIN * self.ahead_usd / self.settings.budget_usd.max(1e-12);
        let price = (self.log_price + lean).exp();
        if price <= self.unnoticed() * 1.01 { 0.0 } else { price.min(PRICE_HIGH) }
    }

    /// A price at which a whole request's cost is worth a thousandth of a point.
    fn unnoticed(&self) -> f64 {
        if self.usual_usd > 0.0 { (1e-3 / self.usual_usd).clamp(PRICE_LOW, PRICE_HIGH / 2.0) } else { PRICE_LOW }
    }

    /// Dollars spent ahead of the budget's rate, negative where behind; forgotten over a window.
    pub fn ahead_usd(&self) -> f64 {
        self.ahead_usd
    }
}

/// A price at which nobody notices money: a dollar saved is worth a thousandth of a point.
const PRICE_LOW: f64 = 1e-3;
/// A price at which nothing but money counts.
const PRICE_HIGH: f64 = 1e7;

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests at one a second, each to be answered by one of two models: dear and good, or cheap and a little worse, the
    /// gap differing from request to request. Returns dollars spent over the budget, as a share, after `skip` seconds.
    fn drive(budget_per_hour: f64, seconds: u32, skip: u32) -> f64 {
        let settings = PacerSettings { budget_usd: budget_per_hour, window_s: 3600.0 };
        let mut pacer = Pacer::new(settings, 0.0, 0.0);
        let mut spent = 0.0;
        for second in 0..seconds {
            let gap = f64::from(second.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) * 0.2;
            let price = pacer.cost_per_usd();
            let dear = gap - price * 0.01 > -price * 0.0005;
            let cost = if dear { 0.01 } else { 0.0005 };
            pacer.spent(cost, f64::from(second));
            if second >= skip {
                spent += cost;
            }
        }
        spent / (budget_per_hour * f64::from(seconds - skip) / 3600.0) - 1.0
    }

    #[test]
    fn it_holds_a_budget_between_the_cheapest_and_the_dearest() {
        // All dear: 36 dollars an hour; all cheap: 1.8.
        for budget in [5.0, 12.0, 25.0] {
            let error = drive(budget, 4 * 3600, 3600);
            assert!(error.abs() < 0.05, "budget {budget}: {error}");
            let from_the_start = drive(budget, 4 * 3600, 0);
            assert!(from_the_start.abs() < 0.08, "budget {budget}: {from_the_start}");
        }
    }

    #[test]
    fn a_budget_nobody_reaches_costs_no_quality() {
        let settings = PacerSettings { budget_usd: 1000.0, window_s: 3600.0 };
        let mut pacer = Pacer::new(settings, 0.0, 0.0);
        for second in 0..1000 {
            pacer.spent(0.01, f64::from(second));
        }
        assert_eq!(pacer.cost_per_usd(), 0.0);
    }

    #[test]
    fn a_jumping_clock_and_a_broken_cost_do_no_harm() {
        let settings = PacerSettings { budget_usd: 10.0, window_s: 3600.0 };
        let mut pacer = Pacer::new(settings, 1.0, 1e9);
        pacer.spent(0.01, 0.0);
        pacer.spent(f64::NAN, 5.0);
        pacer.spent(0.01, 1e12);
        assert!(pacer.cost_per_usd().is_finite() && pacer.ahead_usd() >= -1.0);
    }
}
