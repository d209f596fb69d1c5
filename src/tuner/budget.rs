//! The budget's price: what a dollar costs in quality now, so that spending stays within what is configured.
//!
//! One [`Pacer`] per budget, fed with what each answer cost; their prices add up, since each is the multiplier of its own
//! constraint. The pacers' state is kept in the store now and then, so that a restart does not begin by overspending.

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::bandit::{Pacer, PacerSettings};
use crate::config;
use crate::store::{Store, StoreError};

/// Name of the kept state.
const KEPT: &str = "budget.pacers";

/// The budgets there are, with their pacers.
#[derive(Debug, Default)]
pub struct Budgets {
    pacers: Mutex<Pacers>,
    /// As the store has them.
    kept: Mutex<Pacers>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Pacers {
    hour: Option<Pacer>,
    day: Option<Pacer>,
}

/// One budget, for people.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct BudgetStatus {
    /// Its length, seconds.
    pub window_s: f64,
    /// US dollars per window.
    pub budget_usd: f64,
    /// Spent ahead of its rate, US dollars; negative = behind.
    pub ahead_usd: f64,
    /// What it adds to the price of a dollar, in quality.
    pub cost_per_usd: f64,
}

impl Budgets {
    /// The budgets of `settings`, with what `store` knows of them, at `now_s` (Unix seconds).
    pub fn open(store: &Store, settings: &config::Budget, now_s: f64) -> Self {
        let kept = store.setting(KEPT).unwrap_or_else(|error| {
            tracing::warn!(%error, "The budget's state cannot be read; it begins anew");
            None
        });
        let kept: Pacers = kept.unwrap_or_default();
        let sound = |pacer: Option<Pacer>| pacer.filter(Pacer::is_sound);
        let pacers = Pacers { hour: sound(kept.hour), day: sound(kept.day) };
        let budgets = Self { pacers: Mutex::new(pacers), kept: Mutex::new(kept) };
        budgets.configure(settings, now_s);
        budgets
    }

    /// Takes over other budgets; what was learned of a price stays.
    pub fn configure(&self, settings: &config::Budget, now_s: f64) {
        let mut pacers = self.pacers.lock();
        set(&mut pacers.hour, settings.usd_per_hour, 3600.0, now_s);
        set(&mut pacers.day, settings.usd_per_day, 86_400.0, now_s);
    }

    /// Takes in what an answer cost, at `now_s`.
    pub fn spent(&self, cost_usd: f64, now_s: f64) {
        let mut pacers = self.pacers.lock();
        let Pacers { hour, day } = &mut *pacers;
        hour.iter_mut().chain(day).for_each(|pacer| pacer.spent(cost_usd, now_s));
    }

    /// What a dollar costs in quality on top of the objective, at `now_s`.
    pub fn price(&self, now_s: f64) -> f64 {
        let pacers = self.pacers.lock();
        pacers
            .hour
            .iter()
            .chain(&pacers.day)
            .map(|pacer| pacer.cost_per_usd(now_s))
            .fold(0.0, |sum, price| sum + price)
    }

    /// The budgets at `now_s`, for people.
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

    /// Keeps the state; that there is no budget any more, too, so that a later one begins anew.
    ///
    /// # Errors
    ///
    /// When the store fails.
    pub fn keep(&self, store: &Store) -> Result<(), StoreError> {
        let pacers = self.pacers.lock().clone();
        let mut kept = self.kept.lock();
        if pacers != *kept {
            store.set_setting(KEPT, &pacers)?;
            *kept = pacers;
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
        budgets.keep(&store).unwrap();
        assert!((Budgets::open(&store, &settings, 600.0).price(600.0) - price).abs() < 1e-9);
        let none = Budgets::open(&store, &config::Budget::default(), 600.0);
        assert!(none.price(600.0) == 0.0 && none.price(600.0).is_sign_positive(), "no budget, no price");
        none.keep(&store).unwrap();
        assert_eq!(Budgets::open(&store, &settings, 600.0).price(600.0), 0.0, "a budget after none begins anew");
    }
}
