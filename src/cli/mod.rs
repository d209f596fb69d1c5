//! The command line: one file per subcommand. Exit codes: 0 good, 1 failed, 2 wrong use.

/// Prints a line on standard output. If it cannot be written (a full disk) the program goes on and exits as failed in
/// the end, where std's macro of this name would panic.
macro_rules! println {
    ($($part:tt)*) => { $crate::cli::print(format_args!($($part)*)) };
}

mod bench;
mod config;
mod demo;
mod descriptors;
mod evaluate;
mod export;
mod import;
mod load;
mod models;
mod password;
mod policies;
mod progress;
mod replay;
mod route;
mod serve;
mod start_pages;
mod token;
mod train;
mod verdicts;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::train::results;

/// A self-hosted LLM gateway that learns where each prompt should go.
#[derive(Debug, Parser)]
#[command(name = "pointsman", version, about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The commands; a manual longer than a line stands at the command's arguments.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Serve(serve::ServeArgs),
    /// Show the whole thing at work: stand-in vendors, simulated users, the gateway and its dashboard
    Demo(demo::DemoArgs),
    /// Show which model a prompt would go to, and why, without calling any
    Route(route::RouteArgs),
    /// Check the configuration, or print its values
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Make, list and revoke API tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Measure the gateway: latency it adds, requests per second, memory
    Bench(bench::BenchArgs),
    /// List, fetch and verify embedded models; show what one is and how fast it reads
    #[command(subcommand)]
    Models(models::ModelsCommand),
    /// Retrain the head from recorded outcomes; or cut an encoder out of a base model
    Train(train::TrainArgs),
    /// Compare a head with its baselines on recorded outcomes, or a policy with another on the decision log
    Evaluate(evaluate::EvaluateArgs),
    /// Hash a password read from standard input, for admin.password_file
    Password,
    Export(export::ExportArgs),
    Import(import::ImportArgs),
    Replay(replay::ReplayArgs),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A mistake in the command line that clap cannot see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct WrongUse(String);

/// Ends the process silently when the reader of its output goes away (`pointsman config print | head`), as other
/// commands do; by default Rust makes printing panic. Not for servers: there a closed pipe only means that nobody reads
/// log lines.
fn end_with_the_reader() {
    // SAFETY: no handler of our own is installed, and no other thread runs yet.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Parses the command line and runs the command.
pub fn run() -> ExitCode {
    // Clap prints its own errors and help, and knows the exit codes 0 and 2.
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    if matches!(cli.command, Command::Serve(_) | Command::Demo(_) | Command::Bench(_)) {
        descriptors::raise_limit();
    } else {
        end_with_the_reader();
    }
    let result = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Route(args) => route::run(args),
        Command::Config(command) => config::run(command),
        Command::Token(command) => token::run(command),
        Command::Bench(args) => bench::run(args),
        Command::Models(command) => models::run(command),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Password => password::run(),
        Command::Export(args) => export::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "pointsman", &mut script);
            println!("{}", String::from_utf8_lossy(&script).trim_end());
            Ok(ExitCode::SUCCESS)
        }
    };
    let code = result.unwrap_or_else(|error| {
        say(format_args!("pointsman: {}", with_causes(&error)));
        if error.is::<WrongUse>() { ExitCode::from(2) } else { ExitCode::FAILURE }
    });
    match UNWRITTEN.get() {
        Some(error) => {
            say(format_args!("pointsman: standard output cannot be written: {error}"));
            ExitCode::FAILURE
        }
        None => code,
    }
}

/// Writes a line to standard error in one call. If that fails (a full disk) the work goes on, where `eprintln!` would
/// panic.
fn say(line: std::fmt::Arguments<'_>) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// The first failure to write to standard output.
static UNWRITTEN: OnceLock<io::Error> = OnceLock::new();

/// The function behind `println!`.
fn print(line: std::fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if let Err(error) = out.write_fmt(line).and_then(|()| out.write_all(b"\n")) {
        let _ = UNWRITTEN.set(error);
    }
}

/// Writes `figures` as JSON to a file, or to standard output (`-`).
fn write_json(path: &Path, figures: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(figures)?;
    if path == Path::new("-") {
        return Ok(writeln!(io::stdout(), "{json}")?);
    }
    results::put(path, json.as_bytes()).with_context(|| path.display().to_string())
}

/// Prints figures as tables, unless their JSON goes to standard output; and writes the JSON where it is wanted.
fn write_figures(
    json: Option<&Path>,
    figures: &impl Serialize,
    print: impl FnOnce() -> io::Result<()>,
) -> anyhow::Result<()> {
    if json != Some(Path::new("-")) {
        print()?;
    }
    json.map_or(Ok(()), |path| write_json(path, figures))
}

/// A table of figures without lines; its first `texts` columns are texts, the others end at the same place.
fn table(header: &[&str], texts: usize) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    for column in table.column_iter_mut().skip(texts) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Reads a TOML file.
fn read_toml<T: DeserializeOwned>(file: &Path) -> anyhow::Result<T> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    toml::from_str(&text).with_context(|| file.display().to_string())
}

/// Warns that a file ends in the middle of line number `cut`.
fn warn_cut(file: &Path, cut: Option<usize>) {
    if let Some(line) = cut {
        say(format_args!("{}, line {line}: the last line is cut off and left out.", file.display()));
    }
}

/// An error with its causes, leaving out those that its text already contains. What it quotes of a file moves no
/// terminal's cursor.
fn with_causes(error: &anyhow::Error) -> String {
    let said = error.chain().fold(String::new(), |text, cause| {
        let cause = cause.to_string();
        match text.as_str() {
            "" => cause,
            said if said.contains(&cause) => text,
            said => format!("{said}: {cause}"),
        }
    });
    said.replace(|c: char| c.is_control() && !['\n', '\t'].contains(&c), "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn manuals_are_shown() {
        for (command, phrase) in [
            ("export", "not running"),
            ("import", "entries that are there already only an outcome and feedback"),
            ("replay", "Regret is how much more the best single model"),
            ("evaluate", "what its columns mean stands under the table"),
        ] {
            let mut cli = Cli::command();
            let help = cli.find_subcommand_mut(command).unwrap().render_long_help().to_string();
            let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(help.contains(phrase), "{help}");
        }
    }

    #[test]
    fn an_error_says_nothing_twice() {
        let error = anyhow::anyhow!("no space").context("b: no space").context("a");
        assert_eq!(with_causes(&error), "a: b: no space");
        let quotes = anyhow::anyhow!("\u{1b}]0;title\u{7} \u{9b}2J\ta").context("line 1:\nx");
        assert_eq!(with_causes(&quotes), "line 1:\nx: \u{fffd}]0;title\u{fffd} \u{fffd}2J\ta");
    }
}
