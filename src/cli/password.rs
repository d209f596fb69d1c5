//! `pointsman password`: hashes a password for `admin.password_file`.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};

/// Fewest characters of a password: the dashboard can spend money.
const MIN_CHARS: usize = 8;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    if std::io::stdin().is_terminal() {
        eprintln!("Type the password, then Ctrl-D (it is shown as you type; piping it in is more discreet):");
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("the password cannot be read")?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.chars().count() < MIN_CHARS {
        bail!("a password has at least {MIN_CHARS} characters");
    }
    match crate::gateway::sign_in::hash_password(password) {
        Ok(hash) => println!("{hash}"),
        Err(error) => bail!("the password cannot be hashed: {error}"),
    }
    Ok(ExitCode::SUCCESS)
}
