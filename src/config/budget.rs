//! What routing may spend.

use serde::{Deserialize, Serialize};

/// A budget kept by choosing cheaper models in time, never by refusing requests. Live.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// US dollars per hour; 0 = no budget.
    pub usd_per_hour: f64,
    /// US dollars per day; 0 = no budget.
    pub usd_per_day: f64,
}
