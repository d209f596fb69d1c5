//! Static rules: conditions on a request, and what they do to the choice.
//!
//! Rules are applied in order. Effects of matching ones accumulate: `forbid` and `prefer` add up, later `weights` and
//! `objective` win over earlier ones, and a `pin` ends the list. Costly facts about a request (its language, say) are
//! computed once, and only if some rule asks.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::OnceLock;

use super::language;
use crate::classifier::stats::TextStats;
use crate::config::{Rule, Search, Trait, When, Within};
use crate::protocol::{ChatRequest, Message, Needs, Objective};
use crate::upstream::Catalog;

/// Compiled rules.
#[derive(Debug, Default)]
pub struct Rules {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    rule: Rule,
    /// `None` where a keyword or pattern is invalid, which loading the configuration refuses: then no text matches.
    search: Option<Search>,
}

/// The combined effect of the matching rules.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RuleEffect {
    /// Names of the rules that matched, in order.
    pub hits: Vec<String>,
    /// The only model allowed.
    pub pin: Option<String>,
    /// Models to try first, in order.
    pub prefer: Vec<String>,
    /// Models not allowed, with the rule that forbids each.
    pub forbid: BTreeMap<String, String>,
    /// Weights in place of the configured ones.
    pub weights: BTreeMap<String, f64>,
    /// The objective to optimise.
    pub objective: Option<Objective>,
    /// Whether exploration is allowed.
    pub explore: Option<bool>,
    /// The language read, as an ISO 639-3 code; `und` where too little tells it, `None` where no rule asked.
    pub language: Option<&'static str>,
}

/// ISO 639-3 for a language that is not determined. No rule can ask for it.
const UNKNOWN: &str = "und";

/// What rules can test of a request.
#[derive(Debug)]
pub struct Facts<'a> {
    request: &'a ChatRequest,
    needs: Needs,
    prompt_tokens: u32,
    token: Option<&'a str>,
    headers: &'a http::HeaderMap,
    task: Option<&'a str>,
    body: Option<&'a [u8]>,
    text: OnceLock<String>,
    everything: OnceLock<HashSet<Cow<'a, str>>>,
    language: OnceLock<&'static str>,
    code: OnceLock<bool>,
}

impl<'a> Facts<'a> {
    /// The facts of `request`; `token` is the name of the API token it came with.
    pub fn new(
        request: &'a ChatRequest,
        needs: Needs,
        prompt_tokens: u32,
        token: Option<&'a str>,
        headers: &'a http::HeaderMap,
    ) -> Self {
        Self {
            request,
            needs,
            prompt_tokens,
            token,
            headers,
            task: None,
            body: None,
            text: OnceLock::new(),
            everything: OnceLock::new(),
            language: OnceLock::new(),
            code: OnceLock::new(),
        }
    }

    /// Adds the task that the classifier recognised, if it read the prompt.
    pub fn with_task(self, task: Option<&'a str>) -> Self {
        Self { task, ..self }
    }

    /// Adds the client's body, where it may be sent as it is.
    pub fn with_body(self, body: Option<&'a [u8]>) -> Self {
        Self { body, ..self }
    }

    /// The last user turn without what client programs add to it; inside a tool loop that is still the question.
    fn text(&self) -> &str {
        self.text.get_or_init(|| self.request.question().map(Message::question_text).unwrap_or_default())
    }

    /// All texts that are sent, gathered once for all rules.
    fn everything(&self) -> impl Iterator<Item = &str> {
        self.everything.get_or_init(|| self.request.texts(self.body)).iter().map(|text| &**text)
    }

    /// The language's ISO 639-3 code, which is [`UNKNOWN`] where too little tells it.
    fn language(&self) -> &'static str {
        self.language.get_or_init(|| language::read(self.text()).map_or(UNKNOWN, |language| language.code()))
    }

    /// Whether there is source code: a fence, or several marks that prose does not have.
    fn has_code(&self) -> bool {
        *self.code.get_or_init(|| {
            let stats = TextStats::of(self.text());
            let marks = stats.get("log_code_marks");
            stats.get("code_fence") > 0.0 || marks >= 4_f32.ln() || (marks > 0.0 && stats.get("log_code_words") > 0.0)
        })
    }

    fn has(&self, what: Trait) -> bool {
        match what {
            Trait::Code => self.has_code(),
            Trait::Tools => self.needs.tools,
            Trait::Images => self.needs.vision,
            Trait::StructuredOutput => self.needs.structured_output,
        }
    }
}

impl Rules {
    /// Compiles the configured rules. Names of models are resolved to those that `catalog` lists.
    pub fn new(rules: &[Rule], catalog: &Catalog) -> Self {
        let compile =
            |rule: &Rule| Compiled { rule: by_listed_names(rule, catalog), search: Search::new(&rule.when).ok() };
        Self { rules: rules.iter().map(compile).collect() }
    }

    /// The combined effect of the rules that match `facts`.
    pub fn apply(&self, facts: &Facts<'_>) -> RuleEffect {
        let mut effect = RuleEffect::default();
        for compiled in self.rules.iter().filter(|compiled| compiled.matches(facts)) {
            let rule = &compiled.rule;
            effect.hits.push(rule.name.clone());
            for model in &rule.forbid {
                effect.forbid.entry(model.clone()).or_insert_with(|| rule.name.clone());
            }
            let known: BTreeSet<&String> = effect.prefer.iter().collect();
            let fresh: Vec<String> = rule.prefer.iter().filter(|model| !known.contains(model)).cloned().collect();
            effect.prefer.extend(fresh);
            effect.weights.extend(rule.weights.clone());
            effect.objective = rule.objective.or(effect.objective);
            effect.explore = rule.explore.or(effect.explore);
            if rule.pin.is_some() {
                effect.pin = rule.pin.clone();
                break;
            }
        }
        effect.language = facts.language.get().copied();
        effect
    }

    /// Rules whose conditions hold as far as they can be tested without reading the text.
    pub fn match_unread<'r>(&'r self, facts: &'r Facts<'_>) -> impl Iterator<Item = &'r Rule> {
        self.rules.iter().filter(|compiled| compiled.matches_unread(facts)).map(|compiled| &compiled.rule)
    }
}

fn by_listed_names(rule: &Rule, catalog: &Catalog) -> Rule {
    let listed = |name: &String| catalog.canonical(name).to_owned();
    Rule {
        prefer: rule.prefer.iter().map(listed).collect(),
        forbid: rule.forbid.iter().map(listed).collect(),
        weights: rule.weights.iter().map(|(name, weight)| (listed(name), *weight)).collect(),
        ..rule.clone()
    }
}

impl Compiled {
    fn matches(&self, facts: &Facts<'_>) -> bool {
        // Cheap conditions first.
        self.matches_unread(facts) && self.matches_text(facts)
    }

    /// Whether all conditions hold that are not about the text.
    fn matches_unread(&self, facts: &Facts<'_>) -> bool {
        let When { min_tokens, max_tokens, has, task, token, header, tag, .. } = &self.rule.when;
        let tokens = facts.prompt_tokens;
        min_tokens.is_none_or(|min| tokens >= min)
            && max_tokens.is_none_or(|max| tokens <= max)
            && (task.is_empty() || facts.task.is_some_and(|seen| task.iter().any(|wanted| wanted == seen)))
            && (token.is_empty() || facts.token.is_some_and(|name| token.iter().any(|wanted| wanted == name)))
            && header.iter().all(|(name, value)| {
                let sent = facts.headers.get(name).and_then(|sent| sent.to_str().ok());
                sent.is_some_and(|sent| value == "*" || sent == value)
            })
            && tag.iter().all(|(name, value)| {
                let sent = facts.request.routing.tags.get(name);
                sent.is_some_and(|sent| value == "*" || sent == value)
            })
            && has.iter().all(|what| *what == Trait::Code || facts.has(*what))
    }

    fn matches_text(&self, facts: &Facts<'_>) -> bool {
        let When { keywords, regex, language, script, has, .. } = &self.rule.when;
        let found_in_text = |found: fn(&Search, &str) -> bool| {
            self.search.as_ref().is_some_and(|search| match self.rule.looks_within() {
                Within::Question => found(search, facts.text()),
                Within::Everything => facts.everything().any(|text| found(search, text)),
            })
        };
        (keywords.is_empty() || found_in_text(Search::finds_word))
            && (regex.is_empty() || found_in_text(Search::finds_pattern))
            && (!has.contains(&Trait::Code) || facts.has_code())
            && (language.is_empty() || language.iter().any(|code| code == facts.language()))
            && (script.is_empty()
                || whatlang::detect_script(facts.text())
                    .is_some_and(|found| script.iter().any(|name| name == found.name())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Part, Role};

    fn asking(text: &str) -> ChatRequest {
        ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() }
    }

    fn effect(rules: &str, request: &ChatRequest) -> RuleEffect {
        let config: crate::config::Config = rules.parse().unwrap();
        let headers = http::HeaderMap::from_iter([(
            http::HeaderName::from_static("x-team"),
            http::HeaderValue::from_static("legal"),
        )]);
        let tokens = crate::route::estimate_tokens(request);
        Rules::new(&config.rules, &Catalog::default()).apply(&Facts::new(
            request,
            request.needs(),
            tokens,
            Some("ci"),
            &headers,
        ))
    }

    fn matches(when: &str, text: &str) -> bool {
        let rules = format!("[[rules]]\nname = 'r'\npin = 'gpt-4o'\nwhen = {{ {when} }}\n");
        effect(&rules, &asking(text)).pin.is_some()
    }

    #[test]
    fn inside_a_tool_loop_the_question_still_counts() {
        let mut request = asking("This is confidential: who is in the room?");
        let call = Part::ToolCall { id: "1".into(), name: "look".into(), arguments: "{}".into() };
        let content = vec![Part::text("nobody")];
        let result = Part::ToolResult { call_id: "1".into(), content, is_error: false, cache_control: None };
        request.messages.push(Message { role: Role::Assistant, parts: vec![call], name: None });
        request.messages.push(Message { role: Role::User, parts: vec![result], name: None });
        let rule = "[[rules]]\nname = 'r'\nprefer = ['gpt-4o']\nwhen = { keywords = ['confidential'] }\n";
        assert!(!effect(rule, &request).prefer.is_empty());
        request.messages.push(Message::text(Role::User, "Thank you."));
        assert!(effect(rule, &request).prefer.is_empty(), "the last question says what kind of work it is");
    }

    #[test]
    fn what_must_not_leave_is_found_wherever_it_stands() {
        let text = |role| Message::text(role, "This is CONFIDENTIAL.");
        let parts = |parts| Message { role: Role::User, parts, name: None };
        let arguments = r#"{"query": "confidential"}"#;
        let call = Part::ToolCall { id: "1".into(), name: "look".into(), arguments: arguments.into() };
        let content = vec![Part::text("confidential")];
        let result = Part::ToolResult { call_id: "1".into(), content, is_error: false, cache_control: None };
        let escaped = Part::text(r#"{"page": "For us alone:\nconfidential"}"#);
        let document = serde_json::json!({"source": {"type": "text", "data": "confidential"}});
        let document = Part::Foreign { kind: "document".into(), value: document };
        let places = [text(Role::System), text(Role::User), text(Role::Assistant)];
        let in_parts = [call, result, escaped, document].map(|part| parts(vec![part]));
        for place in places.into_iter().chain(in_parts) {
            let mut request = asking("Shorter, please.");
            request.messages.insert(0, place);
            let found = |rule: &str| {
                let rule = format!("[[rules]]\nname = 'r'\n{rule}\n");
                effect(&rule, &request)
            };
            let by_word = found("pin = 'gpt-4o'\nwhen = { keywords = ['confidential'] }");
            let by_pattern = found("forbid = ['gpt-4o']\nwhen = { regex = ['(?i)confidential'] }");
            assert!(by_word.pin.is_some() && !by_pattern.forbid.is_empty(), "{:?}", request.messages[0]);
            let narrowed = found("pin = 'gpt-4o'\nwhen = { keywords = ['confidential'], within = 'question' }");
            assert!(narrowed.pin.is_none());
            let widened = found("prefer = ['gpt-4o']\nwhen = { keywords = ['confidential'], within = 'everything' }");
            assert!(!widened.prefer.is_empty());
        }
    }

    #[test]
    fn what_a_program_adds_to_a_question_is_found_by_rules_that_guard_and_by_no_others() {
        let mut request = asking("<system-reminder>This is confidential.</system-reminder>");
        request.messages[0].parts.push(Part::text("Shorter, please."));
        let when = "when = { keywords = ['confidential'] }";
        assert!(effect(&format!("[[rules]]\nname = 'r'\npin = 'gpt-4o'\n{when}"), &request).pin.is_some());
        assert!(effect(&format!("[[rules]]\nname = 'r'\nprefer = ['gpt-4o']\n{when}"), &request).prefer.is_empty());
    }

    #[test]
    fn what_is_escaped_is_read_once_however_many_rules_ask() {
        let request = asking(r#"{"page": "For us alone:\nconfidential"}"#);
        let headers = http::HeaderMap::new();
        let facts = Facts::new(&request, request.needs(), 1, None, &headers);
        let [first, again] = [(), ()].map(|()| facts.everything().collect::<Vec<_>>());
        assert!(first.iter().any(|text| text.contains("\nconfidential")));
        assert!(first.iter().zip(&again).all(|(first, again)| std::ptr::eq(*first, *again)));
    }

    #[test]
    fn keywords_are_whole_words_in_any_case() {
        assert!(matches("keywords = ['invoice']", "Pay this INVOICE now"));
        assert!(!matches("keywords = ['voice']", "Pay this invoice now"));
        for name in ["confidential_report_2026.pdf", "read_confidential", "confidential2026", "4confidential_"] {
            assert!(matches("keywords = ['confidential']", &format!("Summarise {name} for me")), "{name}");
        }
        assert!(!matches("keywords = ['confidential']", "In unconfidential_words, confidentially"));
        assert!(matches("keywords = ['2026']", "report_2026.pdf"));
        assert!(!matches("keywords = ['2026']", "120267"));
        assert!(matches("keywords = ['\u{5408}\u{540c}']", "\u{8bf7}\u{770b}\u{5408}\u{540c}\u{5427}"));
    }

    #[test]
    fn keywords_end_at_no_accent_and_overlap() {
        for part in ["ma\u{e7}on", "mac\u{327}on", "on\u{e9}", "\u{e9}on\u{e9}"] {
            assert!(!matches("keywords = ['on']", part), "{part}");
        }
        assert!(matches("keywords = ['on']", "\u{ab}ON\u{bb}"));
        assert!(matches("keywords = ['top', 'top secret files', 'secret']", "stop secret"));
        assert!(matches("keywords = ['GR\u{dc}\u{df}E']", "Gr\u{fc}\u{df}e"));
    }

    #[test]
    fn keywords_end_where_another_script_begins() {
        for text in [
            "\u{c774} \u{bb38}\u{c11c}\u{b294} confidential\u{c785}\u{b2c8}\u{b2e4}",
            "\u{3053}\u{306e}\u{6587}\u{66f8}\u{306f}Confidential\u{3067}\u{3059}",
            "\u{6211}\u{4eec}\u{7684}confidential\u{5408}\u{540c}",
            "\u{441}\u{43e}\u{432}confidential\u{43d}\u{44b}\u{439}",
        ] {
            assert!(matches("keywords = ['confidential']", text), "{text}");
        }
        assert!(matches("keywords = ['2026']", "2026\u{b144}"));
        // Latin goes on beyond ASCII: Icelandic, Vietnamese, Azerbaijani, a ligature, full width.
        for letter in ['\u{f0}', '\u{1ea1}', '\u{259}', '\u{fb01}', '\u{ff41}'] {
            assert!(!matches("keywords = ['on']", &format!("on{letter}")), "{letter}");
            assert!(!matches("keywords = ['on']", &format!("{letter}on")), "{letter}");
        }
    }

    #[test]
    fn a_list_of_keywords_may_be_long() {
        let words: Vec<String> = (0..8000).map(|at| format!("customer{at}x")).collect();
        let of = |count: usize| format!("keywords = {:?}", &words[..count]);
        for count in [1000, 8000] {
            assert!(!matches(&of(count), "hello world"), "{count}");
            assert!(matches(&of(count), "What of Customer7X?"), "{count}");
        }
        // A megabyte: as one pattern they would take minutes to look through it.
        let german = "Gr\u{fc}\u{df}e an die Stra\u{df}e f\u{fc}r Customer ".repeat(26_000);
        assert!(!matches(&of(800), &german));
    }

    #[test]
    fn what_cannot_be_looked_for_is_found_nowhere() {
        let when = When { regex: vec!["(".into()], ..When::default() };
        let rule = Rule { when, pin: Some("gpt-4o".into()), ..Rule::default() };
        let (request, headers) = (asking("hello"), http::HeaderMap::new());
        let facts = Facts::new(&request, request.needs(), 1, None, &headers);
        assert_eq!(Rules::new(&[rule], &Catalog::default()).apply(&facts), RuleEffect::default());
    }

    #[test]
    fn keywords_may_begin_and_end_with_marks() {
        assert!(matches("keywords = ['C++']", "Some C++ code"));
        assert!(matches("keywords = ['C#']", "Is it c#?"));
        assert!(matches("keywords = ['.NET']", "In ASP.NET Core"));
        assert!(!matches("keywords = ['C++']", "RISC++ or C+"));
        assert!(!matches("keywords = ['.NET']", "a .network"));
    }

    #[test]
    fn patterns_lengths_tokens_and_headers() {
        assert!(matches("regex = ['\\d{4}-\\d{2}']", "on 2026-11"));
        assert!(!matches("regex = ['\\d{4}-\\d{2}']", "on 26"));
        assert!(matches("min_tokens = 50", &"word ".repeat(100)));
        assert!(!matches("max_tokens = 50", &"word ".repeat(100)));
        assert!(matches("token = ['ci', 'web']", "x"));
        assert!(!matches("token = ['web']", "x"));
        assert!(matches("header = { x-team = 'legal' }", "x"));
        assert!(matches("header = { x-team = '*' }", "x"));
        assert!(!matches("header = { x-team = 'sales' }", "x"));
    }

    #[test]
    fn language_and_script() {
        let german = "Bitte schreibe mir einen freundlichen Brief an meine Nachbarn";
        assert!(matches("language = ['deu']", german));
        assert!(!matches("language = ['eng']", german));
        assert!(matches("language = ['deu']", "Wie geht es dir?"));
        assert!(!matches("language = ['deu']", "Hi there, fix my login"));
        assert!(matches(
            "script = ['Cyrillic']",
            "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}, \u{43a}\u{430}\u{43a} \u{434}\u{435}\u{43b}\u{430}?"
        ));
    }

    #[test]
    fn the_language_is_told_where_a_rule_asked() {
        let of = |when: &str, text: &str| {
            let rule = format!("[[rules]]\nname = 'r'\nprefer = ['gpt-4o']\nwhen = {{ {when} }}\n");
            effect(&rule, &asking(text)).language
        };
        assert_eq!(of("language = ['fra']", "Wie geht es dir?"), Some("deu"));
        assert_eq!(of("language = ['fra']", "42"), Some("und"));
        assert_eq!(of("keywords = ['geht']", "Wie geht es dir?"), None);
    }

    #[test]
    fn code_is_told_from_prose() {
        assert!(matches("has = ['code']", "Fix this:\n```rust\nfn main() {}\n```"));
        assert!(matches("has = ['code']", "def add(a, b):\n    return a + b;\nprint(add(1, 2));"));
        assert!(!matches("has = ['code']", "Write a poem about the sea and the wind."));
        assert!(!matches("has = ['tools']", "x"));
    }

    #[test]
    fn a_task_holds_where_the_prompt_was_read() {
        let rules = "[[rules]]\nname = 'r'\nprefer = ['gpt-4o']\nwhen = { task = ['math', 'code'] }\n";
        let config: crate::config::Config = rules.parse().unwrap();
        let (rules, request) = (Rules::new(&config.rules, &Catalog::default()), asking("x"));
        let headers = http::HeaderMap::new();
        for (task, holds) in [(Some("code"), true), (Some("chat"), false), (None, false)] {
            let facts = Facts::new(&request, request.needs(), 1, None, &headers).with_task(task);
            assert_eq!(!rules.apply(&facts).prefer.is_empty(), holds, "{task:?}");
        }
    }

    #[test]
    fn every_condition_must_hold() {
        assert!(!matches("keywords = ['a'], token = ['web']", "a"));
        assert!(matches("", "an empty condition always matches"));
    }

    #[test]
    fn rules_add_up_until_a_pin() {
        let rules = "
            [[rules]]
            name = 'one'
            forbid = ['gpt-4o']
            prefer = ['gpt-6-sol']
            [[rules]]
            name = 'two'
            pin = 'claude-opus-5-5'
            prefer = ['gpt-6-sol', 'gpt-6-luna']
            [[rules]]
            name = 'three'
            forbid = ['claude-opus-5-5']
        ";
        let effect = effect(rules, &asking("hello"));
        let names: Vec<&str> = effect.hits.iter().map(String::as_str).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(effect.pin.as_deref(), Some("claude-opus-5-5"));
        assert_eq!(effect.prefer, ["gpt-6-sol", "gpt-6-luna"]);
        assert_eq!(effect.forbid["gpt-4o"], "one");
    }
}
