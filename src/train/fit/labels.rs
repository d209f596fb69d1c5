//! Task labels, from the names of a data set's tasks.
//!
//! Benchmarks name their tasks after themselves; users and rules ask whether a prompt is code or a translation. The
//! first fragment that is in a task's name decides. A name without a known fragment has no label.

/// Fragments of task names, and the label they mean; the first that fits wins.
const FRAGMENTS: [(&str, &str); 43] = [
    ("bfcl", "tools"),
    ("function", "tools"),
    ("humaneval", "code"),
    ("mbpp", "code"),
    ("crux", "code"),
    ("code", "code"),
    ("debug", "debug"),
    ("programming", "code"),
    ("computer", "knowledge"),
    ("gsm", "math"),
    ("math", "math"),
    ("algebra", "math"),
    ("geometry", "math"),
    ("statistics", "math"),
    ("arithmetic", "math"),
    ("translat", "translation"),
    ("wmt", "translation"),
    ("summar", "summary"),
    ("cnn", "summary"),
    ("xsum", "summary"),
    ("extract", "extraction"),
    ("squad", "extraction"),
    ("drop", "extraction"),
    ("commongen", "writing"),
    ("common_gen", "writing"),
    ("writing", "writing"),
    ("roleplay", "writing"),
    ("humanities", "knowledge"),
    ("logic", "reasoning"),
    ("reasoning", "reasoning"),
    ("winogrande", "reasoning"),
    ("hellaswag", "reasoning"),
    ("commonsense", "reasoning"),
    ("bbh", "reasoning"),
    ("arc", "knowledge"),
    ("openbook", "knowledge"),
    ("mmlu", "knowledge"),
    ("ceval", "knowledge"),
    ("trivia", "knowledge"),
    ("natural", "knowledge"),
    ("truthful", "knowledge"),
    ("gpqa", "knowledge"),
    ("knowledge", "knowledge"),
];

/// Labels that a set of labelled prompts may use as they are.
const PLAIN: [&str; 12] = [
    "analysis",
    "chat",
    "code",
    "debug",
    "extraction",
    "knowledge",
    "math",
    "reasoning",
    "summary",
    "tools",
    "translation",
    "writing",
];

/// The label of a task, if its name says one.
pub fn of_task(task: &str) -> Option<&'static str> {
    let lower = task.to_ascii_lowercase();
    if let Some(plain) = PLAIN.iter().find(|label| **label == lower) {
        return Some(plain);
    }
    FRAGMENTS.iter().find(|(fragment, _)| lower.contains(fragment)).map(|(_, label)| *label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn benchmarks_are_told_apart_and_unknown_names_left_out() {
        assert_eq!(of_task("mmlu/abstract_algebra"), Some("math"));
        assert_eq!(of_task("mmlu/world_religions"), Some("knowledge"));
        assert_eq!(of_task("MBPP"), Some("code"));
        assert_eq!(of_task("bfcl/parallel"), Some("tools"));
        assert_eq!(of_task("chat"), Some("chat"));
        assert_eq!(of_task("something_else"), None);
    }
}
