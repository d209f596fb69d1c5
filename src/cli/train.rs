//! `pointsman train`: makes what is committed under `models/`.

mod encoder;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// The arguments.
#[derive(Debug, Args)]
pub(super) struct TrainArgs {
    #[command(subcommand)]
    command: TrainCommand,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum TrainCommand {
    /// Cut an encoder out of a base model: its first layers and the part of its vocabulary that prompts use
    Encoder(encoder::EncoderArgs),
}

pub(super) fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        TrainCommand::Encoder(args) => encoder::run(&args),
    }
}
