//! Turns an upstream's answer into the client's.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::attempt::{Attempted, Whole};
use super::job::{Job, Reply, ReplyBody};
use super::outcome::Report;
use super::tee::Tee;
use super::usage;
use crate::codec::{self, AnswerMeta, Begun};
use crate::config;
use crate::protocol::{OutcomeStatus, Part};
use crate::upstream::{Model, Permit};

/// What a reply is made from, besides the answer itself.
pub(super) struct Answering<'a> {
    /// The model that answers.
    pub(super) model: &'a Arc<Model>,
    /// The request it answers.
    pub(super) job: &'a Job,
    /// Settings, for the deadlines of a stream.
    pub(super) settings: &'a config::Dispatch,
    /// Cancelled when the gateway shuts down: the stream ends then.
    pub(super) closing: CancellationToken,
}

impl Answering<'_> {
    /// The reply. A whole answer ends the report here; a stream ends it with itself.
    pub(super) fn reply(self, permit: Permit, attempted: Attempted, report: Report) -> Reply {
        let (model, job) = (self.model, self.job);
        let deployment = permit.deployment().name.clone();
        let meta = AnswerMeta {
            id: report.decision_id().as_answer_id(job.dialect),
            model: model.name.to_string(),
            created: job.at_ms / 1000,
            native: None,
            echo: codec::echo(job.dialect, &job.body),
        };
        let (dropped, body) = match attempted {
            Attempted::Whole(whole) => {
                let provider = &permit.deployment().provider;
                let begun = Begun::of(job.dialect, provider.dialect, &provider.quirks, &job.request);
                whole_answer(model, &deployment, (*whole, begun), job, meta, report)
            }
            Attempted::Stream(mut opened) => {
                let dropped = std::mem::take(&mut opened.dropped);
                let tee = Tee::new(self, permit, *opened, meta, report);
                (dropped, ReplyBody::Stream(tee.into_stream()))
            }
        };
        Reply { model: model.name.clone(), deployment, dropped, body }
    }
}

fn whole_answer(
    model: &Model,
    deployment: &str,
    (whole, begun): (Whole, Option<Begun>),
    job: &Job,
    mut meta: AnswerMeta,
    mut report: Report,
) -> (Vec<String>, ReplyBody) {
    let mut response = whole.response;
    let usage = usage::of_whole(&response, job.prompt_tokens);
    report.settle(usage, &model.settings.price);
    let outcome = report.outcome_mut();
    outcome.finish = Some(response.finish_reason);
    outcome.answer_id = Some(response.id.clone()).filter(|id| !id.is_empty());
    outcome.empty = !response.parts.iter().any(Part::says_something);
    outcome.must_be_json = json_text(job, &response.parts);
    report.first_content();
    let body = match whole.raw {
        Some(raw) => raw,
        None => {
            let routing = job.routing(&report.outcome_mut().decision, &model.name, deployment);
            meta.native = Some(report.native_meta(routing));
            // The client is told what is charged, estimates of what the vendor did not count included.
            response.usage = Some(usage);
            if let Some(begun) = begun {
                begun.leave_out(&mut response);
            }
            codec::encode_response(job.dialect, &response, &meta)
        }
    };
    report.end(OutcomeStatus::Ok);
    (whole.dropped, ReplyBody::Whole(body))
}

/// The text of an answer that had to be JSON and called no tool.
fn json_text(job: &Job, parts: &[Part]) -> Option<String> {
    let calls = parts.iter().any(Part::is_call);
    if job.request.response_format.is_none() || calls {
        return None;
    }
    Some(parts.iter().filter_map(Part::as_text).collect())
}
