//! Loads a configuration: reads the layers, checks the result, resolves secrets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::check::Problem;
use super::decode::decode;
use super::errors::{ConfigErrors, one};
use super::layers::{Layers, Origin, Setting};
use super::stamp::Stamped;
use super::{Config, dotenv, keys, remarks, sandboxed, secrets};

/// The defaults: every key, with its reason.
pub const DEFAULTS: &str = include_str!("../../config/default.toml");

/// The environment file that comes with the binary.
const PRODUCTION: &str = include_str!("../../config/production.toml");

/// Prefix of variables that set configuration; `__` separates the keys of a path.
const PREFIX: &str = "POINTSMAN__";

/// What a configuration is loaded from, passed in so that nothing here reads the process's own state.
#[derive(Debug, Clone, Default)]
pub struct LoadArgs {
    /// The directory that holds `config/` and `.env`.
    pub dir: PathBuf,
    /// `--config`.
    pub file: Option<PathBuf>,
    /// The process's environment variables.
    pub environment: Vec<(String, String)>,
    /// Settings from flags: the flag, the path, the value as TOML or as bare text.
    pub flags: Vec<(String, String, String)>,
    /// The last layer, as TOML: the sandbox's, over all upstreams.
    pub sandbox: Option<String>,
}

/// A configuration that passed every check.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Every value in force with its origin, secrets blanked.
    pub settings: Vec<Setting>,
    /// The files read, as they were before: a change of one is a reason to load again.
    pub files: Vec<Stamped>,
    /// Remarks on what is possible and yet likely a mistake.
    pub remarks: Vec<String>,
}

/// Loads the configuration.
///
/// # Errors
///
/// Every problem found, each with the key, the layer that set it and the remedy.
pub fn load(args: &LoadArgs) -> Result<Loaded, ConfigErrors> {
    let mut layers = Layers::default();
    let mut files = vec![Stamped::new(args.dir.join(".env"))];
    let mut errors = Vec::new();
    layers.merge(parse(DEFAULTS, "the embedded config/default.toml")?, &Origin::Default);

    let variables = variables(args)?;
    if let Some(name) = variables.get("POINTSMAN_ENV").filter(|name| !name.is_empty()) {
        let (table, origin) = environment_file(args, name, &mut files)?;
        layers.merge(table, &origin);
    }
    if let Some(file) = &args.file {
        files.push(Stamped::new(file.clone()));
        layers.merge(read(file)?, &Origin::File(file.clone()));
    }
    for (name, value) in &variables {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let segments: Vec<String> = path.split("__").map(str::to_owned).collect();
        let path = keys::path_of_variable(layers.table(), &segments);
        layers.set(&path, keys::typed(&path, value, toml_or_text(value)), &Origin::Variable(name.clone()));
    }
    for (flag, path, value) in &args.flags {
        let Some(segments) = keys_of(path) else {
            errors.push(format!("{flag}: `{path}` is no key"));
            continue;
        };
        layers.set(&segments, keys::typed(&segments, value, toml_or_text(value)), &Origin::Flag(flag.clone()));
    }
    if let Some(sandbox) = &args.sandbox {
        layers.merge(parse(sandbox, "the sandbox's settings")?, &Origin::Sandbox);
        for name in sandboxed::outside(&layers) {
            let provider = Value::Table(sandboxed::replacement(&layers, &name));
            layers.set(&["providers".into(), name], provider, &Origin::Sandbox);
        }
    }

    layers.drop_shadowed_aliases();
    let (config, problems) = decode(&layers);
    errors.extend(with_origins(&layers, problems));
    let Some(mut config) = config else { return Err(ConfigErrors(errors)) };
    if args.sandbox.is_some() {
        // A key file would win over the variable that holds the sandbox's key.
        config.providers.values_mut().for_each(|provider| provider.key_file = None);
    }
    secrets::resolve_keys(&mut config.providers, &variables, &args.dir, &mut files, &mut errors);
    secrets::resolve_hub(&mut config.classifier.hub, &variables, &args.dir, &mut errors);
    config.admin.password = secrets::resolve_password(&config.admin, &variables, &args.dir, &mut errors);
    if !errors.is_empty() {
        return Err(ConfigErrors(errors));
    }
    let settings = layers.settings();
    let mut remarks = remarks::remarks(&config);
    remarks.extend(near_misses(&variables, &settings));
    Ok(Loaded { config, settings, files, remarks })
}

/// Remarks on variables that set nothing, but would with two underscores in place of one.
fn near_misses(variables: &BTreeMap<String, String>, settings: &[Setting]) -> Vec<String> {
    let meant = |name: &str| {
        let rest = name.strip_prefix("POINTSMAN_").filter(|_| !name.starts_with(PREFIX))?.replace("__", "_");
        let setting = settings.iter().find(|setting| setting.path.replace('.', "_").eq_ignore_ascii_case(&rest))?;
        Some(format!("{PREFIX}{}", setting.path.replace('.', "__").to_uppercase()))
    };
    let hint = |name: &String| Some(format!("the variable {name} sets nothing: did you mean {}?", meant(name)?));
    variables.keys().filter_map(hint).collect()
}

/// The variables of `.env`, overridden by the process's environment.
fn variables(args: &LoadArgs) -> Result<BTreeMap<String, String>, ConfigErrors> {
    let mut all = BTreeMap::new();
    let path = args.dir.join(".env");
    if path.exists() {
        let text = std::fs::read_to_string(&path).map_err(|error| one(format!("{}: {error}", path.display())))?;
        all.extend(dotenv::read(&text, &path.display().to_string())?);
    }
    all.extend(args.environment.iter().cloned());
    Ok(all)
}

fn environment_file(args: &LoadArgs, name: &str, files: &mut Vec<Stamped>) -> Result<(Table, Origin), ConfigErrors> {
    let path = args.dir.join("config").join(format!("{name}.toml"));
    if path.exists() {
        files.push(Stamped::new(path.clone()));
        let table = read(&path)?;
        return Ok((table, Origin::File(path)));
    }
    if name == "production" {
        return Ok((
            parse(PRODUCTION, "the embedded config/production.toml")?,
            Origin::Embedded("production".into()),
        ));
    }
    Err(one(format!("POINTSMAN_ENV={name}: there is no {}", path.display())))
}

fn read(path: &Path) -> Result<Table, ConfigErrors> {
    let text = std::fs::read_to_string(path).map_err(|error| one(format!("{}: {error}", path.display())))?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, from: &str) -> Result<Table, ConfigErrors> {
    text.parse::<Table>().map_err(|error| {
        let line = error.span().map(|span| text[..span.start.min(text.len())].lines().count().max(1));
        let place = line.map(|line| format!(":{line}")).unwrap_or_default();
        one(format!("{from}{place}: {}", error.message()))
    })
}

/// A value as TOML if it is valid TOML, else as text: `2`, `true`, `["a"]`, `gpt-4o`.
fn toml_or_text(text: &str) -> Value {
    let parsed = format!("v = {text}").parse::<Table>().ok();
    parsed.and_then(|mut table| table.remove("v")).unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The keys of a path written as TOML.
fn keys_of(path: &str) -> Option<Vec<String>> {
    let mut table = format!("{path} = 0").parse::<Table>().ok()?;
    let mut keys = Vec::new();
    loop {
        let (key, value) = std::mem::take(&mut table).into_iter().next()?;
        keys.push(key);
        match value {
            Value::Table(below) => table = below,
            _ => return Some(keys),
        }
    }
}

fn with_origins(layers: &Layers, problems: Vec<Problem>) -> Vec<String> {
    let line = |problem: Problem| format!("{}: {} ({})", problem.path, problem.what, layers.origin(&problem.path));
    problems.into_iter().map(line).collect()
}

/// The defaults with `text` (TOML) merged over them, for tests and embedding programs.
impl std::str::FromStr for Config {
    type Err = ConfigErrors;

    fn from_str(text: &str) -> Result<Self, ConfigErrors> {
        let mut layers = Layers::default();
        layers.merge(parse(DEFAULTS, "the embedded config/default.toml")?, &Origin::Default);
        layers.merge(parse(text, "the given text")?, &Origin::File("the given text".into()));
        layers.drop_shadowed_aliases();
        match decode(&layers) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigErrors(with_origins(&layers, problems))),
        }
    }
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
