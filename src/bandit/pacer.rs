//! Budget pacing: keeps spending at a budget's rate by raising or lowering the price of a dollar.
//!
//! A budget per hour is a constraint on the average; its Lagrange multiplier is a price in quality per dollar that is
//! added to the trade-off. The multiplier rises while spending runs ahead of the budget and falls while it lags (online
//! dual descent: Balseiro, Lu and Mirrokni, "Dual Mirror Descent for Online Allocation Problems", 2020). The step is
//! multiplicative in the price, because what one dollar is worth differs by orders of magnitude between models: a
//! request may cost a cent or a thousandth of one.
//!
//! A second term is proportional to what was over- or underspent so far in the window, and what was overspent is paid
//! back within a window, so that the *sum* comes out right and not only the rate. Traffic comes in bursts and rests at
//! night: what a pause saves, up to a whole budget, may be spent, and while any of it is left the price does not rise.
//! Pure: the caller passes the time and the cost.

use serde::{Deserialize, Serialize};

/// A budget.
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
    /// Dollars spent less dollars allowed at `at_s`; decays over a window.
    ahead_usd: f64,
    /// Time of the last request, seconds.
    at_s: f64,
    /// Running mean of a request's cost, US dollars; 0 = no request yet.
    #[serde(default)]
    usual_usd: f64,
    /// What a dear request costs, US dollars: the most that any cost, fading as a budget is spent and not by requests:
    /// free ones may be all that a small budget allows for a long time, and say nothing of what a dear one costs.
    #[serde(default)]
    dear_usd: f64,
}

/// Change of the log price per whole budget overspent.
const RATE_GAIN: f64 = 80.0;
/// Weight of the newest request in the running mean of costs.
const NEWEST_SHARE: f64 = 0.05;
/// Largest step of the price, in budgets overspent.
const MOST_STEP: f64 = 0.02;
/// Share of a budget by which even traffic may lag; more than that counts as savings.
const SAVED: f64 = 0.02;
/// Change of the log price per whole budget that is ahead so far.
const SUM_GAIN: f64 = 12.0;

impl Pacer {
    /// A pacer that begins at `now_s` with a price of `price` quality per US dollar (0 = none).
    pub fn new(settings: PacerSettings, price: f64, now_s: f64) -> Self {
        let log_price = price.max(PRICE_LOW).ln();
        Self { settings, log_price, ahead_usd: 0.0, at_s: now_s, usual_usd: 0.0, dear_usd: 0.0 }
    }

    /// The budget.
    pub fn settings(&self) -> &PacerSettings {
        &self.settings
    }

    /// Changes the budget, and keeps what was learned: at a higher rate the price is lower by the same factor, as if what
    /// is given for money stayed the same. The rest is soon learned: on the way from a negligible price to the right one
    /// a twelfth of a budget would be overspent, while one that is twice too high is halved by a hundredth unspent.
    pub fn set_budget(&mut self, settings: PacerSettings) {
        let rate = |settings: &PacerSettings| settings.budget_usd / settings.window_s.max(1e-9);
        let raised = rate(&settings) / rate(&self.settings).max(1e-300);
        if raised > 1.0 {
            let least = self.log_price.min(self.negligible().ln());
            self.log_price = (self.log_price - raised.ln()).max(least);
        }
        self.settings = settings;
        let budget = settings.budget_usd;
        self.ahead_usd = self.ahead_usd.clamp(-budget, budget);
        (self.usual_usd, self.dear_usd) = (self.usual_usd.min(budget), self.dear_usd.min(budget));
    }

    /// Whether its state is one that spending can lead to: a stored state may be of an earlier program without these
    /// limits.
    pub fn is_sound(&self) -> bool {
        let budget = self.settings.budget_usd;
        let price = PRICE_LOW.ln()..=PRICE_HIGH.ln();
        let ahead = -budget..=budget;
        let cost = 0.0..=budget;
        price.contains(&self.log_price)
            && ahead.contains(&self.ahead_usd)
            && cost.contains(&self.usual_usd)
            && cost.contains(&self.dear_usd)
    }

    /// Takes in that a request cost `cost_usd` and ended at `now_s` (seconds since any origin; it may jump).
    pub fn spent(&mut self, cost_usd: f64, now_s: f64) {
        if !cost_usd.is_finite() || cost_usd < 0.0 {
            return;
        }
        let (allowed, ahead_usd) = self.at(now_s);
        self.at_s = now_s;
        let budget = self.budget();
        // One request counts for the whole budget at most.
        let cost_usd = cost_usd.min(budget);
        // Savings are limited to one whole budget.
        self.ahead_usd = (ahead_usd + cost_usd).clamp(-budget, budget);
        // Where a dear request is a large part of the budget, all steps are smaller: if only its own was, the price
        // would fall further between two of them than it rises with each.
        let dear = self.dear_usd.max(cost_usd) / budget;
        let gain = if dear > MOST_STEP { MOST_STEP / dear } else { 1.0 };
        // Less than is allowed is aimed at, by as much as pays back within a window what is ahead: by its rate alone a
        // price settles with whatever was overspent on the way to it.
        let aim = allowed * (1.0 - self.ahead_usd.max(0.0) / budget);
        let step = ((cost_usd - aim) / budget * gain).max(-MOST_STEP);
        // A burst that savings pay for does not raise the price.
        let step = if self.ahead_usd > -SAVED * budget { step } else { step.min(0.0) };
        let share = if self.usual_usd > 0.0 { NEWEST_SHARE } else { 1.0 };
        let before = self.log_price - self.negligible().ln();
        self.usual_usd += share * (cost_usd - self.usual_usd);
        self.dear_usd = (self.dear_usd * (1.0 - cost_usd / budget)).max(cost_usd);
        // Between a negligible price and one that decides everything: beyond these, further steps would only delay the
        // way back.
        let low = self.negligible().ln();
        let high = (DECIDES_ALL / self.usual_usd.max(1e-12)).clamp(PRICE_LOW, PRICE_HIGH).ln().max(low);
        // A price that is hardly more than negligible stays so when larger requests come. One that binds is the
        // budget's.
        let price = if before < 1.0 { low + before.max(0.0) } else { self.log_price };
        self.log_price = (price.max(low) + RATE_GAIN * step).clamp(low, high);
    }

    /// Quality per US dollar to add to the trade-off's cost weight, at `now_s`.
    pub fn cost_per_usd(&self, now_s: f64) -> f64 {
        let lean = SUM_GAIN * self.ahead_usd(now_s) / self.budget();
        let price = (self.log_price + lean).exp();
        if price <= self.negligible() * 1.01 { 0.0 } else { price.min(PRICE_HIGH) }
    }

    /// The price at which a dear request's cost is worth 0.001 of quality (1 = from a useless to a perfect answer). Not
    /// a usual one's: which requests are usual depends on the price itself.
    fn negligible(&self) -> f64 {
        if self.dear_usd > 0.0 { (1e-3 / self.dear_usd).clamp(PRICE_LOW, PRICE_HIGH / 2.0) } else { PRICE_LOW }
    }

    /// Dollars spent ahead of the budget's rate at `now_s`, negative where behind; decays over a window.
    pub fn ahead_usd(&self, now_s: f64) -> f64 {
        self.at(now_s).1.max(-self.budget())
    }

    /// Dollars allowed since the last request, and dollars ahead at `now_s` if nothing was spent since.
    fn at(&self, now_s: f64) -> (f64, f64) {
        let window = self.settings.window_s.max(1e-9);
        // A clock that jumps back counts as no time; one that jumps ahead earns one window at most.
        let passed = (now_s - self.at_s).clamp(0.0, window);
        let allowed = self.budget() * passed / window;
        (allowed, self.ahead_usd * (-passed / window).exp() - allowed)
    }

    fn budget(&self) -> f64 {
        self.settings.budget_usd.max(1e-12)
    }
}

/// Lowest price, quality per US dollar: a dollar is worth 0.001 of quality.
const PRICE_LOW: f64 = 1e-3;
/// Quality that a usual request's cost is worth at a price that decides everything (quality ends at 1).
const DECIDES_ALL: f64 = 100.0;
/// Highest price, quality per US dollar: nothing but money counts.
const PRICE_HIGH: f64 = 1e7;

#[cfg(test)]
mod tests {
    use super::*;

    fn hourly(budget_usd: f64) -> PacerSettings {
        PacerSettings { budget_usd, window_s: 3600.0 }
    }

    /// Requests at one a second, each to be answered by one of two models: dear and good, or cheap and a little worse,
    /// the gap differing from request to request. Returns the dollars spent.
    fn ask(pacer: &mut Pacer, seconds: std::ops::Range<u32>) -> f64 {
        let mut spent = 0.0;
        for second in seconds {
            let gap = f64::from(second.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) * 0.2;
            let price = pacer.cost_per_usd(f64::from(second));
            let dear = gap - price * 0.01 > -price * 0.0005;
            let cost = if dear { 0.01 } else { 0.0005 };
            pacer.spent(cost, f64::from(second));
            spent += cost;
        }
        spent
    }

    /// Dollars spent over the budget, as a share, after `skip` seconds.
    fn drive(budget_per_hour: f64, seconds: u32, skip: u32) -> f64 {
        let mut pacer = Pacer::new(hourly(budget_per_hour), 0.0, 0.0);
        ask(&mut pacer, 0..skip);
        ask(&mut pacer, skip..seconds) / (budget_per_hour * f64::from(seconds - skip) / 3600.0) - 1.0
    }

    #[test]
    fn it_holds_a_budget_between_the_cheapest_and_the_dearest() {
        // All dear: 36 dollars an hour; all cheap: 1.8.
        for budget in [5.0, 12.0, 25.0] {
            let error = drive(budget, 4 * 3600, 3600);
            assert!(error.abs() < 0.05, "budget {budget}: {error}");
            let from_the_start = drive(budget, 4 * 3600, 0);
            assert!(from_the_start.abs() < 0.01, "budget {budget}: {from_the_start}");
            let at_first = drive(budget, 3600, 0);
            assert!(at_first.abs() < 0.04, "budget {budget}: {at_first}");
        }
    }

    #[test]
    fn a_budget_nobody_reaches_costs_no_quality() {
        let settings = PacerSettings { budget_usd: 1000.0, window_s: 3600.0 };
        let mut pacer = Pacer::new(settings, 0.0, 0.0);
        for second in 0..1000 {
            pacer.spent(0.01, f64::from(second));
        }
        assert_eq!(pacer.cost_per_usd(1000.0), 0.0);
    }

    /// `count` requests from each of `starts` on, `every_s` apart, and what was spent on each of those days.
    fn bursts(settings: PacerSettings, starts: impl Iterator<Item = f64>, count: u32, every_s: f64) -> Vec<f64> {
        let mut pacer = Pacer::new(settings, 0.0, 0.0);
        let mut draws = 0_u32;
        let mut burst = |start: f64| {
            let mut spent = 0.0;
            for number in 0..count {
                draws += 1;
                let gap = f64::from(draws.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) * 0.2;
                let now_s = start + f64::from(number) * every_s;
                let cost = if gap > pacer.cost_per_usd(now_s) * 0.009 { 0.01 } else { 0.001 };
                pacer.spent(cost, now_s);
                spent += cost;
            }
            spent
        };
        starts.map(&mut burst).collect()
    }

    #[test]
    fn what_a_night_saves_is_there_in_the_morning() {
        // 2,880 requests in eight hours of each day: 28.8 dollars if all are dear, 2.88 if none is.
        for (budget_usd, wanted) in [(10.0, 10.0), (15.0, 15.0), (40.0, 28.8)] {
            let settings = PacerSettings { budget_usd, window_s: 86_400.0 };
            let days = bursts(settings, (0..12).map(|day| f64::from(day) * 86_400.0 + 32_400.0), 2880, 10.0);
            for spent in &days[2..] {
                assert!((spent / wanted - 1.0).abs() < 0.05, "a budget of {budget_usd}: {days:?}");
            }
        }
    }

    #[test]
    fn a_burst_that_the_budget_allows_is_no_haste() {
        // Sixty calls within a minute, once an hour: 0.6 dollars if all are dear.
        for (budget_usd, wanted) in [(1.0, 0.6), (0.5, 0.5)] {
            let settings = PacerSettings { budget_usd, window_s: 3600.0 };
            let hours = bursts(settings, (0..48).map(|hour| f64::from(hour) * 3600.0), 60, 1.0);
            let mean = hours[12..].iter().sum::<f64>() / 36.0;
            assert!((mean / wanted - 1.0).abs() < 0.05, "a budget of {budget_usd}: {hours:?}");
        }
        let settings = PacerSettings { budget_usd: 0.1, window_s: 3600.0 };
        let mut pacer = Pacer::new(settings, 0.0, 0.0);
        for half_hour in 1..40 {
            pacer.spent(0.03, f64::from(half_hour) * 1800.0);
            assert_eq!(pacer.cost_per_usd(f64::from(half_hour) * 1800.0), 0.0, "six tenths of the budget are spent");
        }
    }

    #[test]
    fn a_pause_makes_money_cheaper_before_anything_is_spent() {
        let mut pacer = Pacer::new(PacerSettings { budget_usd: 1.0, window_s: 3600.0 }, 0.0, 0.0);
        (0..600).for_each(|second| pacer.spent(0.01, f64::from(second)));
        let (then, later) = (pacer.cost_per_usd(600.0), pacer.cost_per_usd(600.0 + 8.0 * 3600.0));
        assert!(later * 0.01 < 0.1 && then > 1e3 * later, "{then}, and after a night {later}");
    }

    #[test]
    fn who_raises_a_budget_need_not_wait_for_it() {
        let mut pacer = Pacer::new(PacerSettings { budget_usd: 0.05, window_s: 3600.0 }, 0.0, 0.0);
        (0..600).for_each(|second| pacer.spent(0.01, f64::from(second)));
        let worth = |pacer: &Pacer| pacer.cost_per_usd(600.0) * 0.01;
        assert!(worth(&pacer) > 1.0, "a cent decides all: {}", worth(&pacer));
        let kept = pacer;
        pacer.set_budget(PacerSettings { budget_usd: 500.0, window_s: 3600.0 });
        assert!(worth(&pacer) < 0.02, "{}", worth(&pacer));
        pacer = kept;
        pacer.set_budget(PacerSettings { budget_usd: 0.04, window_s: 3600.0 });
        assert!(worth(&pacer) > 1.0);
    }

    #[test]
    fn a_budget_that_is_raised_keeps_what_was_learned() {
        for raised in [1.02, 1.2, 2.0, 4.0] {
            let (before, after) = (hourly(5.0), hourly(5.0 * raised));
            let mut pacer = Pacer::new(before, 0.0, 0.0);
            ask(&mut pacer, 0..7200);
            pacer.set_budget(after);
            let spent = ask(&mut pacer, 7200..7500) / (after.budget_usd / 12.0);
            assert!(spent < 1.2, "raised by {raised}: {spent} of the rate in the first five minutes");
            let spent = ask(&mut pacer, 7500..11_100) / after.budget_usd;
            assert!((spent - 1.0).abs() < 0.03, "raised by {raised}: {spent}");
        }
    }

    #[test]
    fn what_a_small_request_costs_does_not_make_money_dearer() {
        let large = |pacer: &mut Pacer, from: u32| (from..from + 60).for_each(|at| pacer.spent(3e-4, f64::from(at)));
        let daily = |budget_usd| PacerSettings { budget_usd, window_s: 86_400.0 };
        let mut pacer = Pacer::new(daily(50.0), 0.0, 0.0);
        pacer.spent(3.4e-6, 0.0);
        large(&mut pacer, 1);
        assert_eq!(pacer.cost_per_usd(60.0), 0.0, "the first request was a small one");
        (61..121).for_each(|at| pacer.spent(3.4e-6, f64::from(at)));
        large(&mut pacer, 121);
        assert_eq!(pacer.cost_per_usd(180.0), 0.0, "small requests came between");

        let mut pacer = Pacer::new(daily(5e-4), 0.0, 0.0);
        large(&mut pacer, 0);
        assert!(pacer.cost_per_usd(60.0) > 0.0);
        pacer.set_budget(daily(50.0));
        large(&mut pacer, 61);
        assert_eq!(pacer.cost_per_usd(120.0), 0.0, "the budget was raised");
    }

    #[test]
    fn a_budget_that_binds_buys_what_it_can() {
        // The dear model is better by 0 to .4; of its requests the budget allows a share.
        for (every_s, share) in [(86.4, 0.25), (86.4, 0.6), (8.64, 0.25), (8.64, 0.6), (2.16, 0.25), (2.16, 0.6)] {
            let (dear_usd, cheap_usd) = (0.02, 2e-4);
            let budget_usd = (cheap_usd + share * (dear_usd - cheap_usd)) * 86_400.0 / every_s;
            let mut pacer = Pacer::new(PacerSettings { budget_usd, window_s: 86_400.0 }, 0.0, 0.0);
            let (mut spent, mut gained, mut count, mut draw) = (0.0, 0.0, 0.0, 7_u64);
            for number in 0..(4.0 * 86_400.0 / every_s) as u32 {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let (gap, now_s) = ((draw >> 11) as f64 / (1_u64 << 53) as f64 * 0.4, f64::from(number) * every_s);
                let dear = gap > pacer.cost_per_usd(now_s) * (dear_usd - cheap_usd);
                let cost = if dear { dear_usd } else { cheap_usd };
                pacer.spent(cost, now_s);
                if now_s >= 2.0 * 86_400.0 {
                    (spent, count) = (spent + cost, count + 1.0);
                    gained += if dear { gap } else { 0.0 };
                }
            }
            let best = 0.4 * share * (1.0 - share / 2.0) * count;
            let told = format!("every {every_s} s, a share of {share}: {:.2} of the best", gained / best);
            assert!(gained > 0.95 * best, "{told}");
            assert!((spent / (2.0 * budget_usd) - 1.0).abs() < 0.03, "{told}, {spent} spent of {}", 2.0 * budget_usd);
        }
    }

    #[test]
    fn a_budget_for_a_few_dear_requests_is_kept() {
        // The dear model is better by 0 to .4; the budget allows this many of its requests an hour.
        for (per_hour, cheap_usd, dears) in [
            (3600_u32, 0.0, 10.0),
            (3600, 2e-5, 20.0),
            (14_400, 1e-6, 10.0),
            (200_000, 0.0, 20.0),
            (200_000, 2e-5, 20.0),
        ] {
            let dear_usd = 0.02;
            let share = dears / f64::from(per_hour);
            let budget_usd = (cheap_usd + share * (dear_usd - cheap_usd)) * f64::from(per_hour);
            let mut pacer = Pacer::new(PacerSettings { budget_usd, window_s: 3600.0 }, 0.0, 0.0);
            let (mut spent, mut gained, mut draw) = (0.0, 0.0, 7_u64);
            for number in 0..8 * per_hour {
                draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let gap = (draw >> 11) as f64 / (1_u64 << 53) as f64 * 0.4;
                let now_s = f64::from(number) * 3600.0 / f64::from(per_hour);
                let dear = gap > pacer.cost_per_usd(now_s) * (dear_usd - cheap_usd);
                let cost = if dear { dear_usd } else { cheap_usd };
                pacer.spent(cost, now_s);
                if number >= 2 * per_hour {
                    spent += cost;
                    gained += if dear { gap } else { 0.0 };
                }
            }
            let (spent, gained) = (spent / (6.0 * budget_usd), gained / (6.0 * 0.4 * dears));
            let told = format!("{dears} of {per_hour}: {spent:.2} of the budget, {gained:.2} of what it buys");
            assert!((spent - 1.0).abs() < 0.01 && gained > 0.9, "{told}");
        }
    }

    #[test]
    fn one_large_request_is_made_up_for_within_its_window() {
        let mut pacer = Pacer::new(PacerSettings { budget_usd: 50.0, window_s: 86_400.0 }, 0.0, 0.0);
        let (mut spent, mut draw) = ([0.0; 6], 7_u64);
        for number in 0..6 * 10_000_u32 {
            draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (gap, now_s) = ((draw >> 11) as f64 / (1_u64 << 53) as f64 * 0.4, f64::from(number) * 8.64);
            let dear = gap > pacer.cost_per_usd(now_s) * 0.0198;
            let cost = if number == 30_000 {
                25.0
            } else if dear {
                0.02
            } else {
                2e-4
            };
            pacer.spent(cost, now_s);
            spent[(number / 10_000) as usize] += cost / 50.0;
        }
        assert!(spent[2..].iter().all(|spent| (spent - 1.0).abs() < 0.1), "{spent:?}");
    }

    #[test]
    fn one_huge_request_does_not_take_the_budget_out_of_force() {
        let mut pacer = Pacer::new(PacerSettings { budget_usd: 5.0, window_s: 3600.0 }, 0.0, 0.0);
        let mut spent = 0.0;
        for second in 0..4 * 3600_u32 {
            let gap = f64::from(second.wrapping_mul(2_654_435_761) >> 8) / f64::from(1u32 << 24) * 0.2;
            let dear = gap > pacer.cost_per_usd(f64::from(second)) * 0.0095;
            let cost = if second == 3600 {
                3.0
            } else if dear {
                0.01
            } else {
                0.0005
            };
            pacer.spent(cost, f64::from(second));
            spent += if second == 3600 { 0.0 } else { cost };
        }
        assert!(spent < 1.03 * 4.0 * 5.0, "{spent} of 20");
    }

    #[test]
    fn a_jumping_clock_and_a_broken_cost_do_no_harm() {
        let settings = PacerSettings { budget_usd: 10.0, window_s: 3600.0 };
        let mut pacer = Pacer::new(settings, 1.0, 1e9);
        pacer.spent(0.01, 0.0);
        pacer.spent(f64::NAN, 5.0);
        pacer.spent(0.01, 1e12);
        assert!(pacer.cost_per_usd(1e12).is_finite() && pacer.ahead_usd(1e12) >= -10.0);
        pacer.spent(1e308, 1e12);
        assert!(pacer.is_sound(), "{pacer:?}");
        assert!(
            !Pacer { usual_usd: 1e308, ..pacer }.is_sound() && !Pacer { log_price: f64::NAN, ..pacer }.is_sound()
        );
    }
}
