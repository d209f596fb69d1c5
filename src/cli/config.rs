//! `pointsman config check|print`.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::load::ConfigArgs;
use crate::classifier::Source;
use crate::classifier::head::Head;
use crate::classifier::source::builtin_bytes;
use crate::config::{Config, Loaded, unknown_likes};
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

/// Likely typing mistakes that only the configured head reveals: unknown tasks in rules, unknown models in `like`.
pub(super) fn unknown_to_the_head(config: &Config) -> Vec<String> {
    let asks = config.rules.iter().any(|rule| !rule.when.task.is_empty());
    if !asks && config.models.values().all(|model| model.like.is_none()) {
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
    unknown
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
    if let Err(error) = telemetry::check_filter(&config.telemetry.log) {
        remarks.push(format!("telemetry.log: {error}"));
    }
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
        let is_file = !["builtin", "none"].contains(&classifier.head.as_str());
        if is_file && !Path::new(&classifier.head).is_file() {
            remarks.push(format!("classifier.head: there is no file {}; no prompt will be read", classifier.head));
        }
    }
    remarks
}

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(config) => {
            let loaded = config.load()?;
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
        for (like, meant) in [("gtp-4o", "gpt-4o"), ("fast", "gpt-4o-mini")] {
            let slip = remarks(&format!("like = '{like}'"));
            let told = format!("models.\"x.1\".like: nothing is known of a model `{like}`; did you mean `{meant}`?");
            assert_eq!(slip, [told]);
        }
        let told = remarks("like = 'gpt-4o-2024-05-13'\n[classifier]\nhead = 'none'");
        assert_eq!(told.len(), 1, "without a head only the configuration counts: {told:?}");
    }
}
