//! Reads the merged table past all that is wrong with it, so that an operator hears of everything at once.
//!
//! Unknown keys are taken out, and read as the key they resemble. What has the wrong type is noted and left out, and
//! reading begins anew until the rest can be read. Then values are checked. What only follows from a problem that is
//! noted already (a model without a provider, whose key is misspelt) is no problem of its own.

use std::collections::{BTreeMap, BTreeSet};

use serde_path_to_error::Segment;
use toml::{Table, Value};

use super::check::{self, Problem};
use super::keys::{self, Unknown};
use super::layers::{Layers, Origin, join, parent, within};
use super::{Config, redact};

/// The configuration and what is wrong with it; only without problems is it what was written. `None` = nothing could be
/// read.
pub(super) fn decode(layers: &Layers) -> (Option<Config>, Vec<Problem>) {
    let mut table = layers.table().clone();
    let Unknown { mut problems, meant, mut lost } = keys::take_unknown(&mut table);
    let mut root = Value::Table(table);
    let mut standing = BTreeSet::new();
    note(&root, "", &mut standing);
    let follows = |path: &str, lost: &[String]| {
        let absent = !standing.contains(path);
        meant.iter().any(|meant| within(path, meant))
            || lost.iter().any(|lost| {
                let beside = absent && parent(path).is_some_and(|parent| within(lost, parent));
                beside || within(path, lost) || within(lost, path)
            })
    };
    let mut gone = BTreeMap::new();
    let mut config = loop {
        let error = match serde_path_to_error::deserialize::<_, Config>(root.clone()) {
            Ok(config) => break config,
            Err(error) => error,
        };
        let steps: Vec<Segment> = error.path().iter().cloned().collect();
        let told_by_serde = error.into_inner().message().to_owned();
        let path = written(&steps, &gone);
        let what = in_plain_words(&redact::without_value(&told_by_serde), &path) + remedy(&told_by_serde);
        let left_out = leave_out(&mut root, &steps, &mut gone).is_some();
        if !(left_out && follows(&path, &lost)) {
            problems.push(Problem { path: path.clone(), what });
        }
        if !left_out {
            return (None, problems);
        }
        lost.push(path);
    };
    let is_default = |alias: &&String| layers.origin(&join("aliases", alias)) == Origin::Default;
    config.default_aliases = config.aliases.keys().filter(is_default).cloned().collect();
    let is_default = |model: &&String| layers.is_default(&join("models", model));
    config.default_models = config.models.keys().filter(is_default).cloned().collect();
    // Without a whole section, names that stand in it seem to be missing everywhere.
    let named = ["providers", "models", "aliases"];
    let faults =
        if lost.iter().any(|path| named.contains(&path.as_str())) { Vec::new() } else { check::problems(&config) };
    // The entries of a list that lost one are counted otherwise than they were written.
    let counts = |path: &str| !gone.keys().any(|list| path != list && within(path, list));
    // Compared with a key that has its default for now.
    let compares = |fault: &Problem| {
        lost.iter().chain(&meant).any(|path| path.contains('.') && fault.what.contains(path.as_str()))
    };
    let stands = |fault: &Problem| counts(&fault.path) && !follows(&fault.path, &lost) && !compares(fault);
    problems.extend(faults.into_iter().filter(stands));
    (Some(config), problems)
}

/// Notes every path that stands in `value`.
fn note(value: &Value, path: &str, standing: &mut BTreeSet<String>) {
    match value {
        Value::Table(table) => table.iter().for_each(|(key, value)| note(value, &join(path, key), standing)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| note(value, &format!("{path}[{index}]"), standing));
        }
        _ => {}
    }
    standing.insert(path.to_owned());
}

/// The path as it was written, where `gone` entries of lists were left out before.
fn written(steps: &[Segment], gone: &BTreeMap<String, usize>) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Segment::Map { key } | Segment::Enum { variant: key } => join(&path, key),
        // What was left out of a list stood before what is read now.
        Segment::Seq { index } => format!("{path}[{}]", index + gone.get(&path).unwrap_or(&0)),
        Segment::Unknown => path,
    })
}

/// Empties what stands at a path, so that its name and its place are still there for others to refer to; if it is empty
/// already, it is removed. `None` = nothing stands there.
fn leave_out(root: &mut Value, steps: &[Segment], gone: &mut BTreeMap<String, usize>) -> Option<()> {
    let (last, above) = steps.split_last()?;
    let parent = above.iter().try_fold(root, below)?;
    let place = below(parent, last)?;
    if !place.as_table().is_some_and(Table::is_empty) {
        *place = Value::Table(Table::new());
        return Some(());
    }
    match (parent, last) {
        (Value::Array(list), Segment::Seq { index }) => {
            list.remove(*index);
            *gone.entry(written(above, gone)).or_default() += 1;
        }
        (Value::Table(table), Segment::Map { key } | Segment::Enum { variant: key }) => {
            table.remove(key);
        }
        _ => return None,
    }
    Some(())
}

fn below<'a>(value: &'a mut Value, step: &Segment) -> Option<&'a mut Value> {
    match step {
        Segment::Map { key } | Segment::Enum { variant: key } => value.get_mut(key),
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Unknown => None,
    }
}

/// A message about a type in the words that the other messages have: the parser's are those of its language.
fn in_plain_words(message: &str, path: &str) -> String {
    let typed = message.rsplit_once(", expected ").filter(|_| message.starts_with("invalid "));
    let Some((told, wanted)) = typed else { return message.to_owned() };
    let of_tables = path == "rules" || path.ends_with(".deployments");
    let wanted = match wanted {
        "a sequence" if of_tables => {
            return format!(
                "is no list of tables: write [[{path}]], with two brackets on each side, above each of them"
            );
        }
        "a sequence" => "a list as in [\"a\", \"b\"]",
        "a map" => "a table",
        "a string" | "path string" => "text in quotes",
        "a boolean" => "true or false",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number, 0 or more",
        "f64" => "a number",
        wanted if wanted.starts_with("struct ") => "a table",
        wanted => wanted,
    };
    let told = told.replace(": sequence", ": list").replace(": map", ": table");
    format!("{told}, expected {wanted}")
}

/// What to write instead, where the parser's message does not say.
fn remedy(what: &str) -> &'static str {
    let remedies = [
        ("invalid IP address syntax", ": write a network as in 10.0.0.0/8, one address as in 10.0.0.1/32"),
        ("invalid socket address syntax", ": write ADDRESS:PORT as in 127.0.0.1:3100; names are not looked up"),
        ("unit variant, expected string only", ": write it as text, in quotes"),
    ];
    remedies.into_iter().find(|(message, _)| what.contains(message)).map_or("", |(_, remedy)| remedy)
}
