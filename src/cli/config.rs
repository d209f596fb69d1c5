//! `pointsman config check|print`.

use std::process::ExitCode;

use clap::Subcommand;

use super::load::ConfigArgs;

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

pub(super) fn run(command: ConfigCommand) -> anyhow::Result<ExitCode> {
    match command {
        ConfigCommand::Check(config) => {
            let loaded = config.load()?;
            let (models, providers) = (loaded.config.models.len(), loaded.config.providers.len());
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
