//! Layers of settings merged over each other, with the origin of each value.
//!
//! Tables are merged key by key; all other values, arrays too, are replaced as a whole. A path is written as in TOML:
//! `models."gpt-4.1".price.input`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;
use toml::{Table, Value};

use super::redact;

/// The layer that set a value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The defaults in the binary.
    Default,
    /// The environment's file, as embedded in the binary.
    Embedded(String),
    /// A file.
    File(PathBuf),
    /// A variable, from the process's environment or from `.env`.
    Variable(String),
    /// A command line flag.
    Flag(String),
    /// The sandbox, which replaces every upstream.
    Sandbox,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Embedded(name) => write!(f, "embedded {name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "${name}"),
            Self::Flag(flag) => f.write_str(flag),
            Self::Sandbox => f.write_str("--sandbox"),
        }
    }
}

/// One value in force.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Setting {
    /// Its key.
    pub path: String,
    /// Its value as TOML, with secrets blanked.
    pub value: String,
    /// The layer that set it.
    pub origin: Origin,
}

/// The merged table, with an origin for every leaf.
#[derive(Debug, Clone, Default)]
pub(super) struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
}

impl Layers {
    /// Merges `table` over what is there.
    pub(super) fn merge(&mut self, table: Table, origin: &Origin) {
        merge(&mut self.table, table, "", origin, &mut self.origins);
    }

    /// Sets one value; `path` holds its keys.
    pub(super) fn set(&mut self, path: &[String], value: Value, origin: &Origin) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut layer = Table::from_iter([(last.clone(), value)]);
        for key in parents.iter().rev() {
            layer = Table::from_iter([(key.clone(), Value::Table(layer))]);
        }
        self.merge(layer, origin);
    }

    /// Removes default aliases that equal the name of a model; those that equal the vendor's id of a model that the
    /// operator added lead to that model, which is meant then.
    pub(super) fn drop_shadowed_aliases(&mut self) {
        let names = |section: &str| self.table.get(section).and_then(Value::as_table).into_iter().flatten();
        let is_default = |alias: &str| self.origin(&join("aliases", alias)) == Origin::Default;
        let is_own = |name: &str, key: &str| self.origin(&join(&join("models", name), key)) != Origin::Default;
        let serves = |place: &Value, alias: &str| {
            let id = place.get("upstream").and_then(Value::as_str);
            id.is_some_and(|id| id.strip_suffix(":latest").unwrap_or(id) == alias)
        };
        let deploys = |model: &Value, alias: &str| {
            let places = model.get("deployments").and_then(Value::as_array);
            places.into_iter().flatten().any(|place| serves(place, alias))
        };
        let meant = |alias: &str| {
            let models = || names("models");
            let named = models().find(|(name, _)| *name == alias);
            let served = || models().find(|(name, model)| serves(model, alias) && is_own(name, "upstream"));
            let deployed = || models().find(|(name, model)| deploys(model, alias) && is_own(name, "deployments"));
            named.or_else(served).or_else(deployed).map(|(name, _)| name.clone())
        };
        let aliases = names("aliases").map(|(alias, _)| alias).filter(|alias| is_default(alias));
        let yielding: Vec<_> = aliases.filter_map(|alias| Some((alias.clone(), meant(alias)?))).collect();
        let Some(aliases) = self.table.get_mut("aliases").and_then(Value::as_table_mut) else { return };
        for (alias, model) in yielding {
            match model == alias {
                true => aliases.remove(&alias),
                false => aliases.insert(alias, Value::String(model)),
            };
        }
    }

    /// The merged table.
    pub(super) fn table(&self) -> &Table {
        &self.table
    }

    /// The origin of the value at `path`, or of what stands below it.
    pub(super) fn origin(&self, path: &str) -> Origin {
        let exact = self.origins.get(path);
        let found =
            exact.or_else(|| self.origins.iter().find(|(key, _)| within(key, path)).map(|(_, origin)| origin));
        let above = || {
            let parents = self.origins.iter().filter(|(key, _)| within(path, key));
            parents.max_by_key(|(key, _)| key.len()).map(|(_, origin)| origin)
        };
        // For a missing key: the origin of its neighbours.
        let beside = || {
            let parent = parent(path)?;
            let beside = |key: &str| key.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'));
            self.origins
                .iter()
                .find(|(key, origin)| beside(key) && **origin != Origin::Default)
                .map(|(_, origin)| origin)
        };
        found.or_else(above).or_else(beside).cloned().unwrap_or(Origin::Default)
    }

    /// Whether all that stands at `path` and below it comes from the defaults.
    pub(super) fn is_default(&self, path: &str) -> bool {
        self.origins.iter().all(|(key, origin)| *origin == Origin::Default || !within(key, path))
    }

    /// Every leaf with its origin, sorted by path.
    pub(super) fn settings(&self) -> Vec<Setting> {
        let mut found = Vec::new();
        leaves(&self.table, "", &mut |path, value| {
            let shown = if is_secret(path) { "\"***\"".to_owned() } else { redact::redacted(value).to_string() };
            found.push(Setting { path: path.to_owned(), value: shown, origin: self.origin(path) });
        });
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

/// The path without its last key.
pub(super) fn parent(path: &str) -> Option<&str> {
    path.strip_suffix('"').map_or_else(|| path.rfind('.'), |quoted| quoted.rfind(".\"")).map(|end| &path[..end])
}

/// Whether the value is blanked: headers often carry keys, whatever their name.
fn is_secret(path: &str) -> bool {
    path.starts_with("providers.") && path.contains(".headers.")
}

fn merge(into: &mut Table, layer: Table, prefix: &str, origin: &Origin, origins: &mut BTreeMap<String, Origin>) {
    for (key, value) in layer {
        let path = join(prefix, &key);
        match (into.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => merge(below, above, &path, origin, origins),
            (_, value) => {
                origins.retain(|known, _| !within(known, &path));
                mark(&value, &path, origin, origins);
                into.insert(key, value);
            }
        }
    }
}

fn mark(value: &Value, path: &str, origin: &Origin, origins: &mut BTreeMap<String, Origin>) {
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                mark(value, &join(path, key), origin, origins);
            }
        }
        _ => {
            origins.insert(path.to_owned(), origin.clone());
        }
    }
}

pub(super) fn leaves(table: &Table, prefix: &str, each: &mut impl FnMut(&str, &Value)) {
    for (key, value) in table {
        let path = join(prefix, key);
        match value {
            Value::Table(below) => leaves(below, &path, each),
            value => each(&path, value),
        }
    }
}

/// Whether `path` is `other` or stands below it.
pub(super) fn within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Appends a key to a path, quoted where TOML needs it.
pub(super) fn join(prefix: &str, key: &str) -> String {
    let bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if bare { key.to_owned() } else { format!("{key:?}") };
    if prefix.is_empty() { key } else { format!("{prefix}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn later_layers_win_key_by_key_and_say_so() {
        let mut layers = Layers::default();
        layers.merge(table("[a]\nx = 1\ny = 2\n[a.list]\nz = [1, 2]"), &Origin::Default);
        layers.merge(table("[a]\ny = 3\n[a.list]\nz = [9]"), &Origin::Flag("--set".into()));
        assert_eq!(layers.table(), &table("[a]\nx = 1\ny = 3\nlist = { z = [9] }"));
        assert_eq!(layers.origin("a.x"), Origin::Default);
        assert_eq!(layers.origin("a.y"), Origin::Flag("--set".into()));
        assert_eq!(layers.origin("a.list.z"), Origin::Flag("--set".into()));
    }

    #[test]
    fn a_table_in_a_plain_keys_place_is_whose_wrote_it() {
        let mut layers = Layers::default();
        layers.merge(table("[a]\nx = 1\n[b]\ny.z = 2"), &Origin::Default);
        layers.merge(table("[a]\nx = { below = 1 }\n[b]\ny = 3"), &Origin::Flag("--set".into()));
        for path in ["a.x", "a.x.below", "b.y", "b.y.z"] {
            assert_eq!(layers.origin(path), Origin::Flag("--set".into()), "{path}");
        }
    }

    #[test]
    fn what_is_missing_is_the_matter_of_whoever_wrote_what_stands_beside_it() {
        let mut layers = Layers::default();
        layers.merge(table("[models.a]\nweight = 1"), &Origin::Default);
        layers.merge(table("[models.'b.1']\nupstream = 'x'"), &Origin::Flag("--set".into()));
        assert_eq!(layers.origin("models.\"b.1\".provider"), Origin::Flag("--set".into()));
        assert_eq!(layers.origin("models.a.provider"), Origin::Default);
    }

    #[test]
    fn a_key_that_only_begins_like_another_does_not_stand_below_it() {
        let mut layers = Layers::default();
        layers.merge(table("[routing.objectives]\ncost = 1"), &Origin::Default);
        layers.merge(table("[routing]\nobjective = 'cost'\nrules = [{ name = 'a' }]"), &Origin::Flag("--set".into()));
        assert_eq!(layers.origin("routing.objectives.speed"), Origin::Default);
        for path in ["routing.objective.x", "routing.rules[0].name"] {
            assert_eq!(layers.origin(path), Origin::Flag("--set".into()), "{path}");
        }
    }

    #[test]
    fn names_with_dots_are_quoted() {
        let mut layers = Layers::default();
        layers.set(&["models".into(), "gpt-4.1".into(), "weight".into()], Value::Integer(2), &Origin::Default);
        assert_eq!(layers.settings()[0].path, "models.\"gpt-4.1\".weight");
    }

    #[test]
    fn header_values_are_blanked() {
        let mut layers = Layers::default();
        layers.merge(table("[providers.x.headers]\nx-key = 'hush'"), &Origin::Default);
        assert_eq!(layers.settings()[0].value, "\"***\"");
    }
}
