//! Estimates for each configured model, before and after a prompt was read.
//!
//! Before: where the head was fitted to the model (under its own name, or, for a head of the operator's own, as
//! `provider/upstream`, as the logs of other gateways call it), its mean over the head's training prompts, so that a
//! prior rests on the same evidence whether or not the prompt was read; else the model's score, or that of a model that
//! it is configured to be like, or what the head has for similar models, on the same ground as where the prompt is read.
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
    /// Those that the head was fitted to, and what it calls them.
    measured: BTreeMap<String, String>,
    abilities: BTreeMap<String, Ability>,
    head: Option<Arc<Head>>,
    /// Whether the head is the operator's own, fitted to the records of some gateway. The builtin one's names are those
    /// of benchmarks: `google/gemini-2.5-pro` there is no deployment of a provider that is called `google` here.
    is_own: bool,
}

/// What the configuration says of a model.
#[derive(Debug, Clone)]
struct Claim {
    /// Whether it can be chosen.
    enabled: bool,
    /// What else its records may call it.
    deployments: Vec<String>,
    /// A model whose record stands in.
    like: Option<String>,
    /// The model that this is another name of.
    likeness: Option<String>,
    /// Its configured score, 0..1.
    score: Option<f64>,
}

impl Priors {
    /// Priors without a head.
    pub(super) fn new(models: &BTreeMap<String, config::Model>) -> Self {
        let claim = |(name, model): (&String, &config::Model)| {
            let deployments = model.deployment_names(name);
            let config::Model { enabled, score, ref like, ref likeness, .. } = *model;
            let (like, likeness) = (like.clone(), likeness.clone());
            let claim = Claim { enabled, deployments, like, likeness, score };
            (name.clone(), claim)
        };
        Self { models: models.iter().map(claim).collect(), ..Self::default() }
    }

    /// The same head for other models.
    pub(super) fn with_models(&self, models: &BTreeMap<String, config::Model>) -> Self {
        Self::new(models).with_head(self.head.clone(), self.is_own)
    }

    /// The same models with another head; `is_own` = it is the operator's, and not the builtin one.
    pub(super) fn with_head(&self, head: Option<Arc<Head>>, is_own: bool) -> Self {
        let mut priors = Self { models: self.models.clone(), head, is_own, ..Self::default() };
        if let Some(head) = priors.head.clone() {
            priors.measured = priors.measured_by(&head);
            priors.abilities = priors.of_head(&head);
        }
        priors
    }

    /// The models that `head` was fitted to. Their own names come first: so the gateway's own log calls them.
    fn measured_by(&self, head: &Head) -> BTreeMap<String, String> {
        let called = |(name, claim): (&String, &Claim)| {
            let deployments = claim.deployments.iter().filter(|_| self.is_own);
            let found = std::iter::once(name).chain(deployments).find(|called| head.has_measured(called))?;
            Some((name.clone(), found.clone()))
        };
        self.models.iter().filter_map(called).collect()
    }

    /// What the head calls a model that it may know.
    fn called<'a>(&'a self, name: &'a str) -> &'a str {
        self.measured.get(name).map_or(name, String::as_str)
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
        let others = || self.chain(name).skip(1).map(|like| self.called(like));
        let measured = others().find(|like| head.has_measured(like));
        let like = measured.or_else(|| others().filter(|like| head.knows(like)).last());
        let score = self.score(name);
        let mut ability = head.ability(self.called(name), like, score.map(|(score, _)| score))?;
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
        let is_measured = |name: &&str| {
            self.measured.contains_key(*name) || self.head.as_ref().is_some_and(|head| head.has_measured(name))
        };
        let mut unmeasured = self.chain(model).take_while(|name| !is_measured(name));
        unmeasured.find_map(|name| Some((self.models.get(name)?.score?, name)))
    }

    /// The model, the model that it is like, and so on. What the head calls so comes before other names of a model: it
    /// may know the older one, whose name is an alias by now.
    fn chain<'a>(&'a self, model: &'a str) -> impl Iterator<Item = &'a str> {
        let is_known =
            |name: &str| self.models.contains_key(name) || self.head.as_ref().is_some_and(|head| head.knows(name));
        let next = move |name: &&'a str| {
            let claim = self.models.get(*name)?;
            let like = claim.like.as_deref()?;
            Some(claim.likeness.as_deref().filter(|_| !is_known(like)).unwrap_or(like))
        };
        std::iter::successors(Some(model), next).take(LONGEST_CHAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(like: Option<&str>, score: Option<f64>) -> config::Model {
        config::Model { like: like.map(str::to_owned), score, ..config::Model::default() }
    }

    /// Priors with an operator's head.
    fn of(models: &BTreeMap<String, config::Model>, head: Arc<Head>) -> Priors {
        Priors::new(models).with_head(Some(head), true)
    }

    fn priors() -> Priors {
        let models = BTreeMap::from([
            ("old".to_owned(), model(None, Some(0.8))),
            ("new".to_owned(), model(Some("old"), None)),
            ("newer".to_owned(), model(Some("new"), None)),
            ("own".to_owned(), model(Some("old"), Some(0.9))),
            ("ring".to_owned(), model(Some("ring"), None)),
        ]);
        Priors::new(&models)
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
        let priors = of(&models, head);
        let missed = priors.estimate("plus");
        assert_eq!((missed.quality, missed.source), (mean, EstimateSource::Learned), "whether or not it was read");
        assert_eq!(priors.abilities["newest"].source, EstimateSource::Like("plus".into()));
    }

    #[test]
    fn a_model_is_measured_where_its_records_call_it_by_its_deployment() {
        let mut description = crate::classifier::head::tests::head().description().clone();
        description.arms[0].model = "home/plus-2026".into();
        let head = Head::new(description, crate::classifier::head::tests::head().parts().clone()).unwrap();
        let model = |upstream: Option<&str>, like: Option<&str>| config::Model {
            provider: Some("home".into()),
            upstream: upstream.map(str::to_owned),
            like: like.map(str::to_owned),
            score: Some(0.9),
            ..config::Model::default()
        };
        let models = BTreeMap::from([
            ("mine".to_owned(), model(Some("plus-2026"), None)),
            ("plus-2026".to_owned(), model(None, None)),
            ("minus".to_owned(), model(Some("plus-2026"), None)),
            ("newer".to_owned(), config::Model { score: None, ..model(Some("x"), Some("mine")) }),
            ("stranger".to_owned(), model(Some("plus"), None)),
        ]);
        let priors = of(&models, Arc::new(head));
        let parts = |name: &str| priors.abilities[name].parts.clone();
        for name in ["mine", "plus-2026"] {
            assert_eq!(
                (parts(name), priors.estimate(name).source),
                (vec![(0, 1.0)], EstimateSource::Learned),
                "{name}"
            );
        }
        assert_eq!(parts("minus"), [(1, 1.0)], "its own name comes first");
        assert_eq!(parts("newer"), [(0, 1.0)]);
        assert_eq!(priors.estimate("newer").source, EstimateSource::Like("home/plus-2026".into()));
        assert_eq!(priors.estimate("stranger").source, EstimateSource::Score);
    }

    #[test]
    fn what_the_builtin_head_has_of_a_benchmark_is_not_of_a_provider_that_happens_to_be_called_so() {
        let mut description = crate::classifier::head::tests::head().description().clone();
        description.arms[0].model = "home/plus".into();
        let head = Head::new(description, crate::classifier::head::tests::head().parts().clone()).unwrap();
        let served =
            |like: Option<&str>, score| config::Model { provider: Some("home".into()), ..model(like, score) };
        let models = BTreeMap::from([
            ("plus".to_owned(), served(None, Some(0.3))),
            ("home/plus".to_owned(), served(None, Some(0.3))),
            ("newer".to_owned(), config::Model { upstream: Some("plus".into()), ..served(Some("minus"), None) }),
            ("minus".to_owned(), served(None, None)),
        ]);
        let priors = Priors::new(&models).with_head(Some(Arc::new(head)), false);
        let source = |priors: &Priors, name: &str| priors.estimate(name).source;
        assert_eq!(priors.estimate("plus").quality, 0.3);
        assert_eq!(source(&priors, "plus"), EstimateSource::Score);
        assert_eq!(source(&priors, "newer"), EstimateSource::Like("minus".into()));
        assert_eq!(source(&priors, "home/plus"), EstimateSource::Learned, "called so by the operator");
        assert_eq!(source(&priors.with_models(&models), "plus"), EstimateSource::Score, "after a reload, too");
        let own = priors.with_head(priors.head().cloned(), true);
        assert_eq!(source(&own, "plus"), EstimateSource::Learned);
        assert_eq!(source(&own.with_models(&models), "plus"), EstimateSource::Learned);
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
        let priors = of(&models, Arc::clone(&head));
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
            of(&models, Arc::clone(&head)).estimates(&reading).get("mine").quality
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
        let priors = of(&models, Arc::clone(&head));
        let unread = priors.estimate("one");
        // On the training prompts `plus` has log-odds of 1, -1 and 0; of three models, one is the other source's, whose
        // .5, 1.5 and 1 count by a third.
        let mean = [7.0_f64 / 6.0, -0.5, 1.0 / 3.0].map(|odds| 1.0 / (1.0 + (-odds).exp())).iter().sum::<f64>() / 3.0;
        assert!((unread.quality - mean).abs() < 1e-3, "{unread:?}, and not {}", head.description().arms[0].mean);
        assert_eq!(unread.source, EstimateSource::Like("plus".into()));
    }

    #[test]
    fn another_name_of_a_model_means_it_unless_the_head_calls_a_model_so() {
        let head = Arc::new(crate::classifier::head::tests::head());
        let named = |like: &str| {
            let mut model = model(Some(like), None);
            model.likeness = Some("minus".to_owned());
            model
        };
        let models = BTreeMap::from([
            ("minus".to_owned(), model(None, None)),
            ("new".to_owned(), named("home/minus")),
            ("older".to_owned(), named("plus")),
        ]);
        let priors = of(&models, head);
        assert_eq!(priors.estimate("new").source, EstimateSource::Like("minus".into()));
        assert_eq!(priors.estimate("older").source, EstimateSource::Like("plus".into()));
    }

    #[test]
    fn a_circle_ends() {
        assert_eq!(priors().estimate("ring"), Estimate::default());
    }
}
