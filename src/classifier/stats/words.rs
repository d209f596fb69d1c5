//! The word list behind the statistics: some hundred frequent words in groups.

use std::collections::HashMap;
use std::sync::LazyLock;

/// A group of words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    English,
    Code,
    Math,
    Schema,
    Wh,
    Negation,
    Translate,
    Writing,
    Extract,
    Explain,
    Story,
    Law,
    Medicine,
    Science,
    Chat,
    Person,
}

/// Number of groups.
pub(super) const GROUPS: usize = 16;
/// Longer words are in no group.
pub(super) const LONGEST_WORD: usize = 14;

/// The word list. A word is in one group; words that are common in English text are there to tell English from the
/// rest.
pub(super) static WORDS: LazyLock<HashMap<&'static [u8], Group>> = LazyLock::new(|| {
    let groups: [(Group, &'static str); GROUPS] = [
        (
            Group::English,
            "the of and to in is that for it as was with be by on are this from at or an have his they you which can \
             has but their been if would will there its into than these when her were one all we about some also any",
        ),
        (
            Group::Code,
            "def return import function class const var let void int str bool elif else python javascript java rust sql \
             select print lambda async await struct enum public static null none true false args self assert test code \
             html css regex api bug compile docker git bash script algorithm array",
        ),
        (
            Group::Math,
            "solve equation calculate compute integer integers sum product derivative integral matrix probability prime \
             polynomial triangle angle radius frac sqrt theorem prove percent average ratio area volume perimeter \
             divisible factor square root total remainder sequence",
        ),
        (
            Group::Schema,
            "parameters properties description required name type string dict object default functions float boolean \
             optional",
        ),
        (Group::Wh, "what who whom whose where why how"),
        (Group::Negation, "not except never least incorrect cannot without false neither nor"),
        (
            Group::Translate,
            "translate translation translated english french german spanish chinese japanese italian portuguese \
             russian korean arabic hindi dutch",
        ),
        (
            Group::Writing,
            "write draft compose essay poem letter email blog article slogan rewrite paraphrase headline lyrics haiku \
             tweet post speech pitch tone polite formal",
        ),
        (
            Group::Extract,
            "extract summarize summarise summary list classify label identify entities json table csv fields format \
             keywords following text passage paragraph document sentiment",
        ),
        (Group::Explain, "explain describe compare discuss analyze analyse difference reason steps guide advice"),
        (Group::Story, "story character imagine novel scene fiction roleplay pretend dialogue plot fantasy"),
        (
            Group::Law,
            "court law defendant plaintiff statute contract liability jury attorney constitutional criminal tort state \
             evidence trial convicted",
        ),
        (
            Group::Medicine,
            "patient disease symptoms diagnosis treatment blood clinical therapy syndrome infection pain physician \
             hospital dose drug cells",
        ),
        (
            Group::Science,
            "energy force mass velocity temperature pressure reaction molecule electron acid gas liquid metal species \
             gene protein planet current voltage atom solution",
        ),
        (Group::Chat, "hi hello hey thanks thank please tell me my i help recommend suggest think feel should"),
        (Group::Person, "he she him man woman mother father john mary students people person"),
    ];
    groups
        .into_iter()
        .flat_map(|(group, words)| words.split_whitespace().map(move |word| (word.as_bytes(), group)))
        .rev()
        .collect()
});
