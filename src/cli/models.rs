//! `pointsman models`: lists, fetches, verifies and describes embedded models.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use comfy_table::Table;
use indicatif::{ProgressBar, ProgressStyle};

use super::load::ConfigArgs;
use crate::classifier::encoder::Pooling;
use crate::classifier::source::{Artifact, DownloadProgress, Files, Manifest, Source};
use crate::classifier::{Model, cut::file_sha256, source::builtin_bytes};
use crate::config;

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(super) enum ModelsCommand {
    /// List the models in the binary and the configured one
    List(ConfigArgs),
    /// Fetch a model, or look for a newer one: `hf:owner/name[@revision]`
    Pull(NameArgs),
    /// Load a model or a head, and compare files with their hashes
    Verify(NameArgs),
    /// Show what a model is, and how fast it reads on this machine
    Info(NameArgs),
}

/// A model and where the configuration is.
#[derive(Debug, Args)]
pub(super) struct NameArgs {
    /// builtin, a path, or `hf:owner/name[@revision]`; the configured one if absent. `verify` takes a head's file, too,
    /// and without a name also verifies the configured head
    model: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl NameArgs {
    /// The settings with the named model in them.
    fn settings(&self) -> anyhow::Result<config::Classifier> {
        let mut settings = self.config.load()?.config.classifier;
        if let Some(model) = &self.model {
            settings.model.clone_from(model);
        }
        Ok(settings)
    }
}

pub(super) fn run(command: ModelsCommand) -> anyhow::Result<ExitCode> {
    match command {
        ModelsCommand::List(config) => list(&config.load()?.config.classifier),
        ModelsCommand::Pull(args) => pull(&args.settings()?),
        ModelsCommand::Verify(args) => verify(&args),
        ModelsCommand::Info(args) => info(&args.settings()?),
    }
}

fn list(settings: &config::Classifier) -> anyhow::Result<ExitCode> {
    let mut table = Table::new();
    table.set_header(["file", "kind", "size", "licence", "made from"]);
    for Artifact { file, kind, bytes, license, base, .. } in Manifest::builtin()?.artifacts {
        table.add_row([file, kind, size(bytes), license, base]);
    }
    println!("In the binary:\n{table}");
    let source: Source = settings.model.parse()?;
    let there = match source.here(&settings.hub) {
        Ok(Some(Files::Builtin(_))) => "in the binary".to_owned(),
        Ok(Some(Files::Gguf(path) | Files::Folder(path))) => path.display().to_string(),
        Ok(None) => format!("not fetched yet: pointsman models pull {}", settings.model),
        Err(error) => error.to_string(),
    };
    println!("Configured: {} ({there})", settings.model);
    let head_there = match settings.head.as_str() {
        "builtin" => "in the binary, for the builtin model",
        "none" => "no prompt is read",
        path if Path::new(path).is_file() => "a file",
        _ => "there is no such file, so no prompt is read",
    };
    println!("Its head: {} ({head_there})", settings.head);
    Ok(ExitCode::SUCCESS)
}

fn pull(settings: &config::Classifier) -> anyhow::Result<ExitCode> {
    let source: Source = settings.model.parse()?;
    if !matches!(source, Source::Hub { .. }) {
        bail!("{} needs no fetching, only hf:owner/name does", settings.model);
    }
    let mut bar = Download::default();
    let files = source.pull(&settings.hub, &mut bar)?;
    if let Files::Gguf(path) | Files::Folder(path) = files {
        println!("{} is at {}", settings.model, path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Verifies the named model or head; without a name the configured model with its head.
fn verify(args: &NameArgs) -> anyhow::Result<ExitCode> {
    let named = args.model.as_deref();
    // A model's safetensors come in a folder; a file alone is a head.
    let named_head = named.filter(|name| name.ends_with(".safetensors") && Path::new(name).is_file());
    let configured = args.config.load()?.config.classifier;
    let settings = if named_head.is_some() { configured } else { args.settings()? };
    let mut checked = if named_head.is_some() { 0 } else { verify_files(&settings)? };
    let mut unknown = "";
    let head = named_head.or_else(|| named.is_none().then_some(settings.head.as_str()));
    if let Some(path) = head.filter(|head| !["builtin", "none"].contains(head)) {
        let compared = verify_file(Path::new(path)).with_context(|| format!("the head {path}"))?;
        checked += compared;
        if compared == 0 {
            unknown = " (the head's is none of them: its hash is not known)";
        }
    }
    let model = Model::load(&settings)?;
    model.encode_batch(&["Hello"], &Pooling::mean_of(model.info().layers))?;
    let loaded = match head {
        None => "the model loads and reads",
        Some(name) => match model.load_head(name).with_context(|| format!("beside {}", settings.model))? {
            Some(_) => "the model loads and reads, and the head is for it",
            None => "the model loads, and has no head to read prompts by",
        },
    };
    match checked {
        0 => println!("No hash of these files is known; {loaded}."),
        1 => println!("One file has the right hash{unknown}; {loaded}."),
        _ => println!("{checked} files have the right hashes{unknown}; {loaded}."),
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the hashes of a model's files, and compares those whose right hash is known; returns the number of these.
fn verify_files(settings: &config::Classifier) -> anyhow::Result<usize> {
    let source: Source = settings.model.parse()?;
    let files = source.here(&settings.hub)?.with_context(|| format!("{} is not on this machine", settings.model))?;
    let mut checked = 0;
    match files {
        Files::Builtin(_) => {
            for artifact in Manifest::builtin()?.artifacts {
                let bytes = builtin_bytes(&artifact.file).with_context(|| format!("{} is missing", artifact.file))?;
                if !artifact.is(bytes) {
                    bail!("{} is damaged", artifact.file);
                }
                println!("{}  {}", artifact.sha256, artifact.file);
                checked += 1;
            }
        }
        Files::Gguf(path) => checked += verify_file(&path)?,
        Files::Folder(folder) => {
            let mut paths: Vec<_> = std::fs::read_dir(&folder)?.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths.into_iter().filter(|path| path.is_file()) {
                checked += verify_file(&path)?;
            }
        }
    }
    Ok(checked)
}

/// Prints a file's hash, and compares it with the right one if that is known; returns the number of compared files.
fn verify_file(path: &Path) -> anyhow::Result<usize> {
    let sha256 = file_sha256(path)?;
    println!("{sha256}  {}", path.display());
    if let Some(right) = hash_in_name(path)? {
        if sha256 != right {
            bail!("{} is damaged; remove it and pull again", path.display());
        }
        return Ok(1);
    }
    if let Some((manifest, right)) = hash_in_manifest(path)? {
        if sha256 != right {
            bail!("{} is not what {} says: {right}", path.display(), manifest.display());
        }
        return Ok(1);
    }
    Ok(0)
}

/// The hash of a large file in a hub's cache, which is a link to a file named by its hash.
fn hash_in_name(path: &Path) -> anyhow::Result<Option<String>> {
    let file = std::fs::canonicalize(path)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(name))
}

/// The hash of a file made by `train`, from the manifest in the folder above its own.
fn hash_in_manifest(path: &Path) -> anyhow::Result<Option<(PathBuf, String)>> {
    let path = std::path::absolute(path)?;
    let (Some(file), Some(folder)) = (path.file_name(), path.parent()) else { return Ok(None) };
    let (Some(models), Some(folder)) = (folder.parent(), folder.file_name()) else { return Ok(None) };
    let manifest = models.join("manifest.toml");
    let name = format!("{}/{}", folder.to_string_lossy(), file.to_string_lossy());
    match Manifest::read(&manifest) {
        Ok(entries) => Ok(entries.of(&name).map(|entry| (manifest, entry.sha256.clone()))),
        Err(error) => {
            // Other programs have files of this name, too.
            println!("{} is no manifest of models: {error}", manifest.display());
            Ok(None)
        }
    }
}

fn info(settings: &config::Classifier) -> anyhow::Result<ExitCode> {
    let began = Instant::now();
    let model = Model::load(settings)?;
    let load_ms = began.elapsed().as_secs_f64() * 1e3;
    let info = model.info();
    println!("model        {}", info.name);
    println!("device       {} ({} threads)", info.device, settings.threads);
    println!("weights      {} in the file, {} in memory", info.weights, size(info.bytes as u64));
    println!("layers       {} of width {}", info.layers, info.hidden);
    println!("vocabulary   {}", info.vocabulary);
    println!("parameters   {:.1} million", info.parameters as f64 / 1e6);
    println!("loaded in    {load_ms:.0} ms");
    println!("reading time, all layers, best of ten:");
    let pooling = Pooling::mean_of(info.layers);
    for words in [14, 62, 126, 254] {
        let text = "word ".repeat(words);
        let mut best = f64::INFINITY;
        for _ in 0..10 {
            let began = Instant::now();
            model.encode_batch(&[&text], &pooling)?;
            best = best.min(began.elapsed().as_secs_f64() * 1e3);
        }
        println!("  {:>4} tokens  {best:>7.2} ms", model.count_tokens(&text)?);
    }
    Ok(ExitCode::SUCCESS)
}

fn size(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// A progress bar on a terminal, a line for each file otherwise.
#[derive(Default)]
struct Download {
    file: String,
    bar: Option<ProgressBar>,
}

impl DownloadProgress for Download {
    fn begin(&mut self, file: &str, total: u64) {
        // The hub's client calls this once per try.
        if self.file != file {
            file.clone_into(&mut self.file);
            let bar = ProgressBar::new(total);
            let style = "{msg} [{elapsed_precise}] [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} ({eta})";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_message(file.to_owned());
            if bar.is_hidden() {
                eprintln!("{file}: {}", size(total));
            }
            self.bar = Some(bar);
        } else if let Some(bar) = &self.bar {
            bar.set_position(0);
        }
    }

    fn advance(&mut self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
