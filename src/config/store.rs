//! What the store keeps, for how long, and how much of it.

use serde::{Deserialize, Serialize};

/// The store. Fixed at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Whether the last user turn of each request is kept. Features are kept in any case, enough for the policy's
    /// retunes; a new head (`pointsman train --log`) needs the prompts.
    pub prompts: bool,
    /// Records that may wait for the disk; further ones are dropped and counted, and answers go on.
    pub queue: usize,
    /// Days after which decisions with all that belongs to them, and audit entries, are deleted; 0 = never.
    pub max_age_days: u32,
    /// MiB that packed records of the decision log may take, oldest deleted first; 0 = no limit. The file takes two
    /// to four times as much.
    pub max_mb: u64,
    /// Memory for the database's page cache, MiB.
    pub cache_mb: u64,
    /// Seconds between runs of retention.
    pub retention_interval_s: u64,
    /// Policy snapshots kept besides the live and pinned ones.
    pub keep_snapshots: usize,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            prompts: false,
            queue: 8192,
            max_age_days: 90,
            max_mb: 4096,
            cache_mb: 4,
            retention_interval_s: 600,
            keep_snapshots: 50,
        }
    }
}
