//! Ollama's streamed answer -> events: lines of JSON, the last with `done`.

use serde_json::json;

use super::super::errors;
use super::Wire;
use crate::protocol::{StreamEvent, ToolCallDelta};

/// Reads the lines of a stream.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    started: bool,
    calls: usize,
}

impl Decoder {
    /// Appends the events in one line; `Err` = the line cannot be read.
    pub(crate) fn decode(&mut self, data: &[u8], out: &mut Vec<StreamEvent>) -> Result<(), ()> {
        let mut wire: Wire = serde_json::from_slice(data).map_err(|_| ())?;
        // Beside a piece of an answer, an empty error is none.
        let is_piece = wire.message.is_some() || wire.done;
        if let Some(error) = wire.error.as_ref().filter(|error| !(is_piece && errors::is_empty(error))) {
            out.push(StreamEvent::Error(errors::in_band(&json!({ "error": error })).ok_or(())?));
            return Ok(());
        }
        if wire.message.is_none() && !wire.done {
            return Err(());
        }
        if !self.started {
            self.started = true;
            out.push(StreamEvent::Start { id: String::new(), model: std::mem::take(&mut wire.model) });
        }
        let turn = wire.message.take().unwrap_or_default();
        out.extend(turn.thinking.filter(|text| !text.is_empty()).map(StreamEvent::Thinking));
        if !turn.content.is_empty() {
            out.push(StreamEvent::Text(turn.content));
        }
        for call in turn.tool_calls.unwrap_or_default() {
            let index = self.calls;
            let (id, name, arguments) = call.parts();
            out.push(StreamEvent::ToolCall(ToolCallDelta { index, start: Some((id, name)), arguments }));
            self.calls += 1;
        }
        if wire.done {
            out.extend(wire.usage().map(StreamEvent::Usage));
            out.push(StreamEvent::Finish { reason: wire.finish(self.calls > 0), stop_sequence: None });
        }
        Ok(())
    }
}
