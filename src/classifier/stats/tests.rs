//! Tests of the text statistics.

use super::*;

#[test]
fn names_and_values_agree() {
    assert_eq!(NAMES.len(), TextStats::of("").values.len());
    let mut names = NAMES.to_vec();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COUNT);
}

#[test]
fn a_multiple_choice_question_shows_its_options() {
    let stats = TextStats::of("Which of these is not a metal?\nA. Iron\nB. Neon\nC. Lead\nD. Zinc\nAnswer:");
    assert_eq!(stats.get("log_options"), 4f32.ln_1p());
    assert_eq!(stats.get("many_options"), 0.0);
    assert_eq!(stats.get("log_answer_cues"), 1f32.ln_1p());
    assert_eq!(stats.get("negation"), 1.0);
    assert_eq!(stats.get("ends_in_question"), 0.0);
}

#[test]
fn code_mathematics_and_tools_are_told_apart() {
    let code = TextStats::of("```python\ndef f(x):\n    return x == 1\n```\nFix the bug.");
    assert!(code.get("code_fence") == 1.0 && code.get("log_code_words") > 1.0 && code.get("log_code_marks") > 0.0);
    let math = TextStats::of("Solve the equation $x^2 - 5x + 6 = 0$ over the integers.");
    assert!(math.get("log_tex") > 0.0 && math.get("log_math_words") > 1.0 && math.get("code_fence") == 0.0);
    let tool = TextStats::of(
        r#"Weather in Oslo?
{"name":"weather","description":"d","parameters":{"type":"dict","properties":{"city":{"type":"string"}},"required":["city"]}}"#,
    );
    assert_eq!(tool.get("tool_schema"), 1.0);
    assert_eq!(math.get("tool_schema"), 0.0);
}

#[test]
fn scripts_are_counted_in_characters() {
    let chinese = TextStats::of("下列哪个选项是正确的？");
    assert!(chinese.get("han_share") > 0.85 && chinese.get("han_share") <= 1.0);
    assert_eq!(chinese.get("ends_in_question"), 1.0);
    assert!(TextStats::of("Привет, как дела?").get("cyrillic_share") > 0.5);
    assert_eq!(TextStats::of("plain").get("non_ascii_share"), 0.0);
}

#[test]
fn numbers_keep_their_separators() {
    let stats = TextStats::of("In 1,234.5 of 20 cases");
    assert_eq!(stats.get("log_numbers"), 2f32.ln_1p());
}

#[test]
fn all_values_are_finite_and_bounded_for_any_text() {
    let long = "漢字 word 123 ".repeat(400_000);
    for text in ["", " ", "?", "\u{0}\u{10ffff}", "é".repeat(3000).as_str(), long.as_str()] {
        let stats = TextStats::of(text);
        assert!(stats.values.iter().all(|v| v.is_finite() && (0.0..=25.0).contains(v)), "{:?}", stats.values);
    }
}

#[test]
fn a_long_prompt_is_read_at_both_ends_only() {
    let middle = "x ".repeat(100_000);
    let with = |inner: &str| TextStats::of(&format!("start\n{middle}{inner}{middle}\nthe end?"));
    assert_eq!(with("").get("ends_in_question"), 1.0);
    let (a, b) = (with("A. one\nB. two\n"), with("C. six\nD. ten\n"));
    assert_eq!(a, b);
}
