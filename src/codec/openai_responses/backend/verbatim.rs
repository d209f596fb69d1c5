//! The client's own body for OpenAI's Responses: what other dialects cannot say, or this gateway does not know, of its
//! items, tools and wishes stays in it, and so do the ids by which OpenAI knows its own items. (A field at the top that is
//! unknown here is refused before: nobody could say what it means to the other models.)

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::super::super::Target;
use super::super::super::openai_chat::{adapt, request as openai};
use super::super::sealed;
use crate::config::Refusal;
use crate::protocol::{ChatRequest, Dialect, Effort};

/// What the decoded form does not tell of a body.
#[derive(Deserialize)]
struct Body<'a> {
    reasoning: Option<Value>,
    include: Option<Value>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
}

/// What is asked of an item.
#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    encrypted_content: Option<IgnoredAny>,
}

/// Whether `target` takes the body as it is, but for its model and what it would have stored. Else the request is
/// translated, which fits it to the model.
pub(crate) fn takes(target: &Target<'_>, request: &ChatRequest, body: &[u8]) -> bool {
    let effort = request.reasoning.as_ref().and_then(openai::effort_for);
    target.can_answer(request.max_tokens)
        && super::obstacle(Dialect::Responses, request).is_none()
        && request.sampling.top_k.is_none()
        && !(request.sampling.is_unusual() && target.refuses(Refusal::Sampling))
        && effort.is_none_or(|effort| takes_effort(target, effort))
        && adapt::takes_ids(target, request)
        // What other vendors' models thought, as this gateway wrote it, OpenAI would refuse.
        && !sealed::may_be_in(body)
        && serde_json::from_slice(body).is_ok_and(|body: Body<'_>| takes_wishes(target, &body) && !has_bare(&body))
}

/// Whether the model has a word for that much thinking.
fn takes_effort(target: &Target<'_>, effort: Effort) -> bool {
    adapt::thinks(target)
        && match effort {
            Effort::None => !target.refuses(Refusal::NoThinking),
            Effort::Minimal => !target.refuses(Refusal::MinimalThinking),
            Effort::Low | Effort::Medium | Effort::High => true,
            // The newest models have it, which are those that do not think beside tools elsewhere.
            Effort::XHigh | Effort::Max => adapt::not_beside_tools(target),
        }
}

/// Whether the model takes what is asked of its thoughts.
fn takes_wishes(target: &Target<'_>, body: &Body<'_>) -> bool {
    let is_thoughts = |wish: &Value| wish == "reasoning.encrypted_content";
    let is_told = |field: &str| body.reasoning.as_ref().is_some_and(|wishes| !wishes[field].is_null());
    if adapt::thinks(target) {
        // An organisation that OpenAI has not verified is refused for a summary.
        return target.tell_thoughts || !(is_told("summary") || is_told("generate_summary"));
    }
    body.reasoning.is_none()
        && !body.include.as_ref().and_then(Value::as_array).is_some_and(|wishes| wishes.iter().any(is_thoughts))
}

/// Whether a thought comes back without its sealed content: OpenAI looks for such a one among what it has stored, and
/// there is nothing.
fn has_bare(body: &Body<'_>) -> bool {
    let items =
        body.input.and_then(|input| serde_json::from_str::<Vec<Item<'_>>>(input.get()).ok()).unwrap_or_default();
    items.iter().any(|item| item.kind.as_deref() == Some("reasoning") && item.encrypted_content.is_none())
}
