//! `pointsman token new|list|revoke`.

use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use comfy_table::Table;
use jiff::Timestamp;

use super::load::ConfigArgs;
use crate::config::{Config, did_you_mean};
use crate::store::{NewToken, Scope, TokenError, Tokens, limits_in_words};

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token; its text is printed once and stored nowhere
    New {
        /// The token's name; rules may refer to it
        name: String,
        /// What it may be used for
        ///
        /// chat = chat, models, dry runs; feedback = feedback; admin = the admin API.
        #[arg(long, value_delimiter = ',', default_value = "chat,feedback", value_parser = scope())]
        scopes: Vec<Scope>,
        /// Only these models
        #[arg(long, value_delimiter = ',', value_name = "MODELS")]
        models: Option<Vec<String>>,
        /// Requests per minute, in place of limits.requests_per_minute; 0 = no limit
        #[arg(long, value_name = "N")]
        rpm: Option<u32>,
        /// Tokens per minute, in place of limits.tokens_per_minute; 0 = no limit
        #[arg(long, value_name = "N")]
        tpm: Option<u64>,
        /// US dollars per day, in place of limits.usd_per_day; 0 = no limit. Counted at the configured prices of
        /// tokens, without service tiers and fees for the vendor's own tools
        #[arg(long, value_name = "USD")]
        usd_per_day: Option<f64>,
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// List all tokens
    List {
        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Revoke a token, by id or name; a running gateway notices within a second
    Revoke {
        /// Its id or name
        token: String,
        #[command(flatten)]
        config: ConfigArgs,
    },
}

/// Reads a scope on the command line.
fn scope() -> impl TypedValueParser<Value = Scope> {
    let names = PossibleValuesParser::new(Scope::ALL.map(Scope::as_str));
    names.try_map(|name| Scope::named(&name).ok_or("there is no such scope"))
}

pub(super) fn run(command: TokenCommand) -> anyhow::Result<ExitCode> {
    match command {
        TokenCommand::New { name, scopes, models, rpm, tpm, usd_per_day, config } => {
            let config = config.load()?.config;
            check_models(&config, models.as_deref().unwrap_or_default())?;
            let dir = config.server.data_dir;
            let new =
                NewToken { name, scopes, models, requests_per_minute: rpm, tokens_per_minute: tpm, usd_per_day };
            Tokens::refuse_lost(&dir)?;
            let now_ms = Timestamp::now().as_millisecond();
            let (_, (token, text)) = Tokens::change(&dir, |tokens| tokens.add(new, rand::random(), now_ms))?;
            let file = Tokens::path(&dir);
            eprintln!(
                "Made the token {} ({}) in {}. Its text is shown only this once:",
                token.name,
                token.id,
                file.display()
            );
            println!("{text}");
        }
        TokenCommand::List { config } => {
            let dir = config.load()?.config.server.data_dir;
            Tokens::refuse_lost(&dir)?;
            let tokens = Tokens::load(&dir)?;
            if tokens.is_empty() {
                let file = Tokens::path(&dir);
                eprintln!(
                    "{} holds no token: the gateway serves this machine only. Make one: pointsman token new NAME",
                    file.display()
                );
                return Ok(ExitCode::SUCCESS);
            }
            let mut table = Table::new();
            table.set_header(["id", "name", "scopes", "models", "limits", "made"]);
            for token in tokens.all() {
                let scopes: Vec<&str> = token.scopes.iter().map(|scope| scope.as_str()).collect();
                let models = token.models.as_ref().map_or_else(|| "all".into(), |models| models.join(", "));
                let made = Timestamp::from_millisecond(token.created_ms).map(|at| at.to_string()).unwrap_or_default();
                let own = limits_in_words(token.requests_per_minute, token.tokens_per_minute, token.usd_per_day);
                let limits = if own.is_empty() { "as configured".to_owned() } else { own.join(", ") };
                table.add_row([token.id.clone(), token.name.clone(), scopes.join(", "), models, limits, made]);
            }
            println!("{table}");
        }
        TokenCommand::Revoke { token, config } => {
            let dir = config.load()?.config.server.data_dir;
            let (_, gone) = Tokens::change(&dir, |tokens| tokens.revoke(&token))?;
            println!("The token {} ({}) is revoked.", gone.name, gone.id);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses names of no model; one that a server may list later only gets a remark.
fn check_models(config: &Config, models: &[String]) -> anyhow::Result<()> {
    let names = config.names();
    if let Some(auto) = models.iter().find(|name| names.leaves_choice(name)) {
        return Err(TokenError::chooses(auto).into());
    }
    for name in models.iter().filter(|name| !name.trim().is_empty() && !names.knows(name)) {
        let hint = did_you_mean(name, config.models.keys().chain(config.aliases.keys()).map(String::as_str));
        anyhow::ensure!(config.discovers(), "there is no model `{name}`{hint}");
        let end = if hint.is_empty() { "." } else { &hint };
        eprintln!("No model `{name}` is configured: the token may use it once a server lists it{end}");
    }
    Ok(())
}
