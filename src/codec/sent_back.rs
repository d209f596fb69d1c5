//! What a backend gets of the answers that a conversation brings back.

use std::borrow::Cow;

use super::{Target, openai_responses};
use crate::protocol::{ChatRequest, Dialect, Message, Part, Role};

/// The request as `target` takes it, and which thoughts were left out, since it has refused them.
pub(super) fn fit<'a>(target: &Target<'_>, request: &'a ChatRequest) -> (Cow<'a, ChatRequest>, Vec<String>) {
    let request = ending_with_question(request);
    match target.refused_thoughts {
        0 => (request, Vec::new()),
        refused => {
            let (request, lost) = without_thoughts(target.dialect, request.into_owned(), refused);
            (Cow::Owned(request), lost)
        }
    }
}

/// How many thoughts of a conversation go back to such a backend, if it has refused none.
pub fn thoughts(backend: Dialect, request: &ChatRequest) -> usize {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.filter(|part| is_thought_of(backend, part)).count()
}

/// How many of a conversation's first thoughts such a backend refuses, if it refused so many at the turn before. Where there
/// are fewer by now, the client has cut the conversation (a summary in their place), and what is left are others.
pub fn still_refused(backend: Dialect, request: &ChatRequest, refused: usize) -> usize {
    if refused > 0 && thoughts(backend, request) < refused { 0 } else { refused }
}

/// Whether a part is a thought that such a backend may take.
fn is_thought_of(backend: Dialect, part: &Part) -> bool {
    match backend {
        Dialect::Responses => openai_responses::backend::is_openais_thought(part),
        _ => part.is_thought(),
    }
}

/// The request without the first thoughts in it, so many as were `refused`, and where they were.
fn without_thoughts(backend: Dialect, mut request: ChatRequest, mut refused: usize) -> (ChatRequest, Vec<String>) {
    let mut lost = Vec::new();
    for (at, message) in request.messages.iter_mut().enumerate() {
        message.parts.retain(|part| {
            let is_refused = refused > 0 && is_thought_of(backend, part);
            if is_refused {
                refused -= 1;
                lost.push(format!("messages[{at}].thinking"));
            }
            !is_refused
        });
    }
    request.messages.retain(|message| !message.parts.is_empty());
    (request, lost)
}

/// The request, with a last question where it ends with a whole answer: to other dialects that is the beginning of one. A
/// thought at the end, behind which a stream broke, is left out: no vendor takes it there, and the model thinks anew.
fn ending_with_question(request: &ChatRequest) -> Cow<'_, ChatRequest> {
    let ends_with_thought = |at: &usize| {
        let last = &request.messages[*at];
        request.answers_are_whole && last.role == Role::Assistant && last.parts.last().is_some_and(Part::is_thought)
    };
    let thoughtful = request.last_turn().filter(ends_with_thought);
    if thoughtful.is_none() && !request.ends_with_whole_answer() {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    if let Some(at) = thoughtful {
        let parts = &mut request.messages[at].parts;
        while parts.pop_if(|part| part.is_thought()).is_some() {}
        if parts.is_empty() {
            request.messages.remove(at);
        }
    }
    if request.ends_with_whole_answer() {
        request.messages.push(Message::text(Role::User, "Go on."));
    }
    Cow::Owned(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(thoughts: usize) -> ChatRequest {
        let turn = |_| {
            let thought = Part::Thinking { text: "hm".into(), signature: Some("s".into()) };
            let answer = Message { role: Role::Assistant, parts: vec![thought, Part::text("a")], name: None };
            [Message::text(Role::User, "q"), answer]
        };
        ChatRequest { messages: (0..thoughts).flat_map(turn).collect(), ..ChatRequest::default() }
    }

    #[test]
    fn only_the_first_thoughts_are_left_out() {
        let (request, lost) = without_thoughts(Dialect::Anthropic, conversation(3), 2);
        assert_eq!((thoughts(Dialect::Anthropic, &request), request.messages.len()), (1, 6));
        assert_eq!(lost, ["messages[1].thinking", "messages[3].thinking"]);
        assert!(request.messages[5].parts[0].is_thought());
    }

    #[test]
    fn a_conversation_that_was_cut_brings_other_thoughts() {
        let still = |thoughts: usize| still_refused(Dialect::Anthropic, &conversation(thoughts), 2);
        assert_eq!([0, 1, 2, 3].map(still), [0, 0, 2, 2]);
    }
}
