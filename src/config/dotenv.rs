//! Reads `.env`: lines of `NAME=value`. Here an unquoted `$` in a value would begin another variable's name, while
//! systemd and containers that read the same file keep it as it is. A password would be cut off at it without a word,
//! so it is refused instead; `${NAME}` is allowed, and replaced by the variable.

use super::errors::{ConfigErrors, one};

/// The variables in `text`, the content of the file `path`.
///
/// # Errors
///
/// A line of another form, or one with a bare `$`. Errors never quote a line: it may hold a key.
pub(super) fn read(text: &str, path: &str) -> Result<Vec<(String, String)>, ConfigErrors> {
    if let Some(line) = bare_dollar(text) {
        let cure = "holds a `$`, which begins a variable's name here: write the value in single quotes";
        return Err(one(format!("{path}:{line}: {cure}")));
    }
    let wrong = |_| one(format!("{path}: a line is not of the form NAME=value"));
    dotenvy::from_read_iter(text.as_bytes()).map(|line| line.map_err(wrong)).collect()
}

/// The first line (from 1) with a `$` that is neither in single quotes, nor escaped, nor in a comment, nor before
/// `{`.
fn bare_dollar(text: &str) -> Option<usize> {
    let (mut quote, mut escaped, mut comment) = (None, false, false);
    let (mut line, mut before) = (1, '\n');
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            _ if std::mem::take(&mut escaped) => {}
            '\n' if quote.is_none() => comment = false,
            _ if comment => {}
            '\'' | '"' if quote == Some(letter) => quote = None,
            '\'' | '"' if quote.is_none() => quote = Some(letter),
            '\\' if quote != Some('\'') => escaped = true,
            '#' if quote.is_none() && before.is_whitespace() => comment = true,
            '$' if quote != Some('\'') && letters.peek() != Some(&'{') => return Some(line),
            _ => {}
        }
        line += usize::from(letter == '\n');
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_is_kept_or_refused_and_never_cut_at() {
        let value = |text: &str| read(text, ".env").map(|pairs| pairs.into_iter().next_back().unwrap_or_default().1);
        for (text, kept) in [
            ("A='pa$word'", "pa$word"),
            (r"A=pa\$word", "pa$word"),
            ("# what $HOME is\nA=1 # $5\n", "1"),
            ("export A=\"it's\"\nB='a\"$b'", "a\"$b"),
            ("A=x#y", "x#y"),
            ("A='one\ntwo$'", "one\ntwo$"),
            ("A=1\nB=${A}2", "12"),
        ] {
            assert_eq!(value(text).as_deref(), Ok(kept), "{text}");
        }
        for (text, line) in [("A=pa$word", 1), ("\nA=1\nB=\"pa$word\"\n", 3), ("A=100$", 1), ("A=x#$y", 1)] {
            let error = value(text).unwrap_err().to_string();
            assert!(error.starts_with(&format!(".env:{line}: ")) && !error.contains("pa"), "{error}");
        }
        assert_eq!(value("no line").unwrap_err().to_string(), ".env: a line is not of the form NAME=value");
    }
}
