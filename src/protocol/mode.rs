//! How a model came to be chosen.

use serde::{Deserialize, Serialize};

/// How a model came to be chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The client or a rule named it.
    Named,
    /// Drawn by configured weights.
    #[default]
    Weighted,
    /// By the learned policy.
    Learned,
    /// The conversation stayed where it was.
    Sticky,
    /// Read from somebody else's log, where how it was chosen is not known.
    Imported,
}

impl Mode {
    /// The mode in headers, logs, metrics and filters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Named => "named",
            Self::Weighted => "weighted",
            Self::Learned => "learned",
            Self::Sticky => "sticky",
            Self::Imported => "imported",
        }
    }

    /// The mode that is written so.
    pub fn named(name: &str) -> Option<Self> {
        let all = [Self::Named, Self::Weighted, Self::Learned, Self::Sticky, Self::Imported];
        all.into_iter().find(|mode| mode.as_str() == name)
    }
}
