//! Reads `.env`: lines of `NAME=value`. Here an unquoted `$` in a value would begin another variable's name, while
//! systemd and containers that read the same file keep it as it is. A password would be cut off at it without a word,
//! so it is refused instead; `${NAME}` is allowed, and replaced by the variable.

use std::cell::Cell;
use std::io::Read;

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
    let read = Cell::new(0usize);
    let wrong = |error| {
        let further = match &error {
            dotenvy::Error::LineParse(wrong, _) => wrong.trim_end().matches('\n').count(),
            _ => 0,
        };
        one(format!("{path}:{}: not of the form NAME=value", read.get().saturating_sub(further)))
    };
    let lines = Lines { rest: text.as_bytes(), read: &read };
    dotenvy::from_read_iter(lines).map(|line| line.map_err(wrong)).collect()
}

/// A text that is read line by line, so that whoever reads it is known to be at the last line that was `read`.
struct Lines<'a> {
    rest: &'a [u8],
    read: &'a Cell<usize>,
}

impl Read for Lines<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let line = self.rest.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let taken = line.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&line[..taken]);
        self.rest = &self.rest[taken..];
        self.read.set(self.read.get() + usize::from(taken > 0 && taken == line.len()));
        Ok(taken)
    }
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
        for (text, line) in [
            ("no line", 1),
            ("A=1\n# no\n\nno line\nB=2", 4),
            ("A='1\n2'\r\nB=one two # no\r\nB=2", 3),
            ("A=1\nB='1\n2\nB=3\n", 2),
        ] {
            let told = format!(".env:{line}: not of the form NAME=value");
            assert_eq!(value(text).unwrap_err().to_string(), told, "{text}");
        }
    }
}
