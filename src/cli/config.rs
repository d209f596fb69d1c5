//! `pointsman config check|print`.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;

use super::load::ConfigArgs;
use crate::classifier::Source;
use crate::config::Loaded;
use crate::telemetry;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether it is right, and if not, everything that is wrong
    Check(ConfigArgs),
    /// Print every value and who set it; secrets are blanked
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

/// What would only be seen at start, or never.
fn remarks(loaded: Loaded) -> Vec<String> {
    let Loaded { config, mut remarks, .. } = loaded;
    if let Err(error) = telemetry::check_filter(&config.telemetry.log) {
        remarks.push(format!("telemetry.log: {error}"));
    }
    let classifier = &config.classifier;
    if classifier.enabled {
        if let Err(error) = classifier.model.parse::<Source>() {
            remarks.push(format!("classifier.model: {error}; nothing will be read"));
        }
        let is_file = !["builtin", "none"].contains(&classifier.head.as_str());
        if is_file && !Path::new(&classifier.head).is_file() {
            remarks.push(format!("classifier.head: there is no file {}", classifier.head));
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
