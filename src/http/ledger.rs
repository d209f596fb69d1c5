//! What the log gets to know of a request: a decision and an outcome as records.
//!
//! No text of a prompt goes in unless `store.prompts` is on; a question and a conversation are told apart by keyed
//! fingerprints.

use crate::dispatch::{Outcome, Status};
use crate::protocol::{ChatRequest, Dialect, Message, Part, Role};
use crate::route::{Decision, Mode};
use crate::store::{
    self, CandidateRecord, DecisionRecord, ExcludedRecord, Fingerprint, OutcomeRecord, OutcomeStatus, RequestFacts,
    Salt, Seen, Token, signals,
};

/// Who asked, and how.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The request.
    pub request: &'a ChatRequest,
    /// The dialect it came in.
    pub dialect: Dialect,
    /// The API token it came with.
    pub token: Option<&'a Token>,
    /// Whether the caller only wants to know.
    pub dry_run: bool,
}

/// A conversation, recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversation {
    /// Its fingerprint.
    pub print: Fingerprint,
    /// Whether the caller named it or its user; else only its first turns speak for it, which two people may share.
    pub named: bool,
}

/// The conversation of a request: by its name, else by what it began with and who asks.
pub fn conversation(request: &ChatRequest, token: Option<&Token>, salt: &Salt) -> Conversation {
    let owner = token.map_or("", |token| token.id.as_str());
    let user = request.user.as_deref().unwrap_or_default();
    if let Some(name) = &request.routing.conversation {
        return Conversation { print: salt.fingerprint(["named", owner, name]), named: true };
    }
    let mut parts = vec!["begun".to_owned(), owner.to_owned(), user.to_owned()];
    let first_question = request.messages.iter().position(|message| message.role == Role::User).unwrap_or(0);
    parts.extend(request.messages.iter().take(first_question + 1).map(Message::plain_text));
    Conversation {
        print: salt.fingerprint(parts.iter().map(String::as_str)),
        named: request.user.as_deref().is_some_and(|user| !user.is_empty()),
    }
}

/// The last turn in which a person says something.
fn question(request: &ChatRequest) -> Option<&Message> {
    request.messages.iter().rev().find(|message| is_question(message))
}

/// Whether a turn is a person's, and not only tools' results.
fn is_question(message: &Message) -> bool {
    message.role == Role::User && !message.parts.iter().all(|part| matches!(part, Part::ToolResult { .. }))
}

/// The record of a decision made at `at_ms` (Unix milliseconds); `prompts` = the question is kept.
pub fn decision(decision: &Decision, asking: Asking<'_>, salt: &Salt, prompts: bool, at_ms: i64) -> DecisionRecord {
    let Asking { request, dialect, token, dry_run } = asking;
    let text = question(request).map(Message::plain_text);
    let conversation = conversation(request, token, salt);
    let turns = request.messages.iter().filter(|message| is_question(message)).count();
    let facts = RequestFacts {
        dialect: Some(dialect),
        requested: decision.requested.clone(),
        rules: decision.rules.clone(),
        objective: decision.objective,
        needs: decision.needs,
        prompt_tokens: decision.prompt_tokens,
        max_tokens: request.max_tokens,
        stream: request.stream,
        question: text.as_deref().map(|text| salt.fingerprint([text])),
        conversation: Some(conversation.print),
        conversation_named: conversation.named,
        turn: u32::try_from(turns).unwrap_or(u32::MAX).max(1),
        token: token.map(|token| token.id.clone()),
        tags: request.routing.tags.clone(),
        dry_run,
    };
    let candidates = decision.candidates.iter().map(|candidate| CandidateRecord {
        model: candidate.model.clone(),
        prior: None,
        quality: 0.5,
        quality_source: "default".into(),
        cost_usd: candidate.cost_usd,
        latency_s: candidate.latency_ms.map(|ms| ms / 1e3),
        utility: 0.0,
        propensity: candidate.propensity,
    });
    let excluded = decision
        .excluded
        .iter()
        .map(|excluded| ExcludedRecord { model: excluded.model.clone(), reason: excluded.reason.clone() });
    DecisionRecord {
        id: decision.id,
        at_ms,
        request: facts,
        features: Vec::new(),
        feature_space: String::new(),
        task: None,
        candidates: candidates.collect(),
        excluded: excluded.collect(),
        chosen: decision.chosen.clone(),
        propensity: Some(decision.propensity),
        policy_version: decision.policy_version,
        explored: false,
        mode: mode(decision.mode),
        shadow: None,
        reason: decision.reason.clone(),
        prompt: text.filter(|_| prompts),
    }
}

fn mode(mode: Mode) -> store::Mode {
    match mode {
        Mode::Named => store::Mode::Named,
        Mode::Weighted => store::Mode::Weighted,
    }
}

/// How a status is called in the log.
pub fn status(status: Status) -> OutcomeStatus {
    match status {
        Status::Ok => OutcomeStatus::Ok,
        Status::Failed(kind) => OutcomeStatus::Failed(kind),
        Status::Cancelled => OutcomeStatus::Cancelled,
    }
}

/// The record of an outcome at `at_ms`, Unix milliseconds.
pub fn outcome(outcome: &Outcome, at_ms: i64) -> OutcomeRecord {
    let status = status(outcome.status);
    let seen = Seen {
        status,
        finish_reason: outcome.finish,
        empty: outcome.empty,
        must_be_json: outcome.must_be_json.as_deref(),
    };
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    OutcomeRecord {
        id: outcome.decision.id,
        at_ms,
        model: outcome.model.clone(),
        backend: outcome.deployment.clone(),
        status,
        attempts: outcome.calls,
        failovers: outcome.failovers,
        usage: outcome.usage,
        cost_usd: outcome.usage.map(|_| outcome.cost.0),
        latency_ms: Some(ms(outcome.latency)),
        first_token_ms: outcome.first_token.map(ms),
        finish_reason: outcome.finish,
        signals: signals(&seen),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(turns: &[(Role, &str)]) -> ChatRequest {
        let messages = turns.iter().map(|(role, text)| Message::text(*role, *text)).collect();
        ChatRequest { messages, ..ChatRequest::default() }
    }

    #[test]
    fn a_conversation_is_known_again_by_how_it_began_or_by_its_name() {
        let salt = Salt::new([7; 16]);
        let print = |request: &ChatRequest| conversation(request, None, &salt);
        let first = request(&[(Role::System, "be brief"), (Role::User, "hello")]);
        let later = request(&[
            (Role::System, "be brief"),
            (Role::User, "hello"),
            (Role::Assistant, "hi"),
            (Role::User, "and now?"),
        ]);
        assert_eq!(print(&first), print(&later));
        assert!(!print(&first).named);
        assert_ne!(print(&first), print(&request(&[(Role::System, "be long"), (Role::User, "hello")])));
        let mut named = request(&[(Role::User, "x")]);
        named.routing.conversation = Some("c1".into());
        let mut same = request(&[(Role::User, "y")]);
        same.routing.conversation = Some("c1".into());
        assert_eq!(print(&named), print(&same));
        assert!(print(&named).named);
    }

    #[test]
    fn results_of_tools_are_no_questions() {
        let mut asked = request(&[(Role::User, "what time is it?")]);
        let result =
            Part::ToolResult { call_id: "1".into(), content: Vec::new(), is_error: false, cache_control: None };
        asked.messages.push(Message { role: Role::User, parts: vec![result], name: None });
        assert_eq!(question(&asked).unwrap().plain_text(), "what time is it?");
    }
}
