//! `pointsman config check|print`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Subcommand;

use super::load::ConfigArgs;
use crate::classifier::Source;
use crate::classifier::head::Head;
use crate::classifier::source::builtin_bytes;
use crate::config::{Config, Loaded, Model, Provider, unknown_likes};
use crate::gateway::sign_in::SignIn;
use crate::protocol::Dialect;
use crate::telemetry;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Check the configuration, and list everything that is wrong
    Check(ConfigArgs),
    /// Print every value and where it was set; secrets are blanked
    Print {
        #[command(flatten)]
        config: ConfigArgs,
        /// As JSON
        #[arg(long)]
        json: bool,
        /// Only what differs from the defaults
        #[arg(long)]
        changed: bool,
    },
}

/// Most names of models that a remark lists.
const MOST_NAMES: usize = 5;

/// Likely mistakes that only the configured head reveals: unknown tasks in rules, unknown models in `like`, a head that
/// was fitted to none of the models.
pub(super) fn unknown_to_the_head(config: &Config) -> Vec<String> {
    let asks = config.rules.iter().any(|rule| !rule.when.task.is_empty());
    if !asks && !has_own_head(config) && config.models.values().all(|model| model.like.is_none()) {
        return Vec::new();
    }
    let head = match config.classifier.head.as_str() {
        "none" => return unknown_likes(config, |_| false),
        "builtin" => builtin_bytes("builtin/head.safetensors").map(Head::from_bytes),
        path => Some(Head::load(Path::new(path))),
    };
    // A head that cannot be loaded is reported elsewhere.
    let Some(Ok(head)) = head else { return Vec::new() };
    let mut unknown = unknown_tasks(config, &head);
    unknown.extend(unknown_likes(config, |name| head.knows(name)));
    if has_own_head(config) {
        unknown.extend(fitted_to_others(config, &head));
    }
    unknown
}

/// Whether prompts are read by a head from a file.
fn has_own_head(config: &Config) -> bool {
    config.classifier.enabled && !["builtin", "none"].contains(&config.classifier.head.as_str())
}

/// A remark where the head knows none of the models, and no server may list one later: nothing that it was fitted to
/// counts.
fn fitted_to_others(config: &Config, head: &Head) -> Option<String> {
    let known = |(name, model): (&String, &Model)| {
        let called = model.deployment_names(name);
        head.knows(name)
            || model.like.as_ref().is_some_and(|like| head.knows(like))
            || called.iter().any(|name| head.has_measured(name))
    };
    if config.models.iter().any(known) {
        return None;
    }
    let arms: BTreeSet<&str> = head.description().arms.iter().map(|arm| arm.model.as_str()).collect();
    // Ollama lists each model with its tag, as in llama3.2:latest.
    let may_list = |server: &Provider| server.dialect != Dialect::Ollama || arms.iter().any(|arm| arm.contains(':'));
    if config.providers.values().any(|server| server.discovers() && may_list(server)) {
        return None;
    }
    let mut names = arms.iter().take(MOST_NAMES).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    if arms.len() > MOST_NAMES {
        names = format!("{names} and {} more", arms.len() - MOST_NAMES);
    }
    Some(format!(
        "classifier.head: it was fitted to {names}, and no configured model has one of these names, or has it as its \
         `provider/upstream`: each is told by its score alone"
    ))
}

/// Remarks on unknown tasks: a rule that asks for one never matches.
fn unknown_tasks(config: &Config, head: &Head) -> Vec<String> {
    let asked =
        config.rules.iter().enumerate().flat_map(|(at, rule)| rule.when.task.iter().map(move |task| (at, task)));
    let known = &head.description().tasks;
    let remark = |(at, task): (usize, &String)| {
        format!("rules[{at}].when.task: the head has no task `{task}`, but {}", known.join(", "))
    };
    asked.filter(|(_, task)| !known.contains(task)).map(remark).collect()
}

/// Remarks on values that are valid but likely mistakes, which would show only at start, or never.
fn remarks(loaded: Loaded) -> Vec<String> {
    let Loaded { config, mut remarks, .. } = loaded;
    remarks.extend(unknown_to_the_head(&config));
    let (floor, models) = (config.learning.bandit.floor.unwrap_or(0.0), config.models.len());
    if floor * models as f64 > 0.1 {
        remarks.push(format!(
            "learning.bandit.floor: all models together get a tenth at most, so each of {models} gets {:.4}",
            0.1 / models as f64
        ));
    }
    let classifier = &config.classifier;
    if classifier.enabled {
        // A hub's model is fetched at start.
        let wrong = match classifier.model.parse::<Source>() {
            Ok(source @ Source::Path(_)) => source.here(&classifier.hub).err(),
            Ok(_) => None,
            Err(error) => Some(error),
        };
        if let Some(error) = wrong {
            remarks.push(format!("classifier.model: {error}; no prompt will be read"));
        }
    }
    if has_own_head(&config) {
        let path = Path::new(&classifier.head);
        let wrong = match path.is_file() {
            false => Some(format!("there is no file {}", classifier.head)),
            true => Head::load(path).err().map(|error| error.to_string()),
        };
        remarks.extend(wrong.map(|wrong| format!("classifier.head: {wrong}; no prompt will be read")));
    }
    remarks
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(config) => {
            let loaded = config.load()?;
            // The start reads these, too, and ends there.
            SignIn::new(&loaded.config.admin)?;
            telemetry::check_filter(&loaded.config.telemetry.log)
                .map_err(|error| anyhow!("telemetry.log: {error}"))?;
            let (models, providers) = (loaded.config.models.len(), loaded.config.providers.len());
            for remark in remarks(loaded) {
                eprintln!("Remark: {remark}");
            }
            println!("The configuration is right: {models} models, {providers} providers.");
        }
        ConfigCommand::Print { config, json, changed } => {
            let mut settings = config.load()?.settings;
            settings.retain(|setting| !changed || setting.origin != crate::config::Origin::Default);
            if json {
                println!("{}", serde_json::to_string_pretty(&settings)?);
            } else {
                for setting in settings {
                    println!("{} = {}  # {}", setting.path, setting.value, setting.origin);
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classifier::head::Likeness;

    #[test]
    fn a_slip_in_a_task_is_remarked_upon() {
        let remarks = |task: &str| {
            let rule = format!("[[rules]]\nname = 'r'\npin = 'gpt-4o'\nwhen = {{ task = ['code', '{task}'] }}\n");
            unknown_to_the_head(&rule.parse().unwrap())
        };
        assert_eq!(remarks("math"), Vec::<String>::new());
        let slip = remarks("mth");
        assert!(
            slip.len() == 1 && slip[0].starts_with("rules[0].when.task: ") && slip[0].contains("math"),
            "{slip:?}"
        );
    }

    #[test]
    fn a_model_like_one_that_nobody_knows_is_remarked_upon() {
        let remarks = |more: &str| {
            let text = format!("[aliases]\nfast = 'gpt-4o-mini'\n[models.\"x.1\"]\nprovider = 'ollama'\n{more}");
            unknown_to_the_head(&text.parse().unwrap())
        };
        for like in ["gpt-4o", "zeroeval/gpt-4o-2024-05-13", "gpt-4o-2024-05-13"] {
            assert_eq!(remarks(&format!("like = '{like}'")), Vec::<String>::new(), "{like}");
        }
        for like in ["fast", "openai/gpt-4o", "openai/fast"] {
            assert_eq!(remarks(&format!("like = '{like}'")), Vec::<String>::new(), "{like} is a name of a model");
        }
        let slip = remarks("like = 'gtp-4o'");
        let told = "models.\"x.1\".like: nothing is known of a model `gtp-4o`; did you mean `gpt-4o`?";
        assert_eq!(slip, [told]);
        let told = remarks("like = 'gpt-4o-2024-05-13'\n[classifier]\nhead = 'none'");
        assert_eq!(told.len(), 1, "without a head only the configuration counts: {told:?}");
    }

    #[test]
    fn a_head_that_knows_none_of_the_models_is_remarked_upon() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let fit_to = |model: &str| {
            let mut description = crate::classifier::head::tests::head().description().clone();
            description.arms[0].model = model.into();
            description.likeness = Likeness::default();
            let parts = crate::classifier::head::tests::head().parts().clone();
            std::fs::write(file.path(), Head::new(description, parts).unwrap().to_bytes().unwrap()).unwrap();
        };
        fit_to("openai/gpt-4o");
        let remarks = |more: &str| {
            let text = format!("[classifier]\nhead = '{}'\n{more}", file.path().display());
            unknown_to_the_head(&text.parse().unwrap())
        };
        assert_eq!(remarks(""), Vec::<String>::new(), "gpt-4o is a deployment of that name");
        let elsewhere = "[models.gpt-4o]\nupstream = 'gpt-4o-2026'\n";
        let told = remarks(elsewhere);
        let wanted = "classifier.head: it was fitted to `minus`, `openai/gpt-4o`, and no configured model";
        assert!(told.len() == 1 && told[0].starts_with(wanted), "{told:?}");
        assert_eq!(remarks(&format!("{elsewhere}like = 'minus'\n")), Vec::<String>::new());
        assert_eq!(remarks(&format!("enabled = false\n{elsewhere}")), Vec::<String>::new());
        let lists = "[providers.mine]\nbase_url = 'http://h/v1'\ndiscover = true\n";
        assert_eq!(remarks(&format!("{elsewhere}{lists}")), Vec::<String>::new(), "its list may have it");
        fit_to("llama3.2:latest");
        assert_eq!(remarks(""), Vec::<String>::new(), "Ollama may list it");
        assert_eq!(remarks("[providers.ollama]\nenabled = false\n").len(), 1);
    }
}
