//! Conversations and the models and deployments they are on, so that a vendor's prompt cache is not thrown away without
//! reason.
//!
//! A bounded table in memory. It is not kept over a restart: the caches it stands for live for minutes only. Entries
//! are held in two generations; when the younger is full, the older, whose conversations have all been silent since,
//! is dropped as a whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::protocol::{ModelName, Price, Usage};

/// Where a conversation is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stay {
    /// The model that answered last.
    pub model: ModelName,
    /// Its deployment: others may belong to another account, which shares no prompt cache with it. `None` = a program that
    /// embeds the gateway made the call.
    pub deployment: Option<Arc<str>>,
    /// How many of the conversation's first thoughts it refuses to have back: they are bound to tools or instructions that
    /// have changed since, or were sealed for another account. They would be refused at each turn.
    pub refused_thoughts: usize,
    /// Tokens that the vendor has in its prompt cache, as far as its answers show.
    pub cached_tokens: u64,
    /// When it last answered.
    pub at: Instant,
}

impl Stay {
    /// The stay after a model with that `price` has answered the conversation with `usage`; `before` = the stay until then.
    pub fn after(
        before: Option<&Self>,
        Answered { model, deployment, refused_thoughts, is_whole }: Answered<'_>,
        price: &Price,
        usage: &Usage,
        at: Instant,
    ) -> Self {
        let shown = usage.cache_read_tokens.saturating_add(usage.cache_write_tokens);
        let here = |before: &&Self| before.model == *model && before.deployment.as_ref() == deployment;
        let before = before.filter(here);
        let cached_tokens = match (price.cache_write, before) {
            // Nothing says that what was cached is gone.
            (_, Some(before)) if !is_whole && shown == 0 => before.cached_tokens,
            // A cache that the vendor charges for filling holds what it was asked to hold, and the answer says how
            // much.
            (Some(_), _) => shown,
            // Other caches fill by themselves, and show only when they are read.
            (None, None) => usage.total_tokens(),
            (None, Some(_)) if shown > 0 => usage.total_tokens(),
            (None, Some(_)) => 0,
        };
        Self { model: model.clone(), deployment: deployment.cloned(), refused_thoughts, cached_tokens, at }
    }
}

/// Who answered a conversation.
#[derive(Debug, Clone, Copy)]
pub struct Answered<'a> {
    /// The model.
    pub model: &'a ModelName,
    /// See [`Stay::deployment`].
    pub deployment: Option<&'a Arc<str>>,
    /// See [`Stay::refused_thoughts`].
    pub refused_thoughts: usize,
    /// Whether the answer came to its end; else the vendor's count may be missing.
    pub is_whole: bool,
}

/// The table of conversations, by fingerprint.
#[derive(Debug, Default)]
pub struct Conversations {
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<u64, Stay>,
    old: HashMap<u64, Stay>,
}

impl Conversations {
    /// The conversation's stay, unless it has been silent for longer than `ttl`.
    pub fn find(&self, conversation: u64, ttl: Duration, now: Instant) -> Option<Stay> {
        let generations = self.generations.lock();
        let stay = generations.young.get(&conversation).or_else(|| generations.old.get(&conversation))?;
        (now.saturating_duration_since(stay.at) <= ttl).then(|| stay.clone())
    }

    /// Notes the conversation's stay; beyond `most` entries, the longest silent are forgotten.
    pub fn note(&self, conversation: u64, stay: Stay, most: usize) {
        let mut generations = self.generations.lock();
        if generations.young.len() >= (most / 2).max(1) && !generations.young.contains_key(&conversation) {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(conversation, stay);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stay(at: Instant) -> Stay {
        Stay {
            model: ModelName::from("a"),
            deployment: Some("p/a".into()),
            refused_thoughts: 0,
            cached_tokens: 100,
            at,
        }
    }

    #[test]
    fn the_longest_silent_are_forgotten_first() {
        let (table, now) = (Conversations::default(), Instant::now());
        let ttl = Duration::from_secs(60);
        for key in 0..10 {
            table.note(key, stay(now), 4);
        }
        assert_eq!(table.find(0, ttl, now), None);
        assert!(table.find(9, ttl, now).is_some());
        let kept = (0..10).filter(|key| table.find(*key, ttl, now).is_some()).count();
        assert!((2..=4).contains(&kept), "{kept}");
    }

    #[test]
    fn cached_is_what_the_vendor_showed() {
        let by_itself = Price { input: 2.0, cache_read: Some(0.2), ..Price::default() };
        let asked_for = Price { cache_write: Some(2.5), ..by_itself };
        let here = stay(Instant::now());
        let other = Stay { model: ModelName::from("b"), ..here.clone() };
        let elsewhere = Stay { deployment: Some("q/a".into()), ..here.clone() };
        let unread = Stay { cached_tokens: 0, ..here.clone() };
        for (price, before, read, written, cached) in [
            (by_itself, None, 0, 0, 1100),
            (by_itself, Some(&other), 0, 0, 1100),
            (by_itself, Some(&elsewhere), 0, 0, 1100),
            (by_itself, Some(&here), 900, 0, 1100),
            (by_itself, Some(&here), 0, 0, 0),
            (by_itself, Some(&unread), 0, 0, 0),
            (by_itself, Some(&unread), 900, 0, 1100),
            (asked_for, None, 0, 0, 0),
            (asked_for, None, 0, 800, 800),
            (asked_for, Some(&here), 700, 100, 800),
            (asked_for, Some(&here), 0, 0, 0),
        ] {
            let usage = Usage {
                input_tokens: 1000 - read - written,
                cache_read_tokens: read,
                cache_write_tokens: written,
                output_tokens: 100,
                ..Usage::default()
            };
            let deployment = here.deployment.as_ref();
            let now_at = Answered { model: &here.model, deployment, refused_thoughts: 0, is_whole: true };
            let after = Stay::after(before, now_at, &price, &usage, here.at);
            assert_eq!(
                (after.model.as_str(), after.cached_tokens),
                ("a", cached),
                "{before:?}, {price:?}, {usage:?}"
            );
        }
    }

    #[test]
    fn what_was_cached_stays_so_where_an_answer_is_left_uncounted() {
        let price = Price { input: 2.0, cache_read: Some(0.2), cache_write: Some(2.5), ..Price::default() };
        let here = stay(Instant::now());
        let after = |is_whole: bool, cache_read_tokens: u64| {
            let usage = Usage { input_tokens: 1000, cache_read_tokens, ..Usage::default() };
            let deployment = here.deployment.as_ref();
            let answered = Answered { model: &here.model, deployment, refused_thoughts: 0, is_whole };
            Stay::after(Some(&here), answered, &price, &usage, here.at).cached_tokens
        };
        assert_eq!([after(true, 0), after(false, 0), after(false, 70)], [0, 100, 70]);
    }

    #[test]
    fn a_long_silence_ends_the_stay() {
        let (table, now) = (Conversations::default(), Instant::now());
        table.note(1, stay(now), 4);
        assert!(table.find(1, Duration::from_secs(60), now + Duration::from_secs(59)).is_some());
        assert_eq!(table.find(1, Duration::from_secs(60), now + Duration::from_secs(61)), None);
    }
}
