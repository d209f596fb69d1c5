//! How good the sandbox's models *pretend* to be: the truth that a demo's learner has to discover.
//!
//! A skill is a logit: at 0 a user likes half of the answers to a prompt of medium difficulty, at 2 the user likes 88
//! %. It is the sum of the model's general ability, its strength or weakness at the task, and its loss in other
//! languages than English. The numbers are invented so that routing pays: expensive models are best on hard prompts,
//! cheap ones as good on easy ones, some have a speciality, and no model is best at everything. They say nothing about
//! the real models of these names.

use std::collections::BTreeMap;

use super::dice::Dice;
use super::prompts::Task;

/// The abilities of one model, as logits.
#[derive(Debug, Clone, PartialEq)]
pub struct Skill {
    /// General ability.
    pub general: f64,
    /// Loss per step of difficulty (1 to 5; 3 is medium).
    pub per_difficulty: f64,
    /// Tasks at which the model is better or worse than in general.
    pub tasks: BTreeMap<Task, f64>,
    /// Loss in a language other than English.
    pub other_languages: f64,
    /// Languages with a value of their own, in place of `other_languages`.
    pub languages: BTreeMap<&'static str, f64>,
}

impl Skill {
    /// The logit of a good answer to a prompt of this kind.
    pub fn logit(&self, task: Task, language: &str, difficulty: u8) -> f64 {
        let abroad = match self.languages.get(language) {
            Some(extra) => *extra,
            None if language == "en" => 0.0,
            None => -self.other_languages,
        };
        let task = self.tasks.get(&task).copied().unwrap_or(0.0);
        self.general + task + abroad - self.per_difficulty * (f64::from(difficulty) - 3.0)
    }

    /// The skill of a model that is not in [`builtin`]: medium, with strengths that depend only on its name.
    pub fn of_unknown(model: &str) -> Self {
        let dice = Dice::new(0).about(model);
        let tasks = Task::ALL.iter().map(|task| (*task, 0.5 * dice.about(task.as_str()).normal())).collect();
        Self {
            general: 0.4 + 0.4 * dice.about("general").normal(),
            per_difficulty: 0.6,
            tasks,
            other_languages: 0.4,
            languages: BTreeMap::new(),
        }
    }
}

/// The skills of the built-in models, by their names in `config/default.toml`.
pub fn builtin() -> BTreeMap<String, Skill> {
    use Task::*;
    let mut skills = BTreeMap::new();
    let mut add = |names: &[&str], general: f64, per_difficulty: f64, other_languages: f64, tasks: &[(Task, f64)]| {
        for name in names {
            let skill = Skill {
                general,
                per_difficulty,
                tasks: tasks.iter().copied().collect(),
                other_languages,
                languages: BTreeMap::new(),
            };
            skills.insert((*name).to_owned(), skill);
        }
    };
    let claude = [(Code, 0.9), (Debug, 0.9), (Writing, 0.7), (Math, -0.3), (Extraction, -0.3), (Translation, -0.2)];
    add(&["claude-fable-5-1"], 1.7, 0.3, 0.1, &claude);
    add(&["claude-opus-5-5"], 1.4, 0.35, 0.1, &claude);
    add(&["claude-sonnet-5-5"], 1.2, 0.45, 0.15, &claude);
    add(&["claude-haiku-5-5"], 0.9, 0.8, 0.25, &[(Chat, 1.2), (Summary, 1.0), (Math, -0.8), (Reasoning, -0.5)]);
    add(&["claude-3.7-sonnet"], 1.1, 0.5, 0.2, &claude);
    add(&["claude-3.5-sonnet"], 0.9, 0.55, 0.2, &claude);
    add(&["claude-3-opus"], 1.0, 0.55, 0.2, &[(Writing, 0.6), (Math, -0.4)]);
    add(&["claude-3-sonnet"], 0.6, 0.65, 0.3, &[(Writing, 0.2)]);
    add(&["claude-3-haiku"], 0.2, 0.8, 0.4, &[(Chat, 0.3), (Summary, 0.2)]);
    add(&["gpt-6-astra"], 2.2, 0.3, 0.15, &[(Math, 0.4), (Tools, 0.3)]);
    add(&["gpt-6-sol"], 1.7, 0.4, 0.2, &[(Math, 0.4), (Tools, 0.5), (Extraction, 0.3), (Writing, -0.4)]);
    add(&["gpt-6-luna"], 0.9, 0.6, 0.3, &[(Extraction, 1.4), (Tools, 1.2), (Writing, -0.8), (Debug, -0.4)]);
    add(&["gpt-5.6-terra"], 1.7, 0.45, 0.2, &[(Tools, 0.4), (Writing, -0.3)]);
    add(&["gpt-4o"], 0.9, 0.5, 0.1, &[(Translation, 1.5), (Knowledge, 0.9), (Math, -0.6), (Code, -0.3)]);
    add(&["gpt-4o-mini"], 0.7, 0.8, 0.2, &[(Extraction, 0.4), (Translation, 0.2), (Math, -0.5)]);
    add(&["deepseek-v3.1", "deepseek-chat"], 0.9, 0.6, 0.5, &[(Analysis, 1.4), (Code, 0.4), (Writing, -0.8)]);
    let thinker = [(Math, 2.0), (Reasoning, 1.8), (Chat, -1.0), (Writing, -0.8), (Tools, -1.4)];
    add(&["deepseek-r1", "deepseek-reasoner"], 0.8, 0.3, 0.5, &thinker);
    add(&["deepseek-flash"], 1.0, 0.55, 0.3, &[(Analysis, 1.2), (Code, 0.5), (Writing, -0.6)]);
    add(&["deepseek-v4-pro"], 1.1, 0.4, 0.3, &[(Math, 1.2), (Reasoning, 1.0), (Writing, -0.6), (Tools, -0.6)]);
    add(&["llama3.2"], 0.1, 0.9, 0.6, &[(Chat, 0.7), (Summary, 0.4), (Math, -0.8), (Tools, -0.8)]);
    add(&["qwen2.5"], 0.3, 0.8, 0.4, &[(Math, 0.4), (Code, 0.3), (Writing, -0.3)]);
    for (model, language, extra) in [
        ("deepseek-v3.1", "zh", 0.9),
        ("deepseek-chat", "zh", 0.9),
        ("deepseek-r1", "zh", 0.7),
        ("deepseek-reasoner", "zh", 0.7),
        ("deepseek-flash", "zh", 0.8),
        ("deepseek-v4-pro", "zh", 0.8),
        ("qwen2.5", "zh", 1.2),
        ("gpt-4o", "ja", 0.3),
        ("claude-sonnet-5-5", "de", 0.2),
    ] {
        if let Some(skill) = skills.get_mut(model) {
            skill.languages.insert(language, extra);
        }
    }
    skills
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_model_is_best_at_everything_and_cheap_ones_do_on_easy_prompts() {
        let skills = builtin();
        let everyday = [
            "claude-sonnet-5-5",
            "claude-haiku-5-5",
            "gpt-6-sol",
            "gpt-6-luna",
            "gpt-4o",
            "deepseek-v3.1",
            "deepseek-r1",
        ];
        let mut winners = std::collections::BTreeSet::new();
        for task in Task::ALL {
            let logit = |model: &&&str| skills[**model].logit(task, "en", 4);
            winners.insert(everyday.iter().max_by(|a, b| logit(a).total_cmp(&logit(b))).unwrap());
        }
        assert!(winners.len() >= 3, "{winners:?}");
        let gap = |difficulty| {
            skills["claude-opus-5-5"].logit(Task::Chat, "en", difficulty)
                - skills["claude-haiku-5-5"].logit(Task::Chat, "en", difficulty)
        };
        assert!(gap(1) < 0.0 && gap(5) > 0.1);
    }

    #[test]
    fn an_unknown_model_is_always_the_same_stranger() {
        assert_eq!(Skill::of_unknown("mistral-large"), Skill::of_unknown("mistral-large"));
        assert_ne!(Skill::of_unknown("mistral-large"), Skill::of_unknown("phi-4"));
    }
}
