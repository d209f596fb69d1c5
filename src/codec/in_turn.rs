//! One thing after another, for dialects whose items or blocks never overlap.
//!
//! Elsewhere calls may: their pieces mix with those of others and with words, and none says that it has ended. Nothing
//! is begun here while a call is open whose arguments are not whole yet; what comes before that waits, in order.

use std::collections::VecDeque;

use serde::de::IgnoredAny;

use crate::protocol::{StreamEvent, ToolCallDelta};

/// What is under way and what waits for it.
#[derive(Debug, Default)]
pub(super) struct InTurn {
    /// The call that is open: its index, and its arguments as far as they came.
    open: Option<(usize, String)>,
    /// What waits for its end; calls with all their arguments so far.
    held: VecDeque<StreamEvent>,
}

impl InTurn {
    /// Takes in an event; `say` hears what may be said now. At the end of a stream all is said.
    pub(super) fn pass(&mut self, event: &StreamEvent, mut say: impl FnMut(&StreamEvent)) {
        match event {
            StreamEvent::Start { .. } | StreamEvent::Usage(_) => say(event),
            StreamEvent::Finish { .. } | StreamEvent::Error(_) => {
                self.held.drain(..).for_each(|held| say(&held));
                say(event);
            }
            StreamEvent::ToolCall(call) if call.start.is_none() => self.go_on(call, event, say),
            _ if !self.held.is_empty() || self.is_mid_call() => self.held.push_back(event.clone()),
            _ => self.begin(event, &mut say),
        }
    }

    /// A piece of a call. One that has ended has no more.
    fn go_on(&mut self, piece: &ToolCallDelta, event: &StreamEvent, mut say: impl FnMut(&StreamEvent)) {
        match &mut self.open {
            Some((index, arguments)) if *index == piece.index => {
                arguments.push_str(&piece.arguments);
                say(event);
            }
            _ => {
                let known = self.held.iter_mut().find_map(|held| match held {
                    StreamEvent::ToolCall(call) if call.index == piece.index => Some(call),
                    _ => None,
                });
                if let Some(call) = known {
                    call.arguments.push_str(&piece.arguments);
                }
                return;
            }
        }
        while !self.held.is_empty() && !self.is_mid_call() {
            if let Some(held) = self.held.pop_front() {
                self.begin(&held, &mut say);
            }
        }
    }

    fn begin(&mut self, event: &StreamEvent, say: &mut impl FnMut(&StreamEvent)) {
        self.open = match event {
            StreamEvent::ToolCall(call) => Some((call.index, call.arguments.clone())),
            _ => None,
        };
        say(event);
    }

    fn is_mid_call(&self) -> bool {
        self.open.as_ref().is_some_and(|(_, arguments)| !is_whole(arguments))
    }
}

/// Whether nothing more can follow of a call's arguments.
pub(super) fn is_whole(arguments: &str) -> bool {
    arguments.trim_end().ends_with('}') && serde_json::from_str::<IgnoredAny>(arguments).is_ok()
}
