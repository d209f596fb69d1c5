//! What is believed of a model before its answers are known: the record of one it is said to be like, or a score.

use std::collections::BTreeMap;

use super::reading::{Estimate, EstimateSource, Estimates};
use crate::config;

/// Longest chain of `like`; whoever writes a longer one has written a circle.
const LONGEST_CHAIN: usize = 8;

/// The configured models, as far as estimates need them.
#[derive(Debug, Clone, Default)]
pub(super) struct Priors {
    models: BTreeMap<String, Claim>,
}

/// What the configuration says of a model.
#[derive(Debug, Clone, Default)]
pub(super) struct Claim {
    /// A model whose record stands in.
    pub(super) like: Option<String>,
    /// How good it is, 0..1.
    pub(super) score: Option<f64>,
}

impl Priors {
    pub(super) fn new(models: &BTreeMap<String, config::Model>) -> Self {
        let claim = |model: &config::Model| Claim { like: model.like.clone(), score: model.score };
        Self { models: models.iter().map(|(name, model)| (name.clone(), claim(model))).collect() }
    }

    /// The estimate for a model of which no prompt was read.
    pub(super) fn estimate(&self, model: &str) -> Estimate {
        for (depth, name) in self.chain(model).enumerate() {
            if let Some(quality) = self.models.get(name).and_then(|claim| claim.score) {
                let source = if depth == 0 { EstimateSource::Score } else { EstimateSource::Like(name.to_owned()) };
                return Estimate { quality, output_tokens: None, source };
            }
        }
        Estimate::default()
    }

    /// Estimates for all of them.
    pub(super) fn estimates(&self) -> Estimates {
        Estimates(self.models.keys().map(|name| (name.clone(), self.estimate(name))).collect())
    }

    /// The model, what it is like, what that is like...
    fn chain<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a str> {
        let next = |name: &&'a str| self.models.get(*name).and_then(|claim| claim.like.as_deref());
        std::iter::successors(Some(model), next).take(LONGEST_CHAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn priors() -> Priors {
        let model = |like: Option<&str>, score| config::Model {
            like: like.map(str::to_owned),
            score,
            ..config::Model::default()
        };
        Priors::new(&BTreeMap::from([
            ("old".to_owned(), model(None, Some(0.8))),
            ("new".to_owned(), model(Some("old"), None)),
            ("newer".to_owned(), model(Some("new"), None)),
            ("own".to_owned(), model(Some("old"), Some(0.9))),
            ("ring".to_owned(), model(Some("ring"), None)),
        ]))
    }

    #[test]
    fn a_score_is_said_to_be_one_and_a_likeness_names_its_model() {
        let priors = priors();
        let told = |name| {
            let estimate = priors.estimate(name);
            (estimate.quality, estimate.source)
        };
        assert_eq!(told("old"), (0.8, EstimateSource::Score));
        assert_eq!(told("own"), (0.9, EstimateSource::Score), "its own score is stronger");
        assert_eq!(told("new"), (0.8, EstimateSource::Like("old".into())));
        assert_eq!(told("newer"), (0.8, EstimateSource::Like("old".into())), "through another");
        assert_eq!(told("stranger"), (0.5, EstimateSource::Default));
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(priors().estimate("ring"), Estimate::default());
    }
}
