//! `POST /api/feedback`: what somebody thinks of an answer.
//!
//! Feedback is acknowledged once it is on disk. It may be early (before the answer ended), late (days after), repeated
//! or contradictory: of one source the last feedback counts, different sources are averaged, and the same `id` again is
//! acknowledged and changes nothing. A decision takes a limited number.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::body;
use crate::gateway::Gateway;
use crate::http::error::Native;
use crate::http::middleware::caller::Rater;
use crate::protocol::{ApiError, DecisionId, ErrorKind};
use crate::store::{FeedbackKind, FeedbackRecord, Thumb};
use crate::tuner::{Ack, FeedbackError};

/// How long the disk may take; then the sender is told to try again, which the `id` makes safe.
const STORE_TIMEOUT: Duration = Duration::from_secs(10);

const MAX_COMMENT_BYTES: usize = 16 << 10;

const MAX_SOURCE_BYTES: usize = 200;

/// The body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    decision_id: String,
    score: Option<f64>,
    /// A whole number; languages without integers write 4.0.
    rating: Option<f64>,
    /// Any value, so that the error for a wrong one can say what is right.
    thumbs: Option<Value>,
    correct: Option<bool>,
    comment: Option<String>,
    source: Option<String>,
    id: Option<String>,
}

/// Takes a feedback.
pub async fn give(State(gateway): State<Arc<Gateway>>, Rater(_): Rater, body: Body) -> Result<Json<Value>, Native> {
    let _permit = gateway.admission.report()?;
    let bytes = body::read_small(body, &gateway.live().config.limits).await?;
    let record = parse(&bytes, Timestamp::now().as_millisecond())?;
    let (id, decision) = (record.id.clone(), record.decision);
    let stored = tokio::time::timeout(STORE_TIMEOUT, gateway.recorder.feedback(record)).await;
    match stored.unwrap_or_else(|_| Err(FeedbackError::Unavailable("it takes too long".into()))) {
        Ok(ack) => {
            Ok(Json(json!({ "decision_id": decision, "id": id, "stored": true, "duplicate": ack == Ack::Duplicate })))
        }
        Err(FeedbackError::Unknown) => {
            Err(ApiError::new(ErrorKind::NotFound, "there is no such decision").at("decision_id").into())
        }
        Err(error @ FeedbackError::TooMany) => Err(ApiError::invalid(error.to_string()).at("decision_id").into()),
        Err(FeedbackError::Invalid(what)) => Err(ApiError::invalid(what).into()),
        Err(FeedbackError::Unavailable(why)) => {
            let message = format!("the feedback is not stored ({why}); send it again with the same id");
            Err(ApiError::new(ErrorKind::Unavailable, message).after(Duration::from_secs(2)).into())
        }
    }
}

/// Reads a body that arrived at `at_ms`.
fn parse(bytes: &[u8], at_ms: i64) -> Result<FeedbackRecord, ApiError> {
    let sent: Sent = body::json(bytes)?;
    let decision = DecisionId::from_answer_id(&sent.decision_id).ok_or_else(|| {
        let message = "it is no id of a decision; the header x-pointsman-decision of each answer has it";
        ApiError::invalid(message).at("decision_id")
    })?;
    let stars = |rating: f64| (rating.fract() == 0.0).then_some(rating as u8);
    let rating = sent.rating.map(|rating| {
        stars(rating).ok_or_else(|| ApiError::invalid("must be a whole number from 1 to 5").at("rating"))
    });
    let thumbs = sent.thumbs.map(|thumbs| {
        Thumb::deserialize(thumbs).map_err(|_| ApiError::invalid(r#"must be "up" or "down""#).at("thumbs"))
    });
    let said = [
        sent.score.map(FeedbackKind::Score),
        rating.transpose()?.map(FeedbackKind::Rating),
        thumbs.transpose()?.map(FeedbackKind::Thumbs),
        sent.correct.map(FeedbackKind::Correct),
    ];
    let mut said = said.into_iter().flatten();
    let (Some(kind), None) = (said.next(), said.next()) else {
        return Err(ApiError::invalid("send one of score (0 to 1), rating (1 to 5), thumbs (up, down) or correct"));
    };
    let too_long = |text: &Option<String>, most: usize| text.as_ref().is_some_and(|text| text.len() > most);
    if too_long(&sent.comment, MAX_COMMENT_BYTES) {
        let message = format!("a comment has at most {} KiB", MAX_COMMENT_BYTES >> 10);
        return Err(ApiError::invalid(message).at("comment"));
    }
    if too_long(&sent.source, MAX_SOURCE_BYTES) {
        return Err(ApiError::invalid(format!("a source's name has at most {MAX_SOURCE_BYTES} bytes")).at("source"));
    }
    // Without an id each call is a new feedback, but of one source the last one counts: a repetition changes nothing.
    let id = sent.id.unwrap_or_else(|| Uuid::now_v7().to_string());
    let source = sent.source.unwrap_or_else(|| "user".to_owned());
    Ok(FeedbackRecord { id, decision, at_ms, seq: 0, kind, comment: sent.comment, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019332a0-0000-7000-8000-000000000001";

    fn parsed(rest: &str) -> Result<FeedbackRecord, ApiError> {
        parse(format!("{{\"decision_id\": \"{ID}\", {rest}}}").as_bytes(), 7)
    }

    #[test]
    fn each_kind_is_read() {
        assert_eq!(parsed("\"score\": 0.5").unwrap().kind, FeedbackKind::Score(0.5));
        assert_eq!(parsed("\"rating\": 4").unwrap().kind, FeedbackKind::Rating(4));
        assert_eq!(parsed("\"rating\": 4.0").unwrap().kind, FeedbackKind::Rating(4));
        assert_eq!(parsed("\"rating\": 4.5").unwrap_err().param.as_deref(), Some("rating"));
        assert_eq!(parsed("\"thumbs\": \"down\"").unwrap().kind, FeedbackKind::Thumbs(Thumb::Down));
        for wrong in ["true", "1", "\"sideways\""] {
            let told = parsed(&format!("\"thumbs\": {wrong}")).unwrap_err();
            assert_eq!((told.param.as_deref(), told.message.contains("\"up\"")), (Some("thumbs"), true), "{told:?}");
        }
        let full = parsed("\"correct\": true, \"comment\": \"yes\", \"source\": \"judge\", \"id\": \"a\"").unwrap();
        assert_eq!((full.kind, full.id.as_str()), (FeedbackKind::Correct(true), "a"));
        assert_eq!((full.source.as_str(), full.comment.as_deref()), ("judge", Some("yes")));
    }

    #[test]
    fn one_opinion_at_a_time_and_no_stray_fields() {
        for wrong in ["\"comment\": \"x\"", "\"score\": 1, \"rating\": 5", "\"score\": 1, \"stars\": 5"] {
            assert_eq!(parsed(wrong).unwrap_err().kind, ErrorKind::InvalidRequest, "{wrong}");
        }
        assert!(parse(b"{\"decision_id\": \"x\", \"score\": 1}", 0).is_err());
    }
}
