//! The budgets' price: how much quality a dollar is worth now, so that spending stays within what is configured.
//!
//! One [`Pacer`] per budget, fed with the cost of each answer; their prices add up, since each is the multiplier of its
//! own constraint. The pacers' state is saved in the store, so that a restart does not begin by overspending.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::bandit::{Pacer, PacerSettings};
use crate::config;
use crate::store::{Store, StoreError};

/// The setting that holds the pacers' state.
const SAVED: &str = "budget.pacers";

/// The budgets there are, with their pacers.
#[derive(Debug, Default)]
pub struct Budgets {
    pacers: Mutex<Pacers>,
    /// The state that the store has.
    saved: Mutex<Pacers>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Pacers {
    hour: Option<Pacer>,
    day: Option<Pacer>,
}

/// One budget, for the dashboard and the API.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BudgetStatus {
    /// Length of the budget's window, seconds.
    pub window_s: f64,
    /// US dollars per window.
    pub budget_usd: f64,
    /// Spent ahead of its rate, US dollars; negative = behind.
    pub ahead_usd: f64,
    /// What the budget adds to the price of a dollar, in quality.
    pub cost_per_usd: f64,
}

impl Budgets {
    /// The budgets of `settings` at `now_s` (Unix seconds), with the state that `store` has of them.
    pub fn open(store: &Store, settings: &config::Budget, now_s: f64) -> Self {
        let saved = store.setting(SAVED).unwrap_or_else(|error| {
            tracing::warn!(%error, "The budget's state cannot be read; it begins anew");
            None
        });
        let saved: Pacers = saved.unwrap_or_default();
        let sound = |pacer: Option<Pacer>| pacer.filter(Pacer::is_sound);
        let pacers = Pacers { hour: sound(saved.hour), day: sound(saved.day) };
        let budgets = Self { pacers: Mutex::new(pacers), saved: Mutex::new(saved) };
        budgets.configure(settings, now_s);
        budgets
    }

    /// Takes over changed budgets; a budget that stays keeps its learned price (see [`Pacer::set_budget`]).
    pub fn configure(&self, settings: &config::Budget, now_s: f64) {
        let mut pacers = self.pacers.lock();
        set(&mut pacers.hour, settings.usd_per_hour, 3600.0, now_s);
        set(&mut pacers.day, settings.usd_per_day, 86_400.0, now_s);
    }

    /// Notes that an answer cost `cost_usd` at `now_s`.
    pub fn spent(&self, cost_usd: f64, now_s: f64) {
        let mut pacers = self.pacers.lock();
        let Pacers { hour, day } = &mut *pacers;
        hour.iter_mut().chain(day).for_each(|pacer| pacer.spent(cost_usd, now_s));
    }

    /// Quality per dollar at `now_s`, on top of the objective's own weight of cost.
    pub fn price(&self, now_s: f64) -> f64 {
        let pacers = self.pacers.lock();
        pacers
            .hour
            .iter()
            .chain(&pacers.day)
            .map(|pacer| pacer.cost_per_usd(now_s))
            .fold(0.0, |sum, price| sum + price)
    }

    /// The budgets at `now_s`, for the dashboard and the API.
    pub fn status(&self, now_s: f64) -> Vec<BudgetStatus> {
        let pacers = self.pacers.lock();
        let status = |pacer: &Pacer| BudgetStatus {
            window_s: pacer.settings().window_s,
            budget_usd: pacer.settings().budget_usd,
            ahead_usd: pacer.ahead_usd(now_s),
            cost_per_usd: pacer.cost_per_usd(now_s),
        };
        pacers.hour.iter().chain(&pacers.day).map(status).collect()
    }

    /// Saves the state if it changed; also that a budget was removed, so that a later one begins anew.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn save(&self, store: &Store) -> Result<(), StoreError> {
        let pacers = self.pacers.lock().clone();
        let mut saved = self.saved.lock();
        if pacers != *saved {
            store.set_setting(SAVED, &pacers)?;
            *saved = pacers;
        }
        Ok(())
    }
}

fn set(pacer: &mut Option<Pacer>, budget_usd: f64, window_s: f64, now_s: f64) {
    let settings = PacerSettings { budget_usd, window_s };
    match pacer {
        _ if budget_usd <= 0.0 => *pacer = None,
        Some(pacer) => pacer.set_budget(settings),
        None => *pacer = Some(Pacer::new(settings, 0.0, now_s)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overspending_makes_money_dear_and_a_restart_remembers() {
        let store = Store::in_memory().unwrap();
        let settings = config::Budget { usd_per_hour: 1.0, usd_per_day: 0.0 };
        let budgets = Budgets::open(&store, &settings, 0.0);
        assert_eq!(budgets.price(0.0), 0.0);
        for second in 0..600 {
            budgets.spent(0.01, f64::from(second));
        }
        let price = budgets.price(600.0);
        assert!(price > 1.0, "{price}");
        budgets.save(&store).unwrap();
        assert!((Budgets::open(&store, &settings, 600.0).price(600.0) - price).abs() < 1e-9);
        let none = Budgets::open(&store, &config::Budget::default(), 600.0);
        assert!(none.price(600.0) == 0.0 && none.price(600.0).is_sign_positive(), "no budget, no price");
        none.save(&store).unwrap();
        assert_eq!(Budgets::open(&store, &settings, 600.0).price(600.0), 0.0, "a budget after none begins anew");
    }
}
