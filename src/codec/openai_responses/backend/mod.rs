//! OpenAI Responses, spoken to OpenAI. Its newest models do not think beside tools in Chat Completions, and do so here.
//!
//! So a request of such a model goes this way if it has tools, may think, and loses nothing by it ([`obstacle`]). What a
//! client of this dialect sends passes through unchanged where it can ([`verbatim`]). All others stay in Chat
//! Completions. Nothing is stored, and what the model thought travels through the client, see
//! [`thoughts`].

mod answer;
mod items;
pub(crate) mod request;
pub(crate) mod response;
pub(crate) mod stream;
pub(crate) mod thoughts;
pub(crate) mod verbatim;

use serde_json::Value;

use super::super::documents::{self, Pdf};
use super::super::openai_chat::{adapt, messages};
use super::super::{Target, obstacles};
use crate::protocol::{ApiError, ChatRequest, Dialect, Message, Part, Role};

/// The fewest tokens that an answer can be held to.
const MIN_TOKENS: u32 = 16;

/// The first part or field that cannot be said here although Chat Completions may have it.
pub(crate) fn obstacle(client: Dialect, request: &ChatRequest) -> Option<String> {
    if let Some(field) = unsaid(request) {
        return Some(field.to_owned());
    }
    let refused = |part: &Part| match part {
        Part::Foreign { kind, value } => {
            let said = documents::words(part).is_some() || Pdf::of(kind, value).is_some() || is_file(kind, value);
            (!said).then(|| kind.clone())
        }
        _ => None,
    };
    obstacles::refused_part(client, request, refused)
        .or_else(|| obstacles::untranslatable_extension(request, Dialect::Responses))
}

/// The first wish for which there is no field here, or that OpenAI refuses here.
fn unsaid(request: &ChatRequest) -> Option<&'static str> {
    let sampling = &request.sampling;
    let penalises = |penalty: Option<f64>| penalty.is_some_and(|penalty| penalty != 0.0);
    let unsaid = [
        ("stop", !sampling.stop.is_empty()),
        ("seed", sampling.seed.is_some()),
        ("frequency_penalty", penalises(sampling.frequency_penalty)),
        ("presence_penalty", penalises(sampling.presence_penalty)),
        ("max_tokens", request.max_tokens.is_some_and(|most| most < MIN_TOKENS)),
        ("messages[].name", request.messages.iter().any(|message| message.name.is_some())),
    ];
    unsaid.into_iter().find(|(_, asked)| *asked).map(|(field, _)| field)
}

/// Whether a part is a file as Chat Completions has it, inside the request or by the vendor's id.
fn is_file(kind: &str, value: &Value) -> bool {
    kind == "file" && ["file_data", "file_id"].iter().any(|key| value["file"][key].is_string())
}

/// Whether a request of Chat Completions has more inside its turns and tools than this gateway knows and can say here:
/// it would be lost, and passes there.
pub(crate) fn loses_some(target: &Target<'_>, request: &ChatRequest) -> bool {
    let marks_answer =
        |turn: &Message| turn.role == Role::Assistant && turn.parts.iter().any(|part| part.breakpoint().is_some());
    request.messages.iter().any(marks_answer)
        || request.leftovers.keys().any(|path| !messages::is_breakpoint(path) && !adapt::is_left_out(target, path))
}

/// Whether a part is a thought that was sealed here, perhaps for another organisation.
pub(crate) fn is_openais_thought(part: &Part) -> bool {
    matches!(part, Part::Thinking { signature: Some(signature), .. } if thoughts::is_openais(signature))
}

/// Whether a request holds the summary of an earlier part of the conversation, which is sealed as thoughts are.
pub(crate) fn returns_summary(request: &ChatRequest) -> bool {
    let is_sealed = |part: &Part| match part {
        Part::Foreign { kind, value } => kind == "compaction" && value["encrypted_content"].is_string(),
        _ => false,
    };
    request.messages.iter().flat_map(|message| &message.parts).any(is_sealed)
}

/// How ids begin that a request may hold: of files, items, and what else OpenAI keeps for an account.
const IDS: [&str; 19] = [
    "file-", "file_", "rs_", "msg_", "fc_", "ctc_", "resp_", "vs_", "cntr_", "cfile_", "ig_", "ws_", "fs_", "ci_",
    "mcp_", "mcpl_", "mcpr_", "conn_", "skill_",
];

/// What OpenAI says of a container that is not there, or another account's: it names none.
const NO_CONTAINER: &str = "container not found";

/// Whether an error is about something in the request, and not about the endpoint or the model: OpenAI does not find an
/// item or a file that is named there with a 404, too. Some servers write a text for no field.
pub(crate) fn is_about_request(error: &ApiError) -> bool {
    let no_field = ["", "none", "null", "model"];
    let names_field = error.param.as_ref().is_some_and(|field| !no_field.contains(&field.to_lowercase().as_str()));
    let is_separator = |letter: char| !letter.is_ascii_alphanumeric() && !matches!(letter, '-' | '_');
    let mut words = error.message.split(is_separator);
    names_field
        || words.any(|word| IDS.iter().any(|beginning| word.starts_with(beginning)))
        || error.message.to_lowercase().contains(NO_CONTAINER)
}
