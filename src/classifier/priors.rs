//! Estimates for each configured model, before and after a prompt was read.
//!
//! Before: where the head was fitted to the model, its mean over the head's training prompts, so that a prior rests on
//! the same evidence whether or not the prompt was read; else the model's score, or that of a model that it is
//! configured to be like, or what the head has for similar models, on the same ground as where the prompt is read.
//! After: the head's estimate from the reading and the model's [`Ability`]. Abilities are computed once, when models or
//! head change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::head::{Ability, Contender, Head, HeadReading};
use super::reading::{Estimate, EstimateSource, Estimates};
use crate::config;

/// Longest chain of `like` that is followed; a longer one is taken for a circle.
const LONGEST_CHAIN: usize = 8;

/// Estimates for the configured models.
#[derive(Debug, Clone, Default)]
pub(super) struct Priors {
    models: BTreeMap<String, Claim>,
    abilities: BTreeMap<String, Ability>,
    head: Option<Arc<Head>>,
}

/// What the configuration says of a model.
#[derive(Debug, Clone)]
struct Claim {
    /// Whether it can be chosen.
    enabled: bool,
    /// A model whose record stands in.
    like: Option<String>,
    /// Its configured score, 0..1.
    score: Option<f64>,
}

impl Priors {
    pub(super) fn new(models: &BTreeMap<String, config::Model>, head: Option<Arc<Head>>) -> Self {
        let claim =
            |model: &config::Model| Claim { enabled: model.enabled, like: model.like.clone(), score: model.score };
        let models = models.iter().map(|(name, model)| (name.clone(), claim(model))).collect();
        Self { models, ..Self::default() }.with_head(head)
    }

    /// The same models with another head.
    pub(super) fn with_head(&self, head: Option<Arc<Head>>) -> Self {
        let mut priors = Self { models: self.models.clone(), abilities: BTreeMap::new(), head };
        priors.abilities = priors.head.as_ref().map(|head| priors.of_head(head)).unwrap_or_default();
        priors
    }

    /// The abilities that `head` knows.
    fn of_head(&self, head: &Head) -> BTreeMap<String, Ability> {
        let ability = |name: &String| Some((name.clone(), self.ability(head, name)?));
        let mut abilities: BTreeMap<String, Ability> = self.models.keys().filter_map(ability).collect();
        let enabled = abilities.iter_mut().filter(|(name, _)| self.models[*name].enabled);
        let contenders = enabled.map(|(name, ability)| Contender {
            borrows: ability.source != EstimateSource::Learned,
            score: self.score(name).map(|(score, _)| score),
            ability,
        });
        let mut contenders: Vec<Contender<'_>> = contenders.collect();
        let mut average = head.average();
        if contenders.iter().all(|contender| contender.borrows) {
            // They would decide the ground themselves, and each that came or went would move the others.
            contenders.push(Contender { ability: &mut average, borrows: false, score: None });
        }
        head.on_common_ground(&mut contenders);
        abilities
    }

    /// What `head` knows of a model, before common ground.
    fn ability(&self, head: &Head, name: &str) -> Option<Ability> {
        // The model it is like may itself be like another, whose record then counts. The head may know none of them.
        let others = || self.chain(name).skip(1);
        let measured = others().find(|like| head.has_measured(like));
        let like = measured.or_else(|| others().filter(|like| head.knows(like)).last());
        let score = self.score(name);
        let mut ability = head.ability(name, like, score.map(|(score, _)| score))?;
        if let (EstimateSource::Score, Some((_, whose))) =
            (&ability.source, score.filter(|(_, whose)| *whose != name))
        {
            ability.source = EstimateSource::Like(whose.to_owned());
        }
        Some(ability)
    }

    /// The head that the abilities belong to.
    pub(super) fn head(&self) -> Option<&Arc<Head>> {
        self.head.as_ref()
    }

    /// The estimate for a model, without a reading.
    pub(super) fn estimate(&self, model: &str) -> Estimate {
        let usual = self.usual(model);
        if let Some(measured) = usual.as_ref().filter(|usual| usual.source == EstimateSource::Learned) {
            return measured.clone();
        }
        if let Some((quality, whose)) = self.score(model) {
            let source = if whose == model { EstimateSource::Score } else { EstimateSource::Like(whose.to_owned()) };
            return Estimate { quality, source, ..Estimate::default() };
        }
        usual.unwrap_or_default()
    }

    /// The head's estimate for a model over its training prompts.
    fn usual(&self, model: &str) -> Option<Estimate> {
        let (head, ability) = (self.head.as_ref()?, self.abilities.get(model)?);
        let arms = &head.description().arms;
        let measured = || ability.parts.iter().map(|(arm, weight)| f64::from(arms[*arm].mean * weight)).sum();
        let quality = ability.usual.map_or_else(measured, f64::from);
        Some(Estimate { quality, source: ability.source.clone(), ..Estimate::default() })
    }

    /// Estimates for all of them, after the head's `reading`.
    pub(super) fn estimates(&self, reading: &HeadReading) -> Estimates {
        let estimate = |name: &String| match (&self.head, self.abilities.get(name)) {
            (Some(head), Some(ability)) => {
                let made = head.estimate(reading, ability);
                let source = ability.source.clone();
                Estimate { quality: made.quality, output_tokens: made.output_tokens, source, odds: Some(made.odds) }
            }
            _ => self.estimate(name),
        };
        Estimates(self.models.keys().map(|name| (name.clone(), estimate(name))).collect())
    }

    /// The score of a model, or of the first that has one among those that it is like, and whose it is. What was
    /// measured has no need of one.
    fn score<'a>(&'a self, model: &'a str) -> Option<(f64, &'a str)> {
        let is_measured = |name: &&str| self.head.as_ref().is_some_and(|head| head.has_measured(name));
        let mut unmeasured = self.chain(model).take_while(|name| !is_measured(name));
        unmeasured.find_map(|name| Some((self.models.get(name)?.score?, name)))
    }

    /// The model, the model that it is like, and so on.
    fn chain<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a str> {
        let next = |name: &&'a str| self.models.get(*name).and_then(|claim| claim.like.as_deref());
        std::iter::successors(Some(model), next).take(LONGEST_CHAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(like: Option<&str>, score: Option<f64>) -> config::Model {
        config::Model { like: like.map(str::to_owned), score, ..config::Model::default() }
    }

    fn priors() -> Priors {
        let models = BTreeMap::from([
            ("old".to_owned(), model(None, Some(0.8))),
            ("new".to_owned(), model(Some("old"), None)),
            ("newer".to_owned(), model(Some("new"), None)),
            ("own".to_owned(), model(Some("old"), Some(0.9))),
            ("ring".to_owned(), model(Some("ring"), None)),
        ]);
        Priors::new(&models, None)
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
    fn with_a_head_what_was_measured_stays_so_and_likeness_goes_on_to_it() {
        let head = Arc::new(crate::classifier::head::tests::head());
        let mean = f64::from(head.description().arms[0].mean);
        let models = BTreeMap::from([
            ("plus".to_owned(), model(None, Some(0.99))),
            ("unheard".to_owned(), model(Some("plus"), None)),
            ("newest".to_owned(), model(Some("unheard"), None)),
        ]);
        let priors = Priors::new(&models, Some(head));
        let missed = priors.estimate("plus");
        assert_eq!((missed.quality, missed.source), (mean, EstimateSource::Learned), "whether or not it was read");
        assert_eq!(priors.abilities["newest"].source, EstimateSource::Like("plus".into()));
    }

    #[test]
    fn a_model_takes_over_the_whole_record_of_the_one_that_it_is_like() {
        let head = Arc::new(crate::classifier::head::tests::head());
        // The head likens `new-1` to `plus`, has measured `minus`, and has never heard of the others.
        let models = BTreeMap::from([
            ("new-1".to_owned(), model(None, Some(0.9))),
            ("like-new".to_owned(), model(Some("new-1"), None)),
            ("own".to_owned(), model(Some("new-1"), Some(0.3))),
            ("new-2".to_owned(), model(Some("minus"), Some(0.9))),
            ("like-new-2".to_owned(), model(Some("new-2"), None)),
            ("minus".to_owned(), model(None, Some(0.99))),
            ("like-minus".to_owned(), model(Some("minus"), None)),
            ("scored".to_owned(), model(None, Some(0.9))),
            ("like-scored".to_owned(), model(Some("scored"), None)),
        ]);
        let priors = Priors::new(&models, Some(Arc::clone(&head)));
        let read = |at| priors.estimates(&head.read(&[at, 0.1], &crate::classifier::stats::TextStats::of("What?")));
        for (one, other) in
            [("like-new", "new-1"), ("like-new-2", "new-2"), ("like-minus", "minus"), ("like-scored", "scored")]
        {
            let qualities = |name: &str| {
                [1.0, -1.0].map(|at| read(at).get(name).quality).into_iter().chain([priors.estimate(name).quality])
            };
            assert!(qualities(one).eq(qualities(other)), "{one}");
        }
        assert!(read(1.0).get("own").quality < read(1.0).get("new-1").quality - 0.01, "its own score is stronger");
        let source = |name: &str| read(1.0).get(name).source;
        assert_eq!(source("scored"), EstimateSource::Score);
        assert_eq!(source("like-scored"), EstimateSource::Like("scored".into()));
    }

    #[test]
    fn only_a_measured_model_that_is_in_force_moves_others() {
        let head = Arc::new(crate::classifier::head::tests::of_two_sources());
        let reading = head.read(&[-1.0, 0.1], &crate::classifier::stats::TextStats::of("What?"));
        let told = |name: &str, enabled: bool, like: Option<&str>| {
            let model = |like: Option<&str>, enabled| config::Model {
                enabled,
                like: like.map(str::to_owned),
                ..config::Model::default()
            };
            let models = BTreeMap::from([
                ("mine".to_owned(), model(Some("plus"), true)),
                (name.to_owned(), model(like, enabled)),
            ]);
            Priors::new(&models, Some(Arc::clone(&head))).estimates(&reading).get("mine").quality
        };
        let alone = told("unheard", true, None);
        assert_eq!(told("another", true, Some("third")), alone, "it borrows, too");
        assert_eq!(told("third", false, None), alone, "disabled");
        assert!(told("third", true, None) > alone + 0.01, "all stand where it does");
        let own = head.estimate(&reading, &head.ability("plus", None, None).unwrap()).quality;
        assert_eq!(told("plus", true, None), own, "like one that is measured");
    }

    #[test]
    fn a_likened_model_stands_on_common_ground_whether_or_not_the_prompt_was_read() {
        let head = Arc::new(crate::classifier::head::tests::of_two_sources());
        let model = |like: &str| config::Model { like: Some(like.to_owned()), ..config::Model::default() };
        let models = BTreeMap::from([("one".to_owned(), model("plus")), ("two".to_owned(), model("third"))]);
        let priors = Priors::new(&models, Some(Arc::clone(&head)));
        let unread = priors.estimate("one");
        // On the training prompts `plus` has log-odds of 1, -1 and 0; of three models, one is the other source's, whose
        // .5, 1.5 and 1 count by a third.
        let mean = [7.0_f64 / 6.0, -0.5, 1.0 / 3.0].map(|odds| 1.0 / (1.0 + (-odds).exp())).iter().sum::<f64>() / 3.0;
        assert!((unread.quality - mean).abs() < 1e-3, "{unread:?}, and not {}", head.description().arms[0].mean);
        assert_eq!(unread.source, EstimateSource::Like("plus".into()));
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(priors().estimate("ring"), Estimate::default());
    }
}
