//! `pointsman password`: hashes a password for `admin.password_file`.

use std::io::{IsTerminal, Read};
use std::process::ExitCode;

use anyhow::{Context, bail};

/// Shortest password taken: the panel can spend money.
const SHORTEST: usize = 8;

pub(super) fn run() -> anyhow::Result<ExitCode> {
    if std::io::stdin().is_terminal() {
        eprintln!("Write the password, then Ctrl-D (it is shown as you type; piping it in is more discreet):");
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("the password cannot be read")?;
    let password = text.trim_end_matches(['\n', '\r']);
    if password.chars().count() < SHORTEST {
        bail!("a password has at least {SHORTEST} characters");
    }
    match crate::http::session::hash_password(password) {
        Ok(hash) => println!("{hash}"),
        Err(error) => bail!("the password cannot be hashed: {error}"),
    }
    Ok(ExitCode::SUCCESS)
}
