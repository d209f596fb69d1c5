//! The context window that a server has loaded a model with.
//!
//! Ollama loads a model anew whenever a call asks for another window, and with the model goes what it has cached of the
//! prompts. An assistant's calls are long and short by turns, so a call asks for no smaller window than those before
//! it, until the server has unloaded the model by itself, or nothing has needed so large a window for as long: it takes
//! the server's memory.

use std::time::{Duration, Instant};

/// How long a window is kept after a call last needed more than half of it: longer than Ollama keeps an idle model
/// (`keep_alive`, 5 minutes), as long answers take minutes.
const LOADED_FOR: Duration = Duration::from_secs(600);

/// The window that was asked for last, and when a call last needed more than half of it.
#[derive(Debug, Default)]
pub(super) struct Window(Option<(u32, Instant)>);

impl Window {
    /// The window to ask for, in tokens, where a call needs `needed` and the model has `most`.
    pub(super) fn ask(&mut self, needed: u32, most: u32, now: Instant) -> u32 {
        let loaded = self.0.filter(|(_, needed_at)| now.saturating_duration_since(*needed_at) < LOADED_FOR);
        let window = loaded.map_or(needed, |(loaded, _)| needed.max(loaded)).min(most);
        let needed_at = loaded.filter(|_| needed <= window / 2).map_or(now, |(_, needed_at)| needed_at);
        self.0 = Some((window, needed_at));
        window
    }

    /// The server failed, perhaps because its memory is too small for the window.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_asks_for_no_smaller_window_than_those_before_it_while_the_model_is_loaded() {
        let now = Instant::now();
        let at = |minutes: u64| now + Duration::from_secs(60 * minutes);
        let mut window = Window::default();
        assert_eq!(window.ask(8_192, 100_000, at(0)), 8_192);
        assert_eq!(window.ask(16_384, 100_000, at(1)), 16_384);
        assert_eq!(window.ask(4_096, 100_000, at(9)), 16_384);
        assert_eq!(window.ask(9_000, 100_000, at(10)), 16_384, "this needs it, too");
        assert_eq!(window.ask(4_096, 100_000, at(19)), 16_384);
        assert_eq!(window.ask(4_096, 100_000, at(20)), 4_096, "nothing has for ten minutes");
        assert_eq!(window.ask(16_384, 12_000, at(20)), 12_000, "no more than the model has");
        assert_eq!(window.ask(131_072, 100_000, at(20)), 100_000);
        assert_eq!(window.ask(4_096, 100_000, at(30)), 4_096, "unloaded");
        window.ask(100_000, 100_000, at(30));
        window.forget();
        assert_eq!(window.ask(8_192, 100_000, at(30)), 8_192, "what failed is not asked for by others");
    }
}
