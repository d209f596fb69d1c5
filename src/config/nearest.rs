//! The "did you mean" of error messages.

/// Least likeness (Jaro-Winkler, from 0 to 1) of a name that is worth suggesting.
const MIN_LIKENESS: f64 = 0.8;

/// The entry of `known` most like `word`, if one is like it.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let scored = known.map(|candidate| (strsim::jaro_winkler(word, candidate), candidate));
    let near = scored.filter(|(likeness, _)| *likeness > MIN_LIKENESS).max_by(|a, b| a.0.total_cmp(&b.0));
    near.map(|(_, near)| near)
}

/// The hint `; did you mean `x`?` with the entry of `known` most like `word`; empty if none is like it.
pub fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    nearest(word, known).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}
