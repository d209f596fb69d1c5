//! `pointsman train`: from recorded outcomes to a head and a report; `train encoder` cuts the encoder itself.

mod encoder;
mod head;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::classifier::source::{Artifact, Manifest};

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

/// Notes files of the folder `out` in the manifest of the folder above it. Each is given by its name alone.
fn note(out: &Path, made: impl IntoIterator<Item = Artifact>) -> anyhow::Result<()> {
    let path = out.parent().unwrap_or(Path::new(".")).join("manifest.toml");
    let told = || path.display().to_string();
    let mut manifest = Manifest::read(&path).with_context(told)?;
    let folder = out.file_name().unwrap_or_default().to_string_lossy();
    for artifact in made {
        manifest.put(Artifact { file: format!("{folder}/{}", artifact.file), ..artifact });
    }
    manifest.write(&path).with_context(told)
}
