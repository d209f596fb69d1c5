//! Checks the house's plan against the sources: which module may use which, which foreign crate comes in by which
//! door, what the pure modules must not know, and that every file tells its story and stays small.
//!
//! It reads text, not types: comments, literals and test code are blanked out, and what is left is searched for
//! `crate::`, `super::` chains that reach the root, and `foreign_crate::`. That finds every arrow, because there is no
//! other way to write one.

#![allow(clippy::unwrap_used)] // a panic here is the failure report

use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom, top to bottom as the road goes. `config`, `protocol` and `telemetry` are open to all but the
/// pure modules, which see `protocol` and what is listed.
const ARROWS: [(&str, &[&str]); 19] = [
    (
        "cli",
        &[
            "app",
            "http",
            "gateway",
            "train",
            "sandbox",
            "route",
            "tuner",
            "classifier",
            "store",
            "ope",
            "bandit",
            "chart",
        ],
    ),
    // The library for other programs, beside the command line.
    ("embed", &["app", "gateway", "route", "tuner", "store"]),
    ("app", &["http", "gateway", "dispatch", "tuner", "classifier", "upstream", "store"]),
    ("http", &["gateway", "route", "dispatch", "tuner", "upstream", "store", "codec", "ope", "bandit", "chart"]),
    ("gateway", &["route", "dispatch", "tuner", "classifier", "upstream", "store", "bandit"]),
    ("train", &["classifier", "store", "ope", "bandit", "chart"]),
    // It plays the vendors and the users, and knows their wire formats by itself.
    ("sandbox", &[]),
    ("route", &["classifier", "upstream", "codec", "bandit"]),
    ("dispatch", &["route::Plan", "route::Decision", "route::Excluded", "route::Stay", "upstream", "codec"]),
    ("tuner", &["store", "ope", "bandit"]),
    ("classifier", &["bandit"]),
    ("upstream", &["codec"]),
    ("store", &["bandit"]),
    // How look-alikes differ from the vendor is data, and the codec is who reads it.
    ("codec", &["config::Quirks", "config::MaxTokensField", "config::Refusal"]),
    ("ope", &[]),
    ("bandit", &[]),
    ("chart", &[]),
    ("telemetry", &[]),
    ("config", &[]),
];

/// Modules that know no clock, no chance but seeded, no file and no runtime: those come in as arguments.
const PURE: [&str; 4] = ["protocol", "codec", "bandit", "ope"];

/// What the pure modules must not say.
const IMPURE: [&str; 15] = [
    "tokio::",
    "std::fs",
    "std::env",
    "std::net",
    "std::thread",
    "Instant::now",
    "SystemTime",
    "Timestamp::now",
    "rand::rng;",
    "rand::rng(",
    "rand::rng as",
    "rand::{rng,",
    "rand::random",
    "Uuid::now_v7",
    "Uuid::new_v4",
];

/// Foreign crates and the modules that may name them.
const DOORS: [(&str, &[&str]); 16] = [
    ("axum", &["http", "sandbox"]),
    ("hyper", &["http", "sandbox"]),
    ("maud", &["http"]),
    ("reqwest", &["upstream", "sandbox"]),
    ("candle_core", &["classifier"]),
    ("candle_nn", &["classifier"]),
    ("tokenizers", &["classifier"]),
    ("hf_hub", &["classifier"]),
    ("ureq", &["classifier"]),
    ("sled", &["store"]),
    ("parquet", &["store"]),
    ("zstd", &["store"]),
    ("clap", &["cli"]),
    ("indicatif", &["cli"]),
    ("prometheus_client", &["telemetry"]),
    ("opentelemetry", &["telemetry"]),
];

/// Longest source file, tests included.
const LONGEST: usize = 700;

#[test]
fn arrows_never_point_back() {
    let wrong: Vec<String> = sources().iter().flat_map(Source::wrong_arrows).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_foreign_crate_has_one_door() {
    let wrong: Vec<String> = sources().iter().flat_map(Source::wrong_doors).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A plan that permits more than the house does is no plan.
#[test]
fn every_arrow_of_the_plan_is_used() {
    let sources = sources();
    let is_used = |from: &str, to: &str| {
        let of_module = sources.iter().filter(|source| source.top() == from);
        of_module.flat_map(Source::uses).any(|(_, used)| used == to || used.starts_with(&format!("{to}::")))
    };
    let planned = ARROWS.iter().flat_map(|(from, targets)| targets.iter().map(move |to| (*from, *to)));
    let unused: Vec<String> =
        planned.filter(|(from, to)| !is_used(from, to)).map(|(from, to)| format!("{from} -> {to}")).collect();
    assert!(unused.is_empty(), "permitted and not used:\n{}", unused.join("\n"));
}

#[test]
fn pure_modules_know_no_world() {
    let wrong: Vec<String> = sources().iter().flat_map(Source::impurities).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn every_file_tells_its_story_and_stays_small() {
    let mut wrong = Vec::new();
    for path in files(&root().join("src")) {
        let text = fs::read_to_string(&path).unwrap();
        if !text.starts_with("//! ") {
            wrong.push(format!("{}: does not open with its story (//!)", path.display()));
        }
        let lines = text.lines().count();
        if lines > LONGEST {
            wrong.push(format!("{}: {lines} lines, more than {LONGEST}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// One file, blanked: same length as on disk, so that positions still tell lines.
struct Source {
    path: String,
    /// Names of the modules it lies in, itself included; empty for `lib.rs` and `main.rs`.
    module: Vec<String>,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let mut module: Vec<String> =
            path.trim_start_matches("src/").trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        if module.last().is_some_and(|name| ["mod", "lib", "main"].contains(&name.as_str())) {
            module.pop();
        }
        Self { path: path.to_owned(), module, code: without_tests(&blank(text)) }
    }

    /// The top-level module it belongs to; that of the binary is called `main`.
    fn top(&self) -> &str {
        self.module.first().map_or("main", String::as_str)
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }

    fn wrong_arrows(&self) -> Vec<String> {
        if self.module.is_empty() && self.path.ends_with("lib.rs") {
            return Vec::new(); // it declares and re-exports them all
        }
        let mut wrong = Vec::new();
        for (at, target) in self.uses() {
            let top = target.split("::").next().unwrap_or_default();
            let pure = PURE.contains(&self.top());
            let open = ["config", "protocol", "telemetry"].contains(&top) && !pure && self.top() != "protocol";
            let granted: &[&str] = match self.top() {
                "main" => &["cli"],
                from => ARROWS.iter().find(|(it, _)| *it == from).map_or(&[], |(_, to)| to),
            };
            let listed = granted.iter().any(|to| target == *to || target.starts_with(&format!("{to}::")));
            let fine = top == self.top() || top == "protocol" || listed || open;
            // Items at the root (macros, `crate::Error`) are no arrows; modules are, and modules begin small.
            if !fine && top.starts_with(|c: char| c.is_ascii_lowercase()) {
                wrong.push(format!("{}:{}: {} may not use {target}", self.path, self.line(at), self.top()));
            }
        }
        wrong
    }

    /// Every path from the root that the file names, as far as two segments, with its position.
    fn uses(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for start in words(&self.code, "crate") {
            collect(&self.code, start + "crate".len(), &mut found);
        }
        if self.top() == "main" {
            for start in words(&self.code, "pointsman") {
                collect(&self.code, start + "pointsman".len(), &mut found);
            }
        }
        for start in words(&self.code, "super") {
            if self.code[..start].ends_with("super::") {
                continue; // counted with the first of its chain
            }
            let mut at = start;
            let mut steps = 0;
            while self.code[at..].starts_with("super") {
                steps += 1;
                at += "super".len();
                if steps == self.module.len() {
                    collect(&self.code, at, &mut found);
                    break;
                }
                at += if self.code[at..].starts_with("::") { 2 } else { 0 };
            }
        }
        found.sort();
        found
    }

    fn wrong_doors(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        for (name, doors) in DOORS {
            for at in words(&self.code, name) {
                let path = self.code[at + name.len()..].starts_with("::");
                let nested = self.code[..at].ends_with("::") || self.code[..at].ends_with('.');
                let imported = self.code[..at].ends_with("use ");
                if ((path && !nested) || imported) && !doors.contains(&self.top()) {
                    let doors = doors.join(" and ");
                    wrong.push(format!("{}:{}: {name} comes in through {doors} alone", self.path, self.line(at)));
                }
            }
        }
        wrong
    }

    fn impurities(&self) -> Vec<String> {
        if !PURE.contains(&self.top()) {
            return Vec::new();
        }
        let spot = |what: &'static str| self.code.match_indices(what).map(move |(at, _)| (at, what));
        let told = |(at, what): (usize, &str)| {
            format!("{}:{}: {} is pure and must not know {what}", self.path, self.line(at), self.top())
        };
        IMPURE.into_iter().flat_map(spot).map(told).collect()
    }
}

/// Reads `::name::next` or `::{a::x, b}` at `at` and adds `name::next`, `a::x`, `b`.
fn collect(code: &str, at: usize, found: &mut Vec<(usize, String)>) {
    let Some(rest) = code[at..].strip_prefix("::") else { return };
    if let Some(group) = rest.strip_prefix('{') {
        let (mut depth, mut item) = (0_u32, String::new());
        for c in group.chars() {
            match c {
                '}' if depth == 0 => break,
                ',' if depth == 0 => found.push((at, two_segments(&std::mem::take(&mut item)))),
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if c != ',' || depth > 0 {
                item.push(c);
            }
        }
        found.push((at, two_segments(&item)));
        found.retain(|(_, path)| !path.is_empty());
    } else {
        found.push((at, two_segments(rest)));
    }
}

fn two_segments(text: &str) -> String {
    let name = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let text = text.trim_start();
    let first = name(text);
    match text[first.len()..].strip_prefix("::").map(name) {
        Some(second) if !second.is_empty() => format!("{first}::{second}"),
        _ => first,
    }
}

/// Positions at which `word` stands as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part))
}

/// Blanks comments and the insides of literals. Positions and line breaks stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut wipe = |from: usize, to: usize| {
        out[from..to].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
    };
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        let end = if rest.starts_with(b"//") {
            at + rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len())
        } else if rest.starts_with(b"/*") {
            end_of_comment(bytes, at)
        } else if let Some(end) = end_of_string(bytes, at) {
            end
        } else if bytes[at] == b'\'' {
            end_of_char(text, at)
        } else {
            at += 1;
            continue;
        };
        wipe(at, end);
        at = end;
    }
    String::from_utf8(out).unwrap()
}

/// Past the end of the (nesting) block comment at `start`.
fn end_of_comment(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    bytes.len()
}

/// Past the end of the string at `start`, raw or not, if one begins there.
fn end_of_string(bytes: &[u8], start: usize) -> Option<usize> {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let hashes = bytes[start..].iter().skip(1).take_while(|b| **b == b'#').count();
    let raw = bytes[start] == b'r'
        && bytes.get(start + 1 + hashes) == Some(&b'"')
        && (start == 0 || !is_word(bytes[start - 1]) || bytes[start - 1] == b'b');
    if raw {
        let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
        let body = start + hashes + 2;
        let length = bytes[body..].windows(close.len()).position(|it| it == close)?;
        return Some(body + length + close.len());
    }
    if bytes[start] != b'"' {
        return None;
    }
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != b'"' {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    Some((at + 1).min(bytes.len()))
}

/// Past the end of the character literal at `start`; just past the quote where it is a lifetime.
fn end_of_char(text: &str, start: usize) -> usize {
    let mut chars = text[start + 1..].char_indices();
    match chars.next() {
        Some((_, '\\')) => {
            let body = start + 3; // past the quote, the backslash and what it escapes
            text[body..].find('\'').map_or(text.len(), |length| body + length + 1)
        }
        Some(_) => match chars.next() {
            Some((at, '\'')) => start + 1 + at + 1,
            _ => start + 1,
        },
        None => text.len(),
    }
}

/// Blanks what only tests see: `#[cfg(test)]` and the item after it.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let body = out[start..].find(['{', ';']).map_or(out.len(), |length| start + length);
        let mut end = body;
        if out[body..].starts_with('{') {
            let mut depth = 0;
            end = out.len();
            for (at, b) in out.bytes().enumerate().skip(body) {
                depth += i32::from(b == b'{') - i32::from(b == b'}');
                if depth == 0 {
                    end = at + 1;
                    break;
                }
            }
        }
        let wiped: String = out[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(start..end, &wiped);
    }
    out
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source that ends up in the product; files of tests beside a module are no part of it.
fn sources() -> Vec<Source> {
    let found: Vec<Source> = files(&root().join("src"))
        .into_iter()
        .filter(|path| {
            let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
            stem != "tests" && !stem.ends_with("_tests")
        })
        .map(|path| {
            let relative = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
            Source::new(&relative, &fs::read_to_string(&path).unwrap())
        })
        .collect();
    assert!(found.len() > 20, "found only {} sources: looking in the wrong place?", found.len());
    found
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

mod the_reader_itself {
    use super::*;

    #[test]
    fn sees_through_comments_and_literals() {
        let text = r##"a // crate::x
/* crate::y /* nested */ */ b "crate::z \" \\" r#"crate::"q""# b'\'' '"' c<'a> 'x' "end" crate::real"##;
        let seen = blank(text);
        assert_eq!(seen.len(), text.len());
        assert_eq!(seen.split_whitespace().collect::<Vec<_>>(), ["a", "b", "b", "c<", "a>", "crate::real"]);
    }

    #[test]
    fn skips_test_code() {
        let code = "use a;\n#[cfg(test)]\nmod tests { fn f() { crate::http::x } }\n#[cfg(test)]\nmod more;\nuse b;";
        let left = without_tests(code);
        assert_eq!(left.split_whitespace().collect::<Vec<_>>(), ["use", "a;", ";", "use", "b;"]);
        assert_eq!(left.lines().count(), code.lines().count());
    }

    #[test]
    fn finds_every_way_to_write_an_arrow() {
        let text = "use crate::a::B;\nuse crate::{c, d::{E, F}, g::H};\nfn f(x: super::super::i::J) -> super::K {}\n";
        let found: Vec<String> = Source::new("src/m/n.rs", text).uses().into_iter().map(|(_, path)| path).collect();
        assert_eq!(found, ["a::B", "c", "d", "g::H", "i::J"]);
    }

    #[test]
    fn finds_a_violation_of_each_kind() {
        let arrow = Source::new("src/store/x.rs", "\nuse crate::{http::Gateway, bandit::Arm};").wrong_arrows();
        assert_eq!(arrow, ["src/store/x.rs:2: store may not use http::Gateway"]);
        let narrow = Source::new("src/dispatch/x.rs", "use crate::route::{Planner};use crate::route::Plan;");
        assert_eq!(narrow.wrong_arrows().len(), 1);
        let pure = Source::new("src/bandit/x.rs", "use crate::config::Learning;").wrong_arrows();
        assert_eq!(pure, ["src/bandit/x.rs:1: bandit may not use config::Learning"]);
        let main = Source::new("src/main.rs", "use pointsman::{cli, http};").wrong_arrows();
        assert_eq!(main, ["src/main.rs:1: main may not use http"]);
        let door = Source::new("src/route/x.rs", "fn f(c: reqwest::Client, x: self::axum::Y) {}").wrong_doors();
        assert_eq!(door, ["src/route/x.rs:1: reqwest comes in through upstream and sandbox alone"]);
        let world = Source::new("src/ope/x.rs", "fn f() { let now = Instant::now(); }").impurities();
        assert_eq!(world, ["src/ope/x.rs:1: ope is pure and must not know Instant::now"]);
        assert!(Source::new("src/http/x.rs", "use axum::Router; use crate::store::Store;").wrong_doors().is_empty());
    }
}
