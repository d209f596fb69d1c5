//! `pointsman train encoder`: cuts the builtin encoder out of a base model by a recipe.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;

use crate::classifier::cut::{Recipe, cut};
use crate::classifier::source::Artifact;
use crate::cli::read_toml;
use crate::train::dataset::{Dataset, Limits, Split, read};

/// The arguments.
#[derive(Debug, Args)]
pub(in crate::cli) struct EncoderArgs {
    /// The base model, a GGUF file
    #[arg(long, value_name = "FILE")]
    base: PathBuf,
    /// The recipe: which parts of it are kept
    #[arg(long, value_name = "FILE", default_value = "training/encoder.toml")]
    recipe: PathBuf,
    /// Data set whose training prompts show which tokens are used
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where encoder.gguf goes; the folder above gets the entry in manifest.toml
    #[arg(long, value_name = "DIR", default_value = "models/builtin")]
    out: PathBuf,
}

pub(super) fn run(args: &EncoderArgs) -> anyhow::Result<ExitCode> {
    let recipe: Recipe = read_toml(&args.recipe)?;
    let data = read(&args.data, Split::Train, Limits::default())?;
    if let Some(source) = recipe.vocabulary.sources.iter().find(|source| !data.sources.contains(source)) {
        bail!("{} has no source `{source}`, which the recipe names", args.data.display());
    }
    std::fs::create_dir_all(&args.out).with_context(|| args.out.display().to_string())?;
    let file = args.out.join("encoder.gguf");
    let done = cut(&args.base, &recipe, prompts(&data, &recipe), &file)?;

    let made = Artifact {
        file: "encoder.gguf".into(),
        kind: "encoder".into(),
        sha256: done.sha256.clone(),
        bytes: done.bytes,
        license: recipe.license.clone(),
        base: recipe.base.clone(),
        recipe: args.recipe.display().to_string(),
        layers: Some(done.layers),
        hidden: Some(done.hidden),
        tokens: Some(done.tokens),
    };
    super::note(&args.out, [made])?;
    let (before, after) = done.counted;
    println!(
        "{}: {} layers, {} tokens, {} merges, {:.1} MB, sha256 {}\n\
         The counted prompts are {:.2} % longer in tokens than with the base's vocabulary.",
        file.display(),
        done.layers,
        done.tokens,
        done.merges,
        done.bytes as f64 / 1e6,
        done.sha256,
        (after as f64 / before.max(1) as f64 - 1.0) * 100.0,
    );
    Ok(ExitCode::SUCCESS)
}

/// The training prompts of the sources that the recipe names.
fn prompts<'a>(data: &'a Dataset, recipe: &'a Recipe) -> impl Iterator<Item = &'a str> + Clone {
    let named = |source: u32| recipe.vocabulary.sources.contains(&data.sources[source as usize]);
    data.of(Split::Train).filter(move |record| named(record.source)).map(|record| &*record.prompt)
}
