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
    /// Chosen by the learned policy.
    Learned,
    /// The conversation stayed with its model.
    Sticky,
    /// Imported from another system's log, which does not say how the model was chosen.
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

    /// The mode of this name, see [`Self::as_str`].
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [Self::Named, Self::Weighted, Self::Learned, Self::Sticky, Self::Imported];
        all.into_iter().find(|mode| mode.as_str() == name)
    }
}
