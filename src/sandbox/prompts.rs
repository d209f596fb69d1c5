//! The prompts that the demo's users ask: `data/prompts.jsonl`, compiled in, so that the demo runs from anywhere.
//! See `data/README.md` for the schema and where they come from.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

/// What a prompt asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Task {
    Code,
    Debug,
    Math,
    Reasoning,
    Translation,
    Summary,
    Extraction,
    Writing,
    Chat,
    Analysis,
    Knowledge,
    Tools,
}

impl Task {
    /// Every task, in the order of the data file.
    pub const ALL: [Self; 12] = [
        Self::Code,
        Self::Debug,
        Self::Math,
        Self::Reasoning,
        Self::Translation,
        Self::Summary,
        Self::Extraction,
        Self::Writing,
        Self::Chat,
        Self::Analysis,
        Self::Knowledge,
        Self::Tools,
    ];

    /// The task's name in the data file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Debug => "debug",
            Self::Math => "math",
            Self::Reasoning => "reasoning",
            Self::Translation => "translation",
            Self::Summary => "summary",
            Self::Extraction => "extraction",
            Self::Writing => "writing",
            Self::Chat => "chat",
            Self::Analysis => "analysis",
            Self::Knowledge => "knowledge",
            Self::Tools => "tools",
        }
    }
}

/// One prompt of the data file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// `task-NNN`, stable.
    pub id: String,
    /// What it asks for.
    pub task: Task,
    /// The language it is written in, ISO 639-1.
    pub language: String,
    /// What the user writes.
    pub prompt: String,
    /// From 1 (any model can) to 5 (the best may fail).
    pub difficulty: u8,
}

/// All prompts, in file order.
pub fn all() -> &'static [Prompt] {
    static ALL: LazyLock<Vec<Prompt>> = LazyLock::new(|| {
        let lines = include_str!("../../data/prompts.jsonl").lines();
        lines.filter_map(|line| serde_json::from_str(line).ok()).collect()
    });
    &ALL
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn every_line_of_the_file_is_a_prompt_and_no_two_are_alike() {
        let lines: Vec<&str> = include_str!("../../data/prompts.jsonl").lines().collect();
        for line in &lines {
            let prompt: Prompt = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
            assert!((1..=5).contains(&prompt.difficulty), "{line}");
            assert!(prompt.prompt.trim() == prompt.prompt && prompt.prompt.chars().count() >= 10, "{line}");
            assert!(prompt.id.starts_with(&format!("{}-", prompt.task.as_str())), "{line}");
            assert!(prompt.language.len() == 2 && prompt.language.is_ascii(), "{line}");
        }
        assert_eq!(all().len(), lines.len());
        assert!(lines.len() >= 400, "{}", lines.len());
        let ids: BTreeSet<&str> = all().iter().map(|prompt| prompt.id.as_str()).collect();
        let normal = |text: &str| text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let texts: BTreeSet<String> = all().iter().map(|prompt| normal(&prompt.prompt)).collect();
        assert_eq!((ids.len(), texts.len()), (lines.len(), lines.len()));
    }

    #[test]
    fn no_two_prompts_of_one_task_are_a_filled_in_form() {
        // Two prompts that share most of their word pairs would be one sentence with another noun in it.
        let pairs = |text: &str| {
            let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
            words.windows(2).map(|pair| pair.join(" ")).collect::<BTreeSet<String>>()
        };
        for (i, one) in all().iter().enumerate() {
            let first = pairs(&one.prompt);
            for other in all().iter().skip(i + 1).filter(|other| other.task == one.task) {
                let second = pairs(&other.prompt);
                let shared = first.intersection(&second).count();
                let smaller = first.len().min(second.len());
                assert!(smaller < 4 || shared * 2 <= smaller, "{} and {}", one.id, other.id);
            }
        }
    }

    #[test]
    fn many_kinds_and_languages_are_there() {
        let mut tasks = BTreeMap::<Task, usize>::new();
        let mut languages = BTreeMap::<&str, usize>::new();
        for prompt in all() {
            *tasks.entry(prompt.task).or_default() += 1;
            *languages.entry(&prompt.language).or_default() += 1;
        }
        assert!(Task::ALL.iter().all(|task| tasks.get(task).is_some_and(|n| *n >= 30)), "{tasks:?}");
        for language in ["en", "de", "fr", "es", "zh", "ja", "ru", "ar", "hi", "pt"] {
            assert!(languages.get(language).is_some_and(|n| *n >= 10), "{language}: {languages:?}");
        }
    }
}
