//! `pointsman train`: from recorded outcomes to a head and a report; `train encoder` cuts the encoder itself.

mod encoder;
mod head;

use std::process::ExitCode;

use clap::{Args, Subcommand};

/// The arguments.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct TrainArgs {
    #[command(subcommand)]
    command: Option<TrainCommand>,
    #[command(flatten)]
    head: head::HeadArgs,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
enum TrainCommand {
    /// Cut an encoder out of a base model: its first layers and the part of its vocabulary that prompts use
    Encoder(encoder::EncoderArgs),
}

pub(super) fn run(args: TrainArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(TrainCommand::Encoder(args)) => encoder::run(&args),
        None => head::run(&args.head),
    }
}
